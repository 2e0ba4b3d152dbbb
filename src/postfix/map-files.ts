/**
 * The files of one access map: how they are called, how they are replaced whole, and how to tell that nobody else
 * has touched them. The files that Postfix reads are never unlinked.
 */
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { BlockdError, reasonOf, UnavailableError, UsageError } from '../domain/errors.js';

/** Suffix of the file that postmap makes; measured with Postfix 3.7. */
const SUFFIX: Readonly<Record<string, string>> = { hash: '.db', btree: '.db', lmdb: '.lmdb', cdb: '.cdb' };

export const INDEXED_TYPES: readonly string[] = Object.keys(SUFFIX);

export class MapFiles {
  /** What main.cf names. */
  readonly path: string;
  /** What postmap makes of it; the text itself for a cidr map. */
  readonly compiled: string;
  /** The sibling for what an indexed map can't hold; the text itself for a cidr map. */
  readonly cidr: string;
  /** What changed since the text was written whole: with it, a change costs what it changes. See map-changes.ts. */
  readonly changes: string;
  /** Inodes, sizes and times of the others when they were last published. */
  readonly state: string;
  readonly lock: string;

  constructor(type: string, path: string) {
    const suffix = SUFFIX[type];
    this.path = path;
    this.compiled = path + (suffix ?? '');
    this.cidr = suffix === undefined ? path : `${path}.cidr`;
    this.changes = `${path}.changes`;
    this.state = `${path}.state`;
    this.lock = `${path}.lock`;
  }

  /** The files that Postfix needs, and their source. */
  get all(): string[] {
    return [...new Set([this.path, this.cidr, this.compiled])];
  }

  /** Those by which somebody else's change is seen. */
  get stamped(): string[] {
    return [...this.all, this.changes];
  }
}

/** Where a new map is built: no orphan of a killed publisher writes there too. */
export function asideOf(type: string, path: string): MapFiles {
  return new MapFiles(type, `${path}.new-${process.pid}-${randomBytes(3).toString('hex')}`);
}

/** What killed publishers left, and spares that others keep; not the files of the one at `kept`. */
export async function removeAsides(path: string, kept?: string): Promise<void> {
  const folder = dirname(path);
  // Berkeley DB makes its files under such a name first, and a postmap that was killed leaves it.
  const mine = (name: string) => name.replace(/^__db\./, '').startsWith(`${basename(path)}.new-`);
  const isKept = (name: string) => kept !== undefined && name.startsWith(basename(kept));
  await guarded(path, async () => {
    for (const name of (await readdir(folder)).filter((name) => mine(name) && !isKept(name)))
      await rm(join(folder, name), { force: true });
  });
}

/** Null when there is no such file. @throws UsageError for a directory, UnavailableError when it can't be read. */
export async function textOf(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'latin1');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    if (code === 'EISDIR') throw new UsageError(`the access map ${file} is a directory; name a file`, { cause: error });
    throw new UnavailableError(`can't read ${file} of the access map: ${reasonOf(error)}`, { cause: error });
  }
}

/** Changes whenever one of the files is replaced, changed, or gone; a rename changes nothing. */
export async function stampsOf(files: readonly string[]): Promise<string> {
  const stamps = await Promise.all(files.map((file) => stampOf(file)));
  return `${JSON.stringify(stamps)}\n`;
}

/** Changes whenever one of the files is replaced or gone; a new one may well get the old one's inode, but is younger. */
export async function inodesOf(files: readonly string[]): Promise<string> {
  const stats = await Promise.all(files.map((file) => stat(file).catch(() => null)));
  return stats.map((one) => one && `${one.ino} ${one.birthtimeMs}`).join();
}

/** When the file was last changed, milliseconds; null when there is none. */
export async function changedAt(file: string): Promise<number | null> {
  return (await stampOf(file))?.mtimeMs ?? null;
}

/** Writes a file that is not in use, down to the disk. Readable for all, whatever the umask. */
export async function writeWhole(file: string, text: string): Promise<void> {
  await guarded(file, async () => {
    const handle = await open(file, 'w');
    try {
      await handle.writeFile(text, 'latin1');
      await handle.chmod(0o644);
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

/** Brings a file that a tool wrote down to the disk (cdb maps are not), readable for all. */
export async function settle(file: string): Promise<void> {
  await guarded(file, async () => {
    const handle = await open(file, 'r');
    try {
      await handle.chmod(0o644);
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

export type Step = readonly [from: string | null, to: string];

/** Renames, or removes where nothing comes, in the order given: each step leaves every file whole, the old or the new. */
export async function replaceAll(steps: readonly Step[]): Promise<void> {
  for (const [from, to] of steps) await guarded(to, () => (from === null ? rm(to, { force: true }) : rename(from, to)));
  const folder = dirname(steps[0]?.[1] ?? '.');
  await guarded(folder, async () => {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

export async function stampOf(file: string): Promise<{ ino: number; size: number; mtimeMs: number } | null> {
  try {
    const { ino, size, mtimeMs } = await stat(file);
    return { ino, size, mtimeMs };
  } catch {
    return null;
  }
}

export async function guarded<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BlockdError) throw error;
    throw new UnavailableError(`can't write ${file} of the access map: ${reasonOf(error)}`, { cause: error });
  }
}
