/**
 * The embedded store: LMDB in a folder, nothing to install or run beside it. Several processes may open it at once;
 * LMDB's writer lock makes each commit one step, and a commit that returned is on disk.
 */
import { createHash } from 'node:crypto';
import { chownSync, closeSync, mkdirSync, openSync, readSync, statfsSync, statSync, writeSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Database, open, type RootDatabase } from 'lmdb';
import type { Ban } from '../domain/ban.js';
import { BlockdError, DamagedError, reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import { eachInTurns } from '../domain/turns.js';
import type { Change } from '../policy/outcome.js';
import type { AllowEntry, Evidence, SubjectState } from '../policy/state.js';
import { MAX_CHANGES, MAX_EVIDENCE, type Outcome, type Progress, StaleProgressError, type Store } from './store.js';

/** How often watchers look at the counter of changes: one read from memory-mapped pages. */
const WATCH_MS = 200;
/** Bytes that a new store's first pages take, with some to spare. */
const ROOM_FOR_A_NEW_STORE = 262_144;
/** Entries that one transaction of pruning takes, so that neither the daemon's commits nor its event loop are held up. */
const SWEEP_BATCH = 500;

interface Stored {
  readonly state: SubjectState;
  readonly rank: number | null;
}

export const TABLES = ['subjects', 'ends', 'ranks', 'evidence', 'changes', 'allow', 'progress', 'notes'] as const;

export class LmdbStore implements Store {
  readonly url: string;
  readonly #folder: string;
  readonly #root: RootDatabase<unknown, string>;
  readonly #subjects: Database<Stored, string>;
  /** [until, subject] of stored bans. */
  readonly #ends: Database<boolean, [number, string]>;
  /** [rank, subject] of scored subjects. */
  readonly #ranks: Database<boolean, [number, string]>;
  readonly #evidence: Database<Evidence[], string>;
  readonly #changes: Database<Change, number>;
  readonly #allow: Database<AllowEntry, string>;
  /** By a digest of host and log: a path may be longer than a key of LMDB. */
  readonly #progress: Database<Progress, string>;
  readonly #notes: Database<unknown, string>;
  readonly #watchers = new Set<NodeJS.Timeout>();
  /** The last commit found the disk full. */
  #full = false;

  /** @throws UsageError when the path can't be a folder, UnavailableError when it can't be used. */
  static open(path: string): LmdbStore {
    const folder = resolve(path);
    makeFolder(folder);
    try {
      return new LmdbStore(folder);
    } catch (error) {
      throw error instanceof BlockdError ? error : unavailable(folder, error);
    }
  }

  private constructor(folder: string) {
    this.url = `lmdb:${folder}`;
    this.#folder = folder;
    this.#root = openEnvironment(folder);
    const table = <V, K extends string | number | [number, string]>(name: (typeof TABLES)[number]) =>
      this.#root.openDB<V, K>({ name, encoding: 'json' });
    this.#subjects = table('subjects');
    this.#ends = table('ends');
    this.#ranks = table('ranks');
    this.#evidence = table('evidence');
    this.#changes = table('changes');
    this.#allow = table('allow');
    this.#progress = table('progress');
    this.#notes = table('notes');
  }

  async commit(
    subjects: readonly string[],
    decide: (states: ReadonlyMap<string, SubjectState>) => Outcome,
  ): Promise<Outcome> {
    return this.#write(() => {
      const before = this.#readMany(subjects);
      const outcome = decide(new Map([...before].map(([subject, { state }]) => [subject, state])));
      for (const one of outcome.progress ?? []) {
        const key = progressKey(one);
        if ((this.#progress.get(key)?.commit ?? null) !== one.after) throw new StaleProgressError(one.log);
        this.#progress.putSync(key, one);
      }
      for (const [subject, state] of outcome.put ?? []) {
        const known = before.get(subject) ?? this.#subjects.get(subject);
        if (state === null) this.#forget(subject, known);
        else this.#put(subject, known, { state, rank: finite(outcome.ranks?.get(subject)) });
      }
      for (const [subject, lines] of outcome.evidence ?? []) {
        this.#evidence.putSync(subject, [...(this.#evidence.get(subject) ?? []), ...lines].slice(-MAX_EVIDENCE));
      }
      for (const entry of outcome.allow ?? []) this.#allow.putSync(entry.entry, entry);
      for (const entry of outcome.disallow ?? []) this.#allow.removeSync(entry);
      for (const [name, value] of outcome.notes ?? []) {
        if (value === null) this.#notes.removeSync(name);
        else this.#notes.putSync(name, value);
      }
      this.#record(outcome.changes ?? []);
      return outcome;
    });
  }

  async states(subjects: readonly string[]): Promise<Map<string, SubjectState>> {
    return this.#read(() => new Map([...this.#readMany(subjects)].map(([subject, { state }]) => [subject, state])));
  }

  async evidence(subject: string): Promise<Evidence[]> {
    return this.#read(() => (this.#evidence.get(subject) ?? []).toReversed());
  }

  async bans(since: number): Promise<Ban[]> {
    const bans: Ban[] = [];
    const transaction = this.#read(() => this.#root.useReadTransaction());
    try {
      // One picture, although others run and commit in between: there may be a hundred thousand.
      await eachInTurns(this.#ends.getKeys({ start: [since + 1, ''], transaction }), ([, subject]) => {
        const ban = this.#subjects.get(subject, { transaction })?.state.ban;
        if (ban) bans.push(ban);
      });
    } catch (error) {
      throw isFault(error) ? unavailable(this.#folder, error) : error;
    } finally {
      transaction.done();
    }
    return bans;
  }

  async endedBans(at: number, limit: number): Promise<string[]> {
    return this.#read(() => [...this.#ends.getKeys({ end: [at + 1, ''], limit })].map(([, subject]) => subject));
  }

  async allowed(): Promise<AllowEntry[]> {
    return this.#read(() => [...this.#allow.getRange()].map(({ value }) => value));
  }

  async progress(host: string): Promise<Map<string, Progress>> {
    return this.#read(() => {
      const own = [...this.#progress.getRange()].filter(({ value }) => value.host === host);
      return new Map(own.map(({ value }) => [value.log, value]));
    });
  }

  async changesSince(cursor: string | null) {
    return this.#read(() => {
      const newest = this.#newestChange();
      const present = String(newest);
      if (cursor === null) return { changes: [], cursor: present, gap: false };
      const after = Number(cursor);
      const [oldest] = this.#changes.getKeys({ limit: 1 });
      const gap = !(after <= newest) || (after < newest && after + 1 < (oldest ?? 0));
      if (gap) return { changes: [], cursor: present, gap };
      const changes = [...this.#changes.getRange({ start: after + 1 })].map(({ value }) => value);
      return { changes, cursor: present, gap };
    });
  }

  watch(onChange: () => void): () => Promise<void> {
    let seen = this.#read(() => this.#newestChange());
    const timer = setInterval(() => {
      try {
        const newest = this.#read(() => this.#newestChange());
        if (newest === seen) return;
        seen = newest;
      } catch (error) {
        // Whoever reads or commits next is told; the look after that may succeed again.
        if (error instanceof UnavailableError) return;
        throw error;
      }
      onChange();
    }, WATCH_MS);
    this.#watchers.add(timer);
    return async () => {
      clearInterval(timer);
      this.#watchers.delete(timer);
    };
  }

  async history(limit: number): Promise<Change[]> {
    return this.#read(() => [...this.#changes.getRange({ reverse: true, limit })].map(({ value }) => value));
  }

  async counts(at: number) {
    return this.#read(() => ({
      scored: this.#subjects.getKeysCount(),
      banned: this.#ends.getKeysCount({ start: [at + 1, ''] }),
    }));
  }

  async top(limit: number): Promise<string[]> {
    return this.#read(() => [...this.#ranks.getKeys({ reverse: true, limit })].map(([, subject]) => subject));
  }

  async prune(idle: (subject: string, state: SubjectState) => boolean, at: number, keepMs: number): Promise<number> {
    let forgotten = 0;
    await this.#inBatches(this.#subjects, (subject, stored) => {
      if (!idle(subject, stored.state)) return;
      this.#forget(subject, stored);
      forgotten++;
    });
    await this.#inBatches(this.#evidence, (subject, lines) => {
      const kept = lines.filter((line) => line.at > at - keepMs);
      if (kept.length === lines.length) return;
      if (kept.length > 0) this.#evidence.putSync(subject, kept);
      else this.#evidence.removeSync(subject);
    });
    return forgotten;
  }

  async rewrite(
    convert: (state: SubjectState) => { readonly state: SubjectState; readonly rank: number },
  ): Promise<void> {
    await this.#write(() => {
      for (const { key, value } of [...this.#subjects.getRange()]) {
        const { state, rank } = convert(value.state);
        this.#put(key, value, { state, rank: finite(rank) });
      }
    });
  }

  async note(name: string): Promise<unknown> {
    return this.#read(() => this.#notes.get(name) ?? null);
  }

  async setNote(name: string, value: unknown): Promise<void> {
    await this.#write(() => {
      this.#notes.putSync(name, value);
    });
  }

  async close(): Promise<void> {
    for (const timer of this.#watchers) clearInterval(timer);
    await this.#root.close();
  }

  #readMany(subjects: readonly string[]): Map<string, Stored> {
    const found = new Map<string, Stored>();
    for (const subject of subjects) {
      const stored = this.#subjects.get(subject);
      if (stored !== undefined) found.set(subject, stored);
    }
    return found;
  }

  #put(subject: string, before: Stored | undefined, after: Stored): void {
    const [oldEnd, newEnd] = [before?.state.ban?.until, after.state.ban?.until];
    if (oldEnd !== newEnd) {
      if (oldEnd !== undefined) this.#ends.removeSync([oldEnd, subject]);
      if (newEnd !== undefined) this.#ends.putSync([newEnd, subject], true);
    }
    const oldRank = before?.rank ?? null;
    if (oldRank !== after.rank) {
      if (oldRank !== null) this.#ranks.removeSync([oldRank, subject]);
      if (after.rank !== null) this.#ranks.putSync([after.rank, subject], true);
    }
    this.#subjects.putSync(subject, after);
  }

  #forget(subject: string, before: Stored | undefined): void {
    if (before === undefined) return;
    if (before.state.ban !== null) this.#ends.removeSync([before.state.ban.until, subject]);
    if (before.rank !== null) this.#ranks.removeSync([before.rank, subject]);
    this.#subjects.removeSync(subject);
    this.#evidence.removeSync(subject);
  }

  #newestChange(): number {
    const [newest] = this.#changes.getKeys({ reverse: true, limit: 1 });
    return newest ?? 0;
  }

  #record(changes: readonly Change[]): void {
    let sequence = this.#newestChange();
    for (const change of changes) this.#changes.putSync(++sequence, change);
    if (changes.length === 0) return;
    const old = [...this.#changes.getKeys({ end: sequence - MAX_CHANGES + 1 })];
    for (const key of old) this.#changes.removeSync(key);
  }

  async #inBatches<V>(table: Database<V, string>, visit: (key: string, value: V) => void): Promise<void> {
    let start: string | null = null;
    for (;;) {
      const last: string | null = await this.#write(() => {
        const batch = [
          ...table.getRange({ ...(start !== null && { start, exclusiveStart: true }), limit: SWEEP_BATCH }),
        ];
        for (const { key, value } of batch) visit(key, value);
        return batch.length < SWEEP_BATCH ? null : (batch.at(-1)?.key ?? null);
      });
      if (last === null) return;
      start = last;
      await nextTurn();
    }
  }

  #read<T>(work: () => T): T {
    try {
      // What other processes committed is seen by a new snapshot only.
      this.#root.resetReadTxn();
      return work();
    } catch (error) {
      throw isFault(error) ? unavailable(this.#folder, error) : error;
    }
  }

  async #write<T>(work: () => T): Promise<T> {
    // Each try on a full disk makes LMDB complain to stderr by itself.
    if (this.#full) requireRoomFor(this.#folder);
    this.#full = false;
    try {
      return this.#root.transactionSync(work);
    } catch (error) {
      this.#full = NO_SPACE.test(reasonOf(error));
      // That complaint has no newline, and our own line about it would run into it.
      if (this.#full) writeSync(2, '\n');
      throw isFault(error) ? unavailable(this.#folder, error) : error;
    }
  }
}

/** LMDB's and the file system's errors carry a code; anything else is not the store's fault. */
function isFault(error: unknown): boolean {
  return (
    error instanceof Error && ('code' in error || error instanceof SyntaxError || error.message.startsWith('MDB_'))
  );
}

const NO_SPACE = /no space left|disk quota exceeded/i;
/** mdb_strerror() of what only a damaged file brings about. */
export const DAMAGE = /MDB_(?:CORRUPTED|PROBLEM|PAGE_NOTFOUND|PANIC|INVALID|VERSION_MISMATCH|CURSOR_FULL|BAD_TXN)/;

/** Adding 0 turns -0, which LMDB's keys tell from 0, into 0. */
function finite(rank: number | undefined): number | null {
  return rank !== undefined && Number.isFinite(rank) ? rank + 0 : null;
}

function progressKey({ host, log }: Progress): string {
  return createHash('sha256')
    .update(JSON.stringify([host, log]))
    .digest('hex');
}

/**
 * Opens data and lock file, readable by the folder's owner and group. When root is first, as with `sudo blockctl`, he
 * leaves them to the owner of the folder, or the daemon could not open its own store.
 */
function openEnvironment(folder: string): RootDatabase<unknown, string> {
  requireRoom(folder);
  requireWhole(folder);
  const umask = process.umask(0o027);
  try {
    // JSON keeps doubles exactly and can be read by a person with mdb_dump. Without overlapping sync a commit returns
    // when it is on disk, as in plain LMDB.
    return open<unknown, string>({
      path: folder,
      encoding: 'json',
      maxDbs: 16,
      noSubdir: false,
      overlappingSync: false,
    });
  } finally {
    process.umask(umask);
    const { uid, gid } = statSync(folder);
    if (process.getuid?.() === 0 && uid !== 0) {
      for (const name of ['data.mdb', 'lock.mdb']) {
        const path = join(folder, name);
        if (statSync(path, { throwIfNoEntry: false })?.uid === 0) chownSync(path, uid, gid);
      }
    }
  }
}

/** LMDB maps its lock file into memory: pages that a full disk could not give would end the process by SIGBUS. */
export function requireRoom(folder: string): void {
  const lock = statSync(join(folder, 'lock.mdb'), { throwIfNoEntry: false });
  if (lock === undefined || lock.blocks * 512 < lock.size) requireRoomFor(folder);
}

function requireRoomFor(folder: string): void {
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= ROOM_FOR_A_NEW_STORE) return;
  throw new UnavailableError(`store lmdb:${folder} can't be used: no space left on the device`);
}

