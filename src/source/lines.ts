/** Cuts a file's bytes into whole lines, and keeps the start of the last one until its newline comes. */

/** Larger blocks cost memory a log without being faster; smaller ones cost calls. */
export const BLOCK_BYTES = 65_536;
/** No mail server writes such lines; whoever makes one does not get our memory for it. */
const LONGEST_LINE_BYTES = 1_048_576;
const CUT_LINE_BYTES = 8_192;
const NEWLINE = 10;

export interface Lines {
  /** Whole lines as latin-1; empty for bytes that are no text: the hole that a truncated file's writer left. */
  readonly text: string;
  /** Bytes of the file that they stand for. */
  readonly bytes: number;
}

export class LineCutter {
  /** Starts with the unfinished line's bytes, `#filled` of them, unless it outgrew the block. */
  readonly #block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #filled = 0;
  /** Start of a line that outgrew the block. */
  #long: Buffer[] = [];
  #longBytes = 0;

  /** Bytes taken in that wait for their newline. */
  get pending(): number {
    return this.#longBytes + this.#filled;
  }

  /** Where the next bytes are to be put, never empty; `add` says how many were. */
  get room(): Buffer {
    return this.#block.subarray(this.#filled);
  }

  /** Takes in `count` bytes put into `room`; returns the lines that they completed. */
  add(count: number): Lines | null {
    this.#filled += count;
    const newline = this.#filled === 0 ? -1 : this.#block.lastIndexOf(NEWLINE, this.#filled - 1);
    if (newline === -1) return this.#filled === BLOCK_BYTES ? this.#spill() : null;
    const text = this.#longBytes === 0 ? this.#block.toString('latin1', 0, newline + 1) : this.#withLongLine(newline);
    const bytes = this.#longBytes + newline + 1;
    this.#block.copyWithin(0, newline + 1, this.#filled);
    this.#filled -= newline + 1;
    this.#forgetLong();
    return { text, bytes };
  }

  /** The unfinished line as a whole one: its file will not grow any more. */
  finish(): Lines | null {
    const bytes = this.pending;
    if (bytes === 0) return null;
    const whole =
      this.#longText(bytes) + (bytes > LONGEST_LINE_BYTES ? '' : this.#block.toString('latin1', 0, this.#filled));
    this.#filled = 0;
    this.#forgetLong();
    return { text: `${whole}\n`, bytes };
  }

  #withLongLine(lastNewline: number): string {
    const end = this.#block.indexOf(NEWLINE);
    const isCut = this.#longBytes + end > LONGEST_LINE_BYTES;
    return this.#longText(this.#longBytes + end) + this.#block.toString('latin1', isCut ? end : 0, lastNewline + 1);
  }

  /** What is kept of the long line's start, when the line has `bytes` bytes in all. */
  #longText(bytes: number): string {
    const text = Buffer.concat(this.#long).toString('latin1');
    return bytes > LONGEST_LINE_BYTES ? text.slice(0, CUT_LINE_BYTES) : text;
  }

  /** A writer that does not append goes on at its old place after a truncation, behind a hole of NUL bytes. */
  #spill(): Lines | null {
    this.#filled = 0;
    if (this.#longBytes === 0 && this.#block.every((byte) => byte === 0)) return { text: '', bytes: BLOCK_BYTES };
    if (this.#longBytes <= LONGEST_LINE_BYTES) this.#long.push(Buffer.from(this.#block));
    else if (this.#long.length > 1) this.#long.length = 1;
    this.#longBytes += BLOCK_BYTES;
    return null;
  }

  #forgetLong(): void {
    if (this.#longBytes === 0) return;
    this.#long = [];
    this.#longBytes = 0;
  }
}
