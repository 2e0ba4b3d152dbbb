/**
 * The inner loop of reading a log, `scanner/scan.ts`, and its memory: the bytes that are read, what lines begin with, and
 * the tables of the automata.
 */
import { readFileSync } from 'node:fs';
import type { LineHeader } from './header.js';
import { isInQueueId } from './queue-id.js';
import * as layout from './scanner/layout.js';
import type { Tag } from './tag.js';

const PAGE_BYTES = 65_536;
const FIRST_PAGES = 16;
/** As long as a chunk, but for longer lines. */
const FIRST_ROOM = 524_288;
/** It looks at several bytes at a time, also behind the last. */
const BEYOND = 64;

interface Exports {
  readonly scan: (from: number, to: number) => number;
  readonly find: (automaton: number, start: number, end: number) => number;
  readonly millisecondsOf: (from: number, end: number, zoneLength: number) => number;
}

/** An automaton that is still being worked out. */
export interface Explorer {
  /** Where a kind of byte leads from a row, which is written there too; `TOO_MANY` when that takes too many states. */
  explore(row: number, kind: number): number;
}

export const TOO_MANY = -0x8000_0000;

/** What was found in a line; places are offsets in the bytes that are read. */
export class Found {
  from = 0;
  to = 0;
  tag: Tag | undefined;
  pid = -1;
  stampEnd = 0;
  programStart = 0;
  processEnd = 0;
  messageStart = 0;
  rule = 0;
  hostStart = 0;
  addressStart = 0;
  /** Behind the address, and the bracket that it stands in. */
  behind = 0;
  /** Of its stamp, behind the scanner's `dateAt`; -1 when it is to be read by a clock. */
  milliseconds = -1;
  /** Where the line, or its begin, lies among those that are `kept`. */
  keptAt = 0;
}

export class Scanner {
  /** All of the memory; others after each `allocate`. */
  bytes: Uint8Array;
  words: Int32Array;
  /** How many lines the last `scan` read, where it ended, and whether it can't read the line there, or not even its begin. */
  lines = 0;
  next = 0;
  isStuck = false;
  isNewBegin = false;
  /** The begin, milliseconds, of the date that is known. */
  dateAt = Number.NaN;
  readonly #memory = new WebAssembly.Memory({ initial: FIRST_PAGES });
  readonly #exports: Exports;
  readonly #explorers = new Map<number, Explorer>();
  readonly #tags: (Tag | undefined)[] = Array.from({ length: layout.TAG_SLOTS }, () => undefined);
  readonly #found = new Found();
  #free = layout.FREE;
  /** Where the bytes lie that are read. */
  #text = 0;
  #room = 0;
  #length = 0;
  /** Where lines are kept in which something was found. */
  #kept = 0;
  #stampLength = 0;
  #hostLength = 0;

