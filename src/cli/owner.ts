/** Root's orders to a store or map of another user are carried out as that user: no file is left that he can't use. */
import { type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** Becomes, for good, the owner of `path` or of its nearest folder that exists, when this is root and the owner is not. */
export function becomeOwnerOf(path: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = nearest(path);
  if (uid === 0) return;
  try {
    (process as WithInitgroups).initgroups(uid, gid);
  } catch {
    // An owner without an account has no groups but the folder's.
    process.setgroups?.([gid]);
  }
  process.setgid?.(gid);
  process.setuid?.(uid);
}

/** Missing in the type declarations of Node 20. */
type WithInitgroups = NodeJS.Process & { initgroups(user: number, extraGroup: number): void };

function nearest(path: string): Stats {
  for (let folder = path; ; folder = dirname(folder)) {
    const stat = statSync(folder, { throwIfNoEntry: false });
    if (stat !== undefined) return stat;
  }
}
