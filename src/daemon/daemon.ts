/**
 * The loop that joins the rooms: source → filter → policy → store → access map; with its schedules, signals and lock.
 * Every part may fail by itself: what can wait waits and says so, what can't ends the program with a clear sentence.
 */
import { type ScheduledTask, schedule } from 'node-cron';
import { toPolicySettings } from '../config/load.js';
import type { Ban } from '../domain/ban.js';
import { formatDuration } from '../domain/duration.js';
import { BlockdError, reasonOf, UnavailableError } from '../domain/errors.js';
import type { LogEvent } from '../domain/event.js';
import { ownAddresses } from '../domain/own-addresses.js';
import { Allowlist, allowRules } from '../policy/allowlist.js';
import { Policy, type PolicySettings } from '../policy/policy.js';
import { mynetworks } from '../postfix/postconf.js';
import type { Source } from '../source/source.js';
import { type DaemonCounters, type DaemonNote, daemonNoteName, HEARTBEAT_MS } from '../store/daemon-note.js';
import { type Outcome, StaleProgressError, type Store } from '../store/store.js';
import { Counting } from './counting.js';
import { Digest } from './digest.js';
import { History } from './history.js';
import type { Logger } from './log.js';
import type { Plan } from './plan.js';
import { Publisher } from './publisher.js';

const HOUSEKEEPING_MS = 1_000;
const INTACT_EVERY_TICKS = 2;
const SETTLE_BATCH = 1_000;

export interface DaemonOptions {
  readonly plan: Plan;
  readonly store: Store;
  readonly logger: Logger;
  readonly version: string;
  readonly once: boolean;
  readonly fromStart: boolean;
  /** Reads config and filters anew; throws UsageError, naming what is wrong, and the old ones stay. */
  readonly reload: () => Promise<Plan>;
}

