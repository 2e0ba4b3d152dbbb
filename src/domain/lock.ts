/**
 * A lock between processes that ends with its holder, `kill -9` included: flock(2) on a file that this process keeps
 * open. util-linux's flock(1) takes it on our descriptor, which Node can't do itself, and is gone before the work
 * begins. The file itself stays and means nothing.
 */
import { spawn } from 'node:child_process';
import { closeSync, fchownSync, mkdirSync, openSync, statSync } from 'node:fs';
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
  const descriptor = openFile(path);
  let taken = false;
  try {
    taken = await lockDescriptor(descriptor, path, options.waitMs);
  } finally {
    if (!taken) closeSync(descriptor);
  }
  if (!taken) return null;
  let held = true;
  return {
    release: async () => {
      // A descriptor's number is used again: closing it twice would close somebody else's file.
      if (held) closeSync(descriptor);
      held = false;
    },
  };
}

/** Only its owner may open it: whoever can, can keep everybody else waiting. */
function openFile(path: string): number {
  const folder = dirname(path);
  try {
    mkdirSync(folder, { recursive: true });
    const descriptor = openSync(path, 'a', 0o600);
    // Root must not leave a file that the folder's owner can't lock.
    if (process.getuid?.() === 0) fchownSync(descriptor, statSync(folder).uid, statSync(folder).gid);
    return descriptor;
  } catch (error) {
    throw new UnavailableError(`can't lock ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/** The lock belongs to the open file, which flock(1) inherits as its descriptor 3 and we keep. */
async function lockDescriptor(descriptor: number, path: string, waitMs: number): Promise<boolean> {
  const patience = waitMs === 0 ? ['-n'] : ['-w', String(waitMs / 1_000)];
  const child = spawn('flock', [...patience, '-E', String(HELD), '3'], {
    stdio: ['ignore', 'ignore', 'pipe', descriptor],
    // Ctrl-C on a terminal must not end the waiting of a program that means to finish its work first.
    detached: true,
  });
  let complaint = '';
  child.stderr?.on('data', (data) => {
    complaint += data;
  });
  const result = await new Promise<number | Error>((resolve) => {
    child.once('error', resolve);
    child.once('close', (code) => resolve(code ?? 1));
  });
  if (result === 0) return true;
  if (result === HELD) return false;
  const why =
    result instanceof Error
      ? `flock(1) of util-linux can't be run: ${reasonOf(result)}`
      : complaint.trim().split('\n').at(-1) || `flock ended with status ${result}`;
  throw new UnavailableError(`can't lock ${path}: ${why}`, { cause: result instanceof Error ? result : undefined });
}
