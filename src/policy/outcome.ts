/** What judging events, or a person's order, changes. The store applies it as one atomic step. */
import type { Ban, Release } from '../domain/ban.js';
import type { Evidence, SubjectState } from './state.js';

export interface Verdict {
  /** New states; null forgets the subject and its evidence. */
  readonly put: ReadonlyMap<string, SubjectState | null>;
  /** Index keys of `put`'s subjects: log-domain scores, see decay.ts `rankOf`; absent means -Infinity (no score). */
  readonly ranks: ReadonlyMap<string, number>;
  /** Lines that scored, by subject; the store keeps the newest `MAX_EVIDENCE` of each. */
  readonly evidence: ReadonlyMap<string, EvidenceList>;
  /** What others must hear of, in order. */
  readonly changes: readonly Change[];
  /** Who would have been banned by the events at hand, and is never banned. */
  readonly spared: readonly Spared[];
}

/** Oldest first: an array, or what makes each of them when it is asked for, while the events last. */
export interface EvidenceList {
  readonly length: number;
  /** As an array's: the last ones by a negative number. */
  slice(start: number): Evidence[];
  findLast(is: (line: Evidence) => boolean): Evidence | undefined;
  forEach(tell: (line: Evidence) => void): void;
}

/** A client whose score reached its threshold, and why that was no ban. */
export interface Spared {
  readonly subject: string;
  /** Of the line that reached it, milliseconds. */
  readonly at: number;
  readonly why: string;
  readonly rule: string;
  /** Verified name, or null. */
  readonly host: string | null;
}

export type Change =
  | { readonly type: 'ban'; readonly at: number; readonly ban: Ban }
  | { readonly type: 'release'; readonly at: number; readonly release: Release }
  | { readonly type: 'allow' | 'disallow'; readonly at: number; readonly entry: string };
