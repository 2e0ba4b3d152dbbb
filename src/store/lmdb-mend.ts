/** Looks whether an LMDB store can be read before it is opened, and sets aside one that can't. */
import { spawnSync } from 'node:child_process';
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reasonOf, UnavailableError } from '../domain/errors.js';
import { DAMAGE, requireRoom } from './lmdb-file.js';

const WALK = fileURLToPath(new URL('./lmdb-walk.js', import.meta.url));
/** Reading 100 MB takes about a second; who needs twenty times as long reads in circles. */
const SHORTEST_PATIENCE_MS = 20_000;
const SLOWEST_BYTES_PER_MS = 5_000;
/** What a damaged page does to its reader. Other signals come from a person, or for want of memory. */
const DEADLY = ['SIGSEGV', 'SIGBUS', 'SIGABRT', 'SIGILL', 'SIGFPE'];

/**
 * Call it with the daemon's lock held. Returns the sentence to log, or null when the store is sound or new.
 * @throws UnavailableError when the damaged file can't be set aside, or the disk is full.
 */
export function mendLmdb(folder: string, now: number, patienceMs = patienceFor(folder)): string | null {
  const data = join(folder, 'data.mdb');
  if ((statSync(data, { throwIfNoEntry: false })?.size ?? 0) === 0) return null;
  requireRoom(folder);
  if (isAsClosed(folder)) return null;
  // Twice: nothing that passes by itself may cost the scores.
  const why = damageIn(folder, patienceMs) === null ? null : damageIn(folder, patienceMs);
  if (why === null) return null;
  const aside = `${data}.damaged-${new Date(now).toISOString().replace(/[:.]/g, '-')}`;
  try {
    renameSync(data, aside);
    rmSync(join(folder, 'lock.mdb'), { force: true });
  } catch (error) {
    throw new UnavailableError(`store lmdb:${folder} is damaged, and can't be set aside: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  return `store lmdb:${folder} is damaged (${why}): set aside as ${aside}, and begun anew; scores and strikes start from nothing, bans in the access map stay in force until their end`;
}

/**
 * Remembers the file as it was closed in good order, so that the next start need not read all of it. Call it when the
 * store is closed, with the daemon's lock held.
 */
export function noteClosed(folder: string): void {
  try {
    writeFileSync(join(folder, CLOSED), stampOf(folder), { mode: 0o640 });
  } catch {
    // Then the next start reads it all, as after a crash.
  }
}

/** Nobody has written to it since. Good for one start: who is killed leaves no such word. */
function isAsClosed(folder: string): boolean {
  const file = join(folder, CLOSED);
  let closed: string | null = null;
  try {
    closed = readFileSync(file, 'utf8');
    rmSync(file);
  } catch {
    return false;
  }
  return closed === stampOf(folder);
}

function stampOf(folder: string): string {
  const { ino, size, mtimeNs, ctimeNs } = statSync(join(folder, 'data.mdb'), { bigint: true });
  return `data.mdb as it was closed: ${[ino, size, mtimeNs, ctimeNs].join(' ')}\n`;
}

const CLOSED = 'closed';

function patienceFor(folder: string): number {
  const bytes = statSync(join(folder, 'data.mdb'), { throwIfNoEntry: false })?.size ?? 0;
  return SHORTEST_PATIENCE_MS + Math.ceil(bytes / SLOWEST_BYTES_PER_MS);
}

function damageIn(folder: string, patienceMs: number): string | null {
  const walk = spawnSync(process.execPath, [WALK, folder], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: patienceMs,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
  });
  const said = walk.stderr ?? '';
  if ((walk.error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT') return 'reading it comes to no end';
  if (walk.signal !== null) {
    return DEADLY.includes(walk.signal) && !/out of memory/i.test(said) ? `reading it ends by ${walk.signal}` : null;
  }
  const last = said.trim().split('\n').at(-1) ?? '';
  return walk.status === DAMAGED_STATUS || (walk.status !== 0 && DAMAGE.test(said)) ? last : null;
}

/** Exit status of the walk for what it knows to be damage. */
const DAMAGED_STATUS = 9;
