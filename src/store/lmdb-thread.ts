/** Writes to an embedded store by a thread of its own: a commit waits for the disk, and whoever reads the log must not. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Said } from './lmdb-writer.js';
import type { Answer, Writing } from './lmdb-writing.js';

interface Waiting {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

export class WriterThread {
  readonly #thread: Worker;
  readonly #waiting: Waiting[] = [];

  /** @param folder Of a store that is open already. */
  constructor(folder: string) {
    this.#thread = new Worker(new URL('./lmdb-writer.js', import.meta.url), { workerData: { folder } });
    this.#thread.on('message', (said: Said) => {
      const first = this.#waiting.shift();
      if (said.type !== 'failed') first?.resolve(said);
      else first?.reject(Object.assign(new Error(said.reason), said.code !== undefined && { code: said.code }));
    });
    this.#thread.on('error', (error: Error) => {
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    });
  }

  /** One transaction; on disk when it resolves. Rejects with what LMDB says, and then nothing was written. */
  write(writing: Writing): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#thread.postMessage(writing);
    });
  }

  async close(): Promise<void> {
    const ended = once(this.#thread, 'exit');
    this.#thread.postMessage(null);
    await ended;
  }
}
