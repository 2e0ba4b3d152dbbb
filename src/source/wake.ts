/** Tells when a log may have changed: by inotify at once, by looking again where inotify is not to be had. */
import { type FSWatcher, watch } from 'node:fs';
import { extname } from 'node:path';
import { placesOf, statIfAny } from './family.js';

interface Watched {
  readonly watcher: FSWatcher;
  /** A folder removed and made anew is another one, and its watcher says nothing about that. */
  readonly ino: number;
}

export class Wake {
  readonly #log: string;
  readonly #watched = new Map<string, Watched>();
  #isPoked = false;
  #wake: (() => void) | null = null;

  constructor(log: string) {
    this.#log = log;
    this.#watchFolders();
  }

  /** Resolves after `poke()`, after a change beside the log, or after `pollMs`. */
  async wait(pollMs: number): Promise<void> {
    if (!this.#isPoked) {
      const isPolled = await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(true), pollMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve(false);
        };
      });
      this.#wake = null;
      if (isPolled) this.#watchFolders();
    }
    this.#isPoked = false;
  }

  poke(): void {
    this.#isPoked = true;
    this.#wake?.();
  }

  close(): void {
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }

  #watchFolders(): void {
    const places = placesOf(this.#log);
    const inodes = new Map(places.map(({ folder }) => [folder, statIfAny(folder)?.ino]));
    for (const [folder, { ino }] of this.#watched) {
      if (inodes.get(folder) !== ino) this.#unwatch(folder);
    }
    for (const { folder, name } of places) {
      const ino = inodes.get(folder);
      if (ino !== undefined && !this.#watched.has(folder)) this.#watch(folder, name, ino);
    }
  }

  #watch(folder: string, name: string, ino: number): void {
    const stem = name.slice(0, name.length - extname(name).length);
    try {
      const watcher = watch(folder, (_event, changed) => {
        if (changed === null || changed.startsWith(stem)) this.poke();
      });
      watcher.on('error', () => this.#unwatch(folder));
      this.#watched.set(folder, { watcher, ino });
    } catch {
      // Out of inotify watches: the poll goes on and tries again.
    }
  }

  #unwatch(folder: string): void {
    this.#watched.get(folder)?.watcher.close();
    this.#watched.delete(folder);
  }
}