export class Daemon {
  readonly #store: Store;
  readonly #logger: Logger;
  readonly #options: DaemonOptions;
  readonly #stopping = new AbortController();
  readonly #startedAt = Date.now();
  readonly #counters = { offenses: 0, bans: 0, releases: 0, refused: 0 };
  #plan: Plan;
  #policy: Policy;
  #counting: Counting | null = null;
  #history: History | null = null;
  #digesting: ScheduledTask | null = null;
  #digest: Promise<void> = Promise.resolve();
  #publisher: Publisher | null = null;
  #source: Source | null = null;
  #cursor: string | null = null;
  #nextPlan: Plan | null = null;
  #tick = 0;
  #heartbeatAt = 0;
  #housekeeping = false;
  #failure: unknown = null;
  #busy: Promise<unknown> = Promise.resolve();

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#plan = options.plan;
    this.#store = options.store;
    this.#logger = options.logger;
    this.#policy = new Policy(toPolicySettings(options.plan.config), new Allowlist({ addresses: [], hostnames: [] }));
  }

  /** Runs until `stop()`, or with `once` until the logs are read. Throws what it can't live with. */
  async run(): Promise<void> {
    await this.#adoptHalfLives();
    this.#cursor = (await this.#store.changesSince(null)).cursor;
    await this.#usePlan(this.#plan);
    const stopWatching = this.#store.watch(() => this.#inBackground(() => this.#onStoreChanged()));
    const timer = setInterval(() => this.#housekeep(), HOUSEKEEPING_MS);
    const pruning = schedule('23 * * * *', () => this.#inBackground(() => this.#prune()));
    try {
      await this.#heartbeat(null);
      this.#announce();
      await this.#countLogs();
    } finally {
      clearInterval(timer);
      await pruning.stop();
      await this.#digesting?.stop();
      await this.#digest;
      await stopWatching();
    }
    await this.#finish();
    if (this.#failure !== null) throw this.#failure;
  }

  /** Ends `run()` in good order: the batch at hand is committed, the map stays in place. */
  stop(reason: string): void {
    if (this.#stopping.signal.aborted) return;
    this.#logger.info({ event: 'stopping' }, `${reason}: committing what was read, the access map stays in place`);
    this.#stopping.abort();
    this.#source?.stop();
  }

  /** Config and filters anew; the old ones stay when the new are bad. */
  async reload(): Promise<void> {
    try {
      this.#nextPlan = await this.#options.reload();
      this.#source?.stop();
    } catch (error) {
      if (!(error instanceof BlockdError)) throw error;
      this.#logger.error(
        { event: 'reload-failed' },
        `not reloaded, the old config and filters stay in force: ${error.message}`,
      );
    }
  }

  async #countLogs(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const counting = await this.#freshCounting();
      const source = this.#plan.openSource({
        positions: new Map([...counting.stored].map(([log, progress]) => [log, progress.position])),
        start: this.#options.fromStart ? 'beginning' : 'end',
        once: this.#options.once,
        onNotice: ({ level, log, message }) => this.#logger[level]({ event: 'source', log }, message),
      });
      this.#source = source;
      if (this.#nextPlan !== null) source.stop();
      for await (const chunk of source.chunks()) {
        if (!(await this.#serially(() => counting.counting.take(chunk, signal)))) break;
        if (signal.aborted || this.#nextPlan !== null) break;
      }
      source.stop();
      await this.#serially(() => counting.counting.flush(signal.aborted ? AbortSignal.abort() : signal));
      if (this.#nextPlan === null) return;
      await this.#usePlan(this.#nextPlan);
      this.#nextPlan = null;
      this.#logger.info({ event: 'reloaded' }, 'config and filters reloaded');
    }
  }

  async #freshCounting() {
    const { config, filter } = this.#plan;
    const stored = await this.#store.progress(config.store.host);
    const history = new History(this.#store, config.store.host);
    this.#history = history;
    const counting = new Counting({
      store: this.#store,
      host: config.store.host,
      logger: this.#logger,
      filter,
      policy: this.#policy,
      history,
      enforced: config.mode === 'enforce',
      progress: stored,
      onCommitted: (outcome, events) => this.#onCommitted(outcome, events),
    });
    this.#counting = counting;
    return { counting, stored };
  }

  #onCommitted(outcome: Outcome, events: readonly LogEvent[]): void {
    for (const event of events) {
      if (event.kind === 'offense' && event.points > 0) this.#counters.offenses++;
      if (event.kind === 'refused') this.#counters.refused++;
    }
    this.#tell(outcome);
  }

  /** Logs what a commit changed, and has the map follow. */
  #tell(outcome: Outcome): void {
    const dryRun = this.#plan.config.mode === 'dry-run';
    const now = Date.now();
    for (const change of outcome.changes ?? []) {
      if (change.type === 'ban') {
        this.#counters.bans++;
        this.#logger.info(
          { event: 'ban', ...banFields(change.ban) },
          `${dryRun ? 'DRY-RUN: would ban' : 'ban'} ${describe(change.ban, now)}`,
        );
      } else if (change.type === 'release') {
        const { ban, how } = change.release;
        this.#counters.releases++;
        this.#logger.info(
          { event: 'release', how, ...banFields(ban) },
          `${dryRun ? 'DRY-RUN: would release' : 'release'} ${ban.subject}: ${how}`,
        );
      }
    }
    if ((outcome.changes ?? []).length > 0) this.#publisher?.request();
  }

  async #usePlan(plan: Plan): Promise<void> {
    this.#plan = plan;
    this.#policy = new Policy(toPolicySettings(plan.config), await this.#allowlist());
    this.#counting?.use(plan.filter, this.#policy);
    await this.#scheduleDigest();
    await this.#publisher?.stop();
    this.#publisher = null;
    if (plan.map === null) return;
    if (plan.config.mode === 'dry-run') {
      await this.#emptyMap();
      return;
    }
    this.#publisher = new Publisher({ map: plan.map, store: this.#store, logger: this.#logger });
    await this.#publisher.publish();
  }

  /** In dry-run nobody is refused, also not by what an earlier run in enforce mode left behind. */
  async #emptyMap(): Promise<void> {
    const map = this.#plan.map;
    if (map === null) return;
    try {
      const { entries } = await map.read();
      if (entries.length === 0) return;
      await map.publish(async () => []);
      this.#logger.warn(
        { event: 'map-emptied' },
        `DRY-RUN: ${entries.length} bans of an earlier run taken out of the access map`,
      );
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#logger.error({ event: 'map-error' }, `DRY-RUN, but the access map can't be emptied: ${error.message}`);
    }
  }

  async #allowlist(): Promise<Allowlist> {
    const { allow } = this.#plan.config;
    return new Allowlist(
      allowRules({
        own: ownAddresses(),
        mynetworks: allow.mynetworks ? await this.#mynetworks() : [],
        addresses: allow.addresses,
        hostnames: allow.hostnames,
        people: (await this.#store.allowed()).map(({ entry }) => entry),
      }),
    );
  }

  async #mynetworks(): Promise<string[]> {
    const { postconf, config_directory } = this.#plan.config.postfix;
    try {
      return await mynetworks({
        postconf,
        ...(config_directory !== undefined && { configDirectory: config_directory }),
      });
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#logger.warn(
        { event: 'mynetworks' },
        `can't read mynetworks from Postfix, so only loopback, this host's own addresses and the [allow] section are never banned: ${error.message}`,
      );
      return [];
    }
  }

  /** Some process committed: another host's ban, a person's order, or our own. */
  async #onStoreChanged(): Promise<void> {
    const { changes, cursor, gap } = await this.#store.changesSince(this.#cursor);
    this.#cursor = cursor;
    if (changes.length === 0 && !gap) return;
    if (gap || changes.some(({ type }) => type === 'allow' || type === 'disallow')) {
      this.#policy = new Policy(this.#policy.settings, await this.#allowlist());
      this.#counting?.use(this.#plan.filter, this.#policy);
    }
    this.#publisher?.request();
  }

  #housekeep(): void {
    this.#tick++;
    // While the store is away the work before this waits for it, and ticks must not pile up.
    if (this.#housekeeping) return;
    this.#housekeeping = true;
    this.#inBackground(async () => {
      try {
        await this.#settleEnded();
        if (this.#counting?.storeAway === false) await this.#counting.flush(AbortSignal.abort());
        if (Date.now() - this.#heartbeatAt >= HEARTBEAT_MS) await this.#heartbeat(null);
        if (this.#tick % INTACT_EVERY_TICKS === 0) await this.#publisher?.repairIfDamaged();
      } finally {
        this.#housekeeping = false;
      }
    });
  }

  async #settleEnded(): Promise<void> {
    const now = Date.now();
    const ended = await this.#store.endedBans(now, SETTLE_BATCH);
    if (ended.length === 0) return;
    this.#tell(await this.#store.commit(ended, (states) => this.#policy.settle(ended, states, now)));
  }

  /** By the config in force; a run for one log makes none. */
  async #scheduleDigest(): Promise<void> {
    await this.#digesting?.stop();
    this.#digesting = null;
    const { config } = this.#plan;
    if (config.report.schedule === undefined || this.#options.once) return;
    const digest = new Digest(config, this.#store, this.#logger);
    // Beside the counting, which must not wait for a mail to be taken.
    const make = () => {
      this.#digest = digest.run(Date.now()).catch((error: unknown) => {
        this.#logger.error({ event: 'digest-failed' }, `the digest could not be made: ${reasonOf(error)}`);
      });
      return this.#digest;
    };
    this.#digesting = schedule(config.report.schedule, make, { noOverlap: true });
  }

  async #prune(): Promise<void> {
    const now = Date.now();
    const keepMs = this.#plan.config.store.keep;
    const forgotten = await this.#store.prune(
      (_subject, state) => this.#policy.isIdle(state, now, keepMs),
      now,
      keepMs,
    );
    await this.#history?.prune(now - keepMs);
    if (forgotten > 0)
      this.#logger.info(
        { event: 'pruned', forgotten },
        `${forgotten} addresses without offenses for long were forgotten`,
      );
  }

  /** Scores were stored under the half-lives of that day; other ones in the config must not change today's scores. */
  async #adoptHalfLives(): Promise<void> {
    const { halfLifeMs, strikesHalfLifeMs } = this.#policy.settings;
    const stored = (await this.#store.note('half-lives')) as
      | Pick<PolicySettings, 'halfLifeMs' | 'strikesHalfLifeMs'>
      | null
      | undefined;
    if (stored?.halfLifeMs === halfLifeMs && stored.strikesHalfLifeMs === strikesHalfLifeMs) return;
    const now = Date.now();
    if (stored) await this.#store.rewrite((state) => this.#policy.convert(state, now, stored));
    await this.#store.setNote('half-lives', { halfLifeMs, strikesHalfLifeMs });
  }

  async #heartbeat(stoppedAt: number | null): Promise<void> {
    const { config, map, logs } = this.#plan;
    this.#heartbeatAt = Date.now();
    const counters: DaemonCounters = { lines: this.#counting?.lines ?? 0, ...this.#counters };
    const note: DaemonNote = {
      version: this.#options.version,
      pid: process.pid,
      mode: config.mode,
      map: map === null ? null : { type: map.type, path: map.path },
      logs,
      postfix: {
        reply: config.postfix.reply,
        postmap: config.postfix.postmap,
        reload: config.postfix.reload,
        configDirectory: config.postfix.config_directory ?? null,
      },
      startedAt: this.#startedAt,
      heartbeatAt: this.#heartbeatAt,
      stoppedAt,
      counters,
    };
    await this.#store.setNote(daemonNoteName(config.store.host), note);
  }

  #announce(): void {
    const { config, logs, map } = this.#plan;
    const where = map === null ? 'no access map' : `${map.type}:${map.path}`;
    const mode = config.mode === 'dry-run' ? 'DRY-RUN (nobody is refused)' : config.mode;
    this.#logger.info(
      { event: 'started', mode: config.mode, logs, store: this.#store.url },
      `blockd ${this.#options.version}, ${mode}: following ${logs.join(', ')}; store ${this.#store.url}; ${where}`,
    );
  }

  async #finish(): Promise<void> {
    try {
      await this.#serially(() => this.#settleEnded());
      if (this.#publisher !== null) await this.#publisher.publish();
      await this.#publisher?.stop();
      await this.#heartbeat(Date.now());
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#logger.warn({ event: 'store-away' }, `stopped without the store: ${error.message}`);
    }
    this.#logger.info({ event: 'stopped', lines: this.#counting?.lines ?? 0, ...this.#counters }, 'stopped');
  }

  /** Work that nobody waits for: what it can't live with ends the daemon, and `run()` throws it. */
  #inBackground(work: () => Promise<void>): void {
    this.#serially(work).catch((error: unknown) => {
      this.#failure = error;
      this.stop(`ending because of an error: ${reasonOf(error)}`);
    });
  }

  /** One after another: two commits of one daemon never wait for each other's subjects. Store faults only wait. */
  #serially<T>(work: () => Promise<T>): Promise<T | undefined> {
    const next = this.#busy.then(work).catch((error: unknown) => {
      if (error instanceof UnavailableError) return undefined;
      if (error instanceof StaleProgressError) {
        throw new UnavailableError(
          `another blockd counts the same log under the host name "${this.#plan.config.store.host}": end one of them, or give each its own store.host`,
        );
      }
      throw error;
    });
    this.#busy = next.catch(() => undefined);
    return next;
  }
}

function banFields({ subject, since, until, reason, by, host }: Ban): Record<string, unknown> {
  return { subject, since: new Date(since).toISOString(), until: new Date(until).toISOString(), reason, by, host };
}

function describe(ban: Ban, now: number): string {
  const length = `for ${formatDuration(ban.until - ban.since)}`;
  const over = ban.until <= now ? ', already over' : '';
  return `${ban.subject}${ban.host === null ? '' : ` (${ban.host})`} ${length}${over}: ${ban.reason}`;
}
