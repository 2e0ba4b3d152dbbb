/**
 * The automata of the packaged rules, worked out to their end when blockd was packaged: to read the rules' patterns and to
 * work out where their bytes lead takes 30 ms of a program's first lines. Rules that somebody has changed are others, and
 * are read and worked out as ever.
 */
import { createHash } from 'node:crypto';
import { fstatSync, openSync, readSync } from 'node:fs';
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

/** The file as this process found it, which stays open: an upgrade puts another one in its place. */
interface Found {
  readonly file: number;
  readonly list: List;
}

/** Has the file opened, if that is still to be done: early, so that it is of the same package as the program. */
export function openKnown(): void {
  found ??= find();
}

/** @param patterns The program's rules in their order: all that their automata depend on. */
export function knownProgram(patterns: readonly string[]): KnownProgram | null {
  openKnown();
  const listed = found?.list[keyOf(patterns)];
  if (found === null || listed === undefined) return null;
  try {
    return { plain: readReader(found, listed.plain), queued: readReader(found, listed.queued) };
  } catch {
    // It is worked out, then.
    return null;
  }
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

let found: Found | null = null;

/** Programs that were not packaged have none. */
function find(): Found {
  try {
    const file = openSync(new URL('./known-automata.bin', import.meta.url), 'r');
    const head = Buffer.alloc(HEAD_BYTES);
    readWhole(file, head, 0);
    if (head.readUInt32LE(0) !== fstatSync(file).size) return NOTHING;
    const text = Buffer.alloc(head.readUInt32LE(4));
    readWhole(file, text, HEAD_BYTES);
    return { file, list: JSON.parse(text.toString()) as List };
  } catch {
    return NOTHING;
  }
}

const NOTHING: Found = { file: -1, list: {} };

function readReader({ file }: Found, listed: Listed | null): KnownReader | null {
  if (listed === null) return null;
  const image = new Int32Array(listed.length >> 2);
  readWhole(file, image, listed.at);
  return { rules: listed.rules, image };
}

function readWhole(file: number, into: Buffer | Int32Array, at: number): void {
  if (readSync(file, into, 0, into.byteLength, at) < into.byteLength) throw new RangeError('the file is too short');
}

function keyOf(patterns: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(patterns)).digest('hex');
}
