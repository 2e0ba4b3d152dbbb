/** What behind.test.ts can't ask of every store: an embedded one decides at once, and sees another's write at once. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LmdbTwice, openLmdbTwice } from '../support/lmdb-twice.js';
import { offensesIn, oneMore, SUBJECT, setOffenses } from './offenses.js';

let store: LmdbTwice['store'];
let other: LmdbTwice['other'];
let end: LmdbTwice['end'];

beforeEach(async () => {
  ({ store, other, end } = await openLmdbTwice());
});
afterEach(() => end());

describe('a commit behind another in an embedded store', () => {
  it('is decided in the call behind one that is on its way, and later behind one that waits itself', async () => {
    const seen: number[] = [];
    const first = store.commit([SUBJECT], oneMore(seen));
    const second = store.commitBehind(first, [SUBJECT], oneMore(seen));
    const third = store.commitBehind(second, [SUBJECT], oneMore(seen));
    expect(seen).toEqual([0, 1]);
    await Promise.all([first, second, third]);
    expect(seen).toEqual([0, 1, 2]);
    expect(await offensesIn(other)).toBe(3);
  });

  it('is decided anew when another process wrote between the two', async () => {
    const behind: number[] = [];
    const first = store.commit([SUBJECT], oneMore([]));
    const second = store.commitBehind(first, [SUBJECT], oneMore(behind));
    // Runs before what waits for the first.
    void first.then(() => setOffenses(other, 20));
    await Promise.all([first, second]);
    expect(behind[0]).toBe(1);
    const ends = await offensesIn(other);
    expect([20, 21]).toContain(ends);
    expect(behind.at(-1)).toBe(ends === 21 ? 20 : 1);
  });
});
