/** The picture that the daemon keeps of the store's bans. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BanBook } from '../../src/daemon/ban-book.js';
import { Ends } from '../../src/daemon/ends.js';
import type { Change } from '../../src/policy/outcome.js';
import { openStore } from '../../src/store/open.js';
import { MAX_CHANGES } from '../../src/store/store.js';
import { banOf, stateOf, T } from '../store/samples.js';

const SUBJECTS = Array.from({ length: 8 }, (_, i) => `203.0.113.${i}`);

type Step =
  | { readonly ban: string; readonly minutes: number }
  | { readonly release: string }
  | { readonly wait: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ ban: fc.constantFrom(...SUBJECTS), minutes: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ release: fc.constantFrom(...SUBJECTS) }),
  fc.record({ wait: fc.integer({ min: 0, max: 300_000 }) }),
);

it('is at any time what the store would tell, and what changed is what differs from the picture before (property)', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const store = await openStore('memory:', { prefix: 'test' });
      const book = new BanBook(store);
      let now = T;
      let shown = new Map<string, number>();
      for (const one of steps) {
        if ('wait' in one) now += one.wait;
        else if ('ban' in one) {
          const ban = banOf(one.ban, now + one.minutes * 60_000, { since: now });
          const changes: Change[] = [{ type: 'ban', at: now, ban }];
          await store.commit([one.ban], () => ({ put: new Map([[one.ban, { ...stateOf(1), ban }]]), changes }));
        } else {
          await store.commit([one.release], (states) => {
            const state = states.get(one.release);
            if (!state?.ban) return {};
            const release = { at: now, how: 'unbanned' as const, ban: state.ban };
            return {
              put: new Map([[one.release, { ...state, ban: null }]]),
              changes: [{ type: 'release', at: now, release }],
            };
          });
        }
        const picture = await book.update(now);
        const all = new Map(picture.all().map(({ subject, until }) => [subject, until]));
        const stored = await store.bans(now);
        expect(all).toEqual(new Map(stored.map(({ subject, until }) => [subject, until])));
        expect(book.soonestEnd).toBe(stored[0]?.until ?? Number.POSITIVE_INFINITY);
        if (picture.changes !== null) {
          for (const { subject, until } of picture.changes.put) shown.set(subject, until);
          for (const subject of picture.changes.gone) shown.delete(subject);
          expect(shown).toEqual(all);
        }
        shown = all;
        book.published();
      }
      await store.close();
    }),
    { numRuns: 200 },
  );
});

it('tells a change again until it is published', async () => {
  const store = await openStore('memory:', { prefix: 'test' });
  const book = new BanBook(store);
  await book.update(T);
  book.published();
  const ban = banOf('203.0.113.1', T + 60_000);
  await store.commit([], () => ({
    put: new Map([['203.0.113.1', { ...stateOf(1), ban }]]),
    changes: [{ type: 'ban', at: T, ban }],
  }));
  for (let i = 0; i < 2; i++) expect((await book.update(T)).changes?.put).toHaveLength(1);
  book.published();
  expect((await book.update(T)).changes).toEqual({ put: [], gone: [] });
});

it('is read anew when the feed has gone past it', async () => {
  const store = await openStore('memory:', { prefix: 'test' });
  const book = new BanBook(store);
  await book.update(T);
  book.published();
  const ban = banOf('203.0.113.1', T + 60_000);
  const others: Change[] = Array.from({ length: MAX_CHANGES }, () => ({ type: 'allow', at: T, entry: '192.0.2.1' }));
  await store.commit([], () => ({
    put: new Map([['203.0.113.1', { ...stateOf(1), ban }]]),
    changes: [{ type: 'ban', at: T, ban }, ...others],
  }));
  const picture = await book.update(T);
  expect(picture.changes).toBeNull();
  expect(picture.all()).toHaveLength(1);
});

it('gives ends in their order, whatever was added and forgotten meanwhile (property)', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(...SUBJECTS), fc.integer({ min: 0, max: 50 }))), (added) => {
      const ends = new Ends();
      const current = new Map<string, number>();
      for (const [subject, until] of added) {
        current.set(subject, until);
        ends.add(subject, until);
      }
      for (let now = 0; now <= 50; now += 5) {
        const due = [...current].filter(([, until]) => until <= now).map(([subject]) => subject);
        expect([...ends.takeUntil(now, (one) => current.get(one))].sort()).toEqual(due.sort());
        for (const one of due) current.delete(one);
        expect(ends.soonest((one) => current.get(one))).toBe(Math.min(Number.POSITIVE_INFINITY, ...current.values()));
      }
    }),
  );
});
