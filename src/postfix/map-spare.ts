/**
 * A copy of the compiled map, made and brought down to the disk while nobody waits: of what a change of a large `hash` map
 * takes, that is a third. It is what the map is, or it is not used.
 */
import { rm, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asideOf, type MapFiles, settle, stampOf } from './map-files.js';
import { run } from './run.js';

/** A spare is for speed alone: so many times its size stays free for what is needed, or there is none. */
const ROOM = 8;

interface Spare {
  readonly aside: MapFiles;
  /** Stamps of the map that it is a copy of, and of itself. */
  readonly of: string;
  readonly own: string;
}

export class MapSpare {
  readonly #files: MapFiles;
  readonly #type: string;
  #spare: Promise<Spare | null> | null = null;
  #isClosed = false;

  constructor(type: string, files: MapFiles) {
    this.#type = type;
    this.#files = files;
  }

  /** Was one begun that nobody has taken? */
  get isBegun(): boolean {
    return this.#spare !== null;
  }

  /** Begins to copy the map as it is now. What hinders that only means that there is no spare. */
  prepare(): void {
    if (this.#isClosed) return;
    const before = this.#spare;
    this.#spare = (async () => {
      await remove(await before);
      return this.#isClosed ? null : this.#copy();
    })();
  }

  /** The copy, which is the caller's from now on; null when there is none of the map as it is now. */
  async take(): Promise<MapFiles | null> {
    const spare = await this.#spare;
    this.#spare = null;
    if (spare === null) return null;
    const [of, own] = await Promise.all([stamp(this.#files.compiled), stamp(spare.aside.compiled)]);
    if (of === spare.of && own === spare.own) return spare.aside;
    await remove(spare);
    return null;
  }

  /** Leaves nothing behind. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await remove(await this.#spare);
  }

  async #copy(): Promise<Spare | null> {
    const aside = asideOf(this.#type, this.#files.path);
    try {
      const of = await stamp(this.#files.compiled);
      if (!(await this.#hasRoom())) return null;
      const copied = await run(copying(this.#files.compiled, aside.compiled));
      if (copied.code === 0) {
        await settle(aside.compiled);
        // Somebody may have changed the map while it was copied.
        if (of !== null && (await stamp(this.#files.compiled)) === of) {
          const own = await stamp(aside.compiled);
          if (own !== null) return { aside, of, own };
        }
      }
    } catch {
      // A full disk, or whatever else: the next change makes its own copy, and says what is wrong with that.
    }
    await rm(aside.compiled, { force: true }).catch(() => undefined);
    return null;
  }

  async #hasRoom(): Promise<boolean> {
    const { bavail, bsize } = await statfs(dirname(this.#files.compiled));
    return bavail * bsize >= ROOM * ((await stampOf(this.#files.compiled))?.size ?? 0);
  }
}

/** The command that copies a compiled map: its holes stay holes, and where the file system can, nothing is copied at all. */
export function copying(from: string, to: string): string[] {
  return ['cp', '--sparse=always', '--reflink=auto', from, to];
}

async function stamp(file: string): Promise<string | null> {
  const found = await stampOf(file);
  return found === null ? null : JSON.stringify(found);
}

async function remove(spare: Spare | null): Promise<void> {
  if (spare !== null) await rm(spare.aside.compiled, { force: true }).catch(() => undefined);
}
