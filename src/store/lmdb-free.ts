/**
 * Reads an LMDB file's list of free pages. LMDB offers no way to look at it and trusts it when it writes, so that one
 * damaged page of it would end every writer by a signal. Layout: mdb.c of LMDB 1.0, as lmdb-js brings it.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { DamagedError } from '../domain/errors.js';
import { metaOf } from './lmdb-file.js';

const HEADER_BYTES = 24;
const NODE_BYTES = 8;
const WORD = 8;
const BRANCH = 1;
const LEAF = 2;
/** Of a node: its data lies on pages of its own. */
const BIG = 1;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;

/** @throws DamagedError when the list can't be what LMDB has written. */
export function requireFreeList(folder: string): void {
  const path = join(folder, 'data.mdb');
  for (let meta = metaOf(path); meta !== null; ) {
    try {
      walk(path, meta);
      return;
    } catch (error) {
      const now = metaOf(path);
      // Somebody has written meanwhile, perhaps where this was read.
      if (now !== null && now.transaction !== meta.transaction) meta = now;
      else throw error;
    }
  }
}

function walk(path: string, { roots, pageSize, lastPage }: Meta): void {
  const [root] = roots;
  if (root === undefined || root === NO_PAGE) return;
  const file = openSync(path, 'r');
  try {
    new FreeList(file, pageSize, lastPage).walk(root, new Set());
  } catch (error) {
    // Behind the end of a page, or deeper than any list.
    throw error instanceof RangeError ? new DamagedError('the list of free pages is none') : error;
  } finally {
    closeSync(file);
  }
}

type Meta = NonNullable<ReturnType<typeof metaOf>>;

class FreeList {
  readonly #file: number;
  readonly #pageSize: number;
  readonly #lastPage: bigint;

  constructor(file: number, pageSize: number, lastPage: bigint) {
    this.#file = file;
    this.#pageSize = pageSize;
    this.#lastPage = lastPage;
  }

  walk(number: bigint, seen: Set<bigint>): void {
    if (seen.has(number)) damaged('leads in circles');
    seen.add(number);
    const page = this.#pages(number, 1n);
    const flags = page.readUInt16LE(18);
    if (page.readBigUInt64LE(0) !== number || (flags !== BRANCH && flags !== LEAF)) damaged('is no such page');
    const lower = page.readUInt16LE(20);
    const upper = page.readUInt16LE(22);
    if (lower > upper || upper > this.#pageSize - HEADER_BYTES) damaged('has no room for what it holds');
    for (let at = HEADER_BYTES; at < HEADER_BYTES + lower; at += 2) {
      const node = HEADER_BYTES + page.readUInt16LE(at);
      if (node < HEADER_BYTES + upper || node + NODE_BYTES > page.length) damaged('has an entry outside of it');
      const [low, high, more] = [0, 2, 4].map((offset) => page.readUInt16LE(node + offset)) as [number, number, number];
      if (flags === BRANCH) this.walk((BigInt(more) << 32n) | (BigInt(high) << 16n) | BigInt(low), seen);
      else this.#requireNumbers(page, node + NODE_BYTES + page.readUInt16LE(node + 6), high * 65_536 + low, more);
    }
  }

  /** How many there are, and then the pages: their numbers, and negative ones for the lengths of runs. */
  #requireNumbers(page: Buffer, at: number, size: number, flags: number): void {
    let data = page.subarray(at, at + size);
    if ((flags & BIG) !== 0) {
      if (at + WORD > page.length) damaged('has an entry outside of it');
      const pages = BigInt(Math.ceil((HEADER_BYTES + size) / this.#pageSize));
      data = this.#pages(page.readBigUInt64LE(at), pages).subarray(HEADER_BYTES, HEADER_BYTES + size);
    }
    if (data.length < Math.max(size, WORD) || data.length % WORD !== 0) damaged('has an entry outside of it');
    const count = data.readBigUInt64LE(0);
    if (count >= BigInt(data.length / WORD)) damaged('counts more pages than it names');
    for (let i = WORD; i <= Number(count) * WORD; i += WORD) {
      const number = data.readBigInt64LE(i);
      if (number > this.#lastPage || -number > this.#lastPage) damaged('names a page that is not there');
    }
  }

  #pages(number: bigint, count: bigint): Buffer {
    if (number > this.#lastPage || number + count - 1n > this.#lastPage) damaged('names a page that is not there');
    const bytes = Buffer.alloc(Number(count) * this.#pageSize);
    if (readSync(this.#file, bytes, 0, bytes.length, Number(number) * this.#pageSize) < bytes.length) {
      damaged('names a page that is not there');
    }
    return bytes;
  }
}

function damaged(how: string): never {
  throw new DamagedError(`the list of free pages ${how}`);
}
