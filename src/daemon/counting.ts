/**
 * From lines to committed scores: every line counts exactly once, since its points and the position behind it are
 * stored in one atomic step. While the store is away nothing is read on: the log keeps the lines.
 */
import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { NewerStoreError, UnavailableError } from '../domain/errors.js';
import type { Position } from '../domain/position.js';
import { LineClock } from '../filter/clock.js';
import type { Filter } from '../filter/filter.js';
import type { Hit } from '../filter/hit.js';
import type { Policy } from '../policy/policy.js';
import { Sessions, type SessionsCarry } from '../policy/session.js';
import type { SubjectState } from '../policy/state.js';
import type { Chunk } from '../source/source.js';
import { type Outcome, type Progress, StaleProgressError, type Store } from '../store/store.js';
import type { History } from './history.js';
import type { Logger } from './log.js';
import { PendingEvents } from './pending-events.js';
import type { Place } from './positions-file.js';

/**
 * A backlog is taken in large commits, since each costs a sync to disk or a round trip. But judging them, reading the
 * states and writing it all down keep the event loop: so large that this takes about so long.
 */
const COMMIT_MS = 30;
/** What is done for a commit, as a multiple of judging it: for a store that does the rest in turns of its own. */
const PER_JUDGING = 3;
const FIRST_PENDING_EVENTS = 500;
const FEWEST_PENDING_EVENTS = 100;
const MOST_PENDING_EVENTS = 20_000;
/** Position that only innocent lines moved: storing it late costs a re-read of them, nothing else. */
const LAZY_PROGRESS_MS = 5_000;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 5_000;

/** `soon`: once no other commit is under way; reading may go on until then. */
export type Due = 'now' | 'soon' | 'later';

export interface CountingOptions {
  readonly store: Store;
  readonly host: string;
  readonly logger: Logger;
  readonly filter: Filter;
  readonly policy: Policy;
  /** What live events come to, by the hour; none is kept without it. */
  readonly history?: History;
  /** Are banned clients really refused? */
  readonly enforced?: boolean;
  /** Is there anybody who may look at the lines of the events: the store, for evidence, or the history? */
  readonly keepsLines?: boolean;
  /** Progress as stored, by log. */
  readonly progress: ReadonlyMap<string, Progress>;
  /** Where logs without progress go on. */
  readonly fallback: ReadonlyMap<string, Place>;
  /** Name of the store as it is, given when it was begun: another one after it has lost everything. */
  readonly birth: string;
  readonly readBirth: () => Promise<string>;
  /** Called before counting goes on in a store that has lost everything. */
  readonly onEmptied: () => Promise<void>;
  readonly onCommitted: (outcome: Outcome, events: PendingEvents) => void;
}

/** One log's reading state between commits. */
interface LogState {
  readonly sessions: Sessions;
  readonly clock: LineClock;
  progress: Progress | null;
  /** Where this process began with it; null when that can't be told. */
  begunAt: Place | null;
  pending: Position | null;
  /** -Infinity before the first one. */
  lastLineAt: number;
}

/** What a log's next line is judged by besides itself. JSON-safe. */
interface Carry {
  readonly sessions: SessionsCarry;
  readonly newestAt: number | null;
}

const NOTHING_CARRIED: Carry = { sessions: [], newestAt: null };

/** What one commit takes. */
interface Batch {
  readonly events: PendingEvents;
  readonly progress: readonly Progress[];
  /** Events from later than this are taken as of this instant. */
  readonly at: number;
}

/** In an object of its own, since a promise can't resolve with a promise. */
interface AskedFor {
  readonly commit: Promise<Outcome>;
}

/** A batch that is being committed. */
interface Attempt {
  readonly batch: Batch;
  /** What was decided last: what comes behind it builds on that, until it is part of all else that is known. */
  decided: Outcome;
  isAdopted: boolean;
  /** Decided on what the one before it would leave. */
  readonly isBehind: boolean;
  /** How long it kept the event loop. */
  keptMs: number;
  asked: Promise<AskedFor>;
  answer: Promise<Outcome | StaleProgressError>;
}

const NOTHING = new Promise<never>(() => undefined);

