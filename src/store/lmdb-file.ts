/**
 * The files of an embedded store: opened so that their owner keeps them, looked at before LMDB maps them into memory,
 * and what went wrong with them said in a sentence.
 */
import { chownSync, closeSync, mkdirSync, openSync, readSync, statfsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { open, type RootDatabase } from 'lmdb';
import { DamagedError, reasonOf, UnavailableError, UsageError } from '../domain/errors.js';

/** Bytes that a new store's first pages take, with some to spare. */
const ROOM_FOR_A_NEW_STORE = 262_144;

/** LMDB's and the file system's errors carry a code; anything else is not the store's fault. */
export function isFault(error: unknown): boolean {
  return (
    error instanceof Error && ('code' in error || error instanceof SyntaxError || error.message.startsWith('MDB_'))
  );
}

export const NO_SPACE = /no space left|disk quota exceeded/i;
/** mdb_strerror() of what only a damaged file brings about. */
export const DAMAGE = /MDB_(?:CORRUPTED|PROBLEM|PAGE_NOTFOUND|PANIC|INVALID|VERSION_MISMATCH|CURSOR_FULL|BAD_TXN)/;

/**
 * Opens data and lock file, readable by the folder's owner and group. When root is first, as with `sudo blockctl`, he
 * leaves them to the owner of the folder, or the daemon could not open its own store.
 */
export function openEnvironment(folder: string): RootDatabase<string, string> {
  requireRoom(folder);
  requireWhole(folder);
  // The umask is the process's: another thread finds the files made.
  const umask = isMainThread ? process.umask(0o027) : null;
  try {
    // JSON keeps doubles exactly and can be read by a person with mdb_dump. Without overlapping sync a commit returns
    // when it is on disk, as in plain LMDB.
    return open<string, string>({
      path: folder,
      encoding: 'string',
      maxDbs: 16,
      noSubdir: false,
      overlappingSync: false,
    });
  } finally {
    if (umask !== null) process.umask(umask);
    const { uid, gid } = statSync(folder);
    if (process.getuid?.() === 0 && uid !== 0) {
      for (const name of ['data.mdb', 'lock.mdb']) {
        const path = join(folder, name);
        if (statSync(path, { throwIfNoEntry: false })?.uid === 0) chownSync(path, uid, gid);
      }
    }
  }
}

/** LMDB maps its lock file into memory: pages that a full disk could not give would end the process by SIGBUS. */
export function requireRoom(folder: string): void {
  const lock = statSync(join(folder, 'lock.mdb'), { throwIfNoEntry: false });
  if (lock === undefined || lock.blocks * 512 < lock.size) requireRoomFor(folder);
}

export function requireRoomFor(folder: string): void {
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= ROOM_FOR_A_NEW_STORE) return;
  throw new UnavailableError(`store lmdb:${folder} can't be used: no space left on the device`);
}

/**
 * Opening what is no LMDB file, or only its beginning, would end the process by a signal, so the head is looked at
 * first: both meta pages, and that the roots of the newer one lie within the file (mdb.c, `MDB_meta`).
 */
export function requireWhole(folder: string): void {
  const path = join(folder, 'data.mdb');
  if (!['x64', 'arm64'].includes(process.arch) || sizeOf(path) === 0) return;
  const newer = metaOf(path);
  // Only now: whoever writes meanwhile makes the file longer first, and then names the pages that it has gained.
  const size = sizeOf(path);
  if (newer?.roots.every((root) => root === NO_PAGE || (root + 1n) * BigInt(newer.pageSize) <= size)) return;
  throw new DamagedError(
    `store lmdb:${folder} can't be used: data.mdb is damaged; restart blockd, which sets it aside and goes on without it`,
  );
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** What the newer of the two meta pages says; null when one of them is none. */
export function metaOf(path: string) {
  const first = metaAt(path, 0);
  const second = first && metaAt(path, first.pageSize);
  return first && second && (second.transaction > first.transaction ? second : first);
}

const META_MAGIC = 0xbeefc0de;
const META_BYTES = 160;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;

function metaAt(path: string, offset: number) {
  const page = Buffer.alloc(META_BYTES);
  const file = openSync(path, 'r');
  try {
    if (readSync(file, page, 0, META_BYTES, offset) < META_BYTES || page.readUInt32LE(24) !== META_MAGIC) return null;
  } finally {
    closeSync(file);
  }
  const roots = [page.readBigUInt64LE(88), page.readBigUInt64LE(136)];
  return {
    pageSize: page.readUInt32LE(48),
    roots,
    lastPage: page.readBigUInt64LE(144),
    transaction: page.readBigUInt64LE(152),
  };
}

export function makeFolder(folder: string): void {
  try {
    makeFolders(folder);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EEXIST') {
      throw new UsageError(`store lmdb:${folder}: this is a file; name a folder`);
    }
    throw new UnavailableError(`store lmdb:${folder}: the folder can't be made: ${reasonOf(error)}`, { cause: error });
  }
}

/** Not `recursive: true`: where the system itself makes no folders, as in /proc, Node 20 tries that for ever. */
function makeFolders(folder: string): void {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return;
  const parent = dirname(folder);
  if (parent !== folder && statSync(parent, { throwIfNoEntry: false }) === undefined) makeFolders(parent);
  try {
    mkdirSync(folder, { mode: 0o750 });
  } catch (error) {
    // Another process may have made it meanwhile.
    if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}

export function unavailable(folder: string, error: unknown): Error {
  if (NO_SPACE.test(reasonOf(error))) {
    return new UnavailableError(`store lmdb:${folder} can't be used: no space left on the device`, { cause: error });
  }
  if (error instanceof SyntaxError || DAMAGE.test(reasonOf(error))) return damaged(folder, error);
  return new UnavailableError(`store lmdb:${folder} can't be used: ${reasonOf(error)}`, { cause: error });
}

export function damaged(folder: string, error: unknown): DamagedError {
  return new DamagedError(
    `store lmdb:${folder}: data.mdb is damaged (${reasonOf(error)}); restart blockd, which sets it aside and goes on without it`,
    { cause: error },
  );
}