  /** @param vectors Whether vector instructions are used, where the processor has them. */
  constructor(vectors = true) {
    const explore = (automaton: number, row: number, kind: number) =>
      this.#explorers.get(automaton)?.explore(row, kind) ?? TOO_MANY;
    const imports = { env: { memory: this.#memory }, scan: { explore } };
    this.#exports = new WebAssembly.Instance(moduleFor(vectors), imports).exports as Exports;
    this.bytes = new Uint8Array(this.#memory.buffer);
    this.words = new Int32Array(this.#memory.buffer);
    for (let code = 0; code < 256; code++) this.bytes[layout.IN_QUEUE_ID + code] = isInQueueId(code) ? 1 : 0;
    this.#makeRoom(FIRST_ROOM);
  }

  /** Address of `size` bytes, all zero, at a multiple of 64. */
  allocate(size: number): number {
    const address = this.#free;
    this.#free = Math.ceil((address + size) / 64) * 64;
    const missing = this.#free + BEYOND - this.bytes.length;
    if (missing > 0) {
      this.#memory.grow(Math.ceil(missing / PAGE_BYTES));
      this.bytes = new Uint8Array(this.#memory.buffer);
      this.words = new Int32Array(this.#memory.buffer);
    }
    return address;
  }

  /** Address of a new automaton's tables, which `explorer` writes. */
  add(explorer: Explorer): number {
    const address = this.allocate(layout.AUTOMATON_SIZE);
    this.#explorers.set(address, explorer);
    return address;
  }

  /**
   * Takes over the bytes that are read from now on.
   * @param keeps Are lines kept in which something is found?
   */
  put(bytes: Uint8Array, keeps: boolean): void {
    if (bytes.length > this.#room) this.#makeRoom(bytes.length);
    this.bytes.set(bytes, this.#text);
    this.#length = bytes.length;
    this.#set(layout.KEPT_END, this.#kept);
    this.#set(layout.KEEPS, keeps ? 1 : 0);
  }

  /** The lines since the last `put` in which something was found, each cut at `MOST_KEPT` bytes, side by side. */
  get kept(): Uint8Array {
    return this.bytes.subarray(this.#kept, this.#keptEnd);
  }

  /** Keeps the line `[from, to)` as well; where it lies then. There is room for each line once. */
  keep(from: number, to: number): number {
    const at = this.#keptEnd;
    const length = word(this.words, 0, layout.KEEPS) === 0 ? 0 : Math.min(to - from, layout.MOST_KEPT);
    this.bytes.copyWithin(at, this.#text + from, this.#text + from + length);
    this.#set(layout.KEPT_END, at + length);
    return at - this.#kept;
  }

  /** Reads lines from `from` on; the number of those in which something was found, which `found` tells. */
  scan(from: number): number {
    const count = this.#exports.scan(this.#text + from, this.#text + this.#length);
    const { words } = this;
    this.lines = word(words, 0, layout.LINES);
    this.next = word(words, 0, layout.NEXT) - this.#text;
    const stuckAt = word(words, 0, layout.STUCK_AT);
    this.isStuck = stuckAt !== layout.NOTHING;
    this.isNewBegin = stuckAt === layout.BEGIN;
    return count;
  }

  /** What was found in a line of the last `scan`, until this is asked again. */
  found(number: number): Found {
    const { words } = this;
    const text = this.#text;
    const found = this.#found;
    const at = (layout.RECORDS + number * layout.RECORD_SIZE) >> 2;
    found.from = word(words, at, layout.FROM) - text;
    found.to = word(words, at, layout.TO) - text;
    found.tag = this.#tags[word(words, at, layout.TAG)];
    found.pid = word(words, at, layout.PID);
    found.stampEnd = found.from + this.#stampLength;
    found.programStart = found.stampEnd + this.#hostLength;
    found.processEnd = word(words, at, layout.PROCESS_END) - text;
    found.messageStart = word(words, at, layout.MESSAGE) - text;
    found.rule = word(words, at, layout.RULE);
    found.hostStart = word(words, at, layout.HOST_AT) - text;
    found.addressStart = word(words, at, layout.ADDRESS_AT) - text;
    found.behind = word(words, at, layout.BEHIND_AT) - text;
    found.milliseconds = word(words, at, layout.MILLISECONDS);
    found.keptAt = word(words, at, layout.KEPT_AT) - this.#kept;
    return found;
  }

  /** What one automaton finds in the bytes `[start, end)`: null for nothing, `gave up` when it can't tell. */
  find(automaton: number, start: number, end: number): Found | 'gave up' | null {
    const arrival = this.#exports.find(automaton, this.#text + start, this.#text + end);
    if (arrival === 0) return null;
    if (arrival === layout.GAVE_UP) return 'gave up';
    const found = this.#found;
    found.rule = word(this.words, arrival >> 2, layout.ARRIVAL_RULE);
    found.hostStart = this.#place(arrival + layout.ARRIVAL_HOST);
    found.addressStart = this.#place(arrival + layout.ARRIVAL_ADDRESS);
    found.behind = this.#place(arrival + layout.ARRIVAL_BEHIND);
    return found;
  }

  /** Remembers how a line begins: most of the next ones do alike. */
  learn(bytes: Uint8Array, header: LineHeader, tag: Tag): void {
    const { stampStart, stampEnd, programStart, programEnd } = header;
    const host = programStart - stampEnd;
    const length = programEnd - programStart;
    if (host > layout.HOST_ROOM) return;
    const first = bytes[stampStart] ?? 0;
    // Nothing is known while this is under way: a brake may end it at any call.
    this.#set(layout.HOST_LENGTH, 0);
    this.bytes.set(bytes.subarray(stampEnd, programStart), layout.HOST);
    this.#stampLength = stampEnd - stampStart;
    this.#hostLength = host;
    this.#set(layout.IS_RFC3339, first >= 48 && first <= 57 ? 1 : 0);
    this.#set(layout.STAMP_LENGTH, this.#stampLength);
    this.#set(layout.HOST_LENGTH, host);
    if (length < layout.TELLING || length > layout.TAG_ROOM || programStart + layout.TELLING + 5 > bytes.length) return;
    const number = slotOf(bytes, programStart + layout.TELLING);
    const slot = layout.TAGS + number * layout.TAG_SIZE;
    this.#set(slot + layout.TAG_LENGTH, 0);
    this.#set(slot + layout.TAG_PROGRAM, tag.program?.layOut() ?? 0);
    this.bytes.set(tag.bytes, slot + layout.TAG_BYTES);
    this.#tags[number] = tag;
    this.#set(slot + layout.TAG_LENGTH, length);
  }

  /**
   * Remembers the date of a stamp in RFC 3339, which names the instant `at`, milliseconds: most of the next ones are of
   * the same. One without a zone says nothing of others: its day may have a jump. What was found before is told by then.
   */
  learnDate(bytes: Uint8Array, from: number, end: number, at: number): void {
    let zone = from + layout.DATE_LENGTH + 8;
    while (zone < end && isInFraction(bytes[zone] ?? 0)) zone++;
    const length = end - zone;
    this.#set(layout.ZONE_LENGTH, 0);
    if (length < 1 || length > layout.MOST_ZONE) return;
    this.bytes.set(bytes.subarray(from, from + layout.DATE_LENGTH), layout.DATE);
    this.bytes.set(bytes.subarray(zone, end), layout.ZONE);
    const milliseconds = this.#exports.millisecondsOf(this.#text + from, this.#text + end, length);
    if (milliseconds < 0) return;
    this.dateAt = at - milliseconds;
    // Last: a brake may end this at any call.
    this.#set(layout.ZONE_LENGTH, length);
  }

  #set(address: number, value: number): void {
    this.words[address >> 2] = value;
  }

  #place(at: number): number {
    return word(this.words, (layout.PLACES >> 2) + word(this.words, at >> 2, 0), 0) - this.#text;
  }

  /** Keeps no more than the first `length` bytes of what is kept: what lies behind them is read again. */
  unkeep(length: number): void {
    this.#set(layout.KEPT_END, this.#kept + length);
  }

  get #keptEnd(): number {
    return word(this.words, 0, layout.KEPT_END);
  }

  #makeRoom(size: number): void {
    this.#text = this.allocate(size + BEYOND);
    this.#kept = this.allocate(size + BEYOND);
    this.#room = size;
  }
}

/** Compiled once, by whether vector instructions are wanted. */
const modules = new Map<boolean, WebAssembly.Module>();

function moduleFor(vectors: boolean): WebAssembly.Module {
  let module = modules.get(vectors);
  if (module === undefined) {
    module = new WebAssembly.Module(bytesFor(vectors));
    modules.set(vectors, module);
  }
  return module;
}

function bytesFor(vectors: boolean): Uint8Array {
  const swift = vectors ? readFileSync(new URL('./scanner-simd.wasm', import.meta.url)) : null;
  // V8 wants SSE4.1 for it, which processors from before 2008 to 2011 don't have.
  if (swift !== null && WebAssembly.validate(swift)) return swift;
  return readFileSync(new URL('./scanner.wasm', import.meta.url));
}

/** A digit, or a dot. */
function isInFraction(code: number): boolean {
  return code === 46 || (code >= 48 && code <= 57);
}

function word(words: Int32Array, at: number, offset: number): number {
  return words[at + (offset >> 2)] ?? 0;
}

/** As `tagOf` has it. */
function slotOf(bytes: Uint8Array, at: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const telling = view.getInt32(at, true) + view.getInt32(at + 1, true);
  return (Math.imul(telling, 0x9e3779b1) >>> 24) & (layout.TAG_SLOTS - 1);
}