export class Counting {
  readonly #store: Store;
  readonly #host: string;
  readonly #logger: Logger;
  readonly #onCommitted: CountingOptions['onCommitted'];
  readonly #onEmptied: CountingOptions['onEmptied'];
  readonly #readBirth: CountingOptions['readBirth'];
  #birth: string;
  readonly #stored: ReadonlyMap<string, Progress>;
  readonly #fallback: ReadonlyMap<string, Place>;
  readonly #history: History | null;
  readonly #enforced: boolean;
  readonly #keepsLines: boolean;
  readonly #logs = new Map<string, LogState>();
  #filter: Filter;
  #policy: Policy;
  #events = new PendingEvents();
  /** Of the batch that was stored last: room for the next. */
  #spare: PendingEvents | null = null;
  #pendingEvents = FIRST_PENDING_EVENTS;
  #batch: Batch | null = null;
  /** To commit `#batch`. */
  #attempt: Attempt | null = null;
  /** To commit what comes behind it. */
  #ahead: Attempt | null = null;
  #lines = 0;
  #committedAt = 0;
  #storeAway = false;
  #outdated = false;
  /** Logs of which the store has forgotten all. */
  readonly #forgotten = new Set<string>();
  #behindAt = Date.now();

  constructor(options: CountingOptions) {
    this.#store = options.store;
    this.#host = options.host;
    this.#logger = options.logger;
    this.#filter = options.filter;
    this.#policy = options.policy;
    this.#stored = options.progress;
    this.#fallback = options.fallback;
    this.#history = options.history ?? null;
    this.#enforced = options.enforced ?? false;
    this.#keepsLines = options.keepsLines ?? true;
    this.#onCommitted = options.onCommitted;
    this.#onEmptied = options.onEmptied;
    this.#readBirth = options.readBirth;
    this.#birth = options.birth;
  }

  /** Lines taken in since the start. */
  get lines(): number {
    return this.#lines;
  }

  get storeAway(): boolean {
    return this.#storeAway;
  }

  /** The store was put back to an earlier state: what it forgot is to be read again, from the positions it has. */
  get outdated(): boolean {
    return this.#outdated;
  }

  /** When there was last more to read than what was taken in, milliseconds; at first, the beginning. */
  get behindAt(): number {
    return this.#behindAt;
  }

  /** How far each log was counted, as far as this process knows. */
  get positions(): Map<string, Position> {
    return new Map([...this.places].map(([log, { position }]) => [log, position]));
  }

  /** The same with all that judging the next lines needs. */
  get places(): Map<string, Place> {
    const own = [...this.#logs].flatMap(([log, { progress, begunAt }]) => {
      const place = this.#forgotten.has(log) ? begunAt : (progress ?? begunAt);
      return place === null ? [] : [[log, place] as const];
    });
    return new Map(
      [...this.#fallback, ...this.#stored, ...own].map(([log, { position, carry }]) => [log, { position, carry }]),
    );
  }

  /** New rules from now on. */
  use(filter: Filter, policy: Policy): void {
    this.#filter = filter;
    this.#policy = policy;
  }

