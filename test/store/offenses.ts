/** Commits that count the offenses of one subject: a number tells whether one was lost, or made twice. */
import type { SubjectState } from '../../src/policy/state.js';
import type { Outcome, Store } from '../../src/store/store.js';
import { stateOf } from './samples.js';

export const SUBJECT = '203.0.113.1';

type Decide = (states: ReadonlyMap<string, SubjectState>) => Outcome;

/** Adds one offense, and notes what it was added to. */
export function oneMore(seen: number[], more: Outcome = {}): Decide {
  return (states) => {
    const offenses = states.get(SUBJECT)?.offenses ?? 0;
    seen.push(offenses);
    return { put: new Map([[SUBJECT, stateOf(offenses + 1)]]), ...more };
  };
}

/** Whatever they were before. */
export async function setOffenses(store: Store, count: number): Promise<void> {
  await store.commit([], () => ({ put: new Map([[SUBJECT, stateOf(count)]]) }));
}

export async function offensesIn(store: Store): Promise<number> {
  return (await store.states([SUBJECT])).get(SUBJECT)?.offenses ?? 0;
}
