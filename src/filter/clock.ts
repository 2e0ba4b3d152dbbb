/** Time stamps of log lines to instants: traditional syslog (no year, no zone) and RFC 3339. */

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
/** `2026-11-25T01:15:` */
const MINUTE_CHARS = 17;
/** How far back a log may jump and still be the same pass of an hour that the end of summer time repeats. */
const DISORDER_MS = 5 * MINUTE_MS;
/** Feb 29 of a log this old is still found. */
const YEARS_BACK = 8;

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
  /** The minute of the last RFC 3339 stamp: its text, the zone behind the seconds, its instant. */
  #minute3339: { readonly text: string; readonly zone: string; readonly at: number } | null = null;

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

  /** Instant, milliseconds, of the stamp `text[from, to)`; NaN when it is none. */
  parse(text: string, from = 0, to = text.length): number {
    const first = text.charCodeAt(from);
    return first >= 48 && first <= 57 ? this.#rfc3339(text, from, to) : this.#traditional(text, from, to);
  }

  /** Most stamps lie in the same minute as the one before, and differ only behind it. */
  #rfc3339(text: string, from: number, to: number): number {
    const known = this.#minute3339;
    if (known !== null && text.startsWith(known.text, from) && text.startsWith(known.zone, to - known.zone.length)) {
      const second = twoDigits(text, from + MINUTE_CHARS);
      const mark = from + MINUTE_CHARS + 2;
      const end = to - known.zone.length;
      const fractionMs =
        mark === end ? 0 : text.charCodeAt(mark) === 46 ? thousandths(text, mark + 1, end) : Number.NaN;
      const at = known.at + second * 1_000 + fractionMs;
      if (second <= 60 && !Number.isNaN(at)) return at;
    }
    const at = parseRfc3339(text, from, to);
    const zone = /(?:[zZ]|[+-][\d:]+)?$/.exec(text.slice(from + MINUTE_CHARS, to))?.[0] ?? '';
    const minuteAt = parseRfc3339(
      `${text.slice(from, from + MINUTE_CHARS)}00${zone}`,
      0,
      MINUTE_CHARS + 2 + zone.length,
    );
    this.#minute3339 = Number.isNaN(minuteAt)
      ? null
      : { text: text.slice(from, from + MINUTE_CHARS), zone, at: minuteAt };
    return at;
  }

  /** `Nov 25 01:12:15`, `Nov  5 01:12:15`, `Nov 5 01:12:15`. */
  #traditional(text: string, from: number, to: number): number {
    if (to - from !== 15 && to - from !== 14) return Number.NaN;
    const month = monthOf(text, from);
    const padded = text.charCodeAt(from + 4) === 32;
    const day = (to - from === 14 || padded ? 0 : digit(text, from + 4) * 10) + digit(text, to - 10);
    const hour = twoDigits(text, to - 8);
    const minute = twoDigits(text, to - 5);
    const second = twoDigits(text, to - 2);
    const punctuated =
      text.charCodeAt(from + 3) === 32 &&
      text.charCodeAt(to - 9) === 32 &&
      text.charCodeAt(to - 6) === 58 &&
      text.charCodeAt(to - 3) === 58;
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

/** `2026-11-25T01:15:02.105618+00:00`; also with a space for the `T`, a comma fraction, and no zone (local time). */
function parseRfc3339(text: string, from: number, to: number): number {
  if (to - from < 19) return Number.NaN;
  const year = twoDigits(text, from) * 100 + twoDigits(text, from + 2);
  const month = twoDigits(text, from + 5) - 1;
  const day = twoDigits(text, from + 8);
  const hour = twoDigits(text, from + 11);
  const minute = twoDigits(text, from + 14);
  const second = twoDigits(text, from + 17);
  const separator = text.charCodeAt(from + 10);
  const punctuated =
    text.charCodeAt(from + 4) === 45 &&
    text.charCodeAt(from + 7) === 45 &&
    (separator === 84 || separator === 116 || separator === 32) &&
    text.charCodeAt(from + 13) === 58 &&
    text.charCodeAt(from + 16) === 58;
  const inRange = year >= 1970 && month >= 0 && month < 12 && day >= 1 && day <= daysIn(year, month);
  if (!(punctuated && inRange && hour < 24 && minute < 60 && second <= 60)) return Number.NaN;

  let position = from + 19;
  let fractionMs = 0;
  const mark = text.charCodeAt(position);
  if (mark === 46 || mark === 44) {
    const start = ++position;
    let scale = 100;
    while (position < to && isDigit(text.charCodeAt(position))) {
      fractionMs += digit(text, position++) * scale;
      scale /= 10;
    }
    if (position === start) return Number.NaN;
  }
  const wholeMs = Math.floor(fractionMs + 1e-6);
  if (position === to) return new Date(year, month, day, hour, minute, second, wholeMs).getTime();
  const offsetMs = zoneOffset(text, position, to);
  return Date.UTC(year, month, day, hour, minute, second, wholeMs) - offsetMs;
}

/** Milliseconds of the decimals `text[from, to)`; NaN when there are none, or something else. */
function thousandths(text: string, from: number, to: number): number {
  let ms = 0;
  for (let at = from; at < to; at++) {
    const value = digit(text, at);
    if (Number.isNaN(value)) return Number.NaN;
    if (at < from + 3) ms = ms * 10 + value;
  }
  if (to <= from) return Number.NaN;
  for (let missing = to - from; missing < 3; missing++) ms *= 10;
  return ms;
}

/** `Z`, `+01:00`, `-0330`, `+01`; NaN for anything else. */
function zoneOffset(text: string, from: number, to: number): number {
  const sign = text.charCodeAt(from);
  const length = to - from;
  if (length === 1) return sign === 90 || sign === 122 ? 0 : Number.NaN;
  if (sign !== 43 && sign !== 45) return Number.NaN;
  const colon = length === 6;
  if (!(length === 3 || length === 5 || (colon && text.charCodeAt(from + 3) === 58))) return Number.NaN;
  const hours = twoDigits(text, from + 1);
  const minutes = length === 3 ? 0 : twoDigits(text, from + (colon ? 4 : 3));
  if (!(hours < 24 && minutes < 60)) return Number.NaN;
  const offsetMs = hours * HOUR_MS + minutes * MINUTE_MS;
  return sign === 45 ? -offsetMs : offsetMs;
}

function daysIn(year: number, month: number): number {
  if (month === 1) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 3 || month === 5 || month === 8 || month === 10 ? 30 : 31;
}

const MONTHS = 'JanFebMarAprMayJunJulAugSepOctNovDec';

function monthOf(text: string, from: number): number {
  for (let i = 0; i < 36; i += 3) {
    if (
      text.charCodeAt(from) === MONTHS.charCodeAt(i) &&
      text.charCodeAt(from + 1) === MONTHS.charCodeAt(i + 1) &&
      text.charCodeAt(from + 2) === MONTHS.charCodeAt(i + 2)
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
function digit(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return isDigit(code) ? code - 48 : Number.NaN;
}

function twoDigits(text: string, at: number): number {
  return digit(text, at) * 10 + digit(text, at + 1);
}