  /** Takes in a chunk, also while a commit is under way, and says when the next one is worth it. */
  take(chunk: Chunk): Due {
    const log = this.#log(chunk.log);
    log.begunAt ??= beginningOf(chunk);
    log.clock.reference(chunk.writtenAt);
    const onHit = (hit: Hit) => {
      if (hit.at > log.lastLineAt) log.lastLineAt = hit.at;
      this.#events.add(hit, log.sessions.weigh(hit));
    };
    this.#lines += this.#filter.read(chunk.lines, log.clock, onHit, this.#keepsLines);
    this.#events.keep(this.#filter.kept);
    log.pending = chunk.position;
    if (chunk.lagBytes > 0) {
      this.#behindAt = Date.now();
      if (this.#events.length < this.#pendingEvents) return 'later';
      // To read on behind a commit that waits for nobody would only make more to hold.
      const mayWait = this.#store.commitBehind !== undefined && this.#events.length < 2 * this.#pendingEvents;
      return mayWait ? 'soon' : 'now';
    }
    return this.#events.length > 0 || Date.now() - this.#committedAt >= LAZY_PROGRESS_MS ? 'now' : 'later';
  }

  /** Something was judged ahead, and its answer is waited for by nobody yet. */
  get isAhead(): boolean {
    return this.#attempt !== null;
  }

  /**
   * Judges what is pending on what the commit under way leaves, and has it written right behind that one. False when no
   * commit is under way, when one waits behind it already, and where the store can't.
   */
  ahead(): boolean {
    if (this.#attempt === null || this.#ahead !== null || this.#store.commitBehind === undefined) return false;
    const batch = this.#nextBatch();
    if (batch !== null) this.#ahead = this.#begin(batch, this.#attempt);
    return true;
  }

  /**
   * Commits what is pending. Waits for the store as long as it takes, or until `signal`; false when it gave up, or is
   * outdated.
   * @throws StaleProgressError when another daemon counts the same log.
   */
  async flush(signal: AbortSignal): Promise<boolean> {
    // What is under way, what was judged ahead, and what was taken in since. What comes meanwhile makes a batch of its
    // own when it is worth one.
    const batches = [this.#batch, this.#ahead].filter((one) => one !== null).length + 1;
    for (let i = 0; i < batches; i++) {
      if (this.#outdated) return false;
      this.#batch ??= this.#nextBatch();
      if (!(await this.finish(signal))) return false;
    }
    return true;
  }

  /** The same for the batch alone that is under way, so that others get their turn. */
  async finish(signal: AbortSignal): Promise<boolean> {
    while (this.#batch !== null) {
      const batch = this.#batch;
      // A batch whose answer never came may have been applied: it is sent again as it was, until it is known.
      const outcome = await this.#untilStored(() => this.#answered(batch), signal);
      if (outcome === null) return false;
      if (!(outcome instanceof StaleProgressError)) return true;
      const stored = await this.#untilStored(() => this.#store.progress(this.#host), signal);
      if (stored === null) return false;
      if (this.#standing(stored) === 'same') throw outcome;
      // What the store holds of the history is of an earlier state too.
      this.#history?.adopt(undefined, undefined);
      if (!(await this.#goOnFrom(stored, signal))) return false;
    }
    return true;
  }

  /** One try to commit `batch`, and all that follows from it. */
  async #answered(batch: Batch): Promise<Outcome | StaleProgressError> {
    this.#attempt ??= this.#begin(batch, null);
    const attempt = this.#attempt;
    const outcome = await attempt.answer.catch(async (error: unknown) => {
      await this.#takeBack();
      throw error;
    });
    if (outcome instanceof StaleProgressError) {
      await this.#takeBack();
      // What it was to follow may have come to its end later than it: by itself it is in order then.
      return attempt.isBehind ? this.#answered(batch) : outcome;
    }
    const { events, progress, at } = batch;
    this.#fitBatches(events.length, attempt.keptMs);
    this.#history?.adopt(outcome.notes, outcome.changes);
    attempt.isAdopted = true;
    for (const one of progress) this.#log(one.log).progress = one;
    this.#committedAt = at;
    this.#attempt = this.#ahead;
    this.#ahead = null;
    this.#batch = this.#attempt?.batch ?? null;
    this.#onCommitted(outcome, events);
    events.clear();
    this.#spare = events;
    return outcome;
  }

  #begin(batch: Batch, before: Attempt | null): Attempt {
    const attempt: Attempt = {
      batch,
      decided: {},
      isAdopted: false,
      isBehind: before !== null,
      keptMs: 0,
      asked: NOTHING,
      answer: NOTHING,
    };
    attempt.asked = this.#ask(attempt, before);
    attempt.answer = attempt.asked.then(({ commit }) => commit).catch(staleOrThrow);
    // Waited for later, or by nobody when what it was to follow has failed.
    attempt.answer.catch(() => undefined);
    return attempt;
  }

  async #ask(attempt: Attempt, before: Attempt | null): Promise<AskedFor> {
    const { events, progress, at } = attempt.batch;
    const policy = this.#policy;
    const subjects = policy.subjectsOf(events.addresses);
    const kept = (ms: number) => {
      attempt.keptMs = Math.max(attempt.keptMs, ms);
    };
    // Judging comes in a turn of its own, not in that of the reading, or of what the last commit brought about.
    await nextTurn();
    await this.#history?.prepare(events, at);
    const behind = before === null ? null : (await before.asked).commit;
    const decide = (states: ReadonlyMap<string, SubjectState>): Outcome => {
      const judgedFrom = performance.now();
      const verdict = policy.judge(events, states, at);
      const leaves = before === null || before.isAdopted ? {} : before.decided;
      const notes = this.#history?.notes({ events, before: states, verdict, policy, enforced: this.#enforced }, leaves);
      kept(PER_JUDGING * (performance.now() - judgedFrom));
      attempt.decided = { ...verdict, progress, ...(notes !== undefined && { notes }) };
      return attempt.decided;
    };
    const begunAt = performance.now();
    const commit =
      behind === null || this.#store.commitBehind === undefined
        ? this.#store.commit(subjects, decide)
        : this.#store.commitBehind(behind, subjects, decide);
    kept(performance.now() - begunAt);
    return { commit };
  }

  /** What failed is tried again as it was; what was to follow it was not applied, and makes another batch later. */
  async #takeBack(): Promise<void> {
    const ahead = this.#ahead;
    this.#attempt = null;
    this.#ahead = null;
    if (ahead === null) return;
    // It must not find in order later what it was to follow.
    await ahead.answer.catch(() => undefined);
    ahead.batch.events.append(this.#events);
    this.#events = ahead.batch.events;
    for (const { log, position } of ahead.batch.progress) this.#log(log).pending ??= position;
  }

  /** Looks whether the store still holds what was committed to it, and goes on from what it has. */
  async reconcile(signal: AbortSignal): Promise<void> {
    const stored = await this.#store.progress(this.#host);
    if (this.#standing(stored) === 'same') return;
    // What is under way finds it out by itself.
    if (this.#attempt !== null) await this.flush(signal);
    else if (await this.#goOnFrom(stored, signal)) await this.flush(signal);
  }

  /** What became of this process's commits: `same` also when somebody else's came later. */
  #standing(stored: ReadonlyMap<string, Progress>): 'same' | 'put back' | 'emptied' {
    let emptied = false;
    for (const [name, { progress }] of this.#logs) {
      if (progress === null) continue;
      const now = stored.get(name);
      if (now === undefined) emptied = true;
      else if (now.commit !== progress.commit && now.at < progress.at) return 'put back';
    }
    return emptied ? 'emptied' : 'same';
  }

  /**
   * From an earlier state the lines since then count again, as they did the first time. Of a store that lost everything
   * the whole log is not counted anew: its scores start from nothing, at the present position. False when this process
   * can't go on.
   */
  async #goOnFrom(stored: ReadonlyMap<string, Progress>, signal: AbortSignal): Promise<boolean> {
    const birth = await this.#untilStored(this.#readBirth, signal);
    if (birth === null) return false;
    if (this.#standing(stored) === 'put back' || birth === this.#birth) {
      // It may be an earlier state than the first that a log had there: a failover loses what came last.
      for (const [name, { progress }] of this.#logs) {
        if (progress !== null && !stored.has(name)) this.#forgotten.add(name);
      }
      this.#outdated = true;
      this.#logger.warn(
        { event: 'store-put-back' },
        `store ${this.#store.url} was put back to an earlier state: the lines that it has forgotten are read again from the log`,
      );
      return false;
    }
    this.#birth = birth;
    const isReady = await this.#untilStored(() => this.#onEmptied().then(() => true), signal);
    if (isReady === null) return false;
    const at = Date.now();
    const batch = this.#batch ?? { events: new PendingEvents(), progress: [], at };
    const known = new Set(batch.progress.map(({ log }) => log));
    const rest = [...this.#logs].flatMap(([name, { progress }]) =>
      progress === null || known.has(name) || stored.has(name) ? [] : { ...progress, commit: randomUUID(), at },
    );
    const progress = [...batch.progress, ...rest].map((one) => ({
      ...one,
      after: stored.get(one.log)?.commit ?? null,
    }));
    this.#batch = { ...batch, progress };
    for (const [name, log] of this.#logs) if (!stored.has(name)) log.progress = null;
    this.#logger.error(
      { event: 'store-emptied' },
      `store ${this.#store.url} has lost everything: counting goes on at the present place in the log, scores start from nothing`,
    );
    return true;
  }

  #fitBatches(events: number, keptMs: number): void {
    // What came of few events says little of many.
    if (events < FEWEST_PENDING_EVENTS) return;
    const fitting = (events * COMMIT_MS) / Math.max(1, keptMs);
    const bounded = Math.min(MOST_PENDING_EVENTS, Math.max(FEWEST_PENDING_EVENTS, fitting));
    this.#pendingEvents = Math.round((this.#pendingEvents + bounded) / 2);
  }

  #nextBatch(): Batch | null {
    const progress = this.#pendingProgress();
    if (progress.length === 0) return null;
    const events = this.#events;
    this.#events = this.#spare ?? new PendingEvents();
    this.#spare = null;
    for (const { log } of progress) this.#log(log).pending = null;
    return { events, progress, at: Date.now() };
  }

  #pendingProgress(): Progress[] {
    const at = Date.now();
    const progress: Progress[] = [];
    for (const [name, log] of this.#logs) {
      if (log.pending === null) continue;
      const before = this.#batch?.progress.find((one) => one.log === name) ?? log.progress;
      progress.push({
        host: this.#host,
        log: name,
        position: log.pending,
        carry: carryOf(log),
        commit: randomUUID(),
        after: before?.commit ?? null,
        // In order, also when the clock was set back.
        at: Math.max(at, (before?.at ?? 0) + 1),
        lastLineAt: Number.isFinite(log.lastLineAt) ? log.lastLineAt : null,
      });
    }
    return progress;
  }

  #log(name: string): LogState {
    const known = this.#logs.get(name);
    if (known !== undefined) return known;
    const progress = this.#stored.get(name) ?? null;
    const begunAt = progress ?? this.#fallback.get(name) ?? null;
    const { sessions, newestAt } = (begunAt?.carry ?? NOTHING_CARRIED) as Carry;
    const created: LogState = {
      sessions: new Sessions(sessions),
      clock: new LineClock(Date.now(), newestAt),
      progress,
      begunAt: begunAt === null ? null : { position: begunAt.position, carry: begunAt.carry },
      pending: null,
      lastLineAt: progress?.lastLineAt ?? Number.NEGATIVE_INFINITY,
    };
    this.#logs.set(name, created);
    return created;
  }

