/** Joins the readers of all logs into one source: fair among them, awake when a log grows, bounded in memory. */
import { type FSWatcher, watch } from 'node:fs';
import { dirname } from 'node:path';
import { FileReader } from './follow.js';
import { JournalReader } from './journal.js';
import type { Reader } from './reader.js';
import type { Chunk, Source, SourceOptions } from './source.js';

/** Rotation is noticed by the folder's events; this is for folders that tell nothing (network file systems). */
const POLL_MS = 250;

export interface Logs {
  /** Absolute paths. */
  readonly files: readonly string[];
  readonly journal: boolean;
}

export function openSource(logs: Logs, options: SourceOptions): Source {
  return new JoinedSource(logs, options);
}

class JoinedSource implements Source {
  readonly logs: readonly string[];
  readonly #readers: Reader[];
  readonly #folders: ReadonlySet<string>;
  #stopped = false;
  #changed = false;
  #wake: (() => void) | null = null;

  constructor({ files, journal }: Logs, options: SourceOptions) {
    const wake = () => this.#onChange();
    this.#readers = files.map((file) => new FileReader(file, options));
    if (journal) this.#readers.push(new JournalReader(options, wake));
    this.#folders = new Set(files.map((file) => dirname(file)));
    this.logs = this.#readers.map(({ log }) => log);
  }

  async *chunks(): AsyncGenerator<Chunk> {
    const watchers = [...this.#folders].flatMap((folder) => this.#watch(folder));
    try {
      while (!this.#stopped) {
        this.#changed = false;
        let told = 0;
        for (const reader of this.#readers) {
          const chunk = this.#stopped ? null : await reader.next();
          if (chunk === null) continue;
          told++;
          yield chunk;
        }
        if (this.#readers.every(({ ended }) => ended)) return;
        if (told === 0) await this.#quiet();
      }
    } finally {
      for (const watcher of watchers) watcher.close();
      for (const reader of this.#readers) reader.close();
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#onChange();
  }

  #onChange(): void {
    this.#changed = true;
    this.#wake?.();
  }

  async #quiet(): Promise<void> {
    if (this.#changed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, POLL_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }

  #watch(folder: string): FSWatcher[] {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#onChange());
      watcher.on('error', () => watcher.close());
      return [watcher];
    } catch {
      // No folder yet, or no more inotify watches: polling goes on.
      return [];
    }
  }
}
