/** Chooses the store by its URL; each adapter is loaded only when it is used. */
import { UsageError } from '../domain/errors.js';
import { maskPassword } from '../domain/secret.js';
import type { Store } from './store.js';

export interface OpenOptions {
  /** Prefix of all Redis keys. */
  readonly prefix: string;
  /** Where the password of Redis stands, when it is not in the URL. */
  readonly passwordFile?: string | undefined;
  /** The CA of a `rediss://`, when it is none that everybody trusts. */
  readonly caFile?: string | undefined;
  /** Commits to an embedded store wait for the disk in a thread of their own: for the daemon. */
  readonly ownThread?: boolean;
  readonly onNotice?: (level: 'info' | 'warn' | 'error', message: string) => void;
}

/**
 * Opens `lmdb:DIR`, `redis://`, `rediss://`, `unix:SOCKET`, `sentinel://`, `cluster://` or `memory:`.
 * @throws UsageError for a URL that names no store, UnavailableError when the store can't be reached or used,
 * NewerStoreError when it was made by a newer blockd: then nothing was changed.
 */
export async function openStore(url: string, options: OpenOptions): Promise<Store> {
  if (url === 'memory:') return new (await import('./memory.js')).MemoryStore();
  if (url.startsWith('lmdb:') && url.length > 'lmdb:'.length) {
    return (await import('./lmdb.js')).LmdbStore.open(url.slice('lmdb:'.length), options);
  }
  if (/^(rediss?:\/\/|unix:|sentinel:\/\/|cluster:\/\/)./.test(url)) {
    return (await import('./redis.js')).RedisStore.open(url, options);
  }
  throw new UsageError(
    `store "${maskPassword(url)}": write lmdb:/DIR, redis://HOST:PORT, rediss://HOST:PORT, unix:/SOCKET or memory:`,
  );
}
