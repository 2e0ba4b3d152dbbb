/**
 * One file of a log, read in whole lines from a position on: plain, or compressed by rotation.
 * Its identity is device, inode and a hash of its first bytes: an inode alone is given to another file once it is free.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { Readable } from 'node:stream';
import { reasonOf } from '../domain/errors.js';
import type { FileIdentity, Position } from '../domain/position.js';
import { BLOCK_BYTES, Blocks } from './blocks.js';
import type { Member } from './family.js';
import { LineCutter, type Lines } from './lines.js';

export type FilePosition = Extract<Position, { kind: 'file' }>;

/** Time stamps and queue ids make two logs differ well before. */
const HEAD_BYTES = 1_024;
/** Enough for the head of any gzip file, its own header with the original's name included. */
const PACKED_HEAD_BYTES = 8_192;
/** Well above that of any file system's time stamps. */
const CLOCK_TICK_MS = 3_000;
const NEWLINE = 10;
/** Loaded for compressed files only. */
const zlib = () => process.getBuiltinModule('node:zlib');

/** A compressed file that can't be unpacked to its end; the message is for a person. */
export class DamagedFileError extends Error {
  override readonly name = 'DamagedFileError';
}

export interface LogFile {
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
  /** Last change when last looked at, milliseconds. */
  readonly changedAt: number;
  /** Bytes behind what was taken and what waits for its newline. */
  readonly unreadBytes: number;
  /** When bytes were last found in it, on `performance.now()`'s clock. */
  readonly grewAt: number;
  /** Up to here all was taken. */
  readonly position: FilePosition;
  /** Goes on behind `position`, or at the end when the file is shorter; false when that is of another file. */
  resume(position: FilePosition): boolean;
  /** The next whole lines, null when there are none now. */
  take(): Promise<Lines | null>;
  /** The unfinished last line as a whole one: the file will not grow any more. */
  finish(): Lines | null;
  /** True once the file was found truncated or written anew: what stood in it is elsewhere or gone. */
  readonly isTruncated: boolean;
  close(): void;
}

/**
 * Opens a member of a log's family, to be read into `blocks`; null when another file has that name by now. Throws the
 * system's errors.
 */
export function openLogFile(member: Member, blocks: Blocks): LogFile | null {
  const fd = openSync(member.path, constants.O_RDONLY | constants.O_NONBLOCK);
  const stats = fstatSync(fd);
  if (stats.dev !== member.dev || stats.ino !== member.ino || !stats.isFile()) {
    closeSync(fd);
    return null;
  }
  return member.compression === 'gz'
    ? new GzipLogFile(member.path, fd, stats, blocks)
    : new PlainLogFile(member.path, fd, stats, blocks);
}

/** True when the file of `position` has the bytes of this member at its head, whatever its inode; false when in doubt. */
export function hasHeadOf(member: Member, { file }: FilePosition): boolean {
  if (file.head === 0 || !isReadable(member)) return false;
  let opened: LogFile | null = null;
  try {
    opened = openLogFile(member, new Blocks());
    return opened?.resume({ kind: 'file', file, offset: file.head }) ?? false;
  } catch {
    return false;
  } finally {
    opened?.close();
  }
}

export function isReadable({ compression }: Member): boolean {
  return compression === null || compression === 'gz';
}

export class PlainLogFile implements LogFile {
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
  readonly #fd: number;
  readonly #cutter: LineCutter;
  readonly #probe = Buffer.allocUnsafe(HEAD_BYTES);
  readonly #head = new Head();
  #offset = 0;
  #changedAt: number;
  #size: number;
  #grewAt = performance.now();
  #isAtEnd = false;
  #isTruncated = false;

  constructor(path: string, fd: number, stats: Stats, blocks: Blocks) {
    this.path = path;
    this.#fd = fd;
    this.#cutter = new LineCutter(blocks);
    this.dev = stats.dev;
    this.ino = stats.ino;
    this.#changedAt = stats.mtimeMs;
    this.#size = stats.size;
  }

  get changedAt(): number {
    return this.#changedAt;
  }

  get grewAt(): number {
    return this.#grewAt;
  }

  get isTruncated(): boolean {
    return this.#isTruncated;
  }

