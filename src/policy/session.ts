/**
 * One misdeed counts once. A Postfix process serves one client at a time, so lines of one process about one address
 * are one session: what only echoes a failure already counted in it adds nothing, and of many rejects in a row only
 * the first few count fully.
 */
import type { Match } from '../domain/event.js';

/** Offenses of one session that count fully; a probe of many recipients still reaches a threshold of 5. */
const FULL_OFFENSES = 5;
const BEYOND_FACTOR = 0.25;
/** Our own refusals of one session that earn points: one client's one visit, however many recipients it names. */
const FULL_REFUSALS = 1;
/** Postfix before 3.0 does not say in `disconnect` that commands failed: a session also ends by this silence. */
const SILENCE_MS = 10 * 60_000;
/** Bound of the memory that travels with the log's position; the oldest go first, some at a time. */
const MAX_SESSIONS = 2_000;
const FORGOTTEN_AT_ONCE = 500;

/** JSON-safe: process → [ip, offenses, refusals, last line at]. */
export type SessionsCarry = readonly (readonly [string, string, number, number, number])[];

interface Session {
  ip: string;
  offenses: number;
  refusals: number;
  at: number;
  /** It is the how-manieth that began; 0 when it has ended. */
  number: number;
}

export class Sessions {
  /** Also some that have ended: the next one of the process takes its place. */
  readonly #byProcess = new Map<string, Session>();
  #begun = 0;
  /** How many have not ended. */
  #open: number;

  constructor(carry: SessionsCarry = []) {
    for (const [process, ip, offenses, refusals, at] of carry) {
      this.#byProcess.set(process, { ip, offenses, refusals, at, number: ++this.#begun });
    }
    this.#open = this.#byProcess.size;
  }

  /** The points that the match is worth in its session. One of kind `closed` only ends a session, and is no event. */
  weigh(match: Match): number {
    const { kind, process } = match;
    const isMisdeed = kind === 'offense' || kind === 'refused';
    if (!isMisdeed && !match.closes) return 0;
    const known = this.#byProcess.get(process);
    if (!isMisdeed) {
      if (known !== undefined) this.#end(known);
      return 0;
    }
    const session = known ?? this.#of(process);
    if (!continues(session, match)) this.#begin(session, match);
    const points = pointsIn(session, match);
    if (match.closes) this.#end(session);
    return points;
  }

  carry(): SessionsCarry {
    return this.#inOrder().map(([process, s]) => [process, s.ip, s.offenses, s.refusals, s.at] as const);
  }

  #begin(session: Session, { ip, at }: Match): void {
    if (session.number === 0) this.#open++;
    session.number = ++this.#begun;
    session.ip = ip;
    session.offenses = 0;
    session.refusals = 0;
    session.at = at;
    if (this.#open > MAX_SESSIONS)
      for (const [, oldest] of this.#inOrder().slice(0, FORGOTTEN_AT_ONCE)) this.#end(oldest);
  }

  #end(session: Session): void {
    if (session.number === 0) return;
    session.number = 0;
    this.#open--;
  }

  /** Room for one of a process that has none. */
  #of(process: string): Session {
    if (this.#byProcess.size >= 2 * MAX_SESSIONS)
      for (const [ended, { number }] of this.#byProcess) if (number === 0) this.#byProcess.delete(ended);
    const session = { ip: '', offenses: 0, refusals: 0, at: Number.NaN, number: 0 };
    this.#byProcess.set(process, session);
    return session;
  }

  /** Those that have not ended, as they began. */
  #inOrder(): [process: string, session: Session][] {
    return [...this.#byProcess].filter(([, { number }]) => number > 0).sort(([, a], [, b]) => a.number - b.number);
  }
}

function continues(session: Session, { ip, at }: Match): boolean {
  return session.number > 0 && session.ip === ip && at - session.at <= SILENCE_MS;
}

/** Counts the misdeed, too. */
function pointsIn(session: Session, { kind, points, echo, at }: Match): number {
  if (echo && kind === 'offense' && session.offenses > 0) return 0;
  session.at = Math.max(session.at, at);
  if (kind === 'refused') return session.refusals++ < FULL_REFUSALS ? points : 0;
  return session.offenses++ < FULL_OFFENSES ? points : points * BEYOND_FACTOR;
}
