/**
 * Looks at the pages of an LMDB file before LMDB does, which trusts them: one that is damaged ends who reads or writes
 * it by a signal, or keeps him for ever. Layout: mdb.c of LMDB 1.0, as lmdb-js brings it.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { DamagedError } from '../domain/errors.js';
import { metaOf } from './lmdb-file.js';

/** @throws DamagedError when they can't be what LMDB has written. */
export function requireSoundPages(folder: string): void {
  const path = join(folder, 'data.mdb');
  for (let meta = metaOf(path); meta !== null; ) {
    try {
      look(path, meta);
      return;
    } catch (error) {
      const now = metaOf(path);
      // Somebody has written meanwhile, perhaps where this was read.
      if (now !== null && now.transaction !== meta.transaction) meta = now;
      else throw error;
    }
  }
}

function look(path: string, meta: Meta): void {
  const file = openSync(path, 'r');
  try {
    const [free = NO_PAGE, main = NO_PAGE] = meta.roots;
    const pages = new Pages(file, meta);
    pages.walk(free, 'the list of free pages', (node) => pages.requireNumbers(node));
    pages.walk(main, 'the list of tables', ({ page, at, size, flags }) => {
      if ((flags & TABLE) === 0) return;
      if (size < TABLE_BYTES) damaged('the list of tables');
      pages.walk(page.readBigUInt64LE(at + TABLE_ROOT), 'a table', () => undefined);
    });
  } catch (error) {
    // Behind the end of a page, or deeper than any tree.
    throw error instanceof RangeError ? new DamagedError('its pages are none of a store') : error;
  } finally {
    closeSync(file);
  }
}

type Meta = NonNullable<ReturnType<typeof metaOf>>;

const HEADER_BYTES = 24;
const NODE_BYTES = 8;
const WORD = 8;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;
/** Kinds of pages. */
const BRANCH = 1;
const LEAF = 2;
const OVERFLOW = 4;
/** Of a node: its data lies on pages of its own; its data is a table. */
const BIG = 1;
const TABLE = 2;
const TABLE_BYTES = 48;
const TABLE_ROOT = 40;

/** An entry in a leaf page: its data is `page[at, at + size)`, unless it is big. */
interface Node {
  readonly page: Buffer;
  readonly at: number;
  readonly size: number;
  readonly flags: number;
}

class Pages {
  readonly #file: number;
  readonly #meta: Meta;
  readonly #seen = new Set<bigint>();

  constructor(file: number, meta: Meta) {
    this.#file = file;
    this.#meta = meta;
  }

  /** A tree from its root, each page once. */
  walk(number: bigint, what: string, visit: (node: Node) => void): void {
    if (number === NO_PAGE) return;
    if (this.#seen.has(number)) damaged(what);
    this.#seen.add(number);
    const page = this.#read(number, 1, what);
    const kind = page.readUInt16LE(18);
    const lower = page.readUInt16LE(20);
    const upper = page.readUInt16LE(22);
    if ((kind !== BRANCH && kind !== LEAF) || lower > upper || upper > page.length - HEADER_BYTES) damaged(what);
    for (let pointer = HEADER_BYTES; pointer < HEADER_BYTES + lower; pointer += 2) {
      const node = HEADER_BYTES + page.readUInt16LE(pointer);
      if (node < HEADER_BYTES + upper) damaged(what);
      const low = page.readUInt16LE(node);
      const high = page.readUInt16LE(node + 2);
      const flags = page.readUInt16LE(node + 4);
      const at = node + NODE_BYTES + page.readUInt16LE(node + 6);
      const size = kind === BRANCH ? 0 : high * 65_536 + low;
      if (at + ((flags & BIG) !== 0 && kind === LEAF ? 3 * WORD : size) > page.length) damaged(what);
      if (kind === BRANCH) {
        this.walk((BigInt(flags) << 32n) | (BigInt(high) << 16n) | BigInt(low), what, visit);
      } else {
        if ((flags & BIG) !== 0) this.#requireBig(page, at, size, what);
        visit({ page, at, size, flags });
      }
    }
  }

  /** How many free pages there are, and then which: their numbers, and negative ones for the lengths of runs. */
  requireNumbers({ page, at, size, flags }: Node): void {
    const what = 'the list of free pages';
    const big = (flags & BIG) !== 0;
    const data = big
      ? this.#read(page.readBigUInt64LE(at), this.#pagesOf(size), what).subarray(HEADER_BYTES, HEADER_BYTES + size)
      : page.subarray(at, at + size);
    const count = data.readBigUInt64LE(0);
    if (data.length % WORD !== 0 || count >= BigInt(data.length / WORD)) damaged(what);
    for (let i = WORD; i <= Number(count) * WORD; i += WORD) {
      const number = data.readBigInt64LE(i);
      if (number > this.#meta.lastPage || -number > this.#meta.lastPage) damaged(what);
    }
  }

  /** Where they are, since when, and how many. */
  #requireBig(page: Buffer, at: number, size: number, what: string): void {
    const number = page.readBigUInt64LE(at);
    const count = page.readBigUInt64LE(at + 2 * WORD);
    if (count !== BigInt(this.#pagesOf(size)) || number + count - 1n > this.#meta.lastPage) damaged(what);
    if (this.#read(number, 1, what).readUInt16LE(18) !== OVERFLOW) damaged(what);
  }

  #pagesOf(size: number): number {
    return Math.ceil((HEADER_BYTES + size) / this.#meta.pageSize);
  }

  /** A page names itself, and the transaction that wrote it: one from the future would be taken for a page at work. */
  #read(number: bigint, count: number, what: string): Buffer {
    const { pageSize, lastPage, transaction } = this.#meta;
    if (number > lastPage) damaged(what);
    const bytes = Buffer.alloc(count * pageSize);
    if (readSync(this.#file, bytes, 0, bytes.length, Number(number) * pageSize) < bytes.length) damaged(what);
    if (bytes.readBigUInt64LE(0) !== number || bytes.readBigUInt64LE(WORD) > transaction) damaged(what);
    return bytes;
  }
}

function damaged(what: string): never {
  throw new DamagedError(`a page of ${what} is damaged`);
}
