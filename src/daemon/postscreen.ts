/** Keeps postscreen's table in step with the bans: seldom, since every change of it costs a reload of Postfix. */
import { BlockdError } from '../domain/errors.js';
import type { Picture } from '../postfix/access-map.js';
import type { PostscreenMap, PostscreenResult } from '../postfix/postscreen-map.js';
import type { Logger } from './log.js';

const GAP_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;

export interface PostscreenOptions {
  readonly map: PostscreenMap;
  /** The bans as they are; one that refuses to tell lets the table stay as it is. */
  readonly picture: () => Promise<Picture>;
  /** The table is written once in this time at most; its entries leave so long before they end. */
  readonly everyMs: number;
  readonly logger: Logger;
}

export class Postscreen {
  readonly #options: PostscreenOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  /** On the monotonic clock. */
  #dueAt = Number.POSITIVE_INFINITY;
  #writtenAt = Number.NEGATIVE_INFINITY;
  #failure: string | null = null;
  #saidNotReloaded = false;
  #stopped = false;

  constructor(options: PostscreenOptions) {
    this.#options = options;
  }

  /** Something changed: follow when its time has come. Never throws; errors are logged once, and it is tried again. */
  request(waitMs = GAP_MS): void {
    const now = performance.now();
    const dueAt = Math.max(now + waitMs, this.#writtenAt + this.#options.everyMs);
    if (this.#stopped || dueAt >= this.#dueAt) return;
    this.#dueAt = dueAt;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.#running = this.#running.then(() => this.#follow());
    }, dueAt - now);
  }

  /** The table stays: `blockctl sweep` ends its entries. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #follow(): Promise<void> {
    const { map, picture, everyMs, logger } = this.#options;
    try {
      this.#done(await map.publish(async () => (await picture()).all(), Date.now()));
      if (this.#failure !== null)
        logger.info({ event: 'postscreen-works' }, "postscreen's table follows the bans again");
      this.#failure = null;
    } catch (error) {
      if (!(error instanceof BlockdError)) throw error;
      if (this.#failure !== error.message)
        logger.error(
          { event: 'postscreen-failed' },
          `postscreen's table can't follow the bans, the access map goes on: ${error.message}`,
        );
      this.#failure = error.message;
      await this.#sweep();
      this.request(everyMs);
    }
  }

  /** The store may be away: entries still leave at their own time. */
  async #sweep(): Promise<void> {
    try {
      const swept = await this.#options.map.sweep(Date.now());
      if (swept !== null) this.#done(swept);
    } catch (error) {
      if (!(error instanceof BlockdError)) throw error;
    }
  }

  #done({ changed, entries, leavesAt, notReloaded }: PostscreenResult): void {
    const { map, logger } = this.#options;
    if (changed) {
      this.#writtenAt = performance.now();
      logger.info({ event: 'postscreen', entries }, `postscreen's table is written: ${entries} entries`);
    }
    if (notReloaded !== null && !this.#saidNotReloaded) {
      this.#saidNotReloaded = true;
      logger.warn(
        { event: 'postscreen-not-reloaded' },
        `${notReloaded}: postscreen sees ${map.path} change only when something else reloads Postfix; docs/frontline.md has a unit that does`,
      );
    }
    // Now and then in any case: the wall clock may be set.
    const waitMs = Math.max(GAP_MS, leavesAt - Date.now());
    if (Number.isFinite(waitMs)) this.request(Math.min(waitMs, LONGEST_WAIT_MS));
  }
}
