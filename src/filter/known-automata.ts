/**
 * The automata of the packaged rules, worked out to their end when blockd was packaged: to read the rules' patterns and to
 * work out where their bytes lead takes 30 ms of a program's first lines. Rules that somebody has changed are others, and
 * are read and worked out as ever.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Image } from './automaton.js';

/** What is known of a program's rules: of those that read a whole message, and of those for what follows a queue id. */
export interface KnownProgram {
  readonly plain: KnownReader | null;
  readonly queued: KnownReader | null;
}

export interface KnownReader {
  /** By what the automaton finds. */
  readonly rules: readonly KnownRule[];
  readonly image: Image;
}

export interface KnownRule {
  /** Its place among the program's rules. */
  readonly rule: number;
  readonly isPlain: boolean;
  readonly hasHost: boolean;
  /** Does it count misdeeds? */
  readonly isCounting: boolean;
}

/** In the file: the length of all of it and of what is listed, both four bytes; the list, as JSON; the images, one after the other. */
interface Listed {
  readonly rules: readonly KnownRule[];
  /** Bytes from the begin of the file, and how many. */
  readonly at: number;
  readonly length: number;
}

type List = Readonly<Record<string, { readonly [Part in keyof KnownProgram]: Listed | null }>>;

const HEAD_BYTES = 8;

/** @param patterns The program's rules in their order: all that their automata depend on. */
export function knownProgram(patterns: readonly string[]): KnownProgram | null {
  list ??= readList();
  const listed = list[keyOf(patterns)];
  if (listed === undefined) return null;
  return { plain: readReader(listed.plain), queued: readReader(listed.queued) };
}

/** The file, which `scripts/package/bundle.mjs` writes beside the programs. */
export function toBeKnown(programs: Iterable<readonly [patterns: readonly string[], known: KnownProgram]>): Buffer {
  const readers = new Map([...programs].map(([patterns, known]) => [keyOf(patterns), known]));
  const entries = (first: number) => {
    let at = first;
    const images: Image[] = [];
    const listed = (reader: KnownReader | null): Listed | null => {
      if (reader === null) return null;
      images.push(reader.image);
      at += reader.image.byteLength;
      return { rules: reader.rules, at: at - reader.image.byteLength, length: reader.image.byteLength };
    };
    const list = [...readers].map(([key, { plain, queued }]) => [
      key,
      { plain: listed(plain), queued: listed(queued) },
    ]);
    return { text: JSON.stringify(Object.fromEntries(list)), images, end: at };
  };
  // With room for what the numbers in it grow by.
  const room = Math.ceil((entries(0).text.length + 16 * readers.size + 256) / 4) * 4;
  const { text, images, end } = entries(HEAD_BYTES + room);
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(end, 0);
  head.writeUInt32LE(room, 4);
  return Buffer.concat([head, Buffer.from(text.padEnd(room)), ...images.map((image) => Buffer.from(image.buffer))]);
}

let list: List | null = null;

/** Programs that were not packaged have none. */
function readList(): List {
  try {
    return withFile((file) => {
      const head = Buffer.alloc(HEAD_BYTES);
      readSync(file, head, 0, HEAD_BYTES, 0);
      if (head.readUInt32LE(0) !== fstatSync(file).size) return {};
      const text = Buffer.alloc(head.readUInt32LE(4));
      readSync(file, text, 0, text.length, HEAD_BYTES);
      return JSON.parse(text.toString()) as List;
    });
  } catch {
    return {};
  }
}

function readReader(listed: Listed | null): KnownReader | null {
  if (listed === null) return null;
  const image = new Int32Array(listed.length >> 2);
  withFile((file) => readSync(file, image, 0, image.byteLength, listed.at));
  return { rules: listed.rules, image };
}

function withFile<T>(work: (file: number) => T): T {
  const file = openSync(new URL('./known-automata.bin', import.meta.url), 'r');
  try {
    return work(file);
  } finally {
    closeSync(file);
  }
}

function keyOf(patterns: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(patterns)).digest('hex');
}
