/** A mail server's log, those who write it, and what turns it over; it knows what became of every line. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Position } from '../../src/domain/position.js';
import type { LogLine } from './log-lines.js';

export type Naming = 'number' | 'date';

interface Writer {
  fd: number;
  /** What is still to be written of the line begun last. */
  rest: { readonly bytes: Buffer; readonly line: LogLine } | null;
}

export class MailHost {
  /** As blockd is told it. */
  readonly log: string;
  readonly #folder: string;
  readonly #naming: Naming;
  readonly #isLink: boolean;
  /** The link leads to another folder each time. */
  readonly #isElsewhere: boolean;
  readonly #writers: Writer[];
  /** Lines of the file that the log names now, with the offset behind each. */
  #inLive: { readonly line: LogLine; readonly end: number }[] = [];
  #rotations = 0;
  #switches = 0;

  constructor(folder: string, options: { naming: Naming; isLink: boolean; isElsewhere: boolean; writers: number }) {
    mkdirSync(folder, { recursive: true });
    this.#folder = folder;
    this.#naming = options.naming;
    this.#isLink = options.isLink;
    this.#isElsewhere = options.isElsewhere;
    this.log = join(folder, 'mail.log');
    if (options.isLink) symlinkSync(this.#target(), this.log);
    mkdirSync(dirname(this.#live), { recursive: true });
    writeFileSync(this.#live, '');
    this.#writers = Array.from({ length: options.writers }, () => ({ fd: openSync(this.log, 'a'), rest: null }));
  }

  /** The file itself. */
  get #live(): string {
    return this.#isLink ? join(this.#folder, this.#target()) : this.log;
  }

  /** Appends lines at once; `upTo` leaves the last one unfinished after so many bytes. */
  write(lines: readonly LogLine[], writer = 0, upTo?: number): void {
    const one = this.#writer(writer);
    this.finishLine(writer);
    const last = lines.at(-1);
    const whole = upTo === undefined ? lines : lines.slice(0, -1);
    this.#append(one, Buffer.from(whole.map(({ text }) => text).join('')), whole);
    if (upTo === undefined || last === undefined) return;
    const bytes = Buffer.from(last.text);
    const cut = Math.max(1, Math.min(bytes.length - 1, upTo));
    this.#append(one, bytes.subarray(0, cut), []);
    one.rest = { bytes: bytes.subarray(cut), line: last };
  }

  finishLine(writer = 0): void {
    const one = this.#writer(writer);
    const { rest } = one;
    if (rest === null) return;
    one.rest = null;
    this.#append(one, rest.bytes, [rest.line]);
  }

  finishLines(): void {
    for (const index of this.#writers.keys()) this.finishLine(index);
  }

  get unfinished(): LogLine | null {
    return this.#writers.find(({ rest }) => rest !== null)?.rest?.line ?? null;
  }

  get hasLateWriter(): boolean {
    const { ino } = statSync(this.#live);
    return this.#writers.some(({ fd }) => fstatSync(fd).ino !== ino);
  }

  /** Renames the log and makes a new one; no writer has opened that yet. */
  rename(): void {
    renameSync(this.#live, this.#oldName());
    writeFileSync(this.#live, '');
    this.#inLive = [];
  }

  /** Writers finish their line in the old file first, as syslog daemons do. */
  reopen(writer?: number): void {
    for (const [index, one] of this.#writers.entries()) {
      if (writer !== undefined && writer !== index) continue;
      this.finishLine(index);
      closeSync(one.fd);
      one.fd = openSync(this.log, 'a');
    }
  }

  /** Copies the log and empties it; what `between` writes is in neither. */
  copyAndTruncate(between: () => void): void {
    const old = this.#oldName();
    copyFileSync(this.#live, old);
    between();
    truncateSync(this.#live, 0);
    this.#inLive = [];
  }

  /** Compresses the file rotated last, as gzip does: both exist for a while, and the time of change stays. */
  async compress(whileBothExist: () => Promise<void>): Promise<boolean> {
    const old = this.#newestOld();
    if (old === null || this.#isOpen(old)) return false;
    const { atime, mtime } = statSync(old);
    const packed = gzipSync(readFileSync(old));
    const half = Math.floor(packed.length / 2);
    const fd = openSync(`${old}.gz`, 'w');
    writeSync(fd, packed.subarray(0, half));
    await whileBothExist();
    writeSync(fd, packed.subarray(half));
    closeSync(fd);
    utimesSync(`${old}.gz`, atime, mtime);
    unlinkSync(old);
    return true;
  }

  /** Removes the log, and makes it anew; true when the new one got the inode of the old one. */
  recreate(): boolean {
    const { ino } = statSync(this.#live);
    for (const { fd } of this.#writers) closeSync(fd);
    unlinkSync(this.#live);
    writeFileSync(this.#live, '');
    for (const one of this.#writers) one.fd = openSync(this.log, 'a');
    this.#inLive = [];
    return statSync(this.#live).ino === ino;
  }

  /** Has the link name another, new file. */
  switchLink(): void {
    this.#switches++;
    mkdirSync(dirname(this.#live), { recursive: true });
    writeFileSync(this.#live, '');
    symlinkSync(this.#target(), `${this.log}.new`);
    renameSync(`${this.log}.new`, this.log);
    this.#inLive = [];
  }

  /** Is that a position in the file that the log names now? */
  isInLive({ file }: Extract<Position, { kind: 'file' }>): boolean {
    const fd = openSync(this.log, 'r');
    try {
      if (fstatSync(fd).ino !== file.ino) return false;
      const head = Buffer.alloc(file.head);
      const count = readSync(fd, head, 0, file.head, 0);
      const digest = createHash('sha256').update(head).digest('base64url').slice(0, 22);
      return count === file.head && (file.head === 0 || digest === file.fingerprint);
    } finally {
      closeSync(fd);
    }
  }

  isAtEnd(position: Extract<Position, { kind: 'file' }>): boolean {
    return this.isInLive(position) && position.offset === statSync(this.log).size;
  }

  /** Lines of the file that the log names now which `position` does not cover. */
  unreadOf(position: Extract<Position, { kind: 'file' }> | null): LogLine[] {
    const offset = position !== null && this.isInLive(position) ? position.offset : 0;
    return this.#inLive.filter(({ end }) => end > offset).map(({ line }) => line);
  }

  close(): void {
    for (const { fd } of this.#writers) closeSync(fd);
  }

  #append(writer: Writer, bytes: Buffer, ended: readonly LogLine[]): void {
    if (bytes.length > 0) writeSync(writer.fd, bytes);
    const { ino, size } = fstatSync(writer.fd);
    if (ended.length === 0 || ino !== statSync(this.#live).ino) return;
    // One thread writes: what was there before these lines is what the size says.
    let end = size;
    const ends = [...ended].reverse().map((line) => {
      const own = { line, end };
      end -= Buffer.byteLength(line.text);
      return own;
    });
    this.#inLive.push(...ends.reverse());
  }

  #writer(index: number): Writer {
    const writer = this.#writers[index % this.#writers.length];
    if (writer === undefined) throw new RangeError('no writer');
    return writer;
  }

  #target(): string {
    return `box-${this.#switches}${this.#isElsewhere ? '/mail' : ''}.log`;
  }

  #oldName(): string {
    this.#rotations++;
    if (this.#naming === 'date') return `${this.#live}-20261125-${100_000 + this.#rotations}`;
    for (let n = this.#rotations; n >= 1; n--) {
      for (const suffix of ['', '.gz']) {
        const from = `${this.#live}.${n}${suffix}`;
        if (existsSync(from)) renameSync(from, `${this.#live}.${n + 1}${suffix}`);
      }
    }
    return `${this.#live}.1`;
  }

  #newestOld(): string | null {
    const path = this.#naming === 'date' ? `${this.#live}-20261125-${100_000 + this.#rotations}` : `${this.#live}.1`;
    return existsSync(path) ? path : null;
  }

  #isOpen(path: string): boolean {
    const { ino } = statSync(path);
    return this.#writers.some(({ fd }) => fstatSync(fd).ino === ino);
  }
}
