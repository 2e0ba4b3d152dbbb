/** The thread behind lmdb-thread.ts: a transaction for each writing that comes, in their order. */
import { parentPort, workerData } from 'node:worker_threads';
import { reasonOf } from '../domain/errors.js';
import { Tables } from './lmdb-tables.js';
import { type Answer, type Writing, write } from './lmdb-writing.js';

export type Said = Answer | { readonly type: 'failed'; readonly reason: string; readonly code: unknown };

const { folder } = workerData as { readonly folder: string };
const tables = new Tables(folder);
const port = parentPort;

port?.on('message', (writing: Writing | null) => {
  if (writing === null) void tables.root.close().then(() => port.close());
  else port.postMessage(tried(writing));
});

function tried(writing: Writing): Said {
  try {
    return tables.root.transactionSync(() => write(tables, writing));
  } catch (error) {
    return { type: 'failed', reason: reasonOf(error), code: (error as { readonly code?: unknown }).code };
  }
}
