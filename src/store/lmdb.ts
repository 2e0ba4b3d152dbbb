/**
 * The embedded store: LMDB in a folder, nothing to install or run beside it. Several processes may open it at once;
 * LMDB's writer lock makes each commit one step, and a commit that returned is on disk.
 */
import { writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Database, RangeOptions } from 'lmdb';
import type { Ban } from '../domain/ban.js';
import { BlockdError, DamagedError, reasonOf, UnavailableError } from '../domain/errors.js';
import { eachInTurns } from '../domain/turns.js';
import type { Change } from '../policy/outcome.js';
import { type AllowEntry, type Evidence, MAX_EVIDENCE, type SubjectState } from '../policy/state.js';
import { StateCache } from './lmdb-cache.js';
import { damaged, isFault, makeFolder, NO_SPACE, requireRoomFor, unavailable } from './lmdb-file.js';
import { requireSoundPages } from './lmdb-pages.js';
import { Tables } from './lmdb-tables.js';
import { type Remembered, type Stored, textOf } from './lmdb-text.js';
import { WriterThread } from './lmdb-thread.js';
import { type Answer, type SubjectRow, type Writing, write } from './lmdb-writing.js';
import { newerStore } from './schema.js';
import { evidenceOf, evidenceText, type Outcome, type Progress, StaleProgressError, type Store } from './store.js';

/** How often watchers look at the counter of changes: one read from memory-mapped pages. */
const WATCH_MS = 250;
/** Entries that pruning looks at in one turn, so that the event loop is not held up. */
const SWEEP_BATCH = 500;
/** How often a commit is tried beside others who write; then it holds LMDB's lock while it is decided. */
const MOST_CONFLICTS = 5;

type Decide = (states: ReadonlyMap<string, SubjectState>) => Outcome;

/** What a commit would write, and leave. */
interface Draft {
  readonly outcome: Outcome;
  readonly writing: Writing;
  readonly changed: ReadonlyMap<string, Remembered | null>;
}

/** A draft that is good as long as the store is of the revision `after`. */
interface DatedDraft extends Draft {
  readonly after: number;
}

interface UnderWay {
  /** As it was decided last; null until it is decided, and when it must be anew. */
  draft: DatedDraft | null;
  /** The thread has it. */
  isSent: boolean;
  done: Promise<Outcome>;
}

const NOTHING_DONE: Promise<Outcome> = Promise.resolve({});

export interface LmdbOptions {
  /** Commits wait for the disk in a thread of their own. For who has an event loop to keep turning. */
  readonly ownThread?: boolean | undefined;
}

export class LmdbStore implements Store {
  readonly url: string;
  readonly #folder: string;
  readonly #tables: Tables;
  readonly #thread: WriterThread | null;
  readonly #cache = new StateCache();
  /** This process's commits, by what they were answered with or will be. */
  readonly #begun = new WeakMap<Promise<Outcome>, UnderWay>();
  readonly #watchers = new Set<NodeJS.Timeout>();
  /** The last commit found the disk full. */
  #full = false;

  /** @throws UsageError when the path can't be a folder, UnavailableError when it can't be used. */
  static open(path: string, options: LmdbOptions = {}): LmdbStore {
    const folder = resolve(path);
    makeFolder(folder);
    try {
      return new LmdbStore(folder, options);
    } catch (error) {
      throw error instanceof BlockdError ? error : unavailable(folder, error);
    }
  }

  private constructor(folder: string, { ownThread }: LmdbOptions) {
    this.url = `lmdb:${folder}`;
    this.#folder = folder;
    this.#tables = new Tables(folder);
    this.#thread = ownThread === true ? new WriterThread(folder) : null;
  }

  commit(subjects: readonly string[], decide: Decide): Promise<Outcome> {
    return this.#begin(null, subjects, decide);
  }

  commitBehind(before: Promise<Outcome>, subjects: readonly string[], decide: Decide): Promise<Outcome> {
    return this.#begin(this.#begun.get(before) ?? null, subjects, decide);
  }

