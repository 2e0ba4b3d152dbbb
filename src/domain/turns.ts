/**
 * Long work in turns: a hundred thousand bans must not keep the event loop from reading the log, and from signals, for
 * longer than a blink.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Items of one turn; each costs some microseconds. */
const SLICE = 250;
const SORTED_AT_ONCE = 8_192;

/** Visits all items in their order, and lets others run in between. */
export async function eachInTurns<T>(items: Iterable<T>, visit: (item: T) => void): Promise<void> {
  let left = SLICE;
  for (const item of items) {
    visit(item);
    if (--left > 0) continue;
    left = SLICE;
    await nextTurn();
  }
}

/** The texts in the order of their code units, as `sort()` has it. */
export async function sortedInTurns(texts: readonly string[]): Promise<readonly string[]> {
  if (texts.length <= SORTED_AT_ONCE) return texts.toSorted();
  const middle = texts.length >> 1;
  const halves = [await sortedInTurns(texts.slice(0, middle)), await sortedInTurns(texts.slice(middle))] as const;
  await nextTurn();
  return merged(...halves);
}

async function merged(one: readonly string[], other: readonly string[]): Promise<string[]> {
  const all: string[] = [];
  let at = 0;
  await eachInTurns(one, (text) => {
    for (let next = other[at]; next !== undefined && next < text; next = other[++at]) all.push(next);
    all.push(text);
  });
  return [...all, ...other.slice(at)];
}
