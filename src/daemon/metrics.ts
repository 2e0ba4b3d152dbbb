/**
 * What Prometheus is told. Labels come from the config, the rules and our own words alone: their number is bounded, and
 * nothing that a client chose is among them.
 */
import type { Mode } from '../config/schema.js';
import { BlockdError } from '../domain/errors.js';
import type { EventList } from '../domain/event.js';
import type { Change } from '../policy/outcome.js';
import type { PublishResult } from '../postfix/access-map.js';
import { lagOf } from '../source/lag.js';
import type { Outcome, Progress, Store } from '../store/store.js';
import { exposition, type Family, Histogram, type Sample } from './exposition.js';
import type { Observer, Vitals } from './observer.js';
import type { StoreWatcher } from './watched-store.js';

/** A store that is slow to answer must not make the scrape slow: what it alone knows is left out then. */
const STORE_WAIT_MS = 1_000;
/** A scrape soon after another gets the same answer, however many ask. */
const FRESH_MS = 1_500;
const PUBLISH_BOUNDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const MODES: readonly Mode[] = ['dry-run', 'shadow', 'enforce'];

export interface MetricsOptions {
  readonly version: string;
  readonly store: Store;
  /** What may change with a reload. */
  readonly inForce: () => { readonly mode: Mode; readonly host: string };
  readonly vitals: () => Vitals;
}

