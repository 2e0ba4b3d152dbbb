/** What setup has done here, beside the map: so that `--undo` takes out that and nothing else. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { UsageError } from '../domain/errors.js';

export interface SetupRecord {
  readonly version: 1;
  /** Milliseconds since the epoch. */
  readonly doneAt: number;
  /** The config file before (null: there was none) and as setup wrote it; null when it was left alone. */
  readonly config: { readonly file: string; readonly before: string | null; readonly after: string } | null;
  readonly mains: readonly ChangedMain[];
  /** Did setup make the map? */
  readonly madeMap: boolean;
  /** Folders that setup made, the outermost first. */
  readonly folders: readonly string[];
}

/** A main.cf that was changed. */
export interface ChangedMain {
  readonly configDirectory: string;
  /** The copy from before. */
  readonly backup: string;
  /** Digest of what setup wrote. */
  readonly after: string;
  /** Tables that setup added. */
  readonly tables: readonly string[];
}

export function recordFile(mapPath: string): string {
  return `${mapPath}.setup`;
}

/** Null when setup has done nothing here. @throws UsageError when it can't be read. */
export function readRecord(mapPath: string): SetupRecord | null {
  const file = recordFile(mapPath);
  try {
    const record = JSON.parse(readFileSync(file, 'utf8')) as SetupRecord;
    if (record.version === 1 && Array.isArray(record.mains) && Array.isArray(record.folders)) return record;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new UsageError(
    `${file} is not what "blockctl setup" wrote: move it away, then what it did can't be undone by itself`,
  );
}

export function digestOf(text: string): string {
  return createHash('sha256').update(text, 'latin1').digest('hex');
}
