/** The two scripts by which all is written, and how they are called: commit.lua and rewrite.lua say the rest. */
import { readFileSync } from 'node:fs';
import type { Cluster, Redis } from 'ioredis';
import { MAX_EVIDENCE, type SubjectState } from '../policy/state.js';
import { SCHEMA_VERSION } from './schema.js';
import { evidenceText, MAX_CHANGES, type Outcome } from './store.js';

const COMMIT_LUA = readFileSync(new URL('./commit.lua', import.meta.url), 'utf8');
const REWRITE_LUA = readFileSync(new URL('./rewrite.lua', import.meta.url), 'utf8');

/** KEYS of commit.lua but the last, which is named after the commit. */
export const COMMIT_KEYS = [
  'subjects',
  'scores',
  'bans',
  'evidence',
  'events',
  'positions',
  'allow',
  'revision',
  'notes',
];

/** KEYS of rewrite.lua that are replaced. */
export const REWRITTEN = ['subjects', 'scores', 'bans'];

/** What both scripts answer. */
export type Answer = readonly ['done' | 'again' | 'conflict' | 'stale' | 'newer', string?];

/** What one step writes: an outcome, or what pruning takes away. */
export interface Written extends Outcome {
  /** Subject, its lines of evidence as they were read, and those that stay. */
  readonly trimmed?: readonly (readonly [string, string, string])[];
  /** Ids of changes. */
  readonly forgotten?: readonly string[];
}

export type Client = (Redis | Cluster) & {
  blockdCommit(...args: (string | number)[]): Promise<Answer>;
  blockdRewrite(...args: (string | number)[]): Promise<Answer>;
};

export interface Read {
  readonly raw: string;
  readonly state: SubjectState;
}

/** A subject's state as it is written. */
export interface Row {
  readonly subject: string;
  /** Null forgets it. */
  readonly state: SubjectState | null;
  /** "" forgets it. */
  readonly raw: string;
  /** "" for none. */
  readonly rank: string;
}

export function rowsOf({ put, ranks }: Outcome): Row[] {
  return [...(put ?? [])].map(([subject, state]) => {
    if (state === null) return { subject, state, raw: '', rank: '' };
    const rank = ranks?.get(subject);
    const shown = rank === undefined || !Number.isFinite(rank) ? '' : String(rank);
    return { subject, state, raw: JSON.stringify(state), rank: shown };
  });
}

/** Teaches `client` the scripts. */
export function withScripts(client: Redis | Cluster): Client {
  client.defineCommand('blockdCommit', { numberOfKeys: COMMIT_KEYS.length + 1, lua: COMMIT_LUA });
  client.defineCommand('blockdRewrite', { numberOfKeys: 8, lua: REWRITE_LUA });
  return client as Client;
}

/** ARGV of commit.lua. */
export function commitArguments(
  attempt: string,
  outcome: Written,
  rows: readonly Row[],
  subjects: readonly string[],
  read: ReadonlyMap<string, Read>,
): (string | number)[] {
  const args: (string | number)[] = [attempt, SCHEMA_VERSION, MAX_EVIDENCE, MAX_CHANGES];
  const part = <T>(items: Iterable<T> | undefined, fields: (item: T) => readonly (string | number)[]) => {
    const all = [...(items ?? [])];
    args.push(all.length);
    for (const item of all) for (const field of fields(item)) args.push(field);
  };
  part(outcome.progress, (one) => [
    JSON.stringify([one.host, one.log]),
    one.after ?? '',
    one.commit,
    JSON.stringify(one),
  ]);
  part(subjects, (subject) => [subject, read.get(subject)?.raw ?? '']);
  part(rows, ({ subject, state, raw, rank }) => [subject, raw, rank, state?.ban?.until ?? '']);
  part(outcome.evidence, ([subject, lines]) => [subject, lines.slice(-MAX_EVIDENCE).map(evidenceText).join('\n')]);
  part(outcome.trimmed, (one) => one);
  part(outcome.changes, (change) => [JSON.stringify(change)]);
  part(outcome.forgotten, (id) => [id]);
  part(outcome.allow, (entry) => [entry.entry, JSON.stringify(entry)]);
  part(outcome.disallow, (entry) => [entry]);
  part(outcome.notes, ([name, value]) => [name, value === null ? '' : JSON.stringify(value)]);
  return args;
}
