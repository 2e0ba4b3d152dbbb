import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { add, addTo, NOTHING, rankOf, rebase, valueAt } from '../../src/policy/decay.js';

const HOUR = 3_600_000;
const YEAR = 365.25 * 24 * HOUR;
const START = Date.UTC(2026, 0, 1);

const halfLife = fc.integer({ min: 60_000, max: 14 * 24 * HOUR });
const addition = fc.record({
  points: fc.double({ min: 0.01, max: 100, noNaN: true }),
  at: fc.integer({ min: START, max: START + 30 * 24 * HOUR }),
});
const sum = (additions: readonly { points: number; at: number }[], halfLifeMs: number) =>
  additions.reduce((total, { points, at }) => add(total, points, at, halfLifeMs), NOTHING);
const near = (a: number, b: number) => expect(Math.abs(a - b)).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(a)));

describe('a decaying sum', () => {
  it('is the same whatever the order of its additions', () => {
    fc.assert(
      fc.property(
        fc.array(addition, { minLength: 1, maxLength: 40 }),
        halfLife,
        fc.infiniteStream(fc.nat()),
        (list, h, random) => {
          const shuffled = list
            .map((one) => ({ one, key: random.next().value }))
            .sort((a, b) => a.key - b.key)
            .map(({ one }) => one);
          const later = START + 40 * 24 * HOUR;
          near(valueAt(sum(list, h), later, h), valueAt(sum(shuffled, h), later, h));
          near(valueAt(sum(list, h), START + 30 * 24 * HOUR, h), valueAt(sum(shuffled, h), START + 30 * 24 * HOUR, h));
        },
      ),
    );
  });

  it('is the same to the last bit when it grows in place', () => {
    fc.assert(
      fc.property(fc.array(addition, { maxLength: 40 }), halfLife, (list, h) => {
        const growing = { ...NOTHING };
        for (const { points, at } of list) addTo(growing, points, at, h);
        expect(growing).toEqual(sum(list, h));
      }),
    );
  });

  it('is half after one half-life', () => {
    fc.assert(
      fc.property(addition, halfLife, ({ points, at }, h) => {
        near(valueAt(add(NOTHING, points, at, h), at + h, h), points / 2);
      }),
    );
  });

  it('is never negative and never grows by waiting', () => {
    fc.assert(
      fc.property(
        fc.array(addition, { maxLength: 30 }),
        halfLife,
        fc.integer({ min: 0, max: YEAR }),
        (list, h, wait) => {
          const total = sum(list, h);
          const now = valueAt(total, total.at, h);
          const later = valueAt(total, total.at + wait, h);
          expect(later).toBeGreaterThanOrEqual(0);
          expect(later).toBeLessThanOrEqual(now);
        },
      ),
    );
  });

  it('stays finite over ten years of an offense every hour, at any half-life', () => {
    for (const h of [60_000, 6 * HOUR, 14 * 24 * HOUR]) {
      let total = NOTHING;
      for (let at = START; at < START + 10 * YEAR; at += HOUR) total = add(total, 1, at, h);
      expect(Number.isFinite(total.value)).toBe(true);
      // The limit of the geometric series 1 / (1 - 2^(-hour/h)).
      near(total.value, 1 / (1 - 2 ** (-HOUR / h)));
      expect(Number.isFinite(rankOf(total, h))).toBe(true);
    }
  });

  it('equals the textbook definition Σ points · 2^((at − t) / half-life)', () => {
    fc.assert(
      fc.property(fc.array(addition, { minLength: 1, maxLength: 20 }), halfLife, (list, h) => {
        const t = START + 31 * 24 * HOUR;
        const textbook = list.reduce((total, { points, at }) => total + points * 2 ** ((at - t) / h), 0);
        near(valueAt(sum(list, h), t, h), textbook);
      }),
    );
  });

  it('is ordered by its rank as by its value', () => {
    fc.assert(
      fc.property(fc.array(addition, { minLength: 1 }), fc.array(addition, { minLength: 1 }), halfLife, (a, b, h) => {
        const [one, other] = [sum(a, h), sum(b, h)];
        const t = Math.max(one.at, other.at);
        const difference = valueAt(one, t, h) - valueAt(other, t, h);
        fc.pre(Math.abs(difference) > 1e-6);
        expect(Math.sign(rankOf(one, h) - rankOf(other, h))).toBe(Math.sign(difference));
      }),
    );
  });

  it("keeps today's value when the half-life changes", () => {
    fc.assert(
      fc.property(fc.array(addition, { minLength: 1 }), halfLife, halfLife, (list, before, after) => {
        const now = START + 31 * 24 * HOUR;
        near(valueAt(rebase(sum(list, before), now, before), now, after), valueAt(sum(list, before), now, before));
      }),
    );
  });

  it('ignores additions that are nothing', () => {
    expect(add(NOTHING, 0, START, HOUR)).toBe(NOTHING);
    expect(add({ value: 2, at: START }, -1, START, HOUR)).toEqual({ value: 2, at: START });
  });
});
