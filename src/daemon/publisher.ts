/**
 * Keeps the access map in step with the store's bans: at once when it is quiet, in batches when it is not, and
 * takes ended bans out on time, from the map alone when the store is away.
 */
import { reasonOf, UnavailableError } from '../domain/errors.js';
import type { AccessMap, MapEntry } from '../postfix/access-map.js';
import type { Logger } from './log.js';

/** Each publish makes every smtpd restart at its next connection (measured: 30 to 85 ms once), so they are spaced. */
const FIRST_GAP_MS = 250;
const LARGEST_GAP_MS = 1_000;
const RETRY_MS = 5_000;
/** setTimeout's own limit is 2^31 - 1 ms; looking again once an hour costs nothing. */
const LONGEST_WAIT_MS = 3_600_000;

export interface PublisherOptions {
  readonly map: AccessMap;
  /** What the map shall hold, in order of the ends. */
  readonly bans: () => Promise<readonly MapEntry[]>;
  readonly logger: Logger;
}

export class Publisher {
  readonly #map: AccessMap;
  readonly #bans: PublisherOptions['bans'];
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #running: Promise<void> | null = null;
  #again = false;
  #startedAt = 0;
  #gapMs = FIRST_GAP_MS;
  #lastError: string | null = null;
  #stopped = false;

  constructor(options: PublisherOptions) {
    this.#map = options.map;
    this.#bans = options.bans;
    this.#logger = options.logger;
  }

  /** Something changed: publish soon. */
  request(): void {
    const now = Date.now();
    const quiet = now - this.#startedAt > 2 * LARGEST_GAP_MS;
    if (quiet) this.#gapMs = FIRST_GAP_MS;
    this.#schedule(Math.max(now, this.#startedAt + this.#gapMs));
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
    const now = Date.now();
    this.#gapMs = Math.min(LARGEST_GAP_MS, this.#gapMs * 2);
    this.#startedAt = now;
    let soonestEnd = Number.POSITIVE_INFINITY;
    try {
      const result = await this.#map.publish(async () => {
        const bans = await this.#bans();
        soonestEnd = bans[0]?.until ?? soonestEnd;
        return bans;
      });
      if (this.#lastError !== null) this.#logger.info({ event: 'map-works' }, 'the access map is published again');
      this.#lastError = null;
      if (result.changed) {
        const { added, removed, entries, repaired } = result;
        this.#logger.info(
          { event: 'published', added, removed, entries, repaired, tookMs: Date.now() - now },
          `access map published: ${entries} entries (${added} added, ${removed} removed)`,
        );
      }
      if (soonestEnd < Number.POSITIVE_INFINITY) this.#schedule(Math.max(soonestEnd, Date.now() + FIRST_GAP_MS));
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#complain(error);
      await this.#sweep();
      this.#schedule(Date.now() + RETRY_MS);
    }
  }

  /** The store may be away: entries still end at their own time. */
  async #sweep(): Promise<void> {
    try {
      const { dropped } = await this.#map.sweep(Date.now());
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

  #schedule(at: number): void {
    if (this.#stopped || at >= this.#dueAt) return;
    this.#dueAt = at;
    clearTimeout(this.#timer);
    const waitMs = Math.min(LONGEST_WAIT_MS, Math.max(0, at - Date.now()));
    this.#timer = setTimeout(() => {
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.publish().catch((error: unknown) => {
        this.#logger.fatal({ err: error }, `publishing the access map failed unexpectedly: ${reasonOf(error)}`);
        process.exitCode = 1;
        process.kill(process.pid, 'SIGTERM');
      });
    }, waitMs);
  }
}
