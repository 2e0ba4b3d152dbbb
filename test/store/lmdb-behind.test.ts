/** A commit to an embedded store that is decided while another is on its way, and must not be written without it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SubjectState } from '../../src/policy/state.js';
import { openStore } from '../../src/store/open.js';
import type { Outcome, Store } from '../../src/store/store.js';
import { progressOf, stateOf } from './samples.js';

const SUBJECT = '203.0.113.1';

let folder: string;
let store: Store & Required<Pick<Store, 'commitBehind'>>;
let other: Store;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blockd-behind-'));
  // A thread is started from the compiled file.
  const { openStore: compiled } = await import(`${new URL('../../dist/store/open.js', import.meta.url)}`);
  store = await compiled(`lmdb:${folder}`, { prefix: 'test', ownThread: true });
  other = await openStore(`lmdb:${folder}`, { prefix: 'test' });
});
afterEach(async () => {
  await store.close();
  await other.close();
  await rm(folder, { recursive: true });
});

type Decide = (states: ReadonlyMap<string, SubjectState>) => Outcome;

/** Adds one offense, and notes what it was added to. */
function oneMore(seen: number[], more: Outcome = {}): Decide {
  return (states) => {
    const offenses = states.get(SUBJECT)?.offenses ?? 0;
    seen.push(offenses);
    return { put: new Map([[SUBJECT, stateOf(offenses + 1)]]), ...more };
  };
}

const offenses = async (of = other) => (await of.states([SUBJECT])).get(SUBJECT)?.offenses ?? 0;
/** Without a thread of its own it is done when the call returns. */
const set = (count: number) => void other.commit([], () => ({ put: new Map([[SUBJECT, stateOf(count)]]) }));

describe('a commit behind another', () => {
  it('is decided before that one is written, on what it leaves', async () => {
    const seen: number[] = [];
    const first = store.commit([SUBJECT], oneMore(seen));
    const second = store.commitBehind(first, [SUBJECT], oneMore(seen));
    const third = store.commitBehind(second, [SUBJECT], oneMore(seen));
    expect(seen).toEqual([0, 1]);
    await Promise.all([first, second, third]);
    expect(seen).toEqual([0, 1, 2]);
    expect(await offenses()).toBe(3);
  });

  it('moves a position on from where that one has moved it', async () => {
    const first = store.commit([], () => ({ progress: [progressOf('a', null)] }));
    const second = store.commitBehind(first, [], () => ({ progress: [progressOf('b', 'a')] }));
    await Promise.all([first, second]);
    expect((await other.progress('mx1')).get('/var/log/mail.log')?.commit).toBe('b');
  });

  it('is decided anew when that one was, since another process had written', async () => {
    const seen: number[] = [];
    let isFirst = true;
    const first = store.commit([SUBJECT], (states) => {
      const outcome = oneMore(seen)(states);
      if (isFirst) set(10);
      isFirst = false;
      return outcome;
    });
    const behind: number[] = [];
    await Promise.all([first, store.commitBehind(first, [SUBJECT], oneMore(behind))]);
    expect(seen).toEqual([0, 10]);
    expect(behind.at(-1)).toBe(11);
    expect(await offenses()).toBe(12);
  });

  it('is decided anew when another process wrote between the two', async () => {
    const behind: number[] = [];
    const first = store.commit([SUBJECT], oneMore([]));
    const second = store.commitBehind(first, [SUBJECT], oneMore(behind));
    // Runs before what waits for the first.
    void first.then(() => set(20));
    await Promise.all([first, second]);
    expect(behind[0]).toBe(1);
    const ends = await offenses();
    expect([20, 21]).toContain(ends);
    expect(behind.at(-1)).toBe(ends === 21 ? 20 : 1);
  });

  it('is refused with that one, and nothing of it is written or remembered', async () => {
    await store.commit([SUBJECT], oneMore([]));
    const behind: number[] = [];
    const first = store.commit([SUBJECT], oneMore([], { progress: [progressOf('b', 'a')] }));
    // It would be in order by itself.
    const second = store.commitBehind(first, [SUBJECT], oneMore(behind));
    await expect(first).rejects.toMatchObject({ name: 'StaleProgressError' });
    await expect(second).rejects.toMatchObject({ name: 'StaleProgressError' });
    expect(behind).toEqual([2]);
    expect(await offenses()).toBe(1);
    const seen: number[] = [];
    await store.commit([SUBJECT], oneMore(seen));
    expect(seen).toEqual([1]);
  });

  it('fails with that one when the decision of that one throws later', async () => {
    let calls = 0;
    const first = store.commit([SUBJECT], () => {
      if (++calls === 2) throw new Error('no');
      set(10);
      return {};
    });
    const second = store.commitBehind(first, [SUBJECT], oneMore([]));
    await expect(first).rejects.toThrow('no');
    await expect(second).rejects.toThrow('no');
    expect(await offenses()).toBe(10);
  });

  it('is like any other when that one is done', async () => {
    const seen: number[] = [];
    const first = store.commit([SUBJECT], oneMore(seen));
    await first;
    await store.commitBehind(first, [SUBJECT], oneMore(seen));
    expect(seen).toEqual([0, 1]);
    expect(await offenses()).toBe(2);
  });

  it('counts every one of a thousand, while another process writes all the time', async () => {
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
});
