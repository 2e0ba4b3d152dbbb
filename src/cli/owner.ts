/** Root's orders to a store or map of another user are carried out as that user: no file is left that he can't use. */
import { spawnSync } from 'node:child_process';
import { type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { reasonOf, UnavailableError } from '../domain/errors.js';

/** Becomes, for good, the owner of `path` or of its nearest folder that exists, when this is root and the owner is not. */
export function becomeOwnerOf(path: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = nearest(path);
  if (uid === 0) return;
  try {
    (process as WithInitgroups).initgroups(uid, gid);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_INVALID_STATE') beginAnewAs(uid, gid);
    // An owner without an account has no groups but the folder's.
    process.setgroups?.([gid]);
  }
  process.setgid?.(gid);
  process.setuid?.(uid);
}

/** The same, before anything is done, where becoming somebody means to begin anew: nothing may be done twice. */
export function becomeOwnerAtOnce(path: string): void {
  const { node_shared_libuv } = process.config.variables as { node_shared_libuv?: boolean };
  if (node_shared_libuv === true) becomeOwnerOf(path);
}

/**
 * Debian 13's Node.js changes no user at all: it can't know whether its libuv uses io_uring, whose work would go on as
 * root (CVE-2024-22017). So util-linux's setpriv(1) runs the same command once more. Nothing was read or said yet.
 */
function beginAnewAs(uid: number, gid: number): never {
  // An owner without an account has no groups but the folder's.
  const groups = spawnSync('id', ['-G', String(uid)], { encoding: 'utf8' })
    .stdout?.trim()
    .split(' ')
    .join(',');
  const owner = ['--reuid', String(uid), '--regid', String(gid), '--groups', groups || String(gid)];
  const { status, error } = spawnSync(
    'setpriv',
    [...owner, process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    { stdio: 'inherit' },
  );
  if (error !== undefined) {
    throw new UnavailableError(
      `can't become the owner of the store, user ${uid}: ${reasonOf(error)}; install util-linux, or run blockctl as that user`,
      { cause: error },
    );
  }
  // Ended by a signal, it has been stopped from outside, and so is this.
  process.exit(status ?? 3);
}

/** Missing in the type declarations of Node 20. */
type WithInitgroups = NodeJS.Process & { initgroups(user: number, extraGroup: number): void };

function nearest(path: string): Stats {
  for (let folder = path; ; folder = dirname(folder)) {
    const stat = statSync(folder, { throwIfNoEntry: false });
    if (stat !== undefined) return stat;
  }
}