export class Metrics implements Observer, StoreWatcher {
  readonly #options: MetricsOptions;
  readonly #offenses = new Map<string, number>();
  readonly #bans = new Map<string, number>([
    ['score', 0],
    ['network', 0],
    ['person', 0],
  ]);
  readonly #releases = new Map<string, number>([
    ['expired', 0],
    ['unbanned', 0],
    ['handover', 0],
    ['allowed', 0],
  ]);
  readonly #notifications = new Map<string, number>([
    ['sent', 0],
    ['failed', 0],
  ]);
  readonly #publishing = new Histogram(PUBLISH_BOUNDS);
  #accepted = 0;
  #logins = 0;
  #refused = 0;
  #spared = 0;
  #storeUp = true;
  #storeErrors = 0;
  #map: { readonly entries: number; readonly leftOut: number; readonly publishedAt: number } | null = null;
  #mapUp: boolean | null = null;
  #publishFailures = 0;
  /** How far the logs were counted when the store last told: while it is away nothing is counted. */
  #progress: ReadonlyMap<string, Progress> = new Map();
  #last: { readonly at: number; readonly text: Promise<string> } | null = null;

  constructor(options: MetricsOptions) {
    this.#options = options;
  }

  /** The text for Prometheus, `anew` or of a moment ago. Never waits long. */
  text(anew = false): Promise<string> {
    const at = performance.now();
    if (anew || this.#last === null || at - this.#last.at > FRESH_MS)
      this.#last = { at, text: this.#families().then(exposition) };
    return this.#last.text;
  }

  counted(events: EventList, { spared = [] }: Outcome): void {
    events.forEach(({ kind, rule, points }) => {
      if (kind === 'offense' && points > 0) add(this.#offenses, rule);
      else if (kind === 'refused') this.#refused++;
      else if (kind === 'accepted') this.#accepted++;
      else if (kind === 'authenticated') this.#logins++;
    });
    this.#spared += spared.length;
  }

  changed(changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.type === 'ban' && change.ban.by !== 'person') add(this.#bans, change.ban.by);
      else if (change.type === 'release' && change.release.how !== 'unbanned') add(this.#releases, change.release.how);
    }
  }

  /** People's orders are carried out by another process. */
  heard(changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.type === 'ban' && change.ban.by === 'person') add(this.#bans, 'person');
      else if (change.type === 'release' && change.release.how === 'unbanned') add(this.#releases, 'unbanned');
    }
  }

  published({ entries, leftOut }: PublishResult, tookMs: number): void {
    this.#map = { entries, leftOut, publishedAt: Date.now() };
    this.#mapUp = true;
    this.#publishing.observe(tookMs / 1_000);
  }

  notPublished(): void {
    this.#mapUp = false;
    this.#publishFailures++;
  }

  storeAnswered(): void {
    this.#storeUp = true;
  }

  storeFailed(): void {
    this.#storeUp = false;
    this.#storeErrors++;
  }

  notified(result: 'sent' | 'failed'): void {
    add(this.#notifications, result);
  }

  async #families(): Promise<Family[]> {
    const { version, inForce, vitals } = this.#options;
    const { startedAt, lines, loopDelayMs } = vitals();
    const { mode, host } = inForce();
    const counts = await this.#askStore(host);
    const map = this.#map;
    const memory = process.memoryUsage.rss();
    const { user, system } = process.cpuUsage();
    return [
      gauge('build_info', 'Always 1; the version is in the label.', [{ labels: { version }, value: 1 }]),
      gauge('start_time_seconds', 'When the daemon started, seconds since the epoch.', startedAt / 1_000),
      gauge(
        'mode',
        'Whether blockd works in this mode: 1 for the one in force.',
        MODES.map((one) => ({ labels: { mode: one }, value: one === mode ? 1 : 0 })),
      ),
      counter('lines_total', 'Log lines read.', lines),
      counter('offenses_total', 'Offenses counted, by rule.', byLabel('rule', this.#offenses)),
      counter('accepted_total', 'Messages accepted from clients.', this.#accepted),
      counter('logins_total', 'Logins of users.', this.#logins),
      counter('refused_total', 'Times that the access map turned a client away.', this.#refused),
      counter(
        'spared_total',
        'Times that a client reached its threshold and was not banned, since it never is.',
        this.#spared,
      ),
      counter('bans_total', 'Bans made by this daemon, and those ordered by people.', byLabel('by', this.#bans)),
      counter('releases_total', 'Bans that ended, by how they did.', byLabel('how', this.#releases)),
      gauge('active_bans', 'Bans that hold now.', counts?.banned),
      gauge('scored_subjects', 'Addresses and networks known to the store.', counts?.scored),
      gauge('log_lag_bytes', 'Bytes of the log not counted yet.', this.#lags()),
      gauge('log_last_line_timestamp_seconds', 'Time stamp of the newest line counted.', this.#lastLines()),
      gauge('map_entries', 'Entries of the access map.', map?.entries),
      gauge('map_left_out_bans', 'Bans for which the full access map had no room.', map?.leftOut),
      gauge(
        'map_published_timestamp_seconds',
        'When the access map was last brought into step with the bans.',
        map === null ? undefined : map.publishedAt / 1_000,
      ),
      gauge('map_up', '1 when the access map could be published the last time, else 0.', flagOf(this.#mapUp)),
      counter('map_publish_failures_total', 'Times that publishing the access map failed.', this.#publishFailures),
      {
        name: 'blockd_publish_duration_seconds',
        help: 'How long bringing the access map into step took.',
        type: 'histogram',
        samples: this.#publishing.samples,
      },
      gauge('store_up', '1 when the store does what it is asked, else 0.', flagOf(this.#storeUp)),
      counter('store_errors_total', 'Requests that the store failed to answer.', this.#storeErrors),
      counter('notifications_total', 'Notifications, by what became of them.', byLabel('result', this.#notifications)),
      gauge(
        'event_loop_delay_seconds',
        'The longest that the event loop was kept from its work in the last minute or two.',
        loopDelayMs / 1_000,
      ),
      counter('cpu_seconds_total', 'Processor time of the daemon.', (user + system) / 1e6),
      gauge('resident_memory_bytes', 'Memory of the daemon.', memory),
    ];
  }

  async #askStore(host: string): Promise<Awaited<ReturnType<Store['counts']>> | null> {
    const { store } = this.#options;
    const asked = Promise.all([store.progress(host), store.counts(Date.now())]).then(([progress, counts]) => {
      this.#progress = progress;
      return counts;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), STORE_WAIT_MS);
    });
    try {
      return await Promise.race([asked.catch((error: unknown) => nothingIfFaulty(error)), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #lags(): Sample[] {
    return [...this.#progress].flatMap(([log, { position }]) => {
      const value = lagOf(log, position);
      return value === null ? [] : [{ labels: { log }, value }];
    });
  }

  #lastLines(): Sample[] {
    return [...this.#progress].flatMap(([log, { lastLineAt }]) =>
      lastLineAt === null ? [] : [{ labels: { log }, value: lastLineAt / 1_000 }],
    );
  }
}

function add(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

function counter(name: string, help: string, value: number | readonly Sample[]): Family {
  return family(name, help, 'counter', value);
}

function gauge(name: string, help: string, value: number | undefined | readonly Sample[]): Family {
  return family(name, help, 'gauge', value ?? []);
}

function family(name: string, help: string, type: Family['type'], value: number | readonly Sample[]): Family {
  return { name: `blockd_${name}`, help, type, samples: typeof value === 'number' ? [{ value }] : value };
}

function byLabel(label: string, counts: ReadonlyMap<string, number>): Sample[] {
  return [...counts].map(([name, value]) => ({ labels: { [label]: name }, value }));
}

function flagOf(is: boolean | null): Sample[] {
  return is === null ? [] : [{ value: is ? 1 : 0 }];
}

function nothingIfFaulty(error: unknown): null {
  if (error instanceof BlockdError) return null;
  throw error;
}
