/** One transaction of the embedded store: plain values, so that another thread can write them. */

import { MAX_EVIDENCE } from '../policy/state.js';
import { REVISION, type Tables } from './lmdb-tables.js';
import { isNewer, SCHEMA, SCHEMA_VERSION } from './schema.js';
import { MAX_CHANGES } from './store.js';

export interface Writing {
  /** The revision that it was made from, and that must still be the present one; null: whatever was written since. */
  readonly after: number | null;
  readonly progress?: readonly ProgressRow[];
  readonly subjects?: readonly SubjectRow[];
  /** Subject, and lines of evidence to add. */
  readonly evidence?: readonly (readonly [string, string])[];
  /** Evidence to cut down: subject, lines as read, lines that stay. */
  readonly trimmed?: readonly (readonly [string, string, string])[];
  readonly allow?: readonly (readonly [string, string])[];
  readonly disallow?: readonly string[];
  /** Named facts; null forgets one. */
  readonly notes?: readonly (readonly [string, string | null])[];
  readonly changes?: readonly string[];
  /** Numbers of changes. */
  readonly forgotten?: readonly number[];
}

export interface ProgressRow {
  readonly key: string;
  readonly log: string;
  readonly after: string | null;
  readonly text: string;
}

export interface SubjectRow {
  readonly subject: string;
  /** Null forgets the subject and its evidence. */
  readonly text: string | null;
  /** Only what is still so is changed. */
  readonly was?: string;
  readonly oldEnd: number | null;
  readonly newEnd: number | null;
  /** The ban, when it is another than before. */
  readonly ban: string | null;
  readonly oldRank: number | null;
  readonly newRank: number | null;
}

/**
 * `conflict`: something else was committed meanwhile. `stale`: another daemon counts that log. `newer`: a newer blockd has
 * made the store. Nothing was written.
 */
export type Answer =
  | { readonly type: 'done'; readonly subjects: number }
  | { readonly type: 'conflict' }
  | { readonly type: 'stale'; readonly log: string }
  | { readonly type: 'newer'; readonly version: unknown };

/** Call it in a transaction for writing. */
export function write(tables: Tables, writing: Writing): Answer {
  const { revision, version } = tables;
  if (isNewer(version)) return { type: 'newer', version };
  if (writing.after !== null && revision !== writing.after) return { type: 'conflict' };
  for (const { key, log, after } of writing.progress ?? []) {
    const stored = tables.progress.get(key);
    const commit = stored === undefined ? null : (JSON.parse(stored) as { readonly commit: string }).commit;
    if (commit !== after) return { type: 'stale', log };
  }
  if (version !== SCHEMA_VERSION) tables.notes.putSync(SCHEMA, String(SCHEMA_VERSION));
  for (const { key, text } of writing.progress ?? []) tables.progress.putSync(key, text);
  let subjects = 0;
  for (const row of writing.subjects ?? []) if (writeSubject(tables, row)) subjects++;
  for (const [subject, lines] of writing.evidence ?? []) {
    const known = tables.evidence.get(subject);
    tables.evidence.putSync(subject, known === undefined ? newest(lines) : newest(`${known}\n${lines}`));
  }
  for (const [subject, was, left] of writing.trimmed ?? []) {
    if (tables.evidence.get(subject) !== was) continue;
    if (left === '') tables.evidence.removeSync(subject);
    else tables.evidence.putSync(subject, left);
  }
  for (const [entry, text] of writing.allow ?? []) tables.allow.putSync(entry, text);
  for (const entry of writing.disallow ?? []) tables.allow.removeSync(entry);
  for (const [name, text] of writing.notes ?? []) {
    if (text === null) tables.notes.removeSync(name);
    else tables.notes.putSync(name, text);
  }
  record(tables, writing.changes ?? []);
  for (const key of writing.forgotten ?? []) tables.changes.removeSync(key);
  tables.notes.putSync(REVISION, String(revision + 1));
  return { type: 'done', subjects };
}

function writeSubject(tables: Tables, row: SubjectRow): boolean {
  const { subject, text, oldEnd, newEnd, oldRank, newRank } = row;
  if (row.was !== undefined && tables.subjects.get(subject) !== row.was) return false;
  if (oldEnd !== null && oldEnd !== newEnd) tables.ends.removeSync([oldEnd, subject]);
  if (newEnd !== null && row.ban !== null) tables.ends.putSync([newEnd, subject], row.ban);
  if (oldRank !== newRank) {
    if (oldRank !== null) tables.ranks.removeSync([oldRank, subject]);
    if (newRank !== null) tables.ranks.putSync([newRank, subject], '');
  }
  if (text === null) {
    tables.subjects.removeSync(subject);
    tables.evidence.removeSync(subject);
  } else tables.subjects.putSync(subject, text);
  return true;
}

function newest(lines: string): string {
  const all = lines.split('\n');
  return all.length > MAX_EVIDENCE ? all.slice(-MAX_EVIDENCE).join('\n') : lines;
}

function record(tables: Tables, changes: readonly string[]): void {
  if (changes.length === 0) return;
  let sequence = tables.newestChange;
  for (const change of changes) tables.changes.putSync(++sequence, change);
  const old = [...tables.changes.getKeys({ end: sequence - MAX_CHANGES + 1 })];
  for (const key of old) tables.changes.removeSync(key);
}
