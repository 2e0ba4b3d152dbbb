/** What a person says of a ban that he orders: how long, and why. */
import { LONGEST_ORDER_MS } from '../domain/ban.js';
import { parseDuration } from '../domain/duration.js';
import { UsageError } from '../domain/errors.js';

export const MAX_REASON = 200;

/** Milliseconds of `--for`. @throws UsageError */
export function lengthFrom(text: string): number {
  const ms = parseDuration(text);
  if (ms === null)
    throw new UsageError(`--for "${text}" is no duration: write a number and a unit, such as 90s, 15m, 2h or 7d`);
  if (ms < 1_000) throw new UsageError(`--for ${text} is too short: at least 1s`);
  if (ms > LONGEST_ORDER_MS) {
    const most = `${LONGEST_ORDER_MS / 86_400_000}d`;
    throw new UsageError(`--for ${text} is too long: at most ${most}, since every ban ends`);
  }
  return ms;
}

/** One line of `--reason`. @throws UsageError */
export function reasonFrom(text: string): string {
  const reason = text.trim();
  if (reason === '' || reason.length > MAX_REASON || /\p{C}/u.test(reason)) {
    throw new UsageError(`--reason wants one line of text, at most ${MAX_REASON} characters`);
  }
  return reason;
}