  #begin(before: UnderWay | null, subjects: readonly string[], decide: Decide): Promise<Outcome> {
    const own: UnderWay = { draft: null, isSent: false, done: NOTHING_DONE };
    own.done = this.#committed(own, before, subjects, decide);
    this.#begun.set(own.done, own);
    return own.done;
  }

  /** Decided beside others who may write meanwhile, and then anew. */
  async #committed(own: UnderWay, before: UnderWay | null, subjects: readonly string[], decide: Decide) {
    if (before !== null) {
      const base = before.isSent ? before.draft : null;
      own.draft = base && this.#read(() => this.#draftedOn(base, subjects, decide));
      await before.done;
      // It was decided anew, and what builds on it must be too.
      if (before.draft !== base) own.draft = null;
    }
    for (let conflicts = 0; this.#thread !== null && conflicts < MOST_CONFLICTS; conflicts++) {
      own.draft ??= this.#read(() => this.#drafted(subjects, decide));
      const { writing, after, changed, outcome } = own.draft;
      own.isSent = true;
      const answer = await this.#write({ ...writing, after });
      if (answer.type === 'stale') throw new StaleProgressError(answer.log);
      if (answer.type === 'done') {
        this.#cache.wrote(after, changed);
        return outcome;
      }
      own.draft = null;
      own.isSent = false;
    }
    return this.#commitAtOnce(subjects, decide);
  }

  /** Holds LMDB's lock while it is decided. */
  #commitAtOnce(subjects: readonly string[], decide: Decide): Outcome {
    const [outcome, answer] = this.#transact(() => {
      const { outcome, writing } = draftOf(subjects, decide, (subject) => this.#stored(subject));
      return [outcome, write(this.#tables, writing)] as const;
    });
    this.#requireKnown(answer);
    if (answer.type === 'stale') throw new StaleProgressError(answer.log);
    return outcome;
  }

  async states(subjects: readonly string[]): Promise<Map<string, SubjectState>> {
    return this.#read(() => {
      const states = new Map<string, SubjectState>();
      for (const subject of subjects) {
        const stored = this.#stored(subject);
        if (stored !== null) states.set(subject, stored.state);
      }
      return states;
    });
  }

  async evidence(subject: string): Promise<Evidence[]> {
    return this.#read(() => evidenceOf(this.#tables.evidence.get(subject) ?? '').reverse());
  }

  async bans(since: number): Promise<Ban[]> {
    const bans: Ban[] = [];
    const transaction = this.#read(() => this.#tables.root.useReadTransaction());
    try {
      // One picture, although others run and commit in between: there may be a hundred thousand.
      await eachInTurns(this.#tables.bans.getRange({ start: [since + 1, ''], transaction }), ({ value }) => {
        bans.push(parse<Ban>(value));
      });
    } catch (error) {
      throw isFault(error) ? unavailable(this.#folder, error) : error;
    } finally {
      transaction.done();
    }
    return bans;
  }

  async endedBans(at: number, limit: number): Promise<string[]> {
    const { ends } = this.#tables;
    return this.#read(() => [...ends.getKeys({ end: [at + 1, ''], limit })].map(([, subject]) => subject));
  }

  async allowed(): Promise<AllowEntry[]> {
    return this.#read(() => [...this.#tables.allow.getRange()].map(({ value }) => parse<AllowEntry>(value)));
  }

  async progress(host: string): Promise<Map<string, Progress>> {
    return this.#read(() => {
      const all = [...this.#tables.progress.getRange()].map(({ value }) => parse<Progress>(value));
      return new Map(all.filter((one) => one.host === host).map((one) => [one.log, one]));
    });
  }

  async hosts(): Promise<string[]> {
    return this.#read(() => {
      const all = [...this.#tables.progress.getRange()].map(({ value }) => parse<Progress>(value).host);
      return [...new Set(all)];
    });
  }

  async changesSince(cursor: string | null) {
    return this.#read(() => {
      const newest = this.#tables.newestChange;
      const present = String(newest);
      if (cursor === null) return { changes: [], cursor: present, gap: false };
      const after = Number(cursor);
      // It only ever grows. LMDB tells nobody that what it reads is none of its pages: there are just no changes there.
      if (after > newest) this.#requireSoundPages();
      const [oldest] = this.#tables.changes.getKeys({ limit: 1 });
      const gap = !(after <= newest) || (after < newest && after + 1 < (oldest ?? 0));
      if (gap) return { changes: [], cursor: present, gap };
      const range = this.#tables.changes.getRange({ start: after + 1 });
      return { changes: [...range].map(({ value }) => parse<Change>(value)), cursor: present, gap };
    });
  }

  watch(onChange: () => void): () => Promise<void> {
    let seen = this.#read(() => this.#tables.newestChange);
    const timer = setInterval(() => {
      try {
        const newest = this.#read(() => this.#tables.newestChange);
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
    const newest = () => [...this.#tables.changes.getRange({ reverse: true, limit })];
    return this.#read(() => newest().map(({ value }) => parse<Change>(value)));
  }

  async counts(at: number) {
    return this.#read(() => ({
      scored: this.#tables.subjects.getKeysCount(),
      banned: this.#tables.ends.getKeysCount({ start: [at + 1, ''] }),
    }));
  }

  async top(limit: number): Promise<string[]> {
    const { ranks } = this.#tables;
    return this.#read(() => [...ranks.getKeys({ reverse: true, limit })].map(([, subject]) => subject));
  }

  async prune(idle: (subject: string, state: SubjectState) => boolean, at: number, keepMs: number): Promise<number> {
    let forgotten = 0;
    for await (const batch of this.#inBatches(this.#tables.subjects)) {
      const subjects = batch.flatMap(([subject, text]) => {
        const stored = parse<Stored>(text);
        return idle(subject, stored.state) ? [{ ...rowOf(subject, stored, null).row, was: text }] : [];
      });
      // Whoever was seen again meanwhile stays: the next pruning looks anew.
      if (subjects.length > 0) forgotten += doneBy(await this.#write({ after: null, subjects }));
    }
    for await (const batch of this.#inBatches(this.#tables.evidence)) {
      const trimmed = batch.flatMap(([subject, lines]) => {
        const kept = lines.split('\n').filter((line) => parse<Evidence>(line).at > at - keepMs);
        const left = kept.join('\n');
        return left === lines ? [] : [[subject, lines, left] as const];
      });
      if (trimmed.length > 0) await this.#write({ after: null, trimmed });
    }
    await this.#forgetChanges(at - keepMs);
    return forgotten;
  }

  /** All but the newest, by which readers know that they have missed nothing. */
  async #forgetChanges(before: number): Promise<void> {
    const { changes } = this.#tables;
    for (;;) {
      const oldest = this.#read(() => [...changes.getRange({ limit: SWEEP_BATCH, end: this.#tables.newestChange })]);
      // As they came: the first that stays ends it.
      const stays = oldest.findIndex(({ value }) => parse<Change>(value).at > before);
      const forgotten = (stays < 0 ? oldest : oldest.slice(0, stays)).map(({ key }) => key);
      if (forgotten.length === 0) return;
      await this.#write({ after: null, forgotten });
      await nextTurn();
    }
  }

  async rewrite(
    convert: (state: SubjectState) => { readonly state: SubjectState; readonly rank: number },
  ): Promise<void> {
    const answer = this.#transact(() => {
      const subjects = [...this.#tables.subjects.getRange()].map(({ key, value }) => {
        const { state, rank } = convert(parse<Stored>(value).state);
        return rowOf(key, parse<Stored>(value), { state, rank: finite(rank) }).row;
      });
      return write(this.#tables, { after: null, subjects });
    });
    this.#requireKnown(answer);
  }

  async note(name: string): Promise<unknown> {
    return this.#read(() => {
      const text = this.#tables.notes.get(name);
      return text === undefined ? null : parse(text);
    });
  }

  async setNote(name: string, value: unknown): Promise<void> {
    await this.#write({ after: null, notes: [[name, JSON.stringify(value)]] });
  }

  async risks() {
    return [];
  }

  async close(): Promise<void> {
    for (const timer of this.#watchers) clearInterval(timer);
    await this.#thread?.close();
    await this.#tables.root.close();
  }

  /** What is decided from the present states. */
  #drafted(subjects: readonly string[], decide: Decide): DatedDraft {
    const after = this.#tables.revision;
    this.#cache.turnTo(after);
    return { ...draftOf(subjects, decide, (subject) => this.#cached(subject)), after };
  }

  /** What is decided from the states that `base` leaves when it is written; null when others have written already. */
  #draftedOn(base: DatedDraft, subjects: readonly string[], decide: Decide): DatedDraft | null {
    const { revision } = this.#tables;
    const after = base.after + 1;
    if (revision !== base.after && revision !== after) return null;
    // What `base` leaves alone is the same before and behind it.
    this.#cache.turnTo(base.after);
    const storedOf = (subject: string) => {
      const left = base.changed.get(subject);
      return left === undefined ? this.#cached(subject) : left;
    };
    return { ...draftOf(subjects, decide, storedOf), after };
  }

  #cached(subject: string): Remembered | null {
    const known = this.#cache.get(subject);
    if (known !== undefined) return known;
    const stored = this.#stored(subject);
    this.#cache.add(subject, stored);
    return stored;
  }

  #stored(subject: string): Stored | null {
    const text = this.#tables.subjects.get(subject);
    return text === undefined ? null : parse<Stored>(text);
  }

  async *#inBatches(table: Database<string, string>): AsyncGenerator<[string, string][]> {
    let start: string | null = null;
    for (;;) {
      const range: RangeOptions = { ...(start !== null && { start, exclusiveStart: true }), limit: SWEEP_BATCH };
      const batch: [string, string][] = this.#read(() =>
        [...table.getRange(range)].map(({ key, value }) => [key, value]),
      );
      yield batch;
      if (batch.length < SWEEP_BATCH) return;
      start = batch.at(-1)?.[0] ?? null;
      await nextTurn();
    }
  }

  #read<T>(work: () => T): T {
    try {
      // What other processes committed is seen by a new snapshot only.
      this.#tables.root.resetReadTxn();
      return work();
    } catch (error) {
      throw isFault(error) ? unavailable(this.#folder, error) : error;
    }
  }

  async #write(writing: Writing): Promise<Answer> {
    if (this.#thread === null) return this.#requireKnown(this.#transact(() => write(this.#tables, writing)));
    this.#beforeWriting();
    try {
      return this.#requireKnown(await this.#thread.write(writing));
    } catch (error) {
      throw this.#writingFailed(error);
    }
  }

  #requireSoundPages(): void {
    try {
      requireSoundPages(this.#folder);
    } catch (error) {
      throw error instanceof DamagedError ? damaged(this.#folder, error) : error;
    }
  }

  #requireKnown(answer: Answer): Answer {
    if (answer.type === 'newer') throw newerStore(this.url, answer.version);
    return answer;
  }

  #transact<T>(work: () => T): T {
    this.#beforeWriting();
    try {
      return this.#tables.root.transactionSync(work);
    } catch (error) {
      throw this.#writingFailed(error);
    }
  }

  #beforeWriting(): void {
    // Each try on a full disk makes LMDB complain to stderr by itself.
    if (this.#full) requireRoomFor(this.#folder);
    this.#full = false;
  }

  #writingFailed(error: unknown): unknown {
    this.#full = NO_SPACE.test(reasonOf(error));
    // That complaint has no newline, and our own line about it would run into it.
    if (this.#full) writeSync(2, '\n');
    return isFault(error) ? unavailable(this.#folder, error) : error;
  }
}

