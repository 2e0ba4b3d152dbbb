/**
 * The structure `STAMP HOST PROGRAM[PID]: MESSAGE`, read strictly from the left: nothing in MESSAGE can look like it.
 * Dovecot's own log file has neither host nor program, `STAMP MESSAGE`, and its messages begin with a word and a colon.
 */

/** Longest stamp or host name that is looked at. */
const MAX_WORD = 255;
export const SHORTEST_RFC3339 = 19;

/** Where the parts of one line lie; reused from line to line, so that reading a header allocates nothing. */
export class LineHeader {
  stampStart = 0;
  stampEnd = 0;
  programStart = 0;
  /** Behind the program's tag, before `[PID]`. */
  programEnd = 0;
  /** Of the program's tag; not unique. */
  programHash = 0;
  /** Behind `[PID]` if there is one. */
  processEnd = 0;
  /** The number in it; -1 without one. */
  pid = -1;
  messageStart = 0;
  /** Is it a line of Dovecot's own log file? The program's place is empty then. */
  hostless = false;

  /** Finds the parts of `bytes[from, to)`; false when it has no such header. */
  read(bytes: Uint8Array, from: number, to: number): boolean {
    let at = from;
    // A machine that lost power may leave NUL bytes before the first line after it.
    while (at < to && bytes[at] === 0) at++;
    if (byteAt(bytes, at) === 60) {
      at = priorityEnd(bytes, at);
      if (at < 0) return false;
    }
    this.stampStart = at;
    const first = byteAt(bytes, at);
    if (first >= 48 && first <= 57) {
      // No stamp is shorter than `2026-11-25T01:15:02`, and with a space in that it is none.
      at = wordEnd(bytes, at + SHORTEST_RFC3339, to);
      if (at < 0) return false;
    } else {
      // Days of one digit have a space before them, but not everywhere.
      at += byteAt(bytes, at + 14) === 32 ? 14 : 15;
      if (at >= to || byteAt(bytes, at) !== 32) return false;
    }
    this.stampEnd = at;
    const host = at + 1;
    at = wordEnd(bytes, host, to);
    if (at <= host) return false;
    this.hostless = byteAt(bytes, at - 1) === 58 && byteAt(bytes, at - 2) !== 58;
    if (this.hostless) {
      this.programStart = this.programEnd = this.processEnd = this.messageStart = host;
      return at - 1 > host;
    }

    this.programStart = ++at;
    let hash = 0;
    for (; at < to; at++) {
      const code = byteAt(bytes, at);
      if (!isTag(code)) break;
      hash = (hash * 31 + code) | 0;
    }
    if (at === this.programStart) return false;
    this.programEnd = at;
    this.programHash = hash;
    return this.readProcess(bytes, at, to);
  }

  /** What follows the program's tag, from `at` on: `[PID]`, if there is one, and a colon. */
  readProcess(bytes: Uint8Array, at: number, to: number): boolean {
    let end = at;
    this.pid = -1;
    if (byteAt(bytes, end) === 91) {
      let pid = 0;
      for (end++; end < to; end++) {
        const code = byteAt(bytes, end);
        if (!isDigit(code)) break;
        pid = pid * 10 + code - 48;
      }
      if (end === at + 1 || byteAt(bytes, end) !== 93) return false;
      this.pid = pid;
      end++;
    }
    this.processEnd = end;
    this.messageStart = end + 2;
    return this.messageStart < to && byteAt(bytes, end) === 58 && byteAt(bytes, end + 1) === 32;
  }
}

/** Behind `<PRI>`, or -1. */
function priorityEnd(bytes: Uint8Array, from: number): number {
  let at = from + 1;
  while (at < from + 4 && isDigit(byteAt(bytes, at))) at++;
  return at > from + 1 && byteAt(bytes, at) === 62 ? at + 1 : -1;
}

/** Index of the space behind the word, or -1. */
function wordEnd(bytes: Uint8Array, from: number, to: number): number {
  const limit = Math.min(to, from + MAX_WORD);
  for (let at = from; at < limit; at++) if (byteAt(bytes, at) === 32) return at;
  return -1;
}

/** Behind the last byte there is nothing, which no test below takes for a character. */
function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

/** Letters, digits, and `-` `.` `/` `_`. */
function isTag(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 45 && code <= 57) || (code >= 65 && code <= 90) || code === 95;
}
