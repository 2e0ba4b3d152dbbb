/**
 * Keeps the access map in step with the store's bans: at once when it is quiet, in batches when it is not, and
 * takes ended bans out on time, from the map alone when the store is away.
 */
import { reasonOf, UnavailableError } from '../domain/errors.js';
import type { AccessMap, Picture, PublishResult } from '../postfix/access-map.js';
import type { Logger } from './log.js';
import { NOBODY, type Observer } from './observer.js';

/** Each publish makes every smtpd restart at its next connection (measured: 30 to 85 ms once), so they are spaced. */
const FIRST_GAP_MS = 250;
/** With what publishing itself takes, a change is in the map within a second also while bans come without pause. */
const LARGEST_GAP_MS = 700;
const RETRY_MS = 5_000;
/** How often the wall clock is looked at: one that is set, or a machine that slept, moves no timer. */
const LOOK_MS = 1_000;

export interface PublisherOptions {
  readonly map: AccessMap;
  /** What the map shall hold. */
  readonly picture: () => Promise<Picture>;
  /** When the first ban of the last picture ends, milliseconds. */
  readonly soonestEnd: () => number;
  /** The last picture is in the map. */
  readonly onPublished: () => void;
  readonly logger: Logger;
  readonly observer?: Observer;
}

export class Publisher {
  readonly #map: AccessMap;
  readonly #options: PublisherOptions;
  readonly #logger: Logger;
  readonly #observer: Observer;
  #timer: NodeJS.Timeout | undefined;
  /** When a change or another try is due, on the monotonic clock: setting the wall clock must not put it off. */
  #dueAt = Number.POSITIVE_INFINITY;
  /** When the first ban of the map ends, on the wall clock. */
  #endsAt = Number.POSITIVE_INFINITY;
  #running: Promise<void> | null = null;
  #again = false;
  /** On the monotonic clock. */
  #startedAt = Number.NEGATIVE_INFINITY;
  #gapMs = FIRST_GAP_MS;
  #lastError: string | null = null;
  #leftOut = 0;
  #stopped = false;

  constructor(options: PublisherOptions) {
    this.#map = options.map;
    this.#options = options;
    this.#logger = options.logger;
    this.#observer = options.observer ?? NOBODY;
  }

  /** Bans that the map had no room for when it was published last. */
  get leftOut(): number {
    return this.#leftOut;
  }

  /** Why the map is not as it should be, or null. */
  get problem(): string | null {
    return this.#lastError;
  }

  /** Something changed: publish soon. */
  request(): void {
    const now = performance.now();
    const quiet = now - this.#startedAt > 2 * LARGEST_GAP_MS;
    if (quiet) this.#gapMs = FIRST_GAP_MS;
    this.#dueAt = Math.min(this.#dueAt, Math.max(now, this.#startedAt + this.#gapMs));
    this.#arm();
  }

  /** Publishes now, and once more if something changed meanwhile. Errors are logged, and tried again later. */
  async publish(): Promise<void> {
    if (this.#running !== null) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#publishUntilSettled().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** Rebuilds the map when it is no longer what was published: deleted, damaged or edited by hand. */
  async repairIfDamaged(): Promise<void> {
    if (this.#running !== null || this.#stopped) return;
    // While publishing fails it is tried again by itself, and has been complained about.
    if (this.#lastError !== null || (await this.#map.intact())) return;
    this.#logger.warn(
      { event: 'map-damaged' },
      'the access map is missing or was changed by somebody else: rebuilding it',
    );
    await this.publish();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
    await this.#map.close();
  }

  async #publishUntilSettled(): Promise<void> {
    do {
      this.#again = false;
      await this.#publishOnce();
    } while (this.#again && !this.#stopped);
  }

  async #publishOnce(): Promise<void> {
    clearTimeout(this.#timer);
    this.#dueAt = Number.POSITIVE_INFINITY;
    this.#endsAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    this.#gapMs = Math.min(LARGEST_GAP_MS, this.#gapMs * 2);
    this.#startedAt = now;
    try {
      const result = await this.#map.publishPicture(this.#options.picture);
      this.#options.onPublished();
      if (this.#lastError !== null) this.#logger.info({ event: 'map-works' }, 'the access map is published again');
      this.#lastError = null;
      this.#tellLeftOut(result);
      this.#observer.published(result, performance.now() - now);
      if (result.changed) {
        const { added, removed, entries, repaired } = result;
        this.#logger.info(
          { event: 'published', added, removed, entries, repaired, tookMs: Math.round(performance.now() - now) },
          `access map published: ${entries} ${entries === 1 ? 'entry' : 'entries'} (${added} added, ${removed} removed)`,
        );
      }
      this.#endsAt = Math.max(this.#options.soonestEnd(), Date.now() + FIRST_GAP_MS);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#complain(error);
      this.#observer.notPublished(error.message);
      await this.#sweep();
      this.#dueAt = Math.min(this.#dueAt, performance.now() + RETRY_MS);
    }
    this.#arm();
  }

  /** Once when the map is full, and once when it is no longer: the number changes with every ban. */
  #tellLeftOut({ leftOut, entries }: PublishResult): void {
    const wasFull = this.#leftOut > 0;
    this.#leftOut = leftOut;
    if (leftOut > 0 === wasFull) return;
    if (wasFull) this.#logger.info({ event: 'map-has-room' }, 'the access map holds all bans again');
    else
      this.#logger.warn(
        { event: 'map-full', leftOut },
        `the access map is full with ${entries} entries (postfix.max_entries): the bans that end soonest, ${leftOut} now, are left out`,
      );
  }

  /** The store may be away: entries still end at their own time. */
  async #sweep(): Promise<void> {
    try {
      const { dropped, soonestEnd } = await this.#map.sweep(Date.now());
      this.#endsAt = Math.max(soonestEnd, Date.now() + FIRST_GAP_MS);
      if (dropped > 0)
        this.#logger.info({ event: 'swept', dropped }, `${dropped} ended bans taken out of the access map`);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
    }
  }

  #complain(error: UnavailableError): void {
    if (error.message === this.#lastError) return;
    this.#lastError = error.message;
    this.#logger.error(
      { event: 'map-error' },
      `the access map can't be published, its present content stays: ${error.message}`,
    );
  }

  #arm(): void {
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    const waitMs = Math.min(this.#dueAt - performance.now(), this.#endsAt - Date.now(), LOOK_MS);
    this.#timer = setTimeout(() => this.#publishIfDue(), Math.max(0, waitMs));
  }

  #publishIfDue(): void {
    if (performance.now() < this.#dueAt && Date.now() < this.#endsAt) {
      this.#arm();
      return;
    }
    this.publish().catch((error: unknown) => {
      this.#logger.fatal({ err: error }, `publishing the access map failed unexpectedly: ${reasonOf(error)}`);
      process.exitCode = 1;
      process.kill(process.pid, 'SIGTERM');
    });
  }
}
