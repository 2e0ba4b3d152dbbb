/**
 * What must survive: subjects' states, evidence, positions, the never-banned list, the feed of changes.
 * One interface, three adapters (memory, lmdb, redis); `open.ts` chooses by URL.
 */
import type { Ban } from '../domain/ban.js';
import type { Position } from '../domain/position.js';
import type { Change, Verdict } from '../policy/outcome.js';
import type { AllowEntry, Evidence, SubjectState } from '../policy/state.js';

export interface Store {
  /** The URL it was opened with, passwords masked: safe to print. */
  readonly url: string;

  /**
   * Reads the states of `subjects` (absent ones are missing from the map), calls `decide`, and applies what it
   * returns, all as one atomic step: either everything is stored, positions included, or nothing.
   * `decide` must be pure: it is called again when another process changed one of the subjects in between.
   * Resolves with the outcome that was applied. A commit whose connection broke is retried by the adapter and
   * applied exactly once: `outcome.progress` carries a unique `commit` by which the adapter recognises its own.
   * @throws StaleProgressError when a progress's `after` is not the stored one: another daemon counts the same log, or
   *   the store was emptied, or put back to an earlier state.
   * @throws NewerStoreError when a newer blockd has come upon the store since it was opened; nothing was applied.
   * @throws UnavailableError when the store can't be reached or is full; nothing was applied as far as can be known,
   *   and calling again with the same outcome is safe.
   */
  commit(subjects: readonly string[], decide: (states: ReadonlyMap<string, SubjectState>) => Outcome): Promise<Outcome>;

  /**
   * The same behind another commit of this process, `before`, as `commit` or this returned it: decided on what that one
   * leaves, while it is under way, and applied only when it was. When that one is refused or fails, so is this one, with
   * the same error, and nothing of it was applied. Absent where it would gain nothing.
   */
  commitBehind?(
    before: Promise<Outcome>,
    subjects: readonly string[],
    decide: (states: ReadonlyMap<string, SubjectState>) => Outcome,
  ): Promise<Outcome>;

  /** States of those `subjects` that are known. */
  states(subjects: readonly string[]): Promise<Map<string, SubjectState>>;
  /** Evidence of one subject, newest first; `memory:`, which nobody else can ask, keeps none. */
  evidence(subject: string): Promise<Evidence[]>;

  /** Bans with `until > since` (milliseconds), in order of their end. */
  bans(since: number): Promise<Ban[]>;
  /** Subjects whose stored ban has `until <= at` and waits to be settled, at most `limit`. */
  endedBans(at: number, limit: number): Promise<string[]>;

  /** The never-banned list that people keep with `blockctl allow`. */
  allowed(): Promise<AllowEntry[]>;
  /** How far each log was counted by `host`: log path (or `journal`) → progress. */
  progress(host: string): Promise<Map<string, Progress>>;
  /** Every host whose progress is stored. */
  hosts(): Promise<string[]>;

  /** Changes after `cursor` (null: only the present cursor). `gap`: older changes are gone, read everything anew. */
  changesSince(
    cursor: string | null,
  ): Promise<{ readonly changes: Change[]; readonly cursor: string; readonly gap: boolean }>;
  /** Calls `onChange` soon (well under a second) after any process committed changes; returns a stop function. */
  watch(onChange: () => void): () => Promise<void>;
  /** Newest changes first, at most `limit`: the history for `list --all`. */
  history(limit: number): Promise<Change[]>;

  /** Scored subjects (those with any state) and stored bans with `until > at`. */
  counts(at: number): Promise<{ readonly scored: number; readonly banned: number }>;
  /** Subjects by descending rank (see policy/decay.ts), at most `limit`. */
  top(limit: number): Promise<string[]>;
  /**
   * Forgets subjects for which `idle` is true, and evidence and changes older than `keepMs` but the newest change;
   * returns how many subjects went.
   */
  prune(idle: (subject: string, state: SubjectState) => boolean, at: number, keepMs: number): Promise<number>;
  /** Rewrites every state through `convert`, atomically: for a changed half-life. */
  rewrite(convert: (state: SubjectState) => { readonly state: SubjectState; readonly rank: number }): Promise<void>;

  /** Small named facts (`daemon:HOST`, `schema`), as JSON values. */
  note(name: string): Promise<unknown>;
  setNote(name: string, value: unknown): Promise<void>;

  /** Which settings of the store itself put at risk what it holds; none where that can't be told. */
  risks(): Promise<Risk[]>;

  close(): Promise<void>;
}

/** One sentence for a person without a full stop, and what to do. */
export interface Risk {
  readonly text: string;
  readonly fix: string;
}

/** What one commit changes. */
export interface Outcome extends Partial<Verdict> {
  readonly allow?: readonly AllowEntry[];
  readonly disallow?: readonly string[];
  readonly progress?: readonly Progress[];
  /** Named facts that change in the same step; null forgets one. */
  readonly notes?: ReadonlyMap<string, unknown>;
}

/** How far one log was counted, with all that judging its next line needs. JSON-safe. */
export interface Progress {
  readonly host: string;
  /** Absolute path of the log, or `journal`. */
  readonly log: string;
  readonly position: Position;
  /** Open sessions and clock context of this log, so that a restart between two lines changes nothing. */
  readonly carry: unknown;
  /** Unique name of the commit that stored this. */
  readonly commit: string;
  /** `commit` of the progress that this one continues, null for the first. */
  readonly after: string | null;
  /**
   * When it was committed, milliseconds, and later than the one before: tells an earlier state of the store from
   * another daemon's later commit.
   */
  readonly at: number;
  /** Time stamp of the newest line counted, milliseconds, or null. */
  readonly lastLineAt: number | null;
}

/**
 * Evidence as one line of JSON. Most lines of a log hold nothing that JSON escapes, and one is written for each offense
 * of a backlog: then this takes a third of the time of JSON.stringify.
 */
export function evidenceText(evidence: Evidence): string {
  const { at, rule, points, line } = evidence;
  if (ESCAPED.test(line) || ESCAPED.test(rule) || !Number.isFinite(at) || !Number.isFinite(points)) {
    return JSON.stringify({ at, rule, points, line });
  }
  return `{"at":${at},"rule":"${rule}","points":${points},"line":"${line}"}`;
}

/** The lines that `evidenceText` made, as they were stored. @throws SyntaxError for what no blockd wrote. */
export function evidenceOf(lines: string): Evidence[] {
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Evidence);
}

/** What may not stand in a JSON string as it is; lone surrogates only in doubt. */
const ESCAPED = /["\\\x00-\x1f\ud800-\udfff]/;

/** Changes kept in the feed. */
export const MAX_CHANGES = 10_000;

/** The stored position of a log is not the one that a commit continues. */
export class StaleProgressError extends Error {
  override readonly name = 'StaleProgressError';
}
