/** Where notifications go, one after another. A slow or broken receiver holds up nothing but its own queue. */
import { reasonOf } from '../domain/errors.js';
import type { Logger } from './log.js';

/** What a receiver is given. JSON-safe. */
export interface Message {
  readonly event: string;
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly host: string;
  readonly mode: string;
  /** A sentence for a person, without anything that a client chose. */
  readonly text: string;
  /** How many of the kind were not told since the one before. */
  readonly suppressed: number;
  readonly [detail: string]: unknown;
}

/** Hands over one message; rejects with the reason when that failed, and gives up when `signal` says so. */
export type Send = (message: Message, signal: AbortSignal) => Promise<void>;

/** More than these wait for nobody: the limit per kind lets so many come only where it is very short. */
const MOST_WAITING = 20;

export class Outlet {
  /** For the log: holds no secret. */
  readonly name: string;
  readonly #send: Send;
  readonly #logger: Logger;
  readonly #onResult: (result: 'sent' | 'failed') => void;
  readonly #closing = new AbortController();
  #queue: Promise<void> = Promise.resolve();
  #waiting = 0;
  #failed = false;

  constructor(name: string, send: Send, logger: Logger, onResult: (result: 'sent' | 'failed') => void) {
    this.name = name;
    this.#send = send;
    this.#logger = logger;
    this.#onResult = onResult;
  }

  take(message: Message): void {
    if (this.#waiting >= MOST_WAITING) {
      this.#onResult('failed');
      return;
    }
    this.#waiting++;
    this.#queue = this.#queue.then(async () => {
      try {
        await this.#send(message, this.#closing.signal);
        if (this.#failed) this.#logger.info({ event: 'notify-works' }, `${this.name} takes notifications again`);
        this.#failed = false;
        this.#onResult('sent');
      } catch (error) {
        if (!this.#failed) {
          this.#logger.error(
            { event: 'notify-failed' },
            `${this.name} did not take a notification (${message.text}): ${reasonOf(error)}; further failures are not logged until it works again`,
          );
        }
        this.#failed = true;
        this.#onResult('failed');
      } finally {
        this.#waiting--;
      }
    });
  }

  /** Lets what is under way end, but not for longer than `waitMs`. */
  async close(waitMs: number): Promise<void> {
    const timer = setTimeout(() => this.#closing.abort(), waitMs);
    await this.#queue;
    clearTimeout(timer);
  }
}
