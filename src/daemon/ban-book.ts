/**
 * The store's bans as the access map needs them, kept up to date by the feed of changes: publishing one more ban must
 * not read a hundred thousand.
 */
import type { Ban } from '../domain/ban.js';
import { eachInTurns } from '../domain/turns.js';
import type { MapEntry, Picture } from '../postfix/access-map.js';
import type { Store } from '../store/store.js';
import { Ends } from './ends.js';

/** The feed tells everything; should it ever not have, the picture is right again after this long. */
const READ_ANEW_MS = 900_000;

export class BanBook {
  readonly #store: Store;
  readonly #bans = new Map<string, MapEntry>();
  readonly #ends = new Ends();
  #cursor: string | null = null;
  #readAt = 0;
  /** Subjects that changed since what was published last; null when all of it may have. */
  #changed: Set<string> | null = null;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Takes in what changed, and lets go what ended. @throws UnavailableError */
  async update(now: number): Promise<Picture> {
    if (this.#cursor === null || Math.abs(now - this.#readAt) > READ_ANEW_MS) await this.#read(now);
    else {
      const { changes, cursor, gap } = await this.#store.changesSince(this.#cursor);
      if (gap) await this.#read(now);
      else {
        this.#cursor = cursor;
        for (const change of changes) {
          if (change.type === 'ban') this.#put(change.ban);
          else if (change.type === 'release') this.#remove(change.release.ban.subject);
        }
      }
    }
    for (const subject of this.#ends.takeUntil(now, (one) => this.#bans.get(one)?.until)) this.#remove(subject);
    return { changes: this.#changed === null ? null : this.#differences(this.#changed), all: () => this.all() };
  }

  /** In order of the ends. */
  all(): readonly MapEntry[] {
    return [...this.#bans.values()].sort((a, b) => a.until - b.until);
  }

  /** When the first of them ends, milliseconds; infinite without any. */
  get soonestEnd(): number {
    return this.#ends.soonest((one) => this.#bans.get(one)?.until);
  }

  /** The last picture is published: from now on only what changes is of interest. */
  published(): void {
    this.#changed = new Set();
  }

  async #read(now: number): Promise<void> {
    // Asked before the reading: what is committed during it comes again as a change.
    const { cursor } = await this.#store.changesSince(null);
    const bans = await this.#store.bans(now);
    this.#changed = null;
    this.#bans.clear();
    this.#ends.clear();
    await eachInTurns(bans, (ban) => this.#put(ban));
    this.#cursor = cursor;
    this.#readAt = now;
  }

  #put({ subject, until, reason }: Ban): void {
    this.#bans.set(subject, { subject, until, reason });
    this.#ends.add(subject, until);
    this.#changed?.add(subject);
  }

  #remove(subject: string): void {
    if (this.#bans.delete(subject)) this.#changed?.add(subject);
  }

  #differences(changed: ReadonlySet<string>) {
    const put: MapEntry[] = [];
    const gone: string[] = [];
    for (const subject of changed) {
      const ban = this.#bans.get(subject);
      if (ban === undefined) gone.push(subject);
      else put.push(ban);
    }
    return { put, gone };
  }
}
