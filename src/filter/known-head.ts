/**
 * Most lines begin as the one before: a stamp of the same length, the same host, a program seen lately. That is looked
 * for first, and read as `LineHeader` would have read it, in a fraction of the time.
 */
import { type LineHeader, SHORTEST_RFC3339 } from './header.js';
import type { Tag } from './tag.js';
import { hasSpace, SHORTEST_WORDS, standsAt, type Words, wordsOf } from './words.js';

/** A power of two. */
const TAGS = 64;
/** Where tags differ: behind `postfix/`, in the five bytes there. */
const TELLING = 8;
const SPACE = 32;

interface KnownTag {
  readonly tag: Tag;
  readonly words: Words;
}

export class KnownHead {
  /** Of the line read last. */
  tag: Tag | null = null;
  #isRfc3339 = false;
  #stampLength = 0;
  /** The host, and the spaces around it. */
  #host: Words | null = null;
  readonly #tags: (KnownTag | undefined)[] = Array.from({ length: TAGS }, () => undefined);

  /** Finds the parts of the line `[from, to)` and its tag; false when it does not begin like one known. */
  read(bytes: Uint8Array, view: DataView, from: number, to: number, header: LineHeader): boolean {
    const host = this.#host;
    if (host === null) return false;
    const stampEnd = from + this.#stampLength;
    const programStart = stampEnd + host.length;
    if (programStart + TELLING + 5 > to) return false;
    if (!this.#isStamp(view, from, stampEnd) || !standsAt(host, view, stampEnd)) return false;
    const known = this.#tags[slotOf(view, programStart)];
    if (known === undefined) return false;
    const programEnd = programStart + known.words.length;
    if (programEnd >= to || !standsAt(known.words, view, programStart)) return false;
    if (!header.readProcess(bytes, programEnd, to)) return false;
    header.stampStart = from;
    header.stampEnd = stampEnd;
    header.programStart = programStart;
    header.programEnd = programEnd;
    header.hostless = false;
    this.tag = known.tag;
    return true;
  }

  /** Remembers how the line at `from` begins. */
  learn(bytes: Uint8Array, view: DataView, from: number, header: LineHeader, tag: Tag): void {
    const { stampStart, stampEnd, programStart, programEnd } = header;
    if (header.hostless || stampStart !== from || programStart - stampEnd < SHORTEST_WORDS) return;
    const first = bytes[from] ?? 0;
    const host = wordsOf(bytes.subarray(stampEnd, programStart));
    // Together: a brake may end this at any call.
    this.#isRfc3339 = first >= 48 && first <= 57;
    this.#stampLength = stampEnd - stampStart;
    this.#host = host;
    if (programEnd - programStart < TELLING || programStart + TELLING + 5 > bytes.length) return;
    this.#tags[slotOf(view, programStart)] = { tag, words: wordsOf(tag.bytes) };
  }

  /** Would a stamp that begins at `from` be taken to end there? */
  #isStamp(view: DataView, from: number, end: number): boolean {
    const first = view.getUint8(from);
    if (first >= 48 && first <= 57) {
      if (!this.#isRfc3339) return false;
      let at = from + SHORTEST_RFC3339;
      for (; at + 4 <= end; at += 4) if (hasSpace(view, at)) return false;
      for (; at < end; at++) if (view.getUint8(at) === SPACE) return false;
      return true;
    }
    // NUL bytes and a priority stand before a stamp.
    if (this.#isRfc3339 || first === 0 || first === 60) return false;
    return (view.getUint8(from + 14) === SPACE ? 14 : 15) === end - from;
  }
}

function slotOf(view: DataView, programStart: number): number {
  const word = view.getInt32(programStart + TELLING, true) + view.getInt32(programStart + TELLING + 1, true);
  return (Math.imul(word, 0x9e3779b1) >>> 24) & (TAGS - 1);
}
