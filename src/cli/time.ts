/** Instants as people write them: how long ago, or a date. */
import { parseDuration } from '../domain/duration.js';
import { UsageError } from '../domain/errors.js';

/** Milliseconds of `24h` (ago), `2026-11-25`, `2026-11-25 14:30` (local time) or ISO 8601. @throws UsageError */
export function timeFrom(text: string, option: string, now: number): number {
  const agoMs = parseDuration(text);
  if (agoMs !== null) return now - agoMs;
  const parts = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$/.exec(
    text.trim(),
  );
  if (parts !== null) {
    const [, year, month, day, hour = '0', minute = '0', second = '0', zone] = parts;
    const local = new Date(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
    const isDate = local.getMonth() === Number(month) - 1 && local.getDate() === Number(day);
    const at = zone === undefined ? local.getTime() : Date.parse(text.trim().replace(' ', 'T'));
    if (isDate && Number(hour) < 24 && Number(minute) < 60 && Number(second) < 61 && !Number.isNaN(at)) return at;
  }
  throw new UsageError(
    `${option} "${text}" is no time: write how long ago (24h, 7d), a date (2026-11-25), or one with a time ("2026-11-25 14:30", local)`,
  );
}
