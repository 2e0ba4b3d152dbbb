/** What is kept of a trial while the log goes by, for a person to read: over time, by client, by network. */
import type { Verdict } from '../policy/outcome.js';
import type { Policy } from '../policy/policy.js';
import type { SubjectState } from '../policy/state.js';
import { Counter } from './counter.js';
import { type Attempt, type Delivery, type Term, Trial, type TrialWatcher } from './trial.js';

/** A client that delivered accepted mail. */
export interface Deliverer {
  host: string | null;
  messages: number;
  /** Before its first ban. */
  before: number;
  /** Would have been refused. */
  refused: number;
  /** Accepted while it would have been banned, the last ones, as logged. */
  lines: string[];
}

/** The last scoring lines of a client, and the points of its latest offenses. */
export interface Misdeeds {
  readonly at: number[];
  readonly points: number[];
  lines: string[];
}

/** One whom only an allow rule, or a user's login, kept from being banned. */
export interface Saved {
  readonly why: string;
  readonly host: string | null;
  score: number;
}

export interface Minute {
  stopped: number;
  passed: number;
  accepted: number;
}

const MINUTE_MS = 60_000;
const KEPT_LINES = 3;
const KEPT_POINTS = 1_200;
const MOST_SUBJECTS = 100_000;

export class Findings implements TrialWatcher {
  readonly trial: Trial;
  readonly minutes = new Map<number, Minute>();
  readonly deliverers = new Map<string, Deliverer>();
  readonly misdeeds = new Map<string, Misdeeds>();
  readonly saved = new Map<string, Saved>();
  readonly stoppedByNetwork = new Counter();
  messages = 0;
  readonly #policy: Policy;

  constructor(policy: Policy) {
    this.#policy = policy;
    this.trial = new Trial(policy, this);
  }

  onVerdict({ evidence, put }: Verdict): void {
    for (const [subject, lines] of evidence) {
      const misdeeds = this.#misdeedsOf(subject);
      lines.forEach(({ at, points, line }) => {
        misdeeds.at.push(at);
        misdeeds.points.push(points);
        misdeeds.lines.push(line);
      });
      if (misdeeds.lines.length > KEPT_LINES) misdeeds.lines = misdeeds.lines.slice(-KEPT_LINES);
      if (misdeeds.at.length > KEPT_POINTS) {
        misdeeds.at.splice(0, misdeeds.at.length - KEPT_POINTS / 2);
        misdeeds.points.splice(0, misdeeds.points.length - KEPT_POINTS / 2);
      }
    }
    for (const [subject, state] of put) if (state !== null && state.score.value > 0) this.#noteSaved(subject, state);
  }

  onAttempt({ at, network, subject, times }: Attempt, stopped: boolean): void {
    const minute = this.#minute(at);
    if (stopped) minute.stopped += times;
    else minute.passed += times;
    if (stopped) this.stoppedByNetwork.add(network === '' ? subject : network, times);
  }

  onDelivery({ subject, network, host, at, line }: Delivery, term: Term | null): void {
    this.messages++;
    this.#minute(at).accepted++;
    const deliverer = this.#delivererOf(subject);
    deliverer.messages++;
    deliverer.host = host ?? deliverer.host;
    if (term !== null) {
      deliverer.refused++;
      deliverer.lines.push(line);
      if (deliverer.lines.length > KEPT_LINES) deliverer.lines.shift();
      return;
    }
    const first = Math.min(firstOf(this.trial.termsOf(subject)), firstOf(this.trial.termsOf(network)));
    if (at <= first) deliverer.before++;
  }

  /** A score that led to no ban tells that something forbade one. */
  #noteSaved(subject: string, state: SubjectState): void {
    const { at, value } = state.score;
    if (state.ban !== null || value < this.#policy.settings.threshold) return;
    if (value < this.#policy.thresholdAt(state, at)) return;
    const why = this.#policy.protectedWhy(subject, state, at);
    if (why === null) return;
    const known = this.saved.get(subject);
    if (known !== undefined) known.score = Math.max(known.score, value);
    else if (this.saved.size < MOST_SUBJECTS) this.saved.set(subject, { why, host: state.host, score: value });
  }

  #minute(at: number): Minute {
    const start = Math.floor(at / MINUTE_MS) * MINUTE_MS;
    const known = this.minutes.get(start);
    if (known !== undefined) return known;
    const made = { stopped: 0, passed: 0, accepted: 0 };
    this.minutes.set(start, made);
    return made;
  }

  #delivererOf(subject: string): Deliverer {
    const known = this.deliverers.get(subject);
    if (known !== undefined) return known;
    const made = { host: null, messages: 0, before: 0, refused: 0, lines: [] };
    this.deliverers.set(subject, made);
    return made;
  }

  #misdeedsOf(subject: string): Misdeeds {
    const known = this.misdeeds.get(subject);
    if (known !== undefined) return known;
    // Those of whom nothing became are the first to be forgotten.
    if (this.misdeeds.size >= MOST_SUBJECTS) {
      for (const other of this.misdeeds.keys()) if (this.trial.termsOf(other).length === 0) this.misdeeds.delete(other);
    }
    const made = { at: [], points: [], lines: [] };
    this.misdeeds.set(subject, made);
    return made;
  }
}

function firstOf(terms: readonly Term[]): number {
  return terms[0]?.at ?? Number.POSITIVE_INFINITY;
}
