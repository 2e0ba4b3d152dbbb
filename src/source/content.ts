/** The bytes of one file of a log, plain or gzip, from an offset on. */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { createGunzip } from 'node:zlib';
import type { FileIdentity } from '../domain/position.js';

export const BLOCK = 65_536;
/** First bytes that tell a file from another one in the same inode: several log lines with their time stamps. */
export const HEAD = 1_024;

export interface Content {
  readonly path: string;
  /** Next bytes, at most `BLOCK`, valid until the next call; empty at the present end. */
  read(): Promise<Buffer>;
  /** Bytes known to lie behind what was read. */
  left(): number;
  stat(): Stats;
  close(): void;
}

/** A plain file, held by its descriptor: a rename or an unlink does not end the reading. */
export class PlainContent implements Content {
  readonly path: string;
  readonly #fd: number;
  readonly #block = Buffer.allocUnsafe(BLOCK);
  #offset: number;

  /** @throws the system's error when the file can't be opened. */
  constructor(path: string, offset: number) {
    this.path = path;
    this.#fd = openSync(path, 'r');
    this.#offset = offset;
  }

  async read(): Promise<Buffer> {
    const length = readSync(this.#fd, this.#block, 0, BLOCK, this.#offset);
    this.#offset += length;
    return this.#block.subarray(0, length);
  }

  left(): number {
    return Math.max(0, this.stat().size - this.#offset);
  }

  stat(): Stats {
    return fstatSync(this.#fd);
  }

  /** The first bytes as they are now. */
  head(length: number): Buffer {
    const head = Buffer.alloc(length);
    return head.subarray(0, readSync(this.#fd, head, 0, length, 0));
  }

  /** Offset behind the last newline. */
  lastLineEnd(): number {
    const block = Buffer.allocUnsafe(BLOCK);
    let end = this.stat().size;
    while (end > 0) {
      const start = Math.max(0, end - BLOCK);
      const length = readSync(this.#fd, block, 0, end - start, start);
      const newline = block.subarray(0, length).lastIndexOf(10);
      if (newline >= 0) return start + newline + 1;
      end = start;
    }
    return 0;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** A compressed file: it does not grow any more. A damaged one ends where the damage is. */
export class GzipContent implements Content {
  readonly path: string;
  readonly #fd: number;
  readonly #blocks: AsyncIterator<Buffer>;
  readonly #stream: { destroy(): void };
  #skip: number;
  #ended = false;

  constructor(path: string, offset: number) {
    this.path = path;
    this.#fd = openSync(path, 'r');
    const file = createReadStream(path);
    const plain = createGunzip({ chunkSize: BLOCK });
    file.on('error', (error) => plain.destroy(error));
    file.pipe(plain);
    this.#stream = { destroy: () => [file, plain].map((stream) => stream.destroy()) };
    this.#blocks = plain[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    this.#skip = offset;
  }

  async read(): Promise<Buffer> {
    while (!this.#ended) {
      const next = await this.#blocks.next().catch(() => null);
      if (next === null || next.done === true) {
        this.#ended = true;
        break;
      }
      const skipped = Math.min(this.#skip, next.value.length);
      this.#skip -= skipped;
      if (skipped < next.value.length) return next.value.subarray(skipped);
    }
    return Buffer.alloc(0);
  }

  left(): number {
    return this.#ended ? 0 : 1;
  }

  stat(): Stats {
    return fstatSync(this.#fd);
  }

  close(): void {
    this.#stream.destroy();
    closeSync(this.#fd);
  }
}

export function fingerprintOf(head: Buffer): string {
  return createHash('sha256').update(head).digest('base64url').slice(0, 22);
}

/** Does the file at `path` begin with the bytes that `identity` was made from, and reach to `offset`? */
export async function isContentOf(path: string, gzip: boolean, identity: FileIdentity, offset: number): Promise<boolean> {
  let content: Content;
  try {
    content = gzip ? new GzipContent(path, 0) : new PlainContent(path, 0);
  } catch {
    return false;
  }
  try {
    const blocks: Buffer[] = [];
    let length = 0;
    while (length < identity.head) {
      const block = await content.read();
      if (block.length === 0) return false;
      blocks.push(Buffer.from(block));
      length += block.length;
    }
    const same = fingerprintOf(Buffer.concat(blocks).subarray(0, identity.head)) === identity.fingerprint;
    if (!same || gzip) return same;
    return content.stat().size >= offset;
  } finally {
    content.close();
  }
}
