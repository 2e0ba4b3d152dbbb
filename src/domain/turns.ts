/**
 * Long work in turns: a hundred thousand bans must not keep the event loop from reading the log, and from signals, for
 * longer than a blink.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Items of one turn; each costs some microseconds, and a turn a hundred. */
const SLICE = 2_000;
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

const NUMBERS_AT_ONCE = 65_536;

/** The numbers in ascending order; `numbers` itself may be used up. */
export async function numbersInTurns(numbers: Float64Array<ArrayBuffer>): Promise<Float64Array<ArrayBuffer>> {
  for (let from = 0; from < numbers.length; from += NUMBERS_AT_ONCE) {
    numbers.subarray(from, from + NUMBERS_AT_ONCE).sort();
    await nextTurn();
  }
  let [sorted, merging] = [numbers, new Float64Array(numbers.length)];
  for (let run = NUMBERS_AT_ONCE; run < numbers.length; run *= 2) {
    for (let from = 0; from < numbers.length; from += 2 * run) {
      const middle = Math.min(from + run, numbers.length);
      await mergeNumbers(sorted, from, middle, Math.min(middle + run, numbers.length), merging);
    }
    [sorted, merging] = [merging, sorted];
  }
  return sorted;
}

/** The two sorted runs of `from` that meet at `middle`, as one into `into`. */
async function mergeNumbers(all: Float64Array, from: number, middle: number, end: number, into: Float64Array) {
  let [one, other] = [from, middle];
  for (let at = from; at < end; at++) {
    const isOne = other >= end || (one < middle && (all[one] ?? 0) <= (all[other] ?? 0));
    into[at] = all[isOne ? one++ : other++] ?? 0;
    if (at % NUMBERS_AT_ONCE === 0) await nextTurn();
  }
}
