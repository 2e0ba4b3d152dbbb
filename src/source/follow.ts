/**
 * Follows one log file over everything that happens to log files: rename, copytruncate, compression, deletion, a
 * switched symlink, a writer that reopens late, and rotations while nobody looked. Every line comes once, in order.
 *
 * A file is left only when a later one has data: a writer that has not reopened yet still appends to the old one.
 */
import { type Stats, statSync } from 'node:fs';
import { reasonOf } from '../domain/errors.js';
import type { FileIdentity, Position } from '../domain/position.js';
import { type Content, fingerprintOf, GzipContent, HEAD, isContentOf, PlainContent } from './content.js';
import { LineCutter } from './line-cutter.js';
import type { Reader } from './reader.js';
import { type Rotated, rotatedFiles } from './rotation.js';
import type { Chunk, SourceNotice, SourceOptions } from './source.js';

/** The file at hand and how far it was read. */
interface Current {
  readonly content: Content;
  readonly dev: number;
  readonly ino: number;
  /** Identity of a compressed file that was opened behind its head; its own bytes are not at hand. */
  readonly known: FileIdentity | null;
  /** Bytes read so far; those of an unfinished line were not told yet. */
  read: number;
  /** The first bytes of what was read, for the fingerprint. */
  head: Buffer;
  readonly lines: LineCutter;
  /** Size and time of change at the last look, to tell when the head must be looked at again. */
  seen: string;
}

/** Renamed between being listed and being opened: the next look finds it under its new name. */
const OPEN_TRIES = 5;

export class FileReader implements Reader {
  readonly log: string;
  readonly #options: SourceOptions;
  #current: Current | null = null;
  #position: Position | null;
  #started = false;
  #untold = false;
  #ended = false;
  #complained = '';

  constructor(log: string, options: SourceOptions) {
    this.log = log;
    this.#options = options;
    this.#position = options.positions.get(log) ?? null;
  }

  get ended(): boolean {
    return this.#ended;
  }

  close(): void {
    this.#current?.content.close();
    this.#current = null;
  }

  async next(): Promise<Chunk | null> {
    if (this.#ended) return null;
    for (let tries = 0; tries < OPEN_TRIES; tries++) {
      if (this.#current === null && !(await this.#begin())) return this.#nothing();
      const chunk = this.#opening() ?? (await this.#advance());
      if (chunk !== null) return chunk;
      if (this.#current !== null) return this.#nothing();
    }
    return this.#nothing();
  }

  /** Next whole lines, over as many files as it takes; null at the present end, or without a current file. */
  async #advance(): Promise<Chunk | null> {
    for (;;) {
      const current = this.#current;
      if (current === null) return null;
      if (this.#wasTruncated(current)) {
        await this.#afterTruncation(current);
        continue;
      }
      const text = await this.#take(current);
      if (text !== null) {
        if (text !== '') return this.#chunk(current, text);
        continue;
      }
      // Who comes next is looked up before the last read of this one, so that nothing can be written in between.
      const successor = await this.#successor(current);
      if (successor === null) return null;
      const late = await this.#take(current);
      if (late !== null) {
        if (late !== '') return this.#chunk(current, late);
        continue;
      }
      const rest = current.lines.finish();
      const last = rest === '' ? null : this.#chunk(current, rest);
      current.content.close();
      this.#open(successor.path, successor.gzip, 0, null);
      if (last !== null) return last;
    }
  }

  /** Lines that the next block completes; null when there is no block. */
  async #take(current: Current): Promise<string | null> {
    const block = await current.content.read();
    if (block.length === 0) return null;
    current.read += block.length;
    if (current.head.length < HEAD) current.head = Buffer.concat([current.head, block.subarray(0, HEAD - current.head.length)]);
    return current.lines.take(block);
  }

  /** Where a log never seen before begins is told at once: lines written while blockd is down must count later. */
  #opening(): Chunk | null {
    if (this.#current === null || !this.#untold) return null;
    this.#untold = false;
    return this.#chunk(this.#current, '');
  }

  /** Everything there is was told: with `once` that is the end. */
  #nothing(): null {
    if (this.#options.once) this.#ended = true;
    return null;
  }

  #chunk(current: Current, text: string): Chunk {
    const offset = current.read - current.lines.unfinished;
    const position: Position = { kind: 'file', file: identityOf(current), offset };
    this.#position = position;
    return { log: this.log, text, position, writtenAt: current.content.stat().mtimeMs, lagBytes: this.#lag(current) };
  }

  #lag(current: Current): number {
    const live = statOf(this.log);
    const behind = live === null || isSame(live, current) ? 0 : live.size;
    return current.content.left() + behind;
  }

