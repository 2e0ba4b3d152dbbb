/** An embedded store remembers states between commits, and must never decide on one that is not so any more. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SubjectState } from '../../src/policy/state.js';
import { StateCache } from '../../src/store/lmdb-cache.js';
import type { Store } from '../../src/store/store.js';
import { type LmdbTwice, openLmdbTwice } from '../support/lmdb-twice.js';
import { progressOf, stateOf, T } from './samples.js';

const SUBJECT = '203.0.113.1';

let store: LmdbTwice['store'];
let other: LmdbTwice['other'];
let end: LmdbTwice['end'];

beforeEach(async () => {
  ({ store, other, end } = await openLmdbTwice());
});
afterEach(() => end());

const put = (state: SubjectState | null, to: Store = store) =>
  to.commit([], () => ({ put: new Map([[SUBJECT, state]]) }));

/** What the next decision is made from. */
async function decidedFrom(): Promise<SubjectState | undefined> {
  let seen: SubjectState | undefined;
  await store.commit([SUBJECT], (states) => {
    seen = states.get(SUBJECT);
    return {};
  });
  return seen;
}

describe('an embedded store that remembers states', () => {
  it('hands on what it wrote last without reading it again', async () => {
    const state = stateOf(1);
    await put(state);
    expect(await decidedFrom()).toBe(state);
    expect((await other.states([SUBJECT])).get(SUBJECT)).toEqual(state);
  });

  it('decides on what another process wrote, forgot or converted since', async () => {
    await put(stateOf(1));
    await decidedFrom();
    await put(stateOf(2), other);
    expect(await decidedFrom()).toEqual(stateOf(2));
    await other.rewrite((state) => ({ state: { ...state, offenses: 30 }, rank: 3 }));
    expect((await decidedFrom())?.offenses).toBe(30);
    await other.prune(() => true, T, 0);
    expect(await decidedFrom()).toBeUndefined();
    await put(stateOf(4), other);
    expect(await decidedFrom()).toEqual(stateOf(4));
  });

  it('decides on what it pruned, converted or forgot itself', async () => {
    await put(stateOf(1));
    await store.rewrite((state) => ({ state: { ...state, offenses: 30 }, rank: 3 }));
    expect((await decidedFrom())?.offenses).toBe(30);
    await store.prune(() => true, T, 0);
    expect(await decidedFrom()).toBeUndefined();
    await put(stateOf(2));
    await put(null);
    expect(await decidedFrom()).toBeUndefined();
  });

  it('remembers nothing of a commit that was refused', async () => {
    await put(stateOf(1));
    const refused = store.commit([], () => ({
      put: new Map([[SUBJECT, stateOf(9)]]),
      progress: [progressOf('b', 'a')],
    }));
    await expect(refused).rejects.toMatchObject({ name: 'StaleProgressError' });
    expect(await decidedFrom()).toEqual(stateOf(1));
  });

  it('decides anew when another process commits while it decides', async () => {
    await put(stateOf(1));
    const seen: unknown[] = [];
    await store.commit([SUBJECT], (states) => {
      const known = states.get(SUBJECT);
      seen.push(known);
      // Without a thread of its own this is done when the call returns.
      if (seen.length === 1) void put(stateOf(5), other);
      return { put: new Map([[SUBJECT, stateOf((known?.offenses ?? 0) + 1)]]) };
    });
    expect(seen).toEqual([stateOf(1), stateOf(5)]);
    expect((await other.states([SUBJECT])).get(SUBJECT)).toEqual(stateOf(6));
    expect(await decidedFrom()).toEqual(stateOf(6));
  });

  it('writes an end and a rank anew, and none of them twice, over what it remembers', async () => {
    const ban = { subject: SUBJECT, since: T, until: T + 9_000, reason: 'test', strikes: 0, host: null } as const;
    const banned = (until: number) => stateOf(1, { ban: { ...ban, until, by: 'score', refused: 0 } });
    for (const until of [T + 1_000, T + 2_000, T + 1_500]) {
      const ranks = new Map([[SUBJECT, until]]);
      await store.commit([SUBJECT], () => ({ put: new Map([[SUBJECT, banned(until)]]), ranks }));
    }
    expect((await other.bans(0)).map(({ until }) => until)).toEqual([T + 1_500]);
    expect(await other.top(10)).toEqual([SUBJECT]);
    expect((await other.counts(T)).banned).toBe(1);
  });
});

describe('the memory of states', () => {
  const stored = { state: stateOf(1), rank: null };

  it('is of one revision, and empty at any other', () => {
    const cache = new StateCache();
    cache.turnTo(3);
    cache.add(SUBJECT, stored);
    cache.turnTo(3);
    expect(cache.get(SUBJECT)).toBe(stored);
    cache.turnTo(5);
    expect(cache.get(SUBJECT)).toBeUndefined();
  });

  it('follows its own commits, and none whose answer comes when it knows of later ones', () => {
    const cache = new StateCache();
    cache.turnTo(3);
    cache.wrote(3, new Map([[SUBJECT, stored]]));
    cache.turnTo(4);
    expect(cache.get(SUBJECT)).toBe(stored);
    cache.turnTo(7);
    cache.wrote(4, new Map([[SUBJECT, stored]]));
    cache.turnTo(7);
    expect(cache.get(SUBJECT)).toBeUndefined();
  });

  it('is bounded', () => {
    const cache = new StateCache();
    cache.turnTo(1);
    const subjects = Array.from({ length: 50_000 }, (_, i) => `192.0.2.${i}`);
    for (const subject of subjects) cache.add(subject, stored);
    expect(subjects.filter((subject) => cache.get(subject) !== undefined).length).toBeLessThanOrEqual(20_000);
  });
});
