/** What one policy would have done with a log: its bans, whom they would have stopped, and whose mail they would have cost. */
import type { Ban, ReleaseHow } from '../domain/ban.js';
import type { LogEvent } from '../domain/event.js';
import type { Verdict } from '../policy/outcome.js';
import type { Policy } from '../policy/policy.js';
import type { SubjectState } from '../policy/state.js';

/** A ban as it would have been. */
export interface Term {
  readonly subject: string;
  readonly ban: Ban;
  /** When the line that led to it was logged, milliseconds. */
  readonly at: number;
  endedAt: number;
  how: ReleaseHow | null;
  /** Attempts that it stopped. */
  stopped: number;
  /** Accepted messages that it would have refused. */
  refused: number;
}

/** A client's try at something, refused by the server. */
export interface Attempt {
  readonly subject: string;
  readonly network: string;
  readonly at: number;
  /** Start of its session. A ban that begins later does not reach it. */
  readonly sessionAt: number;
  /** Would the map be asked before what refused it? Not at postscreen's door. */
  readonly reachable: boolean;
  /** Our own map refused it in truth. */
  readonly refused: boolean;
  readonly times: number;
}

/** A message that was taken from a client. */
export interface Delivery {
  readonly subject: string;
  readonly network: string;
  readonly host: string | null;
  readonly at: number;
  readonly sessionAt: number;
  readonly login: boolean;
  /** As logged. */
  readonly line: string;
}

/** What a piece of the log tells. */
export interface Batch {
  readonly events: readonly LogEvent[];
  /** Subjects of the events, and the networks around them. */
  readonly subjects: readonly string[];
  readonly attempts: readonly Attempt[];
  readonly deliveries: readonly Delivery[];
}

export interface TrialWatcher {
  onVerdict(verdict: Verdict): void;
  onAttempt(attempt: Attempt, stopped: boolean): void;
  onDelivery(delivery: Delivery, term: Term | null): void;
}

export class Trial {
  readonly policy: Policy;
  readonly terms: Term[] = [];
  readonly #states = new Map<string, SubjectState>();
  readonly #bySubject = new Map<string, Term[]>();
  readonly #watcher: TrialWatcher | null;
  attempts = 0;
  stopped = 0;
  /** Messages that would have been refused. */
  hurt = 0;

  constructor(policy: Policy, watcher: TrialWatcher | null = null) {
    this.policy = policy;
    this.#watcher = watcher;
  }

  /** All on event time: replaying a log gives what living through it gave. */
  take({ events, subjects, attempts, deliveries }: Batch): void {
    if (events.length > 0) this.#judge(events, subjects);
    for (const attempt of attempts) {
      const term = attempt.reachable ? this.#termOver(attempt) : null;
      const isStopped = term !== null || attempt.refused;
      if (term !== null) term.stopped += attempt.times;
      this.attempts += attempt.times;
      if (isStopped) this.stopped += attempt.times;
      this.#watcher?.onAttempt(attempt, isStopped);
    }
    for (const delivery of deliveries) {
      const term = this.#termOver(delivery);
      if (term !== null) {
        term.refused++;
        this.hurt++;
      }
      this.#watcher?.onDelivery(delivery, term);
    }
  }

  state(subject: string): SubjectState | undefined {
    return this.#states.get(subject);
  }

  get termsBySubject(): ReadonlyMap<string, readonly Term[]> {
    return this.#bySubject;
  }

  termsOf(subject: string): readonly Term[] {
    return this.#bySubject.get(subject) ?? [];
  }

  /** Most bans that would have held at one instant. */
  mostAtOnce(): number {
    let most = 0;
    let now = 0;
    for (const [, step] of stepsOf(this.terms)) {
      now += step;
      if (now > most) most = now;
    }
    return most;
  }

  #judge(events: readonly LogEvent[], subjects: readonly string[]): void {
    const known = new Map<string, SubjectState>();
    for (const subject of subjects) {
      const state = this.#states.get(subject);
      if (state !== undefined) known.set(subject, state);
    }
    const verdict = this.policy.judge(events, known, Number.POSITIVE_INFINITY);
    for (const [subject, state] of verdict.put) {
      if (state === null) this.#states.delete(subject);
      else this.#states.set(subject, state);
    }
    for (const change of verdict.changes) {
      if (change.type === 'ban') this.#begin(change.ban, change.at);
      else if (change.type === 'release') {
        const { at, how, ban } = change.release;
        const term = this.#bySubject.get(ban.subject)?.at(-1);
        if (term === undefined) continue;
        term.endedAt = Math.min(term.endedAt, at);
        term.how = how;
      }
    }
    this.#watcher?.onVerdict(verdict);
  }

  #begin(ban: Ban, at: number): void {
    const { subject, until } = ban;
    const term: Term = { subject, ban, at, endedAt: until, how: null, stopped: 0, refused: 0 };
    this.terms.push(term);
    const earlier = this.#bySubject.get(subject);
    if (earlier === undefined) this.#bySubject.set(subject, [term]);
    else earlier.push(term);
  }

  /** The ban that a session of the client would have met, at that instant. */
  #termOver({
    subject,
    network,
    at,
    sessionAt,
  }: Pick<Attempt, 'subject' | 'network' | 'at' | 'sessionAt'>): Term | null {
    if (this.terms.length === 0) return null;
    return this.#find(subject, at, sessionAt) ?? this.#find(network, at, sessionAt);
  }

  #find(subject: string, at: number, sessionAt: number): Term | null {
    const terms = this.#bySubject.get(subject);
    if (terms === undefined) return null;
    for (let i = terms.length - 1; i >= 0; i--) {
      const term = terms[i];
      // In the second in which a ban begins nobody knows which came first: the session is taken as the older.
      if (term === undefined || term.at >= sessionAt) continue;
      return at < term.endedAt ? term : null;
    }
    return null;
  }
}

/** Begins (+1) and ends (-1) of bans in the order of time; at one instant ends come first. */
export function stepsOf(terms: readonly Term[]): [number, number][] {
  const steps = terms.flatMap(({ at, endedAt }): [number, number][] => [
    [at, 1],
    [endedAt, -1],
  ]);
  return steps.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}
