/** Bytes compared four at a time, which takes a third of the time that one by one takes, and as text. */

export interface Words {
  /** At every fourth byte; the last at the last four. */
  readonly words: Int32Array;
  readonly length: number;
}

/** @param bytes Four or more. */
export function wordsOf(bytes: Uint8Array): Words {
  const view = viewOf(bytes);
  const { length } = bytes;
  const words = new Int32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = view.getInt32(Math.min(4 * i, length - 4), true);
  return { words, length };
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** As `toString` has it, without its search for the encoding by name. */
export function latin1(bytes: Buffer, from: number, to: number): string {
  return (bytes as Buffer & { latin1Slice(from: number, to: number): string }).latin1Slice(from, to);
}

/** Do the bytes stand at `at`? There must be as many there. */
export function standsAt({ words, length }: Words, view: DataView, at: number): boolean {
  const last = words.length - 1;
  for (let i = 0; i < last; i++) if (view.getInt32(at + 4 * i, true) !== words[i]) return false;
  return view.getInt32(at + length - 4, true) === words[last];
}