function draftOf(subjects: readonly string[], decide: Decide, storedOf: (subject: string) => Remembered | null): Draft {
  const before = new Map<string, Remembered>();
  const states = new Map<string, SubjectState>();
  for (const subject of subjects) {
    const stored = storedOf(subject);
    if (stored === null) continue;
    before.set(subject, stored);
    states.set(subject, stored.state);
  }
  const outcome = decide(states);
  const changed = new Map<string, Remembered | null>();
  const rows: SubjectRow[] = [];
  for (const [subject, state] of outcome.put ?? []) {
    const after = state && { state, rank: finite(outcome.ranks?.get(subject)) };
    const { row, stored } = rowOf(subject, before.get(subject) ?? storedOf(subject), after);
    changed.set(subject, stored);
    rows.push(row);
  }
  return { outcome, writing: { ...textsOf(outcome), subjects: rows, after: null }, changed };
}

function rowOf(
  subject: string,
  before: Remembered | null,
  after: Stored | null,
): { readonly row: SubjectRow; readonly stored: Remembered | null } {
  const [oldBan, newBan] = [before?.state.ban ?? null, after?.state.ban ?? null];
  const { text, stored } = after === null ? { text: null, stored: null } : textOf(after, before);
  const row = {
    subject,
    text,
    oldEnd: oldBan?.until ?? null,
    newEnd: newBan?.until ?? null,
    ban: newBan === null || newBan === oldBan ? null : JSON.stringify(newBan),
    oldRank: before?.rank ?? null,
    newRank: after?.rank ?? null,
  };
  return { row, stored };
}

