/**
 * What `commitBehind` promises, held against each store that has it: a commit that is decided while another is on its
 * way must not be applied without it.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { SubjectState } from '../../src/policy/state.js';
import { openStore } from '../../src/store/open.js';
import { StaleProgressError, type Store } from '../../src/store/store.js';
import { openLmdbTwice } from '../support/lmdb-twice.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { offensesIn, oneMore, SUBJECT, setOffenses } from './offenses.js';
import { progressOf, stateOf } from './samples.js';

interface Lab {
  readonly store: Required<Store>;
  /** Another process, or another host, with the same store. */
  readonly other: Store;
  /**
   * Has the other set the offenses where the next decision of `store` does not know of it: now, or when that decision
   * calls what this resolves with.
   */
  readonly overtake: (offenses: number) => Promise<() => void>;
  readonly end: () => Promise<void>;
}

let redis: LabRedis;
let prefixes = 0;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(async () => {
  await redis.stop();
});

const LABS: Record<string, () => Promise<Lab>> = {
  'lmdb, written by a thread': async () => {
    const twice = await openLmdbTwice();
    // It sees at once what others wrote, so only what they write while it decides escapes it.
    return { ...twice, overtake: async (offenses) => () => void setOffenses(twice.other, offenses) };
  },
  redis: async () => {
    const prefix = `test${++prefixes}`;
    const store = (await openStore(redis.url, { prefix })) as Required<Store>;
    const other = await openStore(redis.url, { prefix });
    // What a commit needs is tried before the first.
    await Promise.all([store.setNote('a fact', 1), other.setNote('a fact', 1)]);
    return {
      store,
      other,
      // It decides on what it read before, and is told when it commits.
      overtake: async (offenses) => {
        await store.commit([SUBJECT], () => ({}));
        await setOffenses(other, offenses);
        return () => undefined;
      },
      end: async () => {
        await store.close();
        await other.close();
      },
    };
  },
};

describe.each(Object.entries(LABS))('a commit behind another in %s', (_, open) => {
  let lab: Lab;
  let store: Lab['store'];
  let other: Lab['other'];

  beforeEach(async () => {
    lab = await open();
    ({ store, other } = lab);
  });
  afterEach(() => lab.end());

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
    expect(await offensesIn(other)).toBe(3);
  });

  it('does not know a subject that the one before forgets', async () => {
    await store.commit([SUBJECT], oneMore([]));
    const seen: number[] = [];
    const first = store.commit([SUBJECT], () => ({ put: new Map([[SUBJECT, null]]) }));
    await Promise.all([first, store.commitBehind(first, [SUBJECT], oneMore(seen))]);
    expect(seen).toEqual([0]);
    expect(await offensesIn(other)).toBe(1);
  });

  it('moves a position on from where that one has moved it', async () => {
    const first = store.commit([], () => ({ progress: [progressOf('a', null)] }));
    const second = store.commitBehind(first, [], () => ({ progress: [progressOf('b', 'a')] }));
    await Promise.all([first, second]);
    expect((await other.progress('mx1')).get('/var/log/mail.log')?.commit).toBe('b');
  });

  it.each([0, 1])(
    'is decided anew when that one was, since another had written (offenses known: %i)',
    async (known) => {
      if (known > 0) await store.commit([SUBJECT], () => ({ put: new Map([[SUBJECT, stateOf(known)]]) }));
      const overtaken = await lab.overtake(10);
      const [seen, behind]: [number[], number[]] = [[], []];
      const first = store.commit([SUBJECT], (states) => {
        if (seen.length === 0) overtaken();
        return oneMore(seen)(states);
      });
      await Promise.all([first, store.commitBehind(first, [SUBJECT], oneMore(behind))]);
      expect(seen).toEqual([known, 10]);
      expect(behind.at(-1)).toBe(11);
      expect(await offensesIn(other)).toBe(12);
    },
  );

  it('is refused with that one, and nothing of it is applied or remembered', async () => {
    await store.commit([SUBJECT], oneMore([]));
    const behind: number[] = [];
    const first = store.commit([SUBJECT], oneMore([], { progress: [progressOf('b', 'a')] }));
    // It would be in order by itself.
    const second = store.commitBehind(first, [SUBJECT], oneMore(behind));
    await expect(first).rejects.toMatchObject({ name: StaleProgressError.name });
    await expect(second).rejects.toMatchObject({ name: StaleProgressError.name });
    expect(behind).toEqual([2]);
    expect(await offensesIn(other)).toBe(1);
    const seen: number[] = [];
    await store.commit([SUBJECT], oneMore(seen));
    expect(seen).toEqual([1]);
  });

  it('fails with that one when the decision of that one throws later', async () => {
    const overtaken = await lab.overtake(10);
    let calls = 0;
    const first = store.commit([SUBJECT], () => {
      if (++calls === 2) throw new Error('no');
      overtaken();
      return {};
    });
    const second = store.commitBehind(first, [SUBJECT], oneMore([]));
    await expect(first).rejects.toThrow('no');
    await expect(second).rejects.toThrow('no');
    expect(await offensesIn(other)).toBe(10);
  });

  it('is like any other when that one is done', async () => {
    const seen: number[] = [];
    const first = store.commit([SUBJECT], oneMore(seen));
    await first;
    await store.commitBehind(first, [SUBJECT], oneMore(seen));
    expect(seen).toEqual([0, 1]);
    expect(await offensesIn(other)).toBe(2);
  });

  it('counts every one of a thousand, while another writes all the time', async () => {
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
    expect(await offensesIn(other)).toBe(1_000 + 143);
  }, 60_000);
});
