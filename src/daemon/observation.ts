/** Who watches the daemon: metrics and notifications, as the config wants them. What is not wanted is not loaded. */
import type { Config } from '../config/schema.js';
import { UsageError } from '../domain/errors.js';
import type { EventList } from '../domain/event.js';
import { maskWebhook } from '../domain/secret.js';
import type { Change } from '../policy/outcome.js';
import type { PublishResult } from '../postfix/access-map.js';
import type { Outcome, Store } from '../store/store.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import type { MetricsFile } from './metrics-file.js';
import type { MetricsServer } from './metrics-server.js';
import type { Notifier } from './notifier.js';
import type { Observer, Vitals } from './observer.js';
import type { StoreWatcher } from './watched-store.js';

/** How long the end of the daemon waits for notifications that are under way. */
const LAST_WORDS_MS = 5_000;

/** What there is to watch. */
export interface Scene {
  readonly version: string;
  readonly store: Store;
  readonly vitals: () => Vitals;
  /** One run over the log: nobody comes to scrape. */
  readonly once: boolean;
}

export class Observation implements Observer, StoreWatcher {
  readonly #logger: Logger;
  #config: Config;
  #metrics: Metrics | null = null;
  #notifier: Notifier | null = null;
  #server: MetricsServer | null = null;
  #file: MetricsFile | null = null;
  /** Notifiers of earlier configs, with what is under way. */
  #retired: Promise<unknown> = Promise.resolve();

  constructor(config: Config, logger: Logger) {
    this.#config = config;
    this.#logger = logger;
  }

  /** @throws UsageError when nobody can listen where the config says. */
  async open(scene: Scene): Promise<void> {
    await this.#openNotifier();
    await this.#openMetrics(scene);
  }

  /** What the new config wants otherwise is opened anew; where that fails, the daemon goes on without. */
  async reload(config: Config, scene: Scene): Promise<void> {
    const before = this.#config;
    this.#config = config;
    if (isOther([before.notify, before.store.host, before.mode], [config.notify, config.store.host, config.mode])) {
      // Not awaited: counting goes on.
      this.#retired = Promise.all([this.#retired, this.#notifier?.close(LAST_WORDS_MS)]);
      await this.#openNotifier();
    }
    if (!isOther(before.metrics, config.metrics)) return;
    await this.#closeMetrics();
    try {
      await this.#openMetrics(scene);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      this.#logger.error({ event: 'metrics' }, `no metrics: ${error.message}`);
    }
  }

  async close(): Promise<void> {
    await this.#closeMetrics();
    await Promise.all([this.#retired, this.#notifier?.close(LAST_WORDS_MS)]);
  }

  counted(events: EventList, outcome: Outcome): void {
    this.#metrics?.counted(events, outcome);
    this.#notifier?.counted(events, outcome);
  }

  changed(changes: readonly Change[]): void {
    this.#metrics?.changed(changes);
  }

  heard(changes: readonly Change[]): void {
    this.#metrics?.heard(changes);
  }

  published(result: PublishResult, tookMs: number): void {
    this.#metrics?.published(result, tookMs);
    this.#notifier?.published();
  }

  notPublished(reason: string): void {
    this.#metrics?.notPublished();
    this.#notifier?.notPublished(reason);
  }

  storeAnswered(): void {
    this.#metrics?.storeAnswered();
    this.#notifier?.storeAnswered();
  }

  storeFailed(reason: string): void {
    this.#metrics?.storeFailed();
    this.#notifier?.storeFailed(reason);
  }

  async #openNotifier(): Promise<void> {
    this.#notifier = null;
    const { command, webhook, on, timeout } = this.#config.notify;
    if (on.length === 0 || (command.length === 0 && webhook === undefined)) return;
    const { Notifier } = await import('./notifier.js');
    const { Outlet } = await import('./outlet.js');
    const onResult = (result: 'sent' | 'failed') => this.#metrics?.notified(result);
    const outlets = [];
    if (command.length > 0) {
      const { commandSend } = await import('./notify-command.js');
      outlets.push(new Outlet(`notify.command ${command[0]}`, commandSend(command, timeout), this.#logger, onResult));
    }
    if (webhook !== undefined) {
      const { webhookSend } = await import('./notify-webhook.js');
      const name = `notify.webhook ${maskWebhook(webhook)}`;
      outlets.push(new Outlet(name, webhookSend(webhook, timeout), this.#logger, onResult));
    }
    this.#notifier = new Notifier(this.#config, outlets);
    const where = outlets.map(({ name }) => name).join(' and ');
    this.#logger.info({ event: 'notify', on }, `notifications (${on.join(', ')}) go to ${where}`);
  }

  async #openMetrics({ version, store, vitals, once }: Scene): Promise<void> {
    const { listen, textfile } = this.#config.metrics;
    if (listen === undefined && textfile === undefined) return;
    const { Metrics } = await import('./metrics.js');
    const inForce = () => ({ mode: this.#config.mode, host: this.#config.store.host });
    this.#metrics ??= new Metrics({ version, store, inForce, vitals });
    const metrics = this.#metrics;
    if (listen !== undefined && !once) {
      const { serveMetrics } = await import('./metrics-server.js');
      this.#server = await serveMetrics(listen, () => metrics.text());
      const { address } = this.#server;
      this.#logger.info({ event: 'metrics', address }, `metrics at ${address}, path /metrics`);
    }
    if (textfile === undefined) return;
    const { MetricsFile } = await import('./metrics-file.js');
    this.#file = new MetricsFile(textfile, () => metrics.text(true), this.#logger);
  }

  async #closeMetrics(): Promise<void> {
    await this.#server?.close();
    await this.#file?.close();
    this.#server = null;
    this.#file = null;
  }
}

function isOther(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) !== JSON.stringify(other);
}