  get unreadBytes(): number {
    return Math.max(0, this.#size - this.#offset - this.#cutter.pending);
  }

  get position(): FilePosition {
    return this.positionAt(this.#offset);
  }

  /** As if it had been taken only so far. */
  positionAt(offset: number): FilePosition {
    const { dev, ino, path } = this;
    const file = { dev, ino, ...this.#head.upTo(offset) };
    return { kind: 'file', file, offset, changedAt: this.#changedAt, path };
  }

  resume({ file, offset }: FilePosition): boolean {
    const head = this.#readHead(Math.max(file.head, Math.min(offset, HEAD_BYTES)));
    if (!isHeadOf(head, file)) return false;
    this.#offset = Math.min(offset, fstatSync(this.#fd).size);
    this.#head.start(head.subarray(0, this.#offset));
    return true;
  }

  /** Goes on behind the last whole line. */
  seekEnd(): void {
    const block = Buffer.allocUnsafe(BLOCK_BYTES);
    let end = fstatSync(this.#fd).size;
    let newline = -1;
    while (end > 0 && newline === -1) {
      const start = Math.max(0, end - BLOCK_BYTES);
      const count = readSync(this.#fd, block, 0, end - start, start);
      newline = block.subarray(0, count).lastIndexOf(NEWLINE);
      end = newline === -1 ? start : start + newline + 1;
    }
    this.#offset = end;
    this.#head.start(this.#readHead(Math.min(end, HEAD_BYTES)));
  }

  async take(): Promise<Lines | null> {
    if (this.#isAtEnd && this.#isUntouched()) return null;
    for (;;) {
      const { room } = this.#cutter;
      const count = readSync(this.#fd, room, 0, room.length, this.#offset + this.#cutter.pending);
      // Looked at after the read: a head still the same proves that the bytes read were not of a rewritten file.
      if (!this.#head.isStill(this.#readHead(this.#head.length))) return this.#truncated();
      const stats = fstatSync(this.#fd);
      if (stats.size < this.#offset + this.#cutter.pending) return this.#truncated();
      this.#changedAt = stats.mtimeMs;
      this.#size = stats.size;
      this.#isAtEnd = count === 0;
      if (count === 0) return this.#atEnd();
      this.#grewAt = performance.now();
      this.#head.see(room.subarray(0, count));
      const lines = this.#cutter.add(count);
      if (lines !== null) return this.#counted(lines);
    }
  }

  finish(): Lines | null {
    const lines = this.#cutter.finish();
    return lines === null ? null : this.#counted(lines);
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** A change in the same tick of the file system's clock leaves no trace in the time: a fresh one proves nothing. */
  #isUntouched(): boolean {
    const { size, mtimeMs } = fstatSync(this.#fd);
    return size === this.#size && mtimeMs === this.#changedAt && Date.now() - mtimeMs > CLOCK_TICK_MS;
  }

  #counted(lines: Lines): Lines {
    this.#offset += lines.bytes;
    return lines;
  }

  #atEnd(): null {
    this.#cutter.pause();
    return null;
  }

  #truncated(): null {
    this.#isTruncated = true;
    return null;
  }

  #readHead(length: number): Buffer {
    if (length === 0) return EMPTY;
    const room = length <= HEAD_BYTES ? this.#probe : Buffer.allocUnsafe(length);
    return room.subarray(0, readSync(this.#fd, room, 0, length, 0));
  }
}

/** Never grows; offsets count the bytes as they were before compression. */
class GzipLogFile implements LogFile {
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
  readonly changedAt: number;
  readonly grewAt = Number.NEGATIVE_INFINITY;
  readonly isTruncated = false;
  readonly #fd: number;
  readonly #size: number;
  readonly #cutter: LineCutter;
  readonly #head = new Head();
  #offset = 0;
  #skip = 0;
  #stream: AsyncIterator<Buffer> | null = null;
  #destroy: () => void = () => undefined;
  #isClosed = false;
  #block: Buffer = EMPTY;

  constructor(path: string, fd: number, stats: Stats, blocks: Blocks) {
    this.path = path;
    this.#fd = fd;
    this.#cutter = new LineCutter(blocks);
    this.dev = stats.dev;
    this.ino = stats.ino;
    this.changedAt = stats.mtimeMs;
    this.#size = sizeBefore(fd, stats.size);
  }

  get unreadBytes(): number {
    return Math.max(0, this.#size - this.#offset - this.#cutter.pending);
  }

  get position(): FilePosition {
    const { dev, ino, changedAt } = this;
    return { kind: 'file', file: { dev, ino, ...this.#head.upTo(this.#offset) }, offset: this.#offset, changedAt };
  }

  resume({ file, offset }: FilePosition): boolean {
    const packed = Buffer.allocUnsafe(PACKED_HEAD_BYTES);
    const count = readSync(this.#fd, packed, 0, packed.length, 0);
    const head = unpackedHead(packed.subarray(0, count)).subarray(0, Math.max(file.head, Math.min(offset, HEAD_BYTES)));
    if (!isHeadOf(head, file)) return false;
    this.#skip = offset;
    this.#offset = offset;
    this.#head.start(head);
    return true;
  }

  async take(): Promise<Lines | null> {
    for (;;) {
      if (this.#block.length === 0) {
        const block = await this.#next();
        if (block === null) {
          this.#cutter.pause();
          return null;
        }
        const skipped = Math.min(this.#skip, block.length);
        this.#skip -= skipped;
        this.#block = block.subarray(skipped);
        this.#head.see(this.#block);
      }
      const count = this.#block.copy(this.#cutter.room);
      this.#block = this.#block.subarray(count);
      const lines = this.#cutter.add(count);
      if (lines !== null) return this.#counted(lines);
    }
  }

  finish(): Lines | null {
    const lines = this.#cutter.finish();
    return lines === null ? null : this.#counted(lines);
  }

  close(): void {
    this.#isClosed = true;
    this.#destroy();
    closeSync(this.#fd);
  }

  async #next(): Promise<Buffer | null> {
    this.#stream ??= this.#unpack();
    try {
      const { value, done } = await this.#stream.next();
      return done === true ? null : value;
    } catch (error) {
      throw new DamagedFileError(
        `${this.path}: damaged (${reasonOf(error)}); its lines behind byte ${this.#offset} can't be counted`,
        { cause: error },
      );
    }
  }

  #unpack(): AsyncIterator<Buffer> {
    const packed = Readable.from(this.#packedBlocks());
    const plain = zlib().createGunzip({ chunkSize: BLOCK_BYTES });
    packed.on('error', (error) => plain.destroy(error));
    this.#destroy = () => {
      packed.destroy();
      plain.destroy();
    };
    return packed.pipe(plain)[Symbol.asyncIterator]();
  }

  /** Not a file stream: that one reads in the background, and would read on in whatever gets our descriptor's number. */
  *#packedBlocks(): Generator<Buffer> {
    for (let at = 0; !this.#isClosed; ) {
      const block = Buffer.allocUnsafe(BLOCK_BYTES);
      const count = readSync(this.#fd, block, 0, block.length, at);
      if (count === 0) return;
      at += count;
      yield block.subarray(0, count);
    }
  }

  #counted(lines: Lines): Lines {
    this.#offset += lines.bytes;
    return lines;
  }
}

/** The first bytes of a file as they were when read: they tell it from others, and from what it becomes when rewritten. */
class Head {
  #seen: Buffer = EMPTY;
  #identity: Pick<FileIdentity, 'head' | 'fingerprint'> = { head: 0, fingerprint: fingerprintOf(EMPTY) };

  get length(): number {
    return this.#seen.length;
  }

  start(bytes: Buffer): void {
    this.#seen = Buffer.from(bytes.subarray(0, HEAD_BYTES));
  }

  /** More bytes were read, right behind those before. */
  see(bytes: Buffer): void {
    const missing = HEAD_BYTES - this.#seen.length;
    if (missing > 0) this.#seen = Buffer.concat([this.#seen, bytes.subarray(0, missing)]);
  }

  isStill(bytes: Buffer): boolean {
    return this.#seen.equals(bytes);
  }

  /** Covers counted bytes only: an unfinished line may still be taken away. */
  upTo(offset: number): Pick<FileIdentity, 'head' | 'fingerprint'> {
    const head = Math.min(offset, this.#seen.length);
    if (this.#identity.head !== head)
      this.#identity = { head, fingerprint: fingerprintOf(this.#seen.subarray(0, head)) };
    return this.#identity;
  }
}

const EMPTY = Buffer.alloc(0);

function isHeadOf(bytes: Buffer, { head, fingerprint }: FileIdentity): boolean {
  return head === 0 || (bytes.length >= head && fingerprintOf(bytes.subarray(0, head)) === fingerprint);
}

function fingerprintOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('base64url').slice(0, 22);
}

function unpackedHead(packed: Buffer): Buffer {
  try {
    const { gunzipSync, constants: gzip } = zlib();
    return gunzipSync(packed, { finishFlush: gzip.Z_SYNC_FLUSH });
  } catch {
    return EMPTY;
  }
}

/** RFC 1952: the last four bytes are the size before compression, modulo 2^32. */
function sizeBefore(fd: number, packedSize: number): number {
  const trailer = Buffer.alloc(4);
  if (packedSize >= 18) readSync(fd, trailer, 0, 4, packedSize - 4);
  return trailer.readUInt32LE();
}
