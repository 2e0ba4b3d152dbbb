/**
 * Follows log files over rotation: by rename, by copy and truncation, by a symbolic link, while blockd was down.
 *
 * What holds each line to exactly once: a file is left only when the next one has a line to give, and both happen in
 * one step. So the position always stands behind a line that was read, in a file that can be told from all others,
 * and everything after it is found again from there: the rest of that file, then its successors in order of time.
 */
import { type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import { Blocks } from './blocks.js';
import {
  familyOf,
  findByInode,
  findLookalikes,
  type Member,
  oldFoldersOf,
  placesOf,
  statIfAny,
  targetOf,
} from './family.js';
import type { Lines } from './lines.js';
import {
  DamagedFileError,
  type FilePosition,
  hasHeadOf,
  isReadable,
  type LogFile,
  openLogFile,
  PlainLogFile,
} from './log-file.js';
import { mergeSources } from './merge.js';
import type { Chunk, Source, SourceNotice, SourceOptions } from './source.js';
import { Wake } from './wake.js';

const SOON_MS = 50;
/** A renamed file that was not written to for so long has been let go by its writer, as far as can be seen. */
const QUIET_MS = 300;
/** It is looked at for so long after that: a second writer may not have reopened its log yet. */
const LINGER_MS = 60_000;
const MAX_LINGERING = 4;
/** How often a family is looked through that changes meanwhile. */
const MOST_LOOKS = 3;
/** Between rename and create a log is missing; longer than this is worth telling. */
const MISSING_MS = 10_000;
/** Signals and timers must get their turn while a long backlog is read. */
const TURN_MS = 15;

/** @throws UsageError when a path names something that can't be a log. */
export function followFiles(paths: readonly string[], options: SourceOptions): Source {
  for (const path of paths) checkLog(path);
  const blocks = new Blocks();
  return mergeSources([...new Set(paths)].map((path) => new FollowedLog(path, options, blocks)));
}

function checkLog(path: string): void {
  const stats = statIfAny(path);
  if (stats === undefined || stats.isFile()) return;
  const what = stats.isDirectory() ? 'this is a directory' : 'this is no regular file';
  throw new UsageError(`${path}: ${what}; name the mail log itself, such as /var/log/mail.log`);
}

/** What to do when there is no chunk: step again, soon, when something changed, or, having read all, when it grows. */
type Pause = 'again' | 'soon' | 'wait' | 'end';

interface Lingering {
  readonly file: LogFile;
  /** On `performance.now()`'s clock. */
  readonly until: number;
}

class FollowedLog implements Source {
  readonly logs: readonly string[];
  readonly #log: string;
  readonly #options: SourceOptions;
  readonly #blocks: Blocks;
  #isStopped = false;
  #wake: Wake | null = null;
  /** Nothing was ever read: neither now nor in an earlier life. */
  #isNew: boolean;
  /** Its file must be found before anything else is read. */
  #sought: FilePosition | null;
  #file: LogFile | null = null;
  /** Without a file: what last changed before was counted, milliseconds. */
  #countedUntil = Date.now();
  #position: FilePosition | null = null;
  /** In this life. */
  #hasRead = false;
  readonly #lingering: Lingering[] = [];
  /** Bytes in files newer than the one being read. */
  #bytesBehind = 0;
  /** Folder to which rotation moves old files, once one was found there. */
  #oldFolder: string | null = null;
  /** The family when it was last seen to have nothing more. */
  #exhausted = '';
  #missingSince: number | null = null;
  readonly #told = new Set<string>();

  constructor(log: string, options: SourceOptions, blocks: Blocks) {
    this.#log = log;
    this.logs = [log];
    this.#options = options;
    this.#blocks = blocks;
    const position = options.positions.get(log);
    this.#sought = position?.kind === 'file' ? position : null;
    this.#isNew = this.#sought === null;
  }

  async *chunks(): AsyncGenerator<Chunk> {
    if (this.#isStopped) return;
    const wake = new Wake(this.#log, !this.#options.once);
    this.#wake = wake;
    let turnedAt = performance.now();
    try {
      while (!this.#isStopped) {
        const step = await this.#step();
        if (typeof step === 'object') {
          yield step;
        } else if (step === 'end' && this.#options.once) {
          return;
        } else if (step !== 'again') {
          await wake.wait(step === 'soon' ? SOON_MS : undefined);
          turnedAt = performance.now();
        }
        if (performance.now() - turnedAt > TURN_MS) {
          await turn();
          turnedAt = performance.now();
        }
      }
    } finally {
      this.#wake = null;
      wake.close();
      this.#file?.close();
      this.#file = null;
      for (const { file } of this.#lingering.splice(0)) file.close();
    }
  }

  stop(): void {
    this.#isStopped = true;
    this.#wake?.poke();
  }

  async #step(): Promise<Chunk | Pause> {
    if (this.#sought !== null) return this.#find(this.#sought);
    if (this.#isNew) return this.#start();
    const file = this.#file;
    if (file !== null) {
      const lines = await this.#take(file);
      if (lines !== null) return this.#chunk(file, lines);
      if (file.isTruncated) return this.#lookForCopy(file);
    }
    return (await this.#takeLate()) ?? (await this.#advance());
  }

  /** Opens a log never seen before. */
  #start(): Chunk | Pause {
    const live = this.#liveMember();
    if (live === null) {
      this.#isNew = false;
      return 'again';
    }
    const file = this.#open(live);
    if (typeof file === 'string') return file;
    this.#isNew = false;
    this.#file = file;
    if (this.#options.start === 'beginning' || !(file instanceof PlainLogFile)) return 'again';
    file.seekEnd();
    // Says where counting starts, so that a restart before the first line does not start at a later end.
    return this.#chunk(file, { data: Buffer.alloc(0), bytes: 0 });
  }

  /** Opens the file of a position, wherever rotation has put it. */
  #find(position: FilePosition): Pause {
    let file: LogFile | null;
    try {
      file = this.#locate(position);
    } catch (error) {
      return this.#unreadable(error);
    }
    this.#sought = null;
    this.#exhausted = '';
    this.#file = file;
    if (this.#position === null) this.#reopenLate(position);
    this.#position = file?.position ?? position;
    if (file === null) {
      this.#countedUntil = position.changedAt ?? Number.POSITIVE_INFINITY;
      const since = position.changedAt === undefined ? '' : ` after ${new Date(position.changedAt).toISOString()}`;
      this.#tell(
        'warn',
        `${this.#log}: the file read last is gone, or packed in a way that can't be read, so lines written${since} may be lost; reading goes on with the oldest newer file`,
      );
    }
    return 'again';
  }

  #locate(position: FilePosition): LogFile | null {
    const found = this.#search(position, (members) => members);
    const members = this.#family();
    const index = found === null ? -1 : members.findIndex((member) => isSame(member, found));
    this.#bytesBehind = index === -1 ? 0 : sizeOf(members.slice(index + 1));
    return found;
  }

  /** Opens a copy that was made before the last lines came that we have read: nothing in it is new. */
  #locateBegin(file: LogFile, looks = 1): LogFile | null {
    if (!(file instanceof PlainLogFile)) return null;
    const members = this.#family();
    let isChanging = false;
    for (const [index, member] of [...members.entries()].reverse()) {
      if (member.isLive || !isReadable(member)) continue;
      let copy: LogFile | null = null;
      try {
        copy = openLogFile(member, this.#blocks);
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') continue;
      }
      if (copy === null) {
        isChanging = true;
        continue;
      }
      const size = copy.unreadBytes;
      if (size > 0 && size < file.position.offset && copy.resume(file.positionAt(size))) {
        this.#bytesBehind = sizeOf(members.slice(index + 1));
        return copy;
      }
      copy.close();
    }
    // Renamed or packed since we looked.
    return isChanging && looks < MOST_LOOKS ? this.#locateBegin(file, looks + 1) : null;
  }

  /** Opens the files left behind in an earlier life; they are older than the one that was being read. */
  #reopenLate({ late = [] }: FilePosition): void {
    const current = this.#file;
    const olderOf = (members: readonly Member[]) => {
      const index = current === null ? -1 : members.findIndex((member) => isSame(member, current));
      return members.slice(0, index === -1 ? undefined : index).filter(({ isLive }) => !isLive);
    };
    for (const counted of late) {
      try {
        const file = this.#search({ kind: 'file', ...counted }, olderOf);
        if (file !== null) this.#lingering.push({ file, until: performance.now() + LINGER_MS });
      } catch (error) {
        // It must not keep the log itself from being read.
        this.#tell(
          'warn',
          `${this.#log}: a file left earlier can't be read (${reasonOf(error)}); lines still appended to it are not counted`,
        );
      }
    }
  }

  /** Opens the position's file, under whatever name, among what `choose` leaves of the family. */
  #search(position: FilePosition, choose: (members: readonly Member[]) => readonly Member[]): LogFile | null {
    const found = this.#resume(choose(this.#family()), position);
    if (found !== null) return found;
    for (const folder of oldFoldersOf(this.#log)) {
      const file = this.#resume(choose(familyOf(this.#log, folder)), position);
      if (file === null) continue;
      this.#oldFolder = folder;
      return file;
    }
    const renamed = findByInode(this.#log, position.file);
    const beside = this.#resume(
      choose([...(renamed === null ? [] : [renamed]), ...findLookalikes(this.#log)]),
      position,
    );
    const { path } = position;
    const isHere = placesOf(this.#log).some(({ folder, name }) => join(folder, name) === path);
    if (beside !== null || path === undefined || isHere) return beside;
    // The link led elsewhere then: what lies there is no log of ours any more, but was.
    const former = familyOf(path).map((member) => ({ ...member, isLive: false }));
    return this.#resume(choose(former), position);
  }

  /** The first of `members` that has the position's file, the surest first. */
  #resume(members: readonly Member[], position: FilePosition): LogFile | null {
    const isLongEnough = (member: Member) => member.compression !== null || member.size >= position.offset;
    const own = members.filter((member) => isSame(member, position.file));
    // The newest first: with logrotate's `copy` there are several, each longer than the one before.
    const copies = position.file.head === 0 ? [] : members.filter((member) => !own.includes(member)).reverse();
    const all = [...own, ...copies].filter(isReadable);
    for (const member of [...all.filter(isLongEnough), ...all.filter((member) => !isLongEnough(member))]) {
      let file: LogFile | null = null;
      try {
        file = openLogFile(member.isLive ? targetOf(member) : member, this.#blocks);
        if (file?.resume(position)) return file;
      } catch (error) {
        if (own.includes(member) && codeOf(error) !== 'ENOENT') throw error;
      }
      file?.close();
    }
    return null;
  }

  /** The file was emptied under us: what it held and we have not read is in a copy, if anywhere. */
  #lookForCopy(file: LogFile): Pause {
    const { position, unreadBytes } = file;
    file.close();
    this.#file = null;
    this.#exhausted = '';
    try {
      this.#file = this.#locate(position);
      if (this.#file !== null) return 'again';
      this.#file = this.#locateBegin(file);
    } catch (error) {
      this.#sought = position;
      return this.#unreadable(error);
    }
    const hasBegin = this.#file !== null;
    this.#countedUntil = position.changedAt ?? Number.POSITIVE_INFINITY;
    if (unreadBytes > 0) {
      this.#tell(
        'warn',
        `${this.#log}: emptied before its last ${unreadBytes} bytes were read, and no copy of them was found; their lines are lost`,
      );
    } else if (!hasBegin) {
      this.#tell('info', `${this.#log}: emptied, and no copy was found; reading goes on at its beginning`);
    }
    return 'again';
  }

  /** Lines that a writer still appends to a file already left. */
  async #takeLate(): Promise<Chunk | null> {
    for (const late of [...this.#lingering]) {
      const { file } = late;
      const lines = await this.#take(file);
      if (lines !== null) return this.#lateChunk(file, lines);
      if (performance.now() < late.until && !file.isTruncated && file instanceof PlainLogFile) continue;
      const rest = file.isTruncated ? null : file.finish();
      if (rest !== null) return this.#lateChunk(file, rest);
      this.#letGo(late);
    }
    return null;
  }

  #lateChunk({ changedAt: writtenAt, unreadBytes }: LogFile, { data }: Lines): Chunk | null {
    const position = this.#whole();
    if (position === null) return null;
    return { log: this.#log, lines: data, position, writtenAt, lagBytes: unreadBytes + this.#bytesBehind };
  }

  /** How far all is counted: the file being read, and those left for it. */
  #whole(): FilePosition | null {
    if (this.#position === null) return null;
    const { late: _, ...position } = this.#position;
    const late = this.#lingering
      .map(({ file: { position: counted } }) => counted)
      .map(({ kind: _kind, ...one }) => one);
    return late.length === 0 ? position : { ...position, late };
  }

  /** At the end of a file: goes over to the next one when there is one with something in it. */
  async #advance(): Promise<Chunk | Pause> {
    const file = this.#file;
    const live = this.#liveMember();
    if (live !== null && file !== null && isSame(file, live)) return 'end';
    if (live !== null && file !== null && hasHeadOf(live, file.position)) return this.#replaced(file, live);
    const members = this.#family();
    const seen = members.map(({ path, ino, size }) => `${path} ${ino} ${size}`).join('\n');
    if (seen === this.#exhausted) return 'end';
    const successors = this.#successors(members);
    if (file !== null && successors.length > 0 && !isQuiet(file)) return 'soon';
    for (const [index, member] of successors.entries()) {
      const isLast = index === successors.length - 1;
      const next = await this.#begin(member, isLast);
      if (typeof next === 'string') return next;
      if (next === null) continue;
      if (file !== null) {
        // Once more: what came between our last look and the next file's first line.
        const rest = (await this.#take(file)) ?? (file.isTruncated ? null : file.finish());
        if (rest !== null || file.isTruncated) {
          next.file.close();
          return rest === null ? 'again' : this.#chunk(file, rest);
        }
        this.#leave(file);
      }
      this.#file = next.file;
      this.#bytesBehind = sizeOf(successors.slice(index + 1));
      this.#exhausted = '';
      return this.#chunk(next.file, next.lines);
    }
    this.#exhausted = seen;
    return 'end';
  }

  /** An editor, or a restored backup, put a copy of the log in its place: the same lines, and those after them. */
  #replaced(file: LogFile, live: Member): Pause {
    // Shorter: it is still being copied, unless nobody writes to it; then lines were taken out.
    if (live.size < file.position.offset && Date.now() - live.changedAt < QUIET_MS) return 'soon';
    const copy = this.#open(live);
    if (typeof copy === 'string') return copy;
    if (copy.resume(file.position)) {
      this.#leave(file);
      this.#file = copy;
    } else {
      copy.close();
    }
    return 'again';
  }

  /** Files with something in them that are newer than the one being read, oldest first. */
  #successors(members: readonly Member[]): Member[] {
    const file = this.#file;
    let family = members;
    let index = -1;
    let countedUntil = this.#countedUntil;
    if (file !== null) {
      countedUntil = file.changedAt;
      index = indexIn(family, file);
      for (const folder of index === -1 ? oldFoldersOf(this.#log) : []) {
        const withOld = familyOf(this.#log, folder);
        index = indexIn(withOld, file);
        if (index === -1) continue;
        this.#oldFolder = folder;
        family = withOld;
        break;
      }
    }
    const newer =
      index === -1
        ? // Its own place among them is unknown: newer is what changed since. At the same instant, rather newer than lost.
          family.filter(({ isLive, changedAt }) => isLive || changedAt >= countedUntil)
        : family.slice(index + 1);
    return newer.filter((member) => member.size > 0 && !this.#lingering.some(({ file: late }) => isSame(late, member)));
  }

  /** The next file with its first lines; null when it has none to give. */
  async #begin(
    member: Member,
    isLast: boolean,
  ): Promise<{ readonly file: LogFile; readonly lines: Lines } | Pause | null> {
    if (!isReadable(member)) {
      this.#tell(
        'warn',
        `${member.path}: packed with ${member.compression}, which blockd does not read; its lines are not counted`,
      );
      return null;
    }
    const file = this.#open(member);
    if (typeof file === 'string') return file;
    let lines = await this.#take(file);
    while (lines?.data.length === 0) lines = await this.#take(file);
    if (lines === null && !isLast && isQuiet(file)) lines = file.finish();
    if (lines !== null) return { file, lines };
    file.close();
    return isLast || isQuiet(file) ? null : 'soon';
  }

  #leave(file: LogFile): void {
    const late: Lingering = { file, until: performance.now() + LINGER_MS };
    this.#lingering.push(late);
    if (!(file instanceof PlainLogFile) || Date.now() - file.changedAt > LINGER_MS) this.#letGo(late);
    const [oldest] = this.#lingering;
    if (oldest !== undefined && this.#lingering.length > MAX_LINGERING) this.#letGo(oldest);
  }

  #letGo(late: Lingering): void {
    late.file.close();
    this.#lingering.splice(this.#lingering.indexOf(late), 1);
  }

  async #take(file: LogFile): Promise<Lines | null> {
    try {
      return await file.take();
    } catch (error) {
      if (!(error instanceof DamagedFileError)) throw error;
      this.#tell('warn', error.message);
      return null;
    }
  }

  #chunk(file: LogFile, { data, bytes }: Lines): Chunk | Pause {
    this.#position = file.position;
    this.#hasRead = true;
    if (data.length === 0 && bytes > 0) return 'again';
    this.#told.clear();
    return {
      log: this.#log,
      lines: data,
      position: this.#whole() ?? this.#position,
      writtenAt: file.changedAt,
      lagBytes: file.unreadBytes + this.#bytesBehind,
    };
  }

  #family(): Member[] {
    return familyOf(this.#log, this.#oldFolder);
  }

  /** The file that the configured path names now; says so when there has been none for a while. */
  #liveMember(): Member | null {
    let stats: Stats | undefined;
    try {
      stats = statSync(this.#log, { throwIfNoEntry: false });
    } catch (error) {
      this.#unreadable(error);
      return null;
    }
    if (stats?.isFile()) {
      if (this.#missingSince !== null && this.#told.size > 0) {
        this.#told.clear();
        this.#tell('info', `${this.#log}: there it is`);
      }
      this.#missingSince = null;
      const { dev, ino, size, mtimeMs: changedAt } = stats;
      return { path: this.#log, dev, ino, size, changedAt, isLive: true, compression: null };
    }
    this.#missingSince ??= performance.now();
    if (stats !== undefined) {
      this.#tell('error', `${this.#log}: no regular file any more; reading goes on when it is one again`);
    } else if (!this.#hasRead || performance.now() - this.#missingSince > MISSING_MS) {
      this.#tell('warn', `${this.#log}: no such file; it is read from its beginning as soon as it is there`);
    }
    return null;
  }

  #open(member: Member): LogFile | Pause {
    try {
      // Renamed since we looked: look again.
      return openLogFile(member.isLive ? targetOf(member) : member, this.#blocks) ?? 'soon';
    } catch (error) {
      return codeOf(error) === 'ENOENT' ? 'soon' : this.#unreadable(error);
    }
  }

  #unreadable(error: unknown): Pause {
    const { code, path = this.#log } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const advice =
      code === 'EACCES'
        ? '; let blockd read it: on Debian, add its user to the group adm (usermod -aG adm blockd)'
        : '';
    const message = `${path}: can't be read: ${reasonOf(error)}${advice}`;
    if (this.#options.once) throw new UnavailableError(message, { cause: error });
    this.#tell('error', `${message}; tried again until it can, and nothing is skipped`);
    return 'wait';
  }

  /** Once, until all is well again. */
  #tell(level: SourceNotice['level'], message: string): void {
    if (this.#told.has(message)) return;
    this.#told.add(message);
    this.#options.onNotice({ level, log: this.#log, message });
  }
}

function isSame(
  a: { readonly dev: number; readonly ino: number },
  b: { readonly dev: number; readonly ino: number },
): boolean {
  return a.ino === b.ino && a.dev === b.dev;
}

/** By inode, which a file we hold open can't share; or by its bytes, once it was compressed or copied and removed. */
function indexIn(members: readonly Member[], file: LogFile): number {
  const index = members.findIndex((member) => isSame(member, file));
  return index === -1 ? members.findLastIndex((member) => hasHeadOf(member, file.position)) : index;
}

function isQuiet(file: LogFile): boolean {
  return Date.now() - file.changedAt >= QUIET_MS || performance.now() - file.grewAt >= QUIET_MS;
}

function sizeOf(members: readonly Member[]): number {
  return members.reduce((sum, { size }) => sum + size, 0);
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
