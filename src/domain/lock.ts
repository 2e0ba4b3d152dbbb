/**
 * A lock between processes that ends with its holder, `kill -9` included: flock(2) on a file, held by util-linux's
 * flock(1) in a child that ends when our end of its pipe closes. The file itself stays and means nothing.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { reasonOf, UnavailableError } from './errors.js';

export interface Lock {
  release(): Promise<void>;
}

/** Exit status that flock(1) is told to use when somebody else holds the lock. */
const HELD = 75;

/**
 * Takes the lock, waiting up to `waitMs` (0: not at all); null when somebody else holds it.
 * @throws UnavailableError when the file can't be made or flock(1) is missing.
 */
export async function acquireLock(path: string, options: { readonly waitMs: number }): Promise<Lock | null> {
  makeFolder(path);
  const patience = options.waitMs === 0 ? ['-n'] : ['-w', String(options.waitMs / 1_000)];
  const child = spawn('flock', [...patience, '-E', String(HELD), path, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // Ctrl-C on a terminal must not end the lock before its holder has finished.
    detached: true,
  });
  child.stdin.on('error', () => undefined);
  let complaint = '';
  child.stderr.on('data', (data) => {
    complaint += data;
  });
  const ended = new Promise<number | Error>((resolve) => {
    child.once('error', resolve);
    child.once('close', (code) => resolve(code ?? 1));
  });
  const first = await Promise.race([once(child.stdout, 'data').then(() => 'held' as const), ended]);
  if (first === HELD) return null;
  if (first instanceof Error) {
    throw new UnavailableError(`can't lock ${path}: flock(1) of util-linux can't be run: ${reasonOf(first)}`, { cause: first });
  }
  if (first !== 'held') throw new UnavailableError(`can't lock ${path}: ${complaint.trim().split('\n').at(-1) || `flock ended with ${first}`}`);
  return {
    release: async () => {
      child.stdin.end();
      await ended;
    },
  };
}

function makeFolder(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (error) {
    throw new UnavailableError(`can't make the folder ${dirname(path)}: ${reasonOf(error)}`, { cause: error });
  }
}
