import fc from 'fast-check';
import { expect, it } from 'vitest';
import { halfLifeOf, type Measure, pointsFor, thresholdOf } from '../../src/fail2ban/suggest.js';
import { add, NOTHING, valueAt } from '../../src/policy/decay.js';

const measure = fc.record({
  maxRetry: fc.integer({ min: 1, max: 50 }),
  findTimeMs: fc.integer({ min: 1_000, max: 30 * 86_400_000 }),
  banTimeMs: fc.constant(null),
});

/** The score after failures at these parts of findtime. */
function scoreOf(parts: readonly number[], { findTimeMs }: Measure, points: number, halfLifeMs: number): number {
  const times = parts.map((part) => Math.round(part * findTimeMs)).sort((a, b) => a - b);
  let score = NOTHING;
  for (const at of times) score = add(score, points, at, halfLifeMs);
  return valueAt(score, times.at(-1) ?? 0, halfLifeMs);
}

it('whoever a jail of fail2ban would have banned reaches the threshold, and with one failure less nobody does', () => {
  fc.assert(
    fc.property(
      measure,
      measure,
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 50, maxLength: 50 }),
      (base, jail, parts) => {
        const halfLifeMs = Math.max(halfLifeOf(base), halfLifeOf(jail));
        const points = pointsFor(jail, base);
        const worst = [...Array<number>(jail.maxRetry - 1).fill(0), 1];
        for (const some of [parts.slice(0, jail.maxRetry), worst]) {
          expect(scoreOf(some, jail, points, halfLifeMs)).toBeGreaterThanOrEqual(thresholdOf(base));
        }
        const less = Array<number>(jail.maxRetry - 1).fill(0);
        expect(scoreOf(less, jail, points, halfLifeMs)).toBeLessThan(thresholdOf(base));
      },
    ),
  );
});
