/** What must be remembered of one subject so that its next event can be judged. JSON-safe. */
import type { Ban, Release } from '../domain/ban.js';
import { NOTHING } from './decay.js';

/** A decaying sum: `value` holds at the instant `at` and halves every half-life. See decay.ts. */
export interface Decayed {
  readonly value: number;
  readonly at: number;
}

export interface SubjectState {
  readonly score: Decayed;
  /** Earlier bans. */
  readonly strikes: Decayed;
  /** Messages accepted from the subject. */
  readonly accepted: Decayed;
  /** All offenses ever counted (not decayed), for a person to read. */
  readonly offenses: number;
  /** Last verified name. */
  readonly host: string | null;
  /** Last login of a user from here, or null. */
  readonly authenticatedAt: number | null;
  /** The ban that holds, or held until its `until` when nothing has settled it yet. */
  readonly ban: Ban | null;
  /** Last releases, newest first, at most `MAX_RELEASES`. */
  readonly releases: readonly Release[];
  /** Networks only: bans of single subjects inside that may still be active, subject → until. */
  readonly members?: Readonly<Record<string, number>>;
  /** Networks only: when an allowed or trusted client was last seen inside. */
  readonly guardedAt?: number | null;
}

/** Of a subject that nothing is known of. */
export const UNKNOWN: SubjectState = {
  score: NOTHING,
  strikes: NOTHING,
  accepted: NOTHING,
  offenses: 0,
  host: null,
  authenticatedAt: null,
  ban: null,
  releases: [],
};

export const MAX_RELEASES = 10;
/** Lines kept of each subject, the newest. */
export const MAX_EVIDENCE = 10;

/** One line that scored, kept for `explain`. */
export interface Evidence {
  readonly at: number;
  readonly rule: string;
  readonly points: number;
  /** At most 500 characters of the log line. */
  readonly line: string;
}

/** A person's entry in the list of the never-banned: a canonical address or network, or a host name suffix. */
export interface AllowEntry {
  readonly entry: string;
  readonly at: number;
}
