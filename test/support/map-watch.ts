/** Looks at an access map's text, and the journal beside it, all the time and remembers when each entry was seen first and last. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseLine } from '../../src/postfix/entry.js';

const LOOK_MS = 40;

export interface Sighting {
  /** Real time, milliseconds. */
  readonly firstAt: number;
  lastAt: number;
  /** The end that its newest text told. */
  until: number;
}

export class MapWatch {
  readonly seen = new Map<string, Sighting>();
  readonly #files: readonly string[];
  readonly #timer: NodeJS.Timeout;

  constructor(mapPath: string) {
    this.#files = [mapPath, `${mapPath}.cidr`, `${mapPath}.changes`];
    this.#timer = setInterval(() => this.look(), LOOK_MS);
  }

  /** What stands in the map now. */
  look(): Set<string> {
    const present = new Set<string>();
    const now = Date.now();
    for (const line of this.#files.flatMap((file) => linesOf(file))) {
      if (line.startsWith('- ')) present.delete(line.slice(2));
      const entry = parseLine(line);
      if (entry === null) continue;
      present.add(entry.subject);
      const sighting = this.seen.get(entry.subject);
      if (sighting === undefined) this.seen.set(entry.subject, { firstAt: now, lastAt: now, until: entry.until });
      else Object.assign(sighting, { lastAt: now, until: entry.until });
    }
    return present;
  }

  /** Resolves with how long it took until `fits` holds of what stands in the map. */
  async until(what: string, fits: (present: ReadonlySet<string>) => boolean, withinMs: number): Promise<number> {
    const startedAt = Date.now();
    for (;;) {
      const present = this.look();
      const tookMs = Date.now() - startedAt;
      if (fits(present)) return tookMs;
      if (tookMs > withinMs)
        throw new Error(`${what}: not within ${withinMs} ms; in the map: ${[...present].join(' ')}`);
      await sleep(LOOK_MS);
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'latin1').split('\n');
  } catch {
    return [];
  }
}