/**
 * Opening what is no LMDB file, or only its beginning, would end the process by a signal, so the head is looked at
 * first: both meta pages, and that the roots of the newer one lie within the file (mdb.c, `MDB_meta`).
 */
export function requireWhole(folder: string): void {
  const path = join(folder, 'data.mdb');
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0 || !['x64', 'arm64'].includes(process.arch)) return;
  const first = metaAt(path, 0);
  const second = first && metaAt(path, first.pageSize);
  const newer = first && second && (second.transaction > first.transaction ? second : first);
  if (newer?.roots.every((root) => root === NO_PAGE || (root + 1n) * BigInt(newer.pageSize) <= size)) return;
  throw new DamagedError(
    `store lmdb:${folder} can't be used: data.mdb is damaged; restart blockd, which sets it aside and goes on without it`,
  );
}

const META_MAGIC = 0xbeefc0de;
const META_BYTES = 160;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;

function metaAt(path: string, offset: number) {
  const page = Buffer.alloc(META_BYTES);
  const file = openSync(path, 'r');
  try {
    if (readSync(file, page, 0, META_BYTES, offset) < META_BYTES || page.readUInt32LE(24) !== META_MAGIC) return null;
  } finally {
    closeSync(file);
  }
  const roots = [page.readBigUInt64LE(88), page.readBigUInt64LE(136)];
  return { pageSize: page.readUInt32LE(48), roots, transaction: page.readBigUInt64LE(152) };
}

