/**
 * The last good copy of a list, so that a restart needs nobody else: one file, replaced whole, whose first line says whose
 * copy it is. Its modification time is when it was last known to be right.
 */
import { mkdir, open, rename, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { type Config, DEFAULT_STATE_FOLDER, type ListConfig } from '../config/schema.js';
import { maskQuery } from '../domain/secret.js';
import { type Before, type Fetched, readListFile } from './fetch-list.js';
import { MOST_BYTES } from './list-text.js';

/** Where the copies of a config's lists are; null when nothing is to outlive the process. */
export function listsFolder({ store }: Config): string | null {
  if (store.url === 'memory:') return null;
  if (store.url.startsWith('lmdb:')) return join(store.url.slice('lmdb:'.length), 'lists');
  // systemd names the service's folders, the first one first.
  return join(process.env['STATE_DIRECTORY']?.split(':')[0] || DEFAULT_STATE_FOLDER, 'lists');
}

/** File or URL of a list, safe to print. */
export function sourceOf({ file, url = '' }: ListConfig): string {
  return file ?? maskQuery(url);
}

const HEAD = '# blockd keeps this copy: ';
const LONGEST_HEAD = 16_384;

interface Head extends Before {
  /** File or URL that it was got from. */
  readonly from: string;
}

/** Null when there is no copy of this list. @throws UnavailableError when it can't be read. */
export async function readKept(folder: string, list: ListConfig): Promise<Fetched | null> {
  const kept = await readListFile(keptFile(folder, list), MOST_BYTES + LONGEST_HEAD).catch((error: Error) => {
    if ((error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return null;
    throw error;
  });
  if (kept === null) return null;
  const head = headOf(kept.body);
  return head?.from === fromOf(list) ? { ...kept, etag: head.etag, lastModified: head.lastModified } : null;
}

export async function keep(folder: string, list: ListConfig, got: Fetched): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = keptFile(folder, list);
  const head: Head = { from: fromOf(list), etag: got.etag, lastModified: got.lastModified };
  const handle = await open(`${file}.new`, 'w', 0o600);
  try {
    await handle.writeFile(Buffer.concat([Buffer.from(`${HEAD}${JSON.stringify(head)}\n`), got.body]));
    await handle.utimes(got.refreshedAt / 1_000, got.refreshedAt / 1_000);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
}

/** It still holds. */
export async function keepOn(folder: string, list: ListConfig, refreshedAt: number): Promise<void> {
  await utimes(keptFile(folder, list), refreshedAt / 1_000, refreshedAt / 1_000);
}

function keptFile(folder: string, { name }: ListConfig): string {
  return join(folder, `${name}.list`);
}

function fromOf({ file, url }: ListConfig): string {
  return file ?? url ?? '';
}

function headOf(body: Buffer): Head | null {
  const end = body.indexOf('\n');
  const line = body.toString('utf8', 0, Math.min(Math.max(end, 0), LONGEST_HEAD));
  if (!line.startsWith(HEAD)) return null;
  try {
    return JSON.parse(line.slice(HEAD.length)) as Head;
  } catch {
    return null;
  }
}