  async #untilStored<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T | null> {
    for (let retryMs = FIRST_RETRY_MS; ; retryMs = Math.min(LONGEST_RETRY_MS, retryMs * 2)) {
      try {
        const result = await work();
        if (this.#storeAway)
          this.#logger.info({ event: 'store-back' }, 'the store is back: counting goes on where it stopped');
        this.#storeAway = false;
        return result;
      } catch (error) {
        if (!(error instanceof UnavailableError) || error instanceof NewerStoreError) throw error;
        if (!this.#storeAway) {
          this.#logger.error(
            { event: 'store-away' },
            `${error.message}; reading waits, the log keeps the lines, bans in the access map go on and end on time`,
          );
        }
        this.#storeAway = true;
      }
      try {
        await sleep(retryMs, undefined, { signal });
      } catch {
        return null;
      }
    }
  }
}

/** Before the first chunk of a log that had no place: behind it when it only tells where the counting starts. */
function beginningOf({ lines, position }: Chunk): Place | null {
  if (lines.length === 0) return { position, carry: NOTHING_CARRIED };
  if (position.kind !== 'file') return null;
  const { file, path } = position;
  return {
    position: { kind: 'file', file, offset: 0, ...(path !== undefined && { path }) },
    carry: NOTHING_CARRIED,
  };
}

function carryOf({ sessions, clock }: LogState): Carry {
  return { sessions: sessions.carry(), newestAt: clock.newestAt };
}

function staleOrThrow(error: unknown): StaleProgressError {
  if (error instanceof StaleProgressError) return error;
  throw error;
}
