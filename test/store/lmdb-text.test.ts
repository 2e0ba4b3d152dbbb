/** What an embedded store holds of a state is what JSON.stringify makes of it, whatever is remembered of its texts. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Decayed, SubjectState } from '../../src/policy/state.js';
import { type Remembered, textOf } from '../../src/store/lmdb-text.js';
import { banOf, stateOf, T } from './samples.js';

const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(-0, Number.NaN, Number.POSITIVE_INFINITY, T));
const decayed: fc.Arbitrary<Decayed> = fc.record({ value: number, at: number });
const text = fc.string({ unit: 'binary' });
const ban = fc.tuple(text, number).map(([subject, until]) => banOf(subject, until));
const release = fc
  .tuple(ban, number)
  .map(([ended, at]): SubjectState['releases'][number] => ({ at, how: 'expired', ban: ended }));
const change: fc.Arbitrary<Partial<SubjectState>> = fc.record(
  {
    score: decayed,
    strikes: decayed,
    accepted: decayed,
    offenses: number,
    host: fc.option(text),
    authenticatedAt: fc.option(number),
    ban: fc.option(ban),
    releases: fc.array(release, { maxLength: 3 }),
    members: fc.dictionary(text, number),
    guardedAt: fc.option(number),
  },
  { requiredKeys: [] },
);

it('of any state, as it changes step by step', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(change, fc.option(fc.integer())), { maxLength: 8 }), (steps) => {
      let state = stateOf(1);
      let before: Remembered | null = null;
      for (const [what, rank] of steps) {
        state = { ...state, ...what };
        const { text: written, stored } = textOf({ state, rank }, before);
        expect(written).toBe(JSON.stringify({ state, rank }));
        before = stored;
      }
    }),
    { numRuns: 500 },
  );
});

it('of a state that lacks what others have, or has more', () => {
  const { host: _host, ...hostless } = stateOf(1);
  for (const state of [
    { ...hostless, members: {} },
    { ...stateOf(1), later: 'x' },
  ]) {
    const stored = { state: state as SubjectState, rank: null };
    expect(textOf(stored, null).text).toBe(JSON.stringify(stored));
  }
});
