/** Gets a list from where it is kept. Whatever is there is hostile: it ends in time, and is no larger than allowed. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { Deadline } from '../domain/deadline.js';
import { reasonOf, UnavailableError } from '../domain/errors.js';
import { safe } from '../domain/safe.js';
import { MOST_BYTES } from './list-text.js';

export interface Fetched {
  readonly body: Buffer;
  readonly etag: string | null;
  readonly lastModified: string | null;
  /** When it was known to be right, milliseconds. */
  readonly refreshedAt: number;
}

/** What was got before, to be asked whether it still holds. */
export type Before = Pick<Fetched, 'etag' | 'lastModified'>;

const TIMEOUT_MS = 60_000;
const TOO_LARGE = `is larger than ${MOST_BYTES >> 20} MiB`;

/** Null: as before. @throws UnavailableError that goes on after the list's name. */
export async function fetchList(
  url: string,
  before: Before | null,
  { signal, timeoutMs = TIMEOUT_MS }: { readonly signal: AbortSignal; readonly timeoutMs?: number },
): Promise<Fetched | null> {
  const deadline = new Deadline(timeoutMs, signal);
  try {
    const response = await fetch(url, {
      headers: {
        'User-Agent': 'blockd',
        ...(before?.etag && { 'If-None-Match': before.etag }),
        ...(before?.lastModified && { 'If-Modified-Since': before.lastModified }),
      },
      // It might lead anywhere, into this host's own network too.
      redirect: 'manual',
      signal: deadline.signal,
    });
    if (response.status === 304 && before !== null) return null;
    if (response.status !== 200) {
      await response.body?.cancel().catch(() => undefined);
      throw new UnavailableError(refusalOf(response));
    }
    return {
      body: await bodyOf(response, deadline),
      etag: headerOf(response, 'etag'),
      lastModified: headerOf(response, 'last-modified'),
      refreshedAt: Date.now(),
    };
  } catch (error) {
    if (error instanceof UnavailableError) throw error;
    const late = deadline.signal.aborted && !signal.aborted;
    const why = late ? `no whole answer within ${timeoutMs / 1_000} s` : reasonOf((error as Error).cause ?? error);
    throw new UnavailableError(`can't be fetched: ${safe(why)}`, { cause: error });
  } finally {
    deadline.close();
  }
}

async function bodyOf(response: Response, deadline: Deadline): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Counted as it is unpacked: a small answer may be a large text.
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MOST_BYTES) {
      deadline.end();
      throw new UnavailableError(TOO_LARGE);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function refusalOf({ status, headers }: Response): string {
  if (status < 300 || status >= 400) return `can't be fetched: the server answered ${status}`;
  const where = safe((headers.get('location') ?? '').slice(0, 200)).replace(/\?.*$/, '?***');
  return `can't be fetched: the server answered ${status}, a redirect${where === '' ? '' : ` to ${where}`}, which is not followed: name the right URL`;
}

/** Sent back as it came, unless that is unreasonable. */
function headerOf({ headers }: Response, name: string): string | null {
  const value = headers.get(name);
  return value !== null && /^[\x20-\x7e]{1,512}$/.test(value) ? value : null;
}

/** The same from a file; it was right when it was last changed. */
export async function readListFile(path: string, mostBytes = MOST_BYTES): Promise<Fetched> {
  try {
    // A pipe without a writer must not keep us waiting.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) throw new UnavailableError(`can't be read: ${path} is no file`);
      if (stat.size > mostBytes) throw new UnavailableError(TOO_LARGE);
      const refreshedAt = Math.min(stat.mtimeMs, Date.now());
      // No more than was looked at, should it grow.
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(stat.size), 0, stat.size, 0);
      return { body: buffer.subarray(0, bytesRead), etag: null, lastModified: null, refreshedAt };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof UnavailableError) throw error;
    throw new UnavailableError(`can't be read: ${path}: ${reasonOf(error)}`, { cause: error });
  }
}
