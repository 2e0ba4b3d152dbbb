/** Time stamps of log lines to instants: traditional syslog (no year, no zone) and RFC 3339. */
import { standsAt, viewOf, type Words, wordsOf } from './words.js';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
/** `2026-11-25T01:15:` */
const MINUTE_CHARS = 17;
/** How far back a log may jump and still be the same pass of an hour that the end of summer time repeats. */
const DISORDER_MS = 5 * MINUTE_MS;
/** Feb 29 of a log this old is still found. */
const YEARS_BACK = 8;

/** Of an RFC 3339 stamp: what precedes the seconds, the zone behind them, the instant. */
interface Minute {
  readonly minute: Words;
  readonly zone: Uint8Array;
  readonly at: number;
}

/**
 * Reads time stamps in the context of one log. A stamp without a year gets the latest year that does not put it more
 * than a day behind the reference, the instant at which the log was last written.
 */
export class LineClock {
  #latestAt: number;
  #referenceYear: number;
  /** Newest instant read, to tell the two passes of a repeated hour apart. */
  #lastAt: number;
  /** The minute read last, as `((month * 32 + day) * 24 + hour) * 60 + minute`, and its instant. */
  #minuteKey = -1;
  #minuteAt = Number.NaN;
  /** Of the last RFC 3339 stamp. */
  #minute3339: Minute | null = null;

  /** @param lastAt `newestAt` of an earlier clock of the same log, which this one continues. */
  constructor(referenceAt: number, lastAt: number | null = null) {
    this.#lastAt = lastAt ?? Number.NEGATIVE_INFINITY;
    this.#latestAt = referenceAt + DAY_MS;
    this.#referenceYear = new Date(referenceAt).getFullYear();
  }

  /** Newest stamp without a zone that was read, milliseconds, or null. */
  get newestAt(): number | null {
    return Number.isFinite(this.#lastAt) ? this.#lastAt : null;
  }

  /** The log was written at this instant, milliseconds. */
  reference(at: number): void {
    if (at + DAY_MS === this.#latestAt) return;
    this.#latestAt = at + DAY_MS;
    this.#referenceYear = new Date(at).getFullYear();
    this.#minuteKey = -1;
  }

  /** Instant, milliseconds, of a stamp as text; NaN when it is none. */
  parse(stamp: string): number {
    return this.read(viewOf(Buffer.from(`${stamp} `, 'latin1')), 0, stamp.length);
  }

  /** Instant, milliseconds, of the stamp `view[from, to)`, which another byte follows; NaN when it is none. */
  read(view: DataView, from: number, to: number): number {
    return isDigit(view.getUint8(from)) ? this.#rfc3339(view, from, to) : this.#traditional(view, from, to);
  }

  /** Most stamps lie in the same minute as the one before, and differ only behind it. */
  #rfc3339(view: DataView, from: number, to: number): number {
    const known = this.#minute3339;
    if (known !== null && isIn(known, view, from, to)) {
      const tens = view.getUint8(from + MINUTE_CHARS) - 48;
      const ones = view.getUint8(from + MINUTE_CHARS + 1) - 48;
      const second = tens * 10 + ones;
      const mark = from + MINUTE_CHARS + 2;
      const end = to - known.zone.length;
      const fractionMs = mark === end ? 0 : view.getUint8(mark) === 46 ? thousandths(view, mark + 1, end) : -1;
      if (tens >= 0 && ones >= 0 && ones <= 9 && second <= 60 && fractionMs >= 0)
        return known.at + second * 1_000 + fractionMs;
    }
    const at = parseRfc3339(view, from, to);
    this.#minute3339 = minuteOf(textOf(view, from, to));
    return at;
  }

  /** `Nov 25 01:12:15`, `Nov  5 01:12:15`, `Nov 5 01:12:15`. */
  #traditional(view: DataView, from: number, to: number): number {
    if (to - from !== 15 && to - from !== 14) return Number.NaN;
    const month = monthOf(view, from);
    const padded = view.getUint8(from + 4) === 32;
    const day = (to - from === 14 || padded ? 0 : digit(view, from + 4) * 10) + digit(view, to - 10);
    const hour = twoDigits(view, to - 8);
    const minute = twoDigits(view, to - 5);
    const second = twoDigits(view, to - 2);
    const punctuated =
      view.getUint8(from + 3) === 32 &&
      view.getUint8(to - 9) === 32 &&
      view.getUint8(to - 6) === 58 &&
      view.getUint8(to - 3) === 58;
    // Negated, so that NaN is refused; 60 is a leap second.
    if (!(punctuated && month >= 0 && day >= 1 && day <= 31 && hour < 24 && minute < 60 && second <= 60))
      return Number.NaN;

    const key = ((month * 32 + day) * 24 + hour) * 60 + minute;
    if (key !== this.#minuteKey) {
      this.#minuteAt = this.#minute(month, day, hour, minute);
      this.#minuteKey = key;
    }
    const at = this.#minuteAt + second * 1_000;
    if (at > this.#lastAt) this.#lastAt = at;
    return at;
  }

  #minute(month: number, day: number, hour: number, minute: number): number {
    for (let year = this.#referenceYear + 1; year >= this.#referenceYear - YEARS_BACK; year--) {
      const date = new Date(year, month, day, hour, minute);
      // Feb 30 would roll over into March. In the hour that summer time skips only the hour moves.
      if (date.getMonth() !== month || date.getDate() !== day) continue;
      const at = date.getTime();
      if (at <= this.#latestAt) return this.#pass(at);
    }
    return Number.NaN;
  }

  /** The second pass of an hour that the end of summer time repeats, when the first lies behind what was read. */
  #pass(firstAt: number): number {
    const secondAt = firstAt + HOUR_MS;
    const repeated = new Date(firstAt).getHours() === new Date(secondAt).getHours();
    return repeated && firstAt < this.#lastAt - DISORDER_MS && secondAt <= this.#latestAt ? secondAt : firstAt;
  }
}

