/** One log line among many bytes. It is decoded when somebody wants to read it, and then once: most lines never are. */
import { latin1, viewOf } from './words.js';

const EMPTY = Buffer.alloc(0);

export class Line {
  bytes: Buffer = EMPTY;
  /** The same bytes, for words of them. */
  view = viewOf(EMPTY);
  from = 0;
  to = 0;
  #text: string | null = null;

  /** Lines are of these bytes from now on. */
  useBytes(bytes: Buffer): void {
    this.bytes = bytes;
    this.view = viewOf(bytes);
  }

  /** Makes this the line `bytes[from, to)`. */
  set(from: number, to: number): void {
    this.from = from;
    this.to = to;
    this.#text = null;
  }

  copy(): Line {
    const copied = new Line();
    copied.useBytes(this.bytes);
    copied.set(this.from, this.to);
    return copied;
  }

  /** Bytes as latin-1: a string of its own, which keeps no chunk in memory. */
  get text(): string {
    this.#text ??= latin1(this.bytes, this.from, this.to);
    return this.#text;
  }

  /** Does `literal` stand at `start`, and end before `end`? */
  startsWith(literal: Uint8Array, start: number, end: number): boolean {
    if (start + literal.length > end) return false;
    for (let i = 0; i < literal.length; i++) if (this.bytes[start + i] !== literal[i]) return false;
    return true;
  }
}
