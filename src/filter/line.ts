/** One log line among many bytes. It is decoded when a rule wants to read it, and then once: most lines never are. */
export class Line {
  bytes: Buffer = EMPTY;
  from = 0;
  to = 0;
  #text: string | null = null;

  /** Makes this the line `bytes[from, to)`. */
  set(bytes: Buffer, from: number, to: number): void {
    this.bytes = bytes;
    this.from = from;
    this.to = to;
    this.#text = null;
  }

  /** Bytes as latin-1: a string of its own, which keeps no chunk in memory. */
  get text(): string {
    this.#text ??= this.bytes.toString('latin1', this.from, this.to);
    return this.#text;
  }

  /** Does `literal` stand at `start`, and end before `end`? */
  startsWith(literal: Uint8Array, start: number, end: number): boolean {
    if (start + literal.length > end) return false;
    for (let i = 0; i < literal.length; i++) if (this.bytes[start + i] !== literal[i]) return false;
    return true;
  }

  /** Is there a byte `code` in `[start, end)`? */
  has(code: number, start: number, end: number): boolean {
    for (let at = start; at < end; at++) if (this.bytes[at] === code) return true;
    return false;
  }
}

const EMPTY = Buffer.alloc(0);