function textsOf(outcome: Outcome): Omit<Writing, 'after' | 'subjects'> {
  const { progress, evidence, allow, disallow, notes, changes } = outcome;
  return {
    ...(progress && {
      progress: progress.map((one) => ({
        key: progressKey(one),
        log: one.log,
        after: one.after,
        text: JSON.stringify(one),
      })),
    }),
    ...(evidence && {
      // Older ones than the newest would be cut off again.
      evidence: [...evidence].map(([subject, lines]) => [
        subject,
        lines.slice(-MAX_EVIDENCE).map(evidenceText).join('\n'),
      ]),
    }),
    ...(allow && { allow: allow.map((one) => [one.entry, JSON.stringify(one)]) }),
    ...(disallow && { disallow }),
    ...(notes && { notes: [...notes].map(([name, value]) => [name, value === null ? null : JSON.stringify(value)]) }),
    ...(changes && { changes: changes.map((one) => JSON.stringify(one)) }),
  };
}

function doneBy(answer: Answer): number {
  return answer.type === 'done' ? answer.subjects : 0;
}

/** @throws SyntaxError for what no blockd wrote. */
function parse<T>(text: string): T {
  return JSON.parse(text) as T;
}

/** Adding 0 turns -0, which LMDB's keys tell from 0, into 0. */
function finite(rank: number | undefined): number | null {
  return rank !== undefined && Number.isFinite(rank) ? rank + 0 : null;
}

function progressKey({ host, log }: Progress): string {
  // Loaded for who commits: those who only look, as most of blockctl does, need none of it.
  const { createHash } = process.getBuiltinModule('node:crypto');
  return createHash('sha256')
    .update(JSON.stringify([host, log]))
    .digest('hex');
}
