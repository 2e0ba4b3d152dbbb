/**
 * How long the torture lasts and where its chance comes from. `npm test` runs the short form of every part;
 * `npm run torture` the long one. `SEED=n` repeats a run: every failure prints its seed.
 */
import { randomInt } from 'node:crypto';
import { Random } from '../../src/demo/random.js';

export const isLong = process.env['TORTURE'] === 'long';

/** Of this run; each part derives its own from it, so that one part alone repeats what it did among all. */
export const seed = seedOf(process.env['SEED']);

/** What a part does in its short and in its long form. */
export function byForm<T>(short: T, long: T): T {
  return isLong ? long : short;
}

/** Chance for one schedule of one part. */
export function chanceFor(part: string, schedule: number): Random {
  let mixed = seed ^ Math.imul(schedule + 1, 0x9e37_79b1);
  for (const char of part) mixed = Math.imul(mixed ^ char.charCodeAt(0), 0x0100_0193);
  return new Random(mixed >>> 0);
}

/** The line that repeats a failure. */
export function repeatWith(part: string): string {
  return `repeat with: SEED=${seed} npm run ${isLong ? 'torture' : 'test'} -- test/torture/${part}.test.ts`;
}

function seedOf(text: string | undefined): number {
  if (text === undefined) return randomInt(2 ** 31);
  const given = Number(text);
  if (!Number.isSafeInteger(given) || given < 0) throw new RangeError(`SEED=${text}: wants a whole number`);
  return given;
}

/** Pruning forgets networks of which nothing is left, once an hour; who compares states must not meet it. */
export const UNPRUNED = ['--set', 'store.prune=0 0 1 1 *'];
