/**
 * Decaying sums: every point halves each half-life.
 *
 * This is exponential forward decay (Cormode, Shkapenyuk, Srivastava, Xu, "Forward Decay", ICDE 2009) with the
 * landmark moved into the value itself: `{ value, at }` says that the sum was `value` at the instant `at`. Adding two
 * of them commutes, so late lines and several hosts give the same score; nothing grows with time, so nothing can
 * overflow; and since all sums halve alike, `rankOf` orders them for ever without a sweep.
 */
import type { Decayed } from './state.js';

export const NOTHING: Decayed = { value: 0, at: 0 };

/** A sum that is still being made. */
export type RunningSum = { -readonly [Key in keyof Decayed]: Decayed[Key] };

/** The sum at the instant `at` (milliseconds). Asked about the past, it answers for the instant of its last addition. */
export function valueAt(sum: Decayed, at: number, halfLifeMs: number): number {
  // Most sums are of nothing, and powers take their time.
  if (at <= sum.at || sum.value === 0) return sum.value;
  return sum.value * halved(at - sum.at, halfLifeMs);
}

/** What one is after so long; V8 takes a third of the time of `2 ** x` for it. */
function halved(ms: number, halfLifeMs: number): number {
  return Math.exp((-Math.LN2 * ms) / halfLifeMs);
}

/** `sum` with `points` that were earned at `at`, which may be earlier than what the sum already holds. */
export function add(sum: Decayed, points: number, at: number, halfLifeMs: number): Decayed {
  if (points <= 0) return sum;
  const more = { value: sum.value, at: sum.at };
  addTo(more, points, at, halfLifeMs);
  return more;
}

/** The same in place, for a sum that nobody else has seen yet. */
export function addTo(sum: RunningSum, points: number, at: number, halfLifeMs: number): void {
  if (points <= 0) return;
  if (sum.value <= 0) sum.value = points;
  else if (at >= sum.at) sum.value = valueAt(sum, at, halfLifeMs) + points;
  else {
    sum.value += points * halved(sum.at - at, halfLifeMs);
    return;
  }
  sum.at = at;
}

/** The same sum today under another half-life: what it is at `at` stays, only its future changes. */
export function rebase(sum: Decayed, at: number, fromHalfLifeMs: number): Decayed {
  return { value: valueAt(sum, at, fromHalfLifeMs), at: Math.max(at, sum.at) };
}

/**
 * Key that orders sums by their value at any common instant: log2 of the sum brought back to the epoch.
 * -Infinity for an empty sum. Valid for one half-life.
 */
export function rankOf(sum: Decayed, halfLifeMs: number): number {
  return sum.value > 0 ? Math.log2(sum.value) + sum.at / halfLifeMs : Number.NEGATIVE_INFINITY;
}
