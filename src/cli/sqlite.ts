/** Reads an SQLite file through SQLite's own program, so that blockd needs no native library for a thing done once. */
import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { reasonOf, UnavailableError, UsageError } from '../domain/errors.js';

const PATIENCE_MS = 60_000;

/**
 * The rows that `query` answers, as text columns.
 * @param query Its columns are texts without newlines and without `|`.
 * @throws UsageError when the file can't be read; UnavailableError when `sqlite3` is missing or complains.
 */
export async function querySqlite(file: string, query: string): Promise<string[][]> {
  const path = resolve(file);
  try {
    if (!statSync(path).isFile()) throw new Error('it is no file');
  } catch (error) {
    throw new UsageError(`${path} can't be read: ${reasonOf(error)}`, { cause: error });
  }
  // No `.sqliterc` of the person's changes what is printed.
  const args = ['-batch', '-readonly', '-init', '/dev/null', '-noheader', '-list', '-separator', '|', path, query];
  const child = spawn('sqlite3', args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: PATIENCE_MS });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (data: Buffer) => out.push(data));
  child.stderr.on('data', (data: Buffer) => err.push(data));
  const ended = await new Promise<number | null | Error>((done) => {
    child.once('error', done);
    child.once('close', done);
  });
  if (ended instanceof Error) {
    const isMissing = (ended as NodeJS.ErrnoException).code === 'ENOENT';
    throw new UnavailableError(
      isMissing
        ? `${path} is an SQLite file, and the program "sqlite3" that reads it is not installed: apt-get install sqlite3`
        : `can't run sqlite3: ${reasonOf(ended)}`,
      { cause: ended },
    );
  }
  if (ended !== 0) {
    const complaint = Buffer.concat(err).toString('latin1').trim().split('\n').at(-1) || 'it did not end in time';
    throw new UnavailableError(`${path} can't be read by sqlite3: ${complaint}`);
  }
  const text = Buffer.concat(out).toString('latin1');
  return text.split('\n').flatMap((row) => (row === '' ? [] : [row.split('|')]));
}
