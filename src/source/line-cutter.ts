/** Cuts blocks of bytes into whole lines. */

/** Postfix logs at most about 2 kB a line; more is somebody's attempt or a binary file. */
const LONGEST_LINE = 1_048_576;
const KEPT_OF_LONGER = 8_192;
const NEWLINE = 10;

export class LineCutter {
  #rest: Buffer[] = [];
  #restLength = 0;
  /** Bytes of the unfinished line, dropped ones included. */
  #unfinished = 0;

  /** Bytes that were taken in and belong to a line without its end. */
  get unfinished(): number {
    return this.#unfinished;
  }

  /** Whole lines that `block` completes, as latin-1 text; empty when it completes none. The block may be reused. */
  take(block: Buffer): string {
    const end = block.lastIndexOf(NEWLINE) + 1;
    if (end === 0) {
      this.#keep(block);
      return '';
    }
    const first = this.#unfinished === 0 ? 0 : block.indexOf(NEWLINE) + 1;
    const text = first === 0 ? '' : this.#finish(block.subarray(0, first - 1));
    const whole = block.toString('latin1', first, end);
    this.#keep(block.subarray(end));
    return text + whole;
  }

  /** The unfinished line with an end put behind it: its file will not grow any more. */
  finish(): string {
    return this.#unfinished === 0 ? '' : this.#finish(Buffer.alloc(0));
  }

  #finish(tail: Buffer): string {
    this.#keep(tail);
    const line = Buffer.concat(this.#rest);
    const kept = this.#unfinished > LONGEST_LINE ? line.subarray(0, KEPT_OF_LONGER) : line;
    this.#rest = [];
    this.#restLength = 0;
    this.#unfinished = 0;
    return `${kept.toString('latin1')}\n`;
  }

  #keep(part: Buffer): void {
    this.#unfinished += part.length;
    if (part.length === 0 || this.#restLength > LONGEST_LINE) return;
    this.#rest.push(Buffer.from(part));
    this.#restLength += part.length;
  }
}
