/** Tells when a log may have changed: by inotify at once, by looking again where inotify is not to be had. */
import { type FSWatcher, watch } from 'node:fs';
import { basename, extname } from 'node:path';
import { placesOf, statIfAny } from './family.js';

/** Where inotify tells of changes, looking costs more than it finds; a network file system's other hosts need it. */
const WATCHED_POLL_MS = 1_000;
const UNWATCHED_POLL_MS = 250;

interface Watched {
  readonly watcher: FSWatcher;
  /** A folder removed and made anew is another one, and its watcher says nothing about that. */
  readonly ino: number;
}

export class Wake {
  readonly #log: string;
  readonly #isPatient: boolean;
  readonly #watched = new Map<string, Watched>();
  #isWatchedWhole = false;
  #isPoked = false;
  #wake: (() => void) | null = null;

  /** @param isPatient It is waited for what is written later. */
  constructor(log: string, isPatient: boolean) {
    this.#log = log;
    this.#isPatient = isPatient;
    if (isPatient) this.#watchFolders();
  }

  /** Resolves after `poke()`, after a change beside the log, after `atMostMs`, or when it is time to look anyway. */
  async wait(atMostMs = Number.POSITIVE_INFINITY): Promise<void> {
    if (!this.#isPoked) {
      const pollMs = this.#isWatchedWhole ? WATCHED_POLL_MS : UNWATCHED_POLL_MS;
      const isPolled = await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(true), Math.min(atMostMs, pollMs));
        this.#wake = () => {
          clearTimeout(timer);
          resolve(false);
        };
      });
      this.#wake = null;
      if (isPolled && this.#isPatient) this.#watchFolders();
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
    this.#isWatchedWhole = places.every(({ folder }) => this.#watched.has(folder));
  }

  #watch(folder: string, name: string, ino: number): void {
    const stem = name.slice(0, name.length - extname(name).length);
    try {
      const watcher = watch(folder, (_event, changed) => {
        // The folder's own name: it was removed or renamed itself.
        if (changed === basename(folder)) this.#unwatch(folder);
        if (changed === null || changed === basename(folder) || changed.startsWith(stem)) this.poke();
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
    this.#isWatchedWhole = false;
  }
}
