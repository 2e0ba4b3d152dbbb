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
/** Bound of the memory that travels with the log's position; the oldest go first. */
const MAX_SESSIONS = 2_000;

/** JSON-safe: process → [ip, offenses, refusals, last line at]. */
export type SessionsCarry = readonly (readonly [string, string, number, number, number])[];

interface Session {
  ip: string;
  offenses: number;
  refusals: number;
  at: number;
}

export class Sessions {
  readonly #byProcess = new Map<string, Session>();

  constructor(carry: SessionsCarry = []) {
    for (const [process, ip, offenses, refusals, at] of carry)
      this.#byProcess.set(process, { ip, offenses, refusals, at });
  }

  /** The points that the match is worth in its session. One of kind `closed` only ends a session, and is no event. */
  weigh(match: Match): number {
    const points = this.#points(match);
    if (match.closes) this.#byProcess.delete(match.process);
    return points;
  }

  carry(): SessionsCarry {
    return [...this.#byProcess].map(([process, s]) => [process, s.ip, s.offenses, s.refusals, s.at] as const);
  }

  #points(match: Match): number {
    if (match.kind !== 'refused' && match.kind !== 'offense') return 0;
    const session = this.#of(match);
    if (match.kind === 'refused') {
      const earned = (session?.refusals ?? 0) < FULL_REFUSALS ? match.points : 0;
      this.#remember(match, session, 0, 1);
      return earned;
    }
    const counted = session?.offenses ?? 0;
    if (match.echo && counted > 0) return 0;
    this.#remember(match, session, 1, 0);
    return counted < FULL_OFFENSES ? match.points : match.points * BEYOND_FACTOR;
  }

  #of(match: Match): Session | undefined {
    const session = this.#byProcess.get(match.process);
    if (session === undefined || session.ip !== match.ip || match.at - session.at > SILENCE_MS) return undefined;
    return session;
  }

  #remember(match: Match, session: Session | undefined, offenses: number, refusals: number): void {
    const updated = session ?? this.#begin(match);
    updated.offenses += offenses;
    updated.refusals += refusals;
    updated.at = Math.max(updated.at, match.at);
  }

  #begin({ process, ip, at }: Match): Session {
    const session = { ip, offenses: 0, refusals: 0, at };
    // Deleting first keeps the map in the order in which sessions began, so that its first key is the oldest.
    if (this.#byProcess.has(process)) this.#byProcess.delete(process);
    this.#byProcess.set(process, session);
    if (this.#byProcess.size > MAX_SESSIONS) {
      for (const oldest of this.#byProcess.keys()) {
        this.#byProcess.delete(oldest);
        break;
      }
    }
    return session;
  }
}
