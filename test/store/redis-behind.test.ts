/** What behind.test.ts can't ask of every store: the connection to Redis may be cut at any point of the two commits. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStore } from '../../src/store/open.js';
import type { Outcome, Store } from '../../src/store/store.js';
import { CuttingProxy } from '../support/cutting-proxy.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { offensesIn, oneMore, SUBJECT } from './offenses.js';
import { progressOf } from './samples.js';

let redis: LabRedis;
let other: Store;

beforeEach(async () => {
  redis = await startRedis();
  other = await openStore(redis.url, { prefix: 'test' });
});
afterEach(async () => {
  await other.close();
  await redis.stop();
});

describe('a commit behind another in Redis', () => {
  it('is applied exactly once, and never without the one before, wherever the connection is cut', async () => {
    const proxy = new CuttingProxy(redis.port);
    const cut = (await openStore(await proxy.listen(), { prefix: 'test' })) as Required<Store>;
    try {
      await cut.setNote('a fact', 1);
      let turn = 0;
      proxy.cut = () => (++turn % 5 === 0 ? null : turn % 2 === 0 ? 'request' : 'reply');
      let after: string | null = null;
      let counted = 0;
      while (proxy.cuts < 60) {
        const [one, two] = [`c${++counted}`, `c${++counted}`];
        const begun = cut.commit([SUBJECT], oneMore([], { progress: [progressOf(one, after)] }));
        const behind = cut.commitBehind(begun, [SUBJECT], oneMore([], { progress: [progressOf(two, one)] }));
        // As a daemon does: what failed is sent again as it was, and what was to follow it after that.
        await applied(cut, one, after, begun, [behind]);
        await applied(cut, two, one, behind);
        after = two;
      }
      proxy.cut = () => null;
      expect(await offensesIn(other)).toBe(counted);
      expect((await other.progress('mx1')).get('/var/log/mail.log')?.commit).toBe(after);
    } finally {
      await cut.close();
      await proxy.close();
    }
  }, 120_000);
});

async function applied(
  cut: Store,
  commit: string,
  after: string | null,
  begun: Promise<Outcome>,
  others: readonly Promise<Outcome>[] = [],
): Promise<void> {
  for (let attempt = begun; ; attempt = cut.commit([SUBJECT], oneMore([], { progress: [progressOf(commit, after)] }))) {
    const error: unknown = await attempt.then(
      () => null,
      (thrown: unknown) => thrown,
    );
    if (error === null) return;
    if ((error as Error).name !== 'UnavailableError') throw error;
    await Promise.allSettled(others);
  }
}
