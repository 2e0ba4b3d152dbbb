/** Tells a person what he should know soon: an attack wave, a spared client, a store or map that fails. */
import type { Config, Occasion } from '../config/schema.js';
import { formatDuration } from '../domain/duration.js';
import type { EventList } from '../domain/event.js';
import { safe } from '../domain/safe.js';
import type { Spared } from '../policy/outcome.js';
import type { Outcome } from '../store/store.js';
import type { Observer } from './observer.js';
import type { Message, Outlet } from './outlet.js';
import { Throttle } from './throttle.js';
import type { StoreWatcher } from './watched-store.js';

const MINUTE_MS = 60_000;
/** What a backlog tells of longer ago is no news. */
const NEWS_MS = 60 * MINUTE_MS;

interface Notice {
  readonly event: 'attack-wave' | 'spared' | 'store-down' | 'store-back' | 'map-stuck' | 'map-works';
  readonly text: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export class Notifier implements Observer, StoreWatcher {
  readonly #config: Config;
  readonly #outlets: readonly Outlet[];
  readonly #throttle: Throttle<Notice>;
  /** When the last bans were made, at most as many as are a wave, on the log's clock. */
  readonly #banned: number[] = [];
  #storeDownAt: number | null = null;
  #mapStuckAt: number | null = null;

  constructor(config: Config, outlets: readonly Outlet[]) {
    this.#config = config;
    this.#outlets = outlets;
    this.#throttle = new Throttle(config.notify.every, (notice, suppressed) => this.#send(notice, suppressed));
  }

  counted(_events: EventList, { changes = [], spared = [] }: Outcome): void {
    const now = Date.now();
    if (this.#wants('wave'))
      for (const change of changes)
        if (change.type === 'ban' && change.ban.until > now) this.#noteBan(Math.min(change.at, now), now);
    if (this.#wants('spared')) for (const one of spared) if (now - one.at < NEWS_MS) this.#tellSpared(one);
  }

  changed(): void {}

  heard(): void {}

  storeFailed(reason: string): void {
    if (this.#storeDownAt !== null) return;
    this.#storeDownAt = Date.now();
    if (!this.#wants('store')) return;
    this.#throttle.tell({
      event: 'store-down',
      text: `the store of ${this.#host} is away; nothing is counted until it is back, the log keeps the lines, and bans in the access map end on time: ${safe(reason)}`,
      details: { reason: safe(reason) },
    });
  }

  storeAnswered(): void {
    if (this.#storeDownAt === null) return;
    const awayMs = Date.now() - this.#storeDownAt;
    this.#storeDownAt = null;
    this.#tellOver('store-down', {
      event: 'store-back',
      text: `the store of ${this.#host} is back after ${formatDuration(awayMs)}`,
      details: { awaySeconds: Math.round(awayMs / 1_000) },
    });
  }

  notPublished(reason: string): void {
    // While the store is away the map can't follow it: that is told already.
    if (this.#mapStuckAt !== null || this.#storeDownAt !== null) return;
    this.#mapStuckAt = Date.now();
    if (!this.#wants('map')) return;
    this.#throttle.tell({
      event: 'map-stuck',
      text: `the access map of ${this.#host} can't be published, and its present content stays: ${safe(reason)}`,
      details: { reason: safe(reason) },
    });
  }

  published(): void {
    if (this.#mapStuckAt === null) return;
    const stuckMs = Date.now() - this.#mapStuckAt;
    this.#mapStuckAt = null;
    this.#tellOver('map-stuck', {
      event: 'map-works',
      text: `the access map of ${this.#host} is published again after ${formatDuration(stuckMs)}`,
      details: { stuckSeconds: Math.round(stuckMs / 1_000) },
    });
  }

  /** What waits for its time is dropped; what is under way may end. */
  async close(waitMs: number): Promise<void> {
    this.#throttle.close();
    await Promise.all(this.#outlets.map((outlet) => outlet.close(waitMs)));
  }

  get #host(): string {
    return this.#config.store.host;
  }

  #wants(occasion: Occasion): boolean {
    return this.#config.notify.on.includes(occasion);
  }

  #noteBan(at: number, now: number): void {
    const { wave } = this.#config.notify;
    this.#banned.push(at);
    if (this.#banned.length > wave) this.#banned.shift();
    const spanMs = at - (this.#banned[0] ?? at);
    if (this.#banned.length < wave || Math.abs(spanMs) > MINUTE_MS || now - at > NEWS_MS) return;
    // The next notice is about others.
    this.#banned.length = 0;
    const what =
      this.#config.mode === 'enforce'
        ? `${wave} bans`
        : `${wave} clients that would have been banned (nobody is refused)`;
    this.#throttle.tell({
      event: 'attack-wave',
      text: `attack wave on ${this.#host}: ${what} within ${formatDuration(Math.abs(spanMs))}`,
      details: { bans: wave, seconds: Math.round(Math.abs(spanMs) / 1_000) },
    });
  }

  /** The client's name stays out of the sentence: who owns an address chooses it. */
  #tellSpared({ subject, why, rule, host, at }: Spared): void {
    this.#throttle.tell({
      event: 'spared',
      text: `${subject} reached the threshold on ${this.#host} with ${rule}, and is not banned: ${safe(why)}`,
      details: { subject, why: safe(why), rule, client: host === null ? null : safe(host), lineAt: isoOf(at) },
    });
  }

  /** Nobody wants to hear of the end of what he was not told of; what he was told of ends at once. */
  #tellOver(event: Notice['event'], over: Notice): void {
    if (this.#throttle.withdraw(event)) return;
    if (this.#wants(event === 'store-down' ? 'store' : 'map')) this.#send(over, 0);
  }

  #send({ event, text, details }: Notice, suppressed: number): void {
    const { store, mode } = this.#config;
    const more = suppressed === 0 ? '' : ` (and ${suppressed} more of this kind since the last notification)`;
    const message: Message = {
      event,
      at: isoOf(Date.now()),
      host: store.host,
      mode,
      text: text + more,
      suppressed,
      ...details,
    };
    for (const outlet of this.#outlets) outlet.take(message);
  }
}

function isoOf(at: number): string {
  return new Date(at).toISOString();
}