export function makeFolder(folder: string): void {
  try {
    makeFolders(folder);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EEXIST') {
      throw new UsageError(`store lmdb:${folder}: this is a file; name a folder`);
    }
    throw new UnavailableError(`store lmdb:${folder}: the folder can't be made: ${reasonOf(error)}`, { cause: error });
  }
}

/** Not `recursive: true`: where the system itself makes no folders, as in /proc, Node 20 tries that for ever. */
function makeFolders(folder: string): void {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return;
  const parent = dirname(folder);
  if (parent !== folder && statSync(parent, { throwIfNoEntry: false }) === undefined) makeFolders(parent);
  try {
    mkdirSync(folder, { mode: 0o750 });
  } catch (error) {
    // Another process may have made it meanwhile.
    if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}

function unavailable(folder: string, error: unknown): Error {
  if (NO_SPACE.test(reasonOf(error))) {
    return new UnavailableError(`store lmdb:${folder} can't be used: no space left on the device`, { cause: error });
  }
  if (error instanceof SyntaxError || DAMAGE.test(reasonOf(error))) {
    return new DamagedError(
      `store lmdb:${folder}: data.mdb is damaged (${reasonOf(error)}); restart blockd, which sets it aside and goes on without it`,
      { cause: error },
    );
  }
  return new UnavailableError(`store lmdb:${folder} can't be used: ${reasonOf(error)}`, { cause: error });
}
