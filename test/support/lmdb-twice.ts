/** One embedded store, opened as a daemon does and once more as another process would. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';

export interface LmdbTwice {
  /** Writes by a thread, and remembers. From the compiled program, whose errors are of classes of its own. */
  readonly store: Required<Store>;
  /** Has no thread: a commit to it is done when the call returns. */
  readonly other: Store;
  /** Closes both, and removes the file. */
  readonly end: () => Promise<void>;
}

export async function openLmdbTwice(): Promise<LmdbTwice> {
  const folder = await mkdtemp(join(tmpdir(), 'blockd-twice-'));
  // A thread is started from the compiled file.
  const { openStore: compiled } = await import(`${new URL('../../dist/store/open.js', import.meta.url)}`);
  const store: Required<Store> = await compiled(`lmdb:${folder}`, { prefix: 'test', ownThread: true });
  const other = await openStore(`lmdb:${folder}`, { prefix: 'test' });
  return {
    store,
    other,
    end: async () => {
      await store.close();
      await other.close();
      await rm(folder, { recursive: true });
    },
  };
}
