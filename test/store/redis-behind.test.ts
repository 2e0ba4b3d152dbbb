/** A commit to Redis that is decided while another is on its way, and must not be applied without it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SubjectState } from '../../src/policy/state.js';
import { openStore } from '../../src/store/open.js';
import { type Outcome, StaleProgressError, type Store } from '../../src/store/store.js';
import { CuttingProxy } from '../support/cutting-proxy.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { progressOf, stateOf } from './samples.js';

const SUBJECT = '203.0.113.1';

let redis: LabRedis;
let store: BehindStore;
let other: Store;

type BehindStore = Store & Required<Pick<Store, 'commitBehind'>>;
type Decide = (states: ReadonlyMap<string, SubjectState>) => Outcome;

beforeEach(async () => {
  redis = await startRedis();
  store = (await openStore(redis.url, { prefix: 'test' })) as BehindStore;
  other = await openStore(redis.url, { prefix: 'test' });
  // What a commit needs is tried before the first.
  await Promise.all([store.setNote('a fact', 1), other.setNote('a fact', 1)]);
});
afterEach(async () => {
  await store.close();
  await other.close();
  await redis.stop();
});

/** Adds one offense, and notes what it was added to. */
function oneMore(seen: number[], more: Outcome = {}): Decide {
  return (states) => {
    const offenses = states.get(SUBJECT)?.offenses ?? 0;
    seen.push(offenses);
    return { put: new Map([[SUBJECT, stateOf(offenses + 1)]]), ...more };
  };
}

const offenses = async (of = other) => (await of.states([SUBJECT])).get(SUBJECT)?.offenses ?? 0;

describe('a commit behind another', () => {
  it('is decided before that one is answered, on what it leaves', async () => {
    await store.commit([SUBJECT], oneMore([]));
    const seen: string[] = [];
    const noted = (name: string) => (states: ReadonlyMap<string, SubjectState>) => {
      seen.push(`${name} on ${states.get(SUBJECT)?.offenses}`);
      return { put: new Map([[SUBJECT, stateOf((states.get(SUBJECT)?.offenses ?? 0) + 1)]]) };
    };
    const first = store.commit([SUBJECT], noted('first'));
    void first.then(() => seen.push('first is answered'));
    const second = store.commitBehind(first, [SUBJECT], noted('second'));
    await Promise.all([first, second]);
    expect(seen).toEqual(['first on 1', 'second on 2', 'first is answered']);
    expect(await offenses()).toBe(3);
  });

  it('does not know a subject that the one before forgets', async () => {
    await store.commit([SUBJECT], oneMore([]));
    const seen: number[] = [];
    const first = store.commit([SUBJECT], () => ({ put: new Map([[SUBJECT, null]]) }));
    await Promise.all([first, store.commitBehind(first, [SUBJECT], oneMore(seen))]);
    expect(seen).toEqual([0]);
    expect(await offenses()).toBe(1);
  });

  it('moves a position on from where that one has moved it', async () => {
    const first = store.commit([], () => ({ progress: [progressOf('a', null)] }));
    const second = store.commitBehind(first, [], () => ({ progress: [progressOf('b', 'a')] }));
    await Promise.all([first, second]);
    expect((await other.progress('mx1')).get('/var/log/mail.log')?.commit).toBe('b');
  });

  it('is decided anew when that one was, since another host had written', async () => {
    await store.commit([SUBJECT], oneMore([]));
    await other.commit([SUBJECT], () => ({ put: new Map([[SUBJECT, stateOf(10)]]) }));
    const [seen, behind]: [number[], number[]] = [[], []];
    const first = store.commit([SUBJECT], oneMore(seen));
    await Promise.all([first, store.commitBehind(first, [SUBJECT], oneMore(behind))]);
    expect(seen).toEqual([1, 10]);
    expect(behind.at(-1)).toBe(11);
    expect(await offenses()).toBe(12);
  });

  it('is refused with that one, and nothing of it is applied or remembered', async () => {
    await store.commit([SUBJECT], oneMore([]));
    const behind: number[] = [];
    const first = store.commit([SUBJECT], oneMore([], { progress: [progressOf('b', 'a')] }));
    // It would be in order by itself.
    const second = store.commitBehind(first, [SUBJECT], oneMore(behind));
    await expect(first).rejects.toThrow(StaleProgressError);
    await expect(second).rejects.toThrow(StaleProgressError);
    expect(behind).toEqual([2]);
    expect(await offenses()).toBe(1);
    const seen: number[] = [];
    await store.commit([SUBJECT], oneMore(seen));
    expect(seen).toEqual([1]);
  });

  it('counts every one of a thousand, while another host writes all the time', async () => {
    let last = store.commit([], () => ({}));
    const all: Promise<unknown>[] = [];
    for (let i = 0; i < 1_000; i++) {
      const one = store.commitBehind(last, [SUBJECT], oneMore([]));
      all.push(one);
      if (i % 2 === 1) await last;
      last = one;
      if (i % 7 === 0) await other.commit([SUBJECT], oneMore([]));
    }
    await Promise.all(all);
    expect(await offenses()).toBe(1_000 + 143);
  }, 60_000);

  it('is applied exactly once, and never without the one before, wherever the connection is cut', async () => {
    const proxy = new CuttingProxy(redis.port);
    const cut = (await openStore(await proxy.listen(), { prefix: 'test' })) as BehindStore;
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
      expect(await offenses()).toBe(counted);
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
