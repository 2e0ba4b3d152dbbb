/** The tables of an embedded store. Their values are JSON texts, which keep doubles exactly and mdb_dump shows. */
import { type Database, keyValueToBuffer, type RootDatabase } from 'lmdb';
import { openEnvironment } from './lmdb-file.js';
import { isNewer, newerStore, SCHEMA } from './schema.js';

/** Documented, and missing in the package's own declarations. */
declare module 'lmdb' {
  export interface DatabaseOptions {
    keyEncoder?: typeof UNREAD_KEYS;
  }
  export function keyValueToBuffer(key: Key): Buffer;
}

export const TABLES = ['subjects', 'ends', 'ranks', 'evidence', 'changes', 'allow', 'progress', 'notes'] as const;

/** Among the named facts. */
export const REVISION = 'revision';

export class Tables {
  readonly root: RootDatabase<string, string>;
  /** `Stored`. */
  readonly subjects: Database<string, string>;
  /** [until, subject] of stored bans → `Ban`. */
  readonly ends: Database<string, [number, string]>;
  /** The same table for who reads it whole: its keys, which the bans repeat, come as null. */
  readonly bans: Database<string, [number, string]>;
  /** [rank, subject] of scored subjects; the value says nothing. */
  readonly ranks: Database<string, [number, string]>;
  /** Lines of `Evidence`, oldest first. */
  readonly evidence: Database<string, string>;
  /** `Change`, numbered as they came. */
  readonly changes: Database<string, number>;
  /** `AllowEntry` by entry. */
  readonly allow: Database<string, string>;
  /** `Progress` by a digest of host and log: a path may be longer than a key of LMDB. */
  readonly progress: Database<string, string>;
  readonly notes: Database<string, string>;

  /** @throws NewerStoreError before anything is written. */
  constructor(folder: string) {
    this.root = openEnvironment(folder);
    const table = <K extends string | number | [number, string]>(name: (typeof TABLES)[number]) =>
      this.root.openDB<string, K>({ name, encoding: 'string' });
    this.notes = table('notes');
    const { version } = this;
    if (isNewer(version)) {
      void this.root.close();
      throw newerStore(`lmdb:${folder}`, version);
    }
    this.subjects = table('subjects');
    this.ends = table('ends');
    this.bans = this.root.openDB({ name: 'ends', encoding: 'string', keyEncoder: UNREAD_KEYS });
    this.ranks = table('ranks');
    this.evidence = table('evidence');
    this.changes = table('changes');
    this.allow = table('allow');
    this.progress = table('progress');
  }

  /** Of what the store holds; 0 when it is new, or of the time before versions. */
  get version(): unknown {
    const told = this.notes.get(SCHEMA);
    return told === undefined ? 0 : JSON.parse(told);
  }

  /**
   * Counts what was written. LMDB's own number of a transaction is no use: it moves on an instant before readers see
   * what that transaction wrote.
   */
  get revision(): number {
    return Number(this.notes.get(REVISION) ?? 0);
  }

  get newestChange(): number {
    const [newest] = this.changes.getKeys({ reverse: true, limit: 1 });
    return newest ?? 0;
  }
}

/** Reading a key takes longer than finding it. */
const UNREAD_KEYS = {
  writeKey: (key: [number, string], target: Buffer, start: number) => start + keyValueToBuffer(key).copy(target, start),
  readKey: () => null,
};
