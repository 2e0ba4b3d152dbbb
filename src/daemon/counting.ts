/**
 * From lines to committed scores: every line counts exactly once, since its points and the position behind it are
 * stored in one atomic step. While the store is away nothing is read on: the log keeps the lines.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { UnavailableError } from '../domain/errors.js';
import type { LogEvent, Match } from '../domain/event.js';
import { LineClock } from '../filter/clock.js';
import type { Filter } from '../filter/filter.js';
import type { Policy } from '../policy/policy.js';
import { Sessions, type SessionsCarry } from '../policy/session.js';
import type { Chunk } from '../source/source.js';
import type { Outcome, Progress, Store } from '../store/store.js';
import type { History } from './history.js';
import type { Logger } from './log.js';

/** A commit costs about as much as it syncs to disk, so that a backlog is taken in large ones. */
const MAX_PENDING_EVENTS = 5_000;
/** Position that only innocent lines moved: storing it late costs a re-read of them, nothing else. */
const LAZY_PROGRESS_MS = 5_000;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 5_000;

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
  /** Progress as stored, by log. */
  readonly progress: ReadonlyMap<string, Progress>;
  readonly onCommitted: (outcome: Outcome, events: readonly LogEvent[]) => void;
}

/** One log's reading state between commits. */
interface LogState {
  readonly sessions: Sessions;
  readonly clock: LineClock;
  progress: Progress | null;
  pending: Chunk | null;
  lastLineAt: number | null;
}

/** What one commit takes. */
interface Batch {
  readonly events: readonly LogEvent[];
  readonly progress: readonly Progress[];
  /** Events from later than this are taken as of this instant. */
  readonly at: number;
}

export class Counting {
  readonly #store: Store;
  readonly #host: string;
  readonly #logger: Logger;
  readonly #onCommitted: CountingOptions['onCommitted'];
  readonly #stored: ReadonlyMap<string, Progress>;
  readonly #history: History | null;
  readonly #enforced: boolean;
  readonly #logs = new Map<string, LogState>();
  #filter: Filter;
  #policy: Policy;
  #events: LogEvent[] = [];
  #batch: Batch | null = null;
  #lines = 0;
  #committedAt = 0;
  #storeAway = false;

  constructor(options: CountingOptions) {
    this.#store = options.store;
    this.#host = options.host;
    this.#logger = options.logger;
    this.#filter = options.filter;
    this.#policy = options.policy;
    this.#stored = options.progress;
    this.#history = options.history ?? null;
    this.#enforced = options.enforced ?? false;
    this.#onCommitted = options.onCommitted;
  }

  /** Lines taken in since the start. */
  get lines(): number {
    return this.#lines;
  }

  get storeAway(): boolean {
    return this.#storeAway;
  }

  /** New rules from now on. */
  use(filter: Filter, policy: Policy): void {
    this.#filter = filter;
    this.#policy = policy;
  }

  /** Takes in a chunk; commits when it is worth it. Resolves false when `signal` ended a wait for the store. */
  async take(chunk: Chunk, signal: AbortSignal): Promise<boolean> {
    const log = this.#log(chunk.log);
    log.clock.reference(chunk.writtenAt);
    this.#lines += this.#filter.scan(chunk.text, log.clock, (match: Match) => {
      if (log.lastLineAt === null || match.at > log.lastLineAt) log.lastLineAt = match.at;
      const event = log.sessions.weigh(match);
      if (event !== null) this.#events.push(event);
    });
    log.pending = chunk;
    if (chunk.lagBytes > 0 && this.#events.length < MAX_PENDING_EVENTS) return true;
    if (this.#events.length === 0 && Date.now() - this.#committedAt < LAZY_PROGRESS_MS) return true;
    return this.flush(signal);
  }

  /** Commits what is pending. Waits for the store as long as it takes, or until `signal`; false when it gave up. */
  async flush(signal: AbortSignal): Promise<boolean> {
    // A batch whose answer never came may have been applied: it is sent again as it was, until it is known.
    this.#batch ??= this.#nextBatch();
    while (this.#batch !== null) {
      const { events, progress, at } = this.#batch;
      const policy = this.#policy;
      const subjects = policy.subjectsOf(events);
      const outcome = await this.#untilStored(async () => {
        await this.#history?.prepare(events, at);
        return this.#store.commit(subjects, (states) => {
          const before = new Map(states);
          const verdict = policy.judge(events, states, at);
          const notes = this.#history?.notes({ events, before, verdict, policy, enforced: this.#enforced });
          return { ...verdict, progress, ...(notes !== undefined && { notes }) };
        });
      }, signal);
      if (outcome === null) return false;
      this.#history?.adopt(outcome.notes, outcome.changes);
      for (const one of progress) this.#log(one.log).progress = one;
      this.#committedAt = at;
      this.#onCommitted(outcome, events);
      this.#batch = this.#nextBatch();
    }
    return true;
  }

  #nextBatch(): Batch | null {
    const progress = this.#pendingProgress();
    if (progress.length === 0) return null;
    const events = this.#events;
    this.#events = [];
    for (const { log } of progress) this.#log(log).pending = null;
    return { events, progress, at: Date.now() };
  }

  #pendingProgress(): Progress[] {
    const progress: Progress[] = [];
    for (const [name, log] of this.#logs) {
      if (log.pending === null) continue;
      progress.push({
        host: this.#host,
        log: name,
        position: log.pending.position,
        carry: log.sessions.carry(),
        commit: randomUUID(),
        after: log.progress?.commit ?? null,
        lastLineAt: log.lastLineAt,
      });
    }
    return progress;
  }

  #log(name: string): LogState {
    const known = this.#logs.get(name);
    if (known !== undefined) return known;
    const progress = this.#stored.get(name) ?? null;
    const created: LogState = {
      sessions: new Sessions((progress?.carry ?? []) as SessionsCarry),
      clock: new LineClock(Date.now()),
      progress,
      pending: null,
      lastLineAt: progress?.lastLineAt ?? null,
    };
    this.#logs.set(name, created);
    return created;
  }

  async #untilStored(commit: () => Promise<Outcome>, signal: AbortSignal): Promise<Outcome | null> {
    for (let retryMs = FIRST_RETRY_MS; ; retryMs = Math.min(LONGEST_RETRY_MS, retryMs * 2)) {
      try {
        const outcome = await commit();
        if (this.#storeAway)
          this.#logger.info({ event: 'store-back' }, 'the store is back: counting goes on where it stopped');
        this.#storeAway = false;
        return outcome;
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error;
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