  /** Finds where to go on. False when there is nothing to read yet. */
  async #begin(): Promise<boolean> {
    const first = !this.#started;
    this.#started = true;
    if (this.#position?.kind === 'file') return this.#resume(this.#position);
    const live = statOf(this.log);
    if (live === null) {
      if (first) this.#complain('warn', `${this.log} does not exist (yet); it is followed as soon as it appears`);
      return false;
    }
    if (!live.isFile()) {
      this.#complain('error', `${this.log} is not a file; name the mail log itself`);
      return false;
    }
    // A log that appears later is new from its first line on.
    const atEnd = first && this.#options.start === 'end';
    this.#untold = this.#open(this.log, false, atEnd ? endOfLastLine(this.log) : 0, null) && first;
    return this.#current !== null;
  }

  /** Goes on behind a stored position, in whatever file its bytes are now. */
  async #resume(position: Position & { kind: 'file' }): Promise<boolean> {
    const { file, offset } = position;
    const live = statOf(this.log);
    if (live?.isFile() && live.size >= offset && live.ino === file.ino && (await isContentOf(this.log, false, file, offset))) {
      return this.#open(this.log, false, offset, null);
    }
    const found = await this.#find(file, offset);
    if (found !== null) return this.#open(found.path, found.gzip, offset, file);
    if (live === null) {
      this.#complain('warn', `${this.log} does not exist (yet); it is followed as soon as it appears`);
      return false;
    }
    if (live.isFile() && live.size >= offset && (await isContentOf(this.log, false, file, offset)) && file.head > 0) {
      return this.#open(this.log, false, offset, null);
    }
    if (offset > 0) {
      this.#complain(
        'warn',
        `${this.log}: the file that was read up to byte ${offset} is gone, and no rotated one goes on with it; lines written in between may be lost, reading starts at the beginning`,
      );
    }
    return this.#open(this.log, false, 0, null);
  }

  async #find(file: FileIdentity, offset: number): Promise<Rotated | null> {
    const rotated = rotatedFiles(this.log);
    const sameInode = rotated.filter(({ path, gzip }) => !gzip && statOf(path)?.ino === file.ino);
    // Nothing was counted in it yet: only its inode can tell it.
    if (file.head === 0) return sameInode[0] ?? null;
    for (const one of [...sameInode, ...rotated.toReversed()]) {
      if (await isContentOf(one.path, one.gzip, file, offset)) return one;
    }
    return null;
  }

  #open(path: string, gzip: boolean, offset: number, identity: FileIdentity | null): boolean {
    this.#current = null;
    try {
      const content = gzip ? new GzipContent(path, offset) : new PlainContent(path, offset);
      const stat = content.stat();
      const head = content instanceof PlainContent ? content.head(Math.min(HEAD, offset)) : Buffer.alloc(0);
      const known = gzip && offset > 0 ? identity : null;
      const { dev, ino } = stat;
      this.#current = { content, dev, ino, known, read: offset, head, lines: new LineCutter(), seen: lookOf(stat) };
      if (this.#complained !== '') this.#options.onNotice({ level: 'info', log: this.log, message: `${this.log} can be read again` });
      this.#complained = '';
      return true;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      const advice = code === 'EACCES' ? '; let blockd read it, e.g. as a member of the group adm' : '';
      if (code !== 'ENOENT') this.#complain('error', `${path} can't be read: ${reasonOf(error)}${advice}`);
      return false;
    }
  }

  /** The file that goes on after `current`, once it has data; null while `current` is the live one or the last. */
  async #successor(current: Current): Promise<Rotated | null> {
    const live = statOf(this.log);
    if (live !== null && isSame(live, current)) return null;
    // Most likely the writer has not reopened its log yet; whatever else lies there is read when it has.
    if (!this.#options.once && !live?.size) return null;
    const rotated = rotatedFiles(this.log);
    const at = await this.#indexAmong(rotated, current);
    const modifiedAt = current.content.stat().mtimeMs;
    const later = at >= 0 ? rotated.slice(at + 1) : rotated.filter(({ path }) => (statOf(path)?.mtimeMs ?? 0) > modifiedAt);
    for (const one of later) {
      const stat = statOf(one.path);
      if (stat === null || stat.size === 0 || isSame(stat, current)) continue;
      return one;
    }
    return live?.isFile() && live.size > 0 ? { path: this.log, gzip: false } : null;
  }

  async #indexAmong(rotated: readonly Rotated[], current: Current): Promise<number> {
    const byInode = rotated.findIndex(({ path }) => {
      const stat = statOf(path);
      return stat !== null && isSame(stat, current);
    });
    const offset = toldOffset(current);
    if (byInode >= 0 || offset === 0) return byInode;
    const file = identityOf(current);
    for (const [index, { path, gzip }] of rotated.entries()) {
      if (await isContentOf(path, gzip, file, offset)) return index;
    }
    return -1;
  }

  /** copytruncate: the same inode is shorter than what was read, or begins with other bytes. */
  #wasTruncated(current: Current): boolean {
    const { content } = current;
    if (!(content instanceof PlainContent)) return false;
    const stat = content.stat();
    if (lookOf(stat) === current.seen) return false;
    current.seen = lookOf(stat);
    if (stat.size < current.read) return true;
    return !content.head(current.head.length).equals(current.head);
  }

  async #afterTruncation(current: Current): Promise<void> {
    current.content.close();
    this.#current = null;
    const offset = toldOffset(current);
    const file = identityOf(current);
    const copy = offset === 0 ? null : await this.#find(file, offset);
    if (copy !== null) {
      this.#open(copy.path, copy.gzip, offset, file);
      return;
    }
    const message = `${this.log} was truncated and no copy of it is there: lines that were not read before are lost; reading goes on at its beginning`;
    this.#options.onNotice({ level: 'warn', log: this.log, message });
    this.#open(this.log, false, 0, null);
  }

  #complain(level: SourceNotice['level'], message: string): void {
    if (message === this.#complained) return;
    this.#complained = message;
    this.#options.onNotice({ level, log: this.log, message });
  }
}

/** Bytes of the lines that were told. */
function toldOffset(current: Current): number {
  return current.read - current.lines.unfinished;
}

function identityOf(current: Current): FileIdentity {
  if (current.known !== null) return current.known;
  const head = current.head.subarray(0, Math.min(HEAD, toldOffset(current)));
  return { dev: current.dev, ino: current.ino, head: head.length, fingerprint: fingerprintOf(head) };
}

function lookOf(stat: Stats): string {
  return `${stat.size} ${stat.mtimeMs}`;
}

function isSame(stat: Stats, current: Current): boolean {
  return stat.ino === current.ino && stat.dev === current.dev;
}

/** Null for what is missing, and for what may not be looked at: opening it will tell why. */
function statOf(path: string): Stats | null {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? null;
  } catch {
    return null;
  }
}

/** Offset behind the last newline. */
function endOfLastLine(path: string): number {
  let content: PlainContent;
  try {
    content = new PlainContent(path, 0);
  } catch {
    return 0;
  }
  try {
    return content.lastLineEnd();
  } finally {
    content.close();
  }
}
