/** Lines that scored are told as an array of them would tell them, of each subject its own. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { LogEvent } from '../../src/domain/event.js';
import { Scored, ScoredEvents } from '../../src/policy/scored.js';
import type { Evidence } from '../../src/policy/state.js';

const AT = Date.UTC(2026, 0, 1);
const event = (n: number): LogEvent => ({
  kind: 'offense',
  rule: `rule ${n % 3}`,
  ip: '203.0.113.9',
  at: AT + n,
  host: null,
  points: 1,
  line: `line ${n} ${'x'.repeat(n % 5 === 0 ? 600 : 3)}`,
});

test('slices, the last that fits, and each in turn', () => {
  const scoring = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c', null), fc.double({ min: 0.1, max: 9 })), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(scoring, fc.integer({ min: -70, max: 70 }), fc.nat(60), (some, start, limit) => {
      const events = some.map((_, n) => event(n));
      const all = new ScoredEvents(events);
      const subjects = { a: new Scored(all), b: new Scored(all), c: new Scored(all) };
      const expected: Record<'a' | 'b' | 'c', Evidence[]> = { a: [], b: [], c: [] };
      some.forEach(([subject, points], n) => {
        if (subject === null) return;
        const { rule, line } = event(n);
        // Events of the future are taken as of now.
        const at = AT + Math.min(n, 40);
        subjects[subject].add(n, at, points);
        expected[subject].push({ at, rule, points, line: line.slice(0, 500) });
      });
      for (const subject of ['a', 'b', 'c'] as const) {
        const [scored, lines] = [subjects[subject], expected[subject]];
        expect(scored.length).toBe(lines.length);
        expect(scored.slice(start)).toEqual(lines.slice(start));
        const fits = ({ at }: Evidence) => at <= AT + limit;
        expect(scored.findLast(fits)).toEqual(lines.findLast(fits));
        const each: Evidence[] = [];
        scored.forEach((line) => {
          each.push(line);
        });
        expect(each).toEqual(lines);
      }
    }),
    { numRuns: 500 },
  );
});
