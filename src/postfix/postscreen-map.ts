/**
 * The bans once more, as a cidr: table for postscreen_access_list: banned clients are turned away before an smtpd process is
 * spent on them. postscreen reads such a table when it starts and never again (measured with Postfix 3.7), so that every
 * change wants a reload; and an entry has to leave before its ban ends, so that nobody is refused for longer.
 */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseNetwork } from '../domain/address.js';
import { LONGEST_BAN_MS } from '../domain/ban.js';
import { reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import { acquireLock } from '../domain/lock.js';
import { eachInTurns } from '../domain/turns.js';
import type { MapEntry } from './entry.js';
import { asideOf, removeAsides, replaceAll, textOf, writeWhole } from './map-files.js';
import { isNamed } from './named.js';
import { type ReloadOptions, reloadPostfix } from './reload.js';

export interface PostscreenMapOptions extends ReloadOptions {
  /** Absolute, as main.cf names it behind `cidr:`. */
  readonly path: string;
  /** So long before its end an entry leaves: as long as one that has to leave may wait for its turn, milliseconds. */
  readonly leadMs: number;
  /** Of more bans those that end soonest are left out. Unbounded unless told. */
  readonly maxEntries?: number;
}

export interface PostscreenResult {
  readonly changed: boolean;
  readonly entries: number;
  /** When the first of them has to leave; infinite without any. */
  readonly leavesAt: number;
  /** Why Postfix could not be reloaded, for the beginning of a sentence; null when it was, or need not be. */
  readonly notReloaded: string | null;
}

const LOCK_WAIT_MS = 20_000;
const HEADER = '# Written by blockd for postscreen_access_list; changes made here are overwritten.\n';
const UNTIL = '# until ';

export class PostscreenMap {
  readonly path: string;
  readonly #options: PostscreenMapOptions;

  constructor(options: PostscreenMapOptions) {
    this.path = options.path;
    this.#options = options;
  }

  /**
   * Makes the table hold these, and has Postfix read it when it has changed.
   * @throws UnavailableError when it can't; the table stays as it was.
   * @throws UsageError when the file is somebody else's.
   */
  async publish(readEntries: () => Promise<readonly MapEntry[]>, now: number): Promise<PostscreenResult> {
    return this.#locked(async () => this.#write(await readEntries(), await this.#read(), now));
  }

  /** Drops what ends, from the table alone. Null where there is none. */
  async sweep(now: number): Promise<(PostscreenResult & { readonly dropped: number }) | null> {
    if ((await textOf(this.path)) === null) return null;
    return this.#locked(async () => {
      const found = await this.#read();
      if (found === null) return null;
      const result = await this.#write(found.entries, found, now);
      return { ...result, dropped: found.entries.length - result.entries };
    });
  }

  async #write(entries: readonly MapEntry[], found: Found | null, now: number): Promise<PostscreenResult> {
    const { maxEntries = Number.POSITIVE_INFINITY, leadMs } = this.#options;
    const fitting: MapEntry[] = [];
    await eachInTurns(entries, (entry) => {
      if (entry.until > now + leadMs && entry.until <= now + LONGEST_BAN_MS) fitting.push(entry);
    });
    // Those that end last first: postscreen searches from the top, and these stay longest.
    fitting.sort((a, b) => b.until - a.until || (a.subject < b.subject ? -1 : 1));
    const kept = fitting.slice(0, maxEntries);
    const text = await render(kept);
    const leavesAt = (kept.at(-1)?.until ?? Number.POSITIVE_INFINITY) - leadMs;
    if (found?.text === text) return { changed: false, entries: kept.length, leavesAt, notReloaded: null };
    const aside = asideOf('cidr', this.path).path;
    await removeAsides(this.path);
    await writeWhole(aside, text);
    await replaceAll([[aside, this.path]]);
    const { configDirectory } = this.#options;
    const notReloaded = (await isNamed(this.path, configDirectory)) ? await reloadPostfix(this.#options) : null;
    return { changed: true, entries: kept.length, leavesAt, notReloaded };
  }

  /** Null when there is no file. */
  async #read(): Promise<Found | null> {
    const text = await textOf(this.path);
    if (text === null) return null;
    if (text !== '' && !text.startsWith(HEADER)) {
      throw new UsageError(
        `postfix.postscreen_map: ${this.path} was not written by blockd, which would overwrite it: name a file of its own`,
      );
    }
    const entries: MapEntry[] = [];
    let until = Number.NaN;
    for (const line of text.split('\n')) {
      if (line.startsWith(UNTIL)) until = Date.parse(line.slice(UNTIL.length));
      const subject = line.startsWith('#') ? '' : line.split('\t')[0];
      if (subject && !Number.isNaN(until)) entries.push({ subject, until, reason: '' });
    }
    return { text, entries };
  }

  async #locked<T>(work: () => Promise<T>): Promise<T> {
    const folder = dirname(this.path);
    try {
      await mkdir(folder, { recursive: true, mode: 0o755 });
    } catch (error) {
      throw new UnavailableError(`the folder ${folder} can't be made: ${reasonOf(error)}`, { cause: error });
    }
    const lock = await acquireLock(`${this.path}.lock`, { waitMs: LOCK_WAIT_MS });
    if (lock === null) throw new UnavailableError(`another process keeps ${this.path} locked`);
    try {
      return await work();
    } finally {
      await lock.release();
    }
  }
}

interface Found {
  readonly text: string;
  readonly entries: readonly MapEntry[];
}

/** Each end stands above the entries that have it: a cidr: table has no room for it beside them. */
async function render(entries: readonly MapEntry[]): Promise<string> {
  const lines: string[] = [];
  let last = Number.NaN;
  await eachInTurns(entries, ({ subject, until }) => {
    const network = parseNetwork(subject);
    // What no blockd stored must not stop the others.
    if (network === null) return;
    if (until !== last) lines.push(UNTIL + new Date(until).toISOString());
    last = until;
    lines.push(`${network.base}/${network.prefix}\treject`);
  });
  return HEADER + lines.map((line) => `${line}\n`).join('');
}