function minuteOf(stamp: string): Minute | null {
  const zone = /(?:[zZ]|[+-][\d:]+)?$/.exec(stamp.slice(MINUTE_CHARS))?.[0] ?? '';
  const begin = Buffer.from(`${stamp.slice(0, MINUTE_CHARS)}00${zone} `, 'latin1');
  const at = parseRfc3339(viewOf(begin), 0, begin.length - 1);
  if (Number.isNaN(at)) return null;
  return { minute: wordsOf(begin.subarray(0, MINUTE_CHARS)), zone: Buffer.from(zone, 'latin1'), at };
}

/** Is the stamp of this minute? */
function isIn({ minute, zone }: Minute, view: DataView, from: number, to: number): boolean {
  if (to - from < MINUTE_CHARS + 2 || !standsAt(minute, view, from)) return false;
  const start = to - zone.length;
  for (let i = 0; i < zone.length; i++) if (view.getUint8(start + i) !== zone[i]) return false;
  return true;
}

function textOf(view: DataView, from: number, to: number): string {
  return Buffer.from(view.buffer, view.byteOffset + from, to - from).toString('latin1');
}

/** `2026-11-25T01:15:02.105618+00:00`; also with a space for the `T`, a comma fraction, and no zone (local time). */
function parseRfc3339(view: DataView, from: number, to: number): number {
  if (to - from < 19) return Number.NaN;
  const year = twoDigits(view, from) * 100 + twoDigits(view, from + 2);
  const month = twoDigits(view, from + 5) - 1;
  const day = twoDigits(view, from + 8);
  const hour = twoDigits(view, from + 11);
  const minute = twoDigits(view, from + 14);
  const second = twoDigits(view, from + 17);
  const separator = view.getUint8(from + 10);
  const punctuated =
    view.getUint8(from + 4) === 45 &&
    view.getUint8(from + 7) === 45 &&
    (separator === 84 || separator === 116 || separator === 32) &&
    view.getUint8(from + 13) === 58 &&
    view.getUint8(from + 16) === 58;
  const inRange = year >= 1970 && month >= 0 && month < 12 && day >= 1 && day <= daysIn(year, month);
  if (!(punctuated && inRange && hour < 24 && minute < 60 && second <= 60)) return Number.NaN;

  let position = from + 19;
  let fractionMs = 0;
  const mark = view.getUint8(position);
  if (mark === 46 || mark === 44) {
    const start = ++position;
    let scale = 100;
    while (position < to && isDigit(view.getUint8(position))) {
      fractionMs += digit(view, position++) * scale;
      scale /= 10;
    }
    if (position === start) return Number.NaN;
  }
  const wholeMs = Math.floor(fractionMs + 1e-6);
  if (position === to) return new Date(year, month, day, hour, minute, second, wholeMs).getTime();
  const offsetMs = zoneOffset(view, position, to);
  return Date.UTC(year, month, day, hour, minute, second, wholeMs) - offsetMs;
}

/** Milliseconds of the decimals `view[from, to)`; -1 when there are none, or something else. */
function thousandths(view: DataView, from: number, to: number): number {
  if (to <= from) return -1;
  let ms = 0;
  for (let at = from; at < to; at++) {
    const value = view.getUint8(at) - 48;
    if (value < 0 || value > 9) return -1;
    if (at < from + 3) ms = ms * 10 + value;
  }
  for (let missing = to - from; missing < 3; missing++) ms *= 10;
  return ms;
}

/** `Z`, `+01:00`, `-0330`, `+01`; NaN for anything else. */
function zoneOffset(view: DataView, from: number, to: number): number {
  const sign = view.getUint8(from);
  const length = to - from;
  if (length === 1) return sign === 90 || sign === 122 ? 0 : Number.NaN;
  if (sign !== 43 && sign !== 45) return Number.NaN;
  const colon = length === 6;
  if (!(length === 3 || length === 5 || (colon && view.getUint8(from + 3) === 58))) return Number.NaN;
  const hours = twoDigits(view, from + 1);
  const minutes = length === 3 ? 0 : twoDigits(view, from + (colon ? 4 : 3));
  if (!(hours < 24 && minutes < 60)) return Number.NaN;
  const offsetMs = hours * HOUR_MS + minutes * MINUTE_MS;
  return sign === 45 ? -offsetMs : offsetMs;
}

function daysIn(year: number, month: number): number {
  if (month === 1) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 3 || month === 5 || month === 8 || month === 10 ? 30 : 31;
}

const MONTHS = 'JanFebMarAprMayJunJulAugSepOctNovDec';

function monthOf(view: DataView, from: number): number {
  for (let i = 0; i < 36; i += 3) {
    if (
      view.getUint8(from) === MONTHS.charCodeAt(i) &&
      view.getUint8(from + 1) === MONTHS.charCodeAt(i + 1) &&
      view.getUint8(from + 2) === MONTHS.charCodeAt(i + 2)
    ) {
      return i / 3;
    }
  }
  return -1;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

/** NaN when there is no digit. */
function digit(view: DataView, at: number): number {
  const code = view.getUint8(at);
  return isDigit(code) ? code - 48 : Number.NaN;
}

function twoDigits(view: DataView, at: number): number {
  return digit(view, at) * 10 + digit(view, at + 1);
}
