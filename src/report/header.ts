/** The structure `STAMP HOST PROGRAM[PID]: MESSAGE` of a line as text, read strictly from the left. */

/** Longest stamp or host name that is looked at. */
const MAX_WORD = 255;

/** Where the parts of one line lie; reused from line to line, so that reading a header allocates nothing. */
export class TextHeader {
  stampStart = 0;
  stampEnd = 0;
  programStart = 0;
  /** Behind the program's tag, before `[PID]`. */
  programEnd = 0;
  /** Behind `[PID]` if there is one. */
  processEnd = 0;
  messageStart = 0;
  /** The last host, with the space behind it. */
  #host = '\n';
  #stampLength = 32;

  /** Finds the parts of `text[from, to)`; false when it has no such header. */
  read(text: string, from: number, to: number): boolean {
    let at = from;
    // A machine that lost power may leave NUL bytes before the first line after it.
    while (at < to && text.charCodeAt(at) === 0) at++;
    if (text.charCodeAt(at) === 60) {
      const end = text.indexOf('>', at);
      if (end < 0 || end > at + 4) return false;
      at = end + 1;
    }
    this.stampStart = at;
    const first = text.charCodeAt(at);
    if (first >= 48 && first <= 57) {
      // Stamps of one log are of one length.
      const end = at + this.#stampLength;
      if (text.charCodeAt(end) === 32 && end < to && text.charCodeAt(at + 10) !== 32 && text.indexOf(' ', at) === end)
        at = end;
      else {
        const start = at;
        at = wordEnd(text, text.charCodeAt(at + 10) === 32 ? at + 11 : at, to);
        if (at < 0) return false;
        this.#stampLength = at - start;
      }
    } else {
      at += 15;
      if (at >= to || text.charCodeAt(at) !== 32) return false;
    }
    this.stampEnd = at;
    const host = at + 1;
    // Nearly all lines of a log are of one host.
    if (text.startsWith(this.#host, host) && host + this.#host.length < to) at = host + this.#host.length - 1;
    else {
      at = wordEnd(text, host, to);
      if (at <= host) return false;
      this.#host = text.slice(host, at + 1);
    }

    this.programStart = ++at;
    while (at < to && isTag(text.charCodeAt(at))) at++;
    if (at === this.programStart) return false;
    this.programEnd = at;
    if (text.charCodeAt(at) === 91) {
      const pid = ++at;
      while (at < to && isDigit(text.charCodeAt(at))) at++;
      if (at === pid || text.charCodeAt(at) !== 93) return false;
      at++;
    }
    this.processEnd = at;
    this.messageStart = at + 2;
    return this.messageStart < to && text.charCodeAt(at) === 58 && text.charCodeAt(at + 1) === 32;
  }
}

/** Index of the space behind the word, or -1. */
function wordEnd(text: string, from: number, to: number): number {
  const limit = Math.min(to, from + MAX_WORD);
  for (let at = from; at < limit; at++) if (text.charCodeAt(at) === 32) return at;
  return -1;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

/** Letters, digits, and `-` `.` `/` `_`. */
function isTag(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 45 && code <= 57) || (code >= 65 && code <= 90) || code === 95;
}
