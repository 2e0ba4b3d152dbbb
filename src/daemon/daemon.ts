/**
 * The loop that joins the rooms: source → filter → policy → store → access map; with its schedules, signals and lock.
 * Every part may fail by itself: what can wait waits and says so, what can't ends the program with a clear sentence. Parts
 * that only some configs want are loaded for them.
 */
import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { ScheduledTask } from 'node-cron';
import { toPolicySettings } from '../config/load.js';
import { type Ban, LONGEST_ORDER_MS, reasonWithList } from '../domain/ban.js';
import { formatDuration } from '../domain/duration.js';
import { BlockdError, DamagedError, NewerStoreError, reasonOf, UnavailableError } from '../domain/errors.js';
import { ownAddresses } from '../domain/own-addresses.js';
import { eachInTurns } from '../domain/turns.js';
import { listsFolder } from '../lists/kept-list.js';
import { Allowlist, allowRules } from '../policy/allowlist.js';
import { type Lists, NO_LISTS } from '../policy/lists.js';
import { Policy, type PolicySettings } from '../policy/policy.js';
import type { AllowEntry } from '../policy/state.js';
import type { AccessMap, Picture } from '../postfix/access-map.js';
import type { Source } from '../source/source.js';
import { type DaemonCounters, type DaemonNote, daemonNoteName, HEARTBEAT_MS } from '../store/daemon-note.js';
import { requireKnownSchema } from '../store/schema.js';
import { type Outcome, StaleProgressError, type Store } from '../store/store.js';
import { BanBook } from './ban-book.js';
import { Counting } from './counting.js';
import { History } from './history.js';
import type { KernelSets } from './kernel-sets.js';
import type { ListKeeper } from './list-keeper.js';
import type { Logger } from './log.js';
import { LoopDelay } from './loop-delay.js';
import { NOBODY, type Observer, type Vitals } from './observer.js';
import type { PendingEvents } from './pending-events.js';
import type { Plan } from './plan.js';
import { readPlaces, writePlaces } from './positions-file.js';
import type { Postscreen } from './postscreen.js';
import { Publisher } from './publisher.js';
import { isCountedIn, isReadToItsEnd } from './reading.js';
import { Salvage } from './salvage.js';
import { Supervision } from './supervision.js';

const HOUSEKEEPING_MS = 1_000;
const INTACT_EVERY_TICKS = 2;
const CURTAIL_EVERY_TICKS = 10;
const RETRY_MS = 1_000;
/** About ten thousand entries, which are compared in a blink. */
const LARGE_MAP_BYTES = 1 << 20;
/** What one commit settles, so that the event loop is soon free again; and how many of them follow each other. */
const SETTLE_BATCH = 200;
const SETTLE_ROUNDS = 10;

export interface DaemonOptions {
  readonly plan: Plan;
  readonly store: Store;
  readonly logger: Logger;
  readonly version: string;
  readonly once: boolean;
  readonly fromStart: boolean;
  /** Where the positions are kept a second time, should the store lose them; null where it is looked after otherwise. */
  readonly positionsFile: string | null;
  /** Reads config and filters anew; throws UsageError, naming what is wrong, and the old ones stay. */
  readonly reload: () => Promise<Plan>;
  readonly observer?: Observer;
  /** A config of a reload was put into force. */
  readonly onReloaded?: (plan: Plan) => Promise<void>;
}

export class Daemon {
  readonly #store: Store;
  readonly #logger: Logger;
  readonly #options: DaemonOptions;
  readonly #observer: Observer;
  readonly #stopping = new AbortController();
  readonly #startedAt = Date.now();
  readonly #counters = { offenses: 0, bans: 0, releases: 0, refused: 0 };
  readonly #loopDelay = new LoopDelay();
  readonly #supervision: Supervision;
  #plan: Plan;
  #policy: Policy;
  #counting: Counting | null = null;
  /** Lines that were counted before the last reload. */
  #earlierLines = 0;
  #history: History | null = null;
  #digesting: ScheduledTask | null = null;
  #handover: ScheduledTask | null = null;
  #digest: Promise<void> = Promise.resolve();
  #publisher: Publisher | null = null;
  #kernelSets: KernelSets | null = null;
  #lists: ListKeeper | null = null;
  #postscreen: Postscreen | null = null;
  #exporting: ScheduledTask | null = null;
  #allowed = new Allowlist({ addresses: [], hostnames: [] });
  /** Until the map is compared with the store. */
  #opening: Promise<void> = Promise.resolve();
  readonly #salvage: Salvage;
  #source: Source | null = null;
  #cursor: string | null = null;
  /** Whom people have allowed, as last read from the store. */
  #people: readonly AllowEntry[] = [];
  #nextPlan: Plan | null = null;
  #pruning: ScheduledTask | null = null;
  #tick = 0;
  /** On the monotonic clock. */
  #beatenAt = 0;
  #housekeeping = false;
  #checkingSchema = false;
  #failure: unknown = null;
  #busy: Promise<unknown> = Promise.resolve();

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#plan = options.plan;
    this.#store = options.store;
    this.#logger = options.logger;
    this.#observer = options.observer ?? NOBODY;
    this.#supervision = new Supervision(options.logger);
    this.#salvage = new Salvage({ store: this.#store, logger: this.#logger });
    this.#policy = new Policy(toPolicySettings(options.plan.config), new Allowlist({ addresses: [], hostnames: [] }));
  }

  /** Runs until `stop()`, or with `once` until the logs are read. Throws what it can't live with. */
  async run(): Promise<void> {
    const isNew = (await this.#store.note('half-lives')) === null;
    await this.#adoptHalfLives();
    this.#cursor = (await this.#store.changesSince(null)).cursor;
    let stopWatching = async () => {};
    let timer: NodeJS.Timeout | undefined;
    try {
      await this.#usePlan(this.#plan);
      if (isNew) {
        await this.#opening;
        await this.#onEmptied();
      }
      await this.#releaseAllowed(this.#people.map(({ entry }) => entry));
      stopWatching = this.#store.watch(() => this.#inBackground(() => this.#onStoreChanged()));
      timer = setInterval(() => this.#housekeep(), HOUSEKEEPING_MS);
      this.#loopDelay.start();
      await this.#heartbeat(null);
      this.#announce();
      await this.#countLogs();
    } catch (error) {
      if (!(error instanceof NewerStoreError)) throw error;
      this.#fail(error);
    } finally {
      clearInterval(timer);
      await this.#pruning?.stop();
      this.#loopDelay.stop();
      await this.#digesting?.stop();
      await this.#handover?.stop();
      await this.#kernelSets?.stop();
      await this.#lists?.stop();
      await this.#postscreen?.stop();
      await this.#exporting?.stop();
      await this.#digest;
      await stopWatching();
    }
    if (this.#failure instanceof NewerStoreError) await this.#leaveToNewer();
    else await this.#finish();
    if (this.#failure !== null) throw this.#failure;
  }

  get #lines(): number {
    return this.#earlierLines + (this.#counting?.lines ?? 0);
  }

  get vitals(): Vitals {
    return { startedAt: this.#startedAt, lines: this.#lines, loopDelayMs: this.#loopDelay.recentMs };
  }

  /** Why the access map could not be published last, or null. */
  get mapProblem(): string | null {
    return this.#publisher?.problem ?? null;
  }

  /** Ends `run()` in good order: the batch at hand is committed, the map stays in place. */
  stop(reason: string): void {
    if (this.#stopping.signal.aborted) return;
    this.#logger.info({ event: 'stopping' }, `${reason}: committing what was read, the access map stays in place`);
    this.#end(reason);
  }

  #end(reason: string): void {
    this.#supervision.stopping(`Stopping: ${reason}`);
    this.#stopping.abort();
    this.#source?.stop();
  }

  /** Config and filters anew; the old ones stay when the new are bad. */
  async reload(): Promise<void> {
    this.#supervision.reloading();
    try {
      this.#nextPlan = await this.#options.reload();
      this.#source?.stop();
    } catch (error) {
      if (!(error instanceof BlockdError)) throw error;
      this.#logger.error(
        { event: 'reload-failed' },
        `not reloaded, the old config and filters stay in force: ${error.message}`,
      );
      this.#supervision.reloaded(`Not reloaded, the old config stays in force: ${error.message}`);
    }
  }

  async #countLogs(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const counting = await this.#freshCounting();
      const source = this.#plan.openSource({
        positions: counting.positions,
        start: this.#options.fromStart ? 'beginning' : 'end',
        once: this.#options.once,
        onNotice: ({ level, log, message }) => this.#logger[level]({ event: 'source', log }, message),
      });
      this.#source = source;
      // What came while the store was asked found no source to stop.
      if (signal.aborted || this.#nextPlan !== null) source.stop();
      // Reading goes on while a commit is under way, and judging too where the store can.
      let committed: Promise<boolean | undefined> = Promise.resolve(true);
      let isCommitting = false;
      const commit = () => {
        isCommitting = true;
        committed = this.#serially(() => (counting.isAhead ? counting.finish(signal) : counting.flush(signal))).finally(
          () => {
            isCommitting = false;
            if (counting.isAhead) commit();
          },
        );
        // Waited for later; until then its failure is nobody's.
        committed.catch(() => undefined);
      };
      for await (const chunk of source.chunks()) {
        const due = counting.take(chunk);
        if (due !== 'later') {
          if (isCommitting && !counting.ahead() && due === 'now' && !(await committed)) break;
          if (isCommitting) counting.ahead();
          else commit();
        }
        if (signal.aborted || this.#nextPlan !== null) break;
      }
      source.stop();
      await committed;
      await this.#serially(() => counting.flush(signal.aborted ? AbortSignal.abort() : signal));
      if (counting.outdated) continue;
      const next = this.#nextPlan;
      if (next === null) return;
      // Taken out first: a reload may come while this one is put into force.
      this.#nextPlan = null;
      await this.#patiently(() => this.#usePlan(next));
      await this.#options.onReloaded?.(next);
      this.#logger.info({ event: 'reloaded' }, 'config and filters reloaded');
      // Another reload may have come meanwhile, and is told of when it is done.
      if (this.#nextPlan === null) this.#supervision.reloaded(this.#status());
    }
  }

  async #freshCounting() {
    const { config, filter } = this.#plan;
    // What ends with the process is nobody's history, and explains nothing.
    const outlives = config.store.url !== 'memory:';
    const history = outlives ? new History(this.#store, config.store.host) : null;
    this.#history = history;
    const progress = await this.#patiently(() => this.#store.progress(config.store.host));
    const birth = await this.#patiently(() => this.#birth());
    // Nothing is waited for from here on: a policy that comes meanwhile would not reach it.
    const counting = new Counting({
      store: this.#store,
      host: config.store.host,
      logger: this.#logger,
      filter,
      policy: this.#policy,
      ...(history !== null && { history }),
      enforced: config.mode === 'enforce',
      keepsLines: outlives,
      progress,
      fallback: this.#counting?.places ?? readPlaces(this.#options.positionsFile),
      birth,
      readBirth: () => this.#birth(),
      onEmptied: () => this.#onEmptied(),
      onCommitted: (outcome, events) => this.#onCommitted(outcome, events),
    });
    this.#earlierLines += this.#counting?.lines ?? 0;
    this.#counting = counting;
    return counting;
  }

  /** A daemon at work outlives a store that is away just when it begins anew. */
  async #patiently<T>(work: () => Promise<T>): Promise<T> {
    for (let said = false; ; said = true) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof UnavailableError) || error instanceof NewerStoreError) throw error;
        if (this.#stopping.signal.aborted) throw error;
        if (!said)
          this.#logger.error({ event: 'store-away' }, `${error.message}; waiting for it before the log is read`);
      }
      await sleep(RETRY_MS, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    }
  }

  #onCommitted(outcome: Outcome, events: PendingEvents): void {
    this.#counters.offenses += events.offenses;
    this.#counters.refused += events.refused;
    this.#observer.counted(events, outcome);
    this.#tell(outcome);
  }

  /** Logs what a commit changed, and has the map follow. */
  #tell(outcome: Outcome): void {
    const dryRun = this.#plan.config.mode === 'dry-run';
    const now = Date.now();
    this.#observer.changed(outcome.changes ?? []);
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
    if ((outcome.changes ?? []).length > 0) this.#follow();
  }

  /** What refuses follows the store. */
  #follow(): void {
    this.#publisher?.request();
    this.#kernelSets?.request();
    this.#postscreen?.request();
  }

  async #openKernelSets(): Promise<void> {
    await this.#kernelSets?.stop();
    this.#kernelSets = null;
    const { mode, frontline } = this.#plan.config;
    if (mode !== 'enforce' || !frontline.nftables || this.#options.once) return;
    const { nft, table, drop } = frontline;
    const { KernelSets } = await import('./kernel-sets.js');
    const book = new BanBook(this.#store);
    this.#kernelSets = new KernelSets({
      picture: () => this.#pictureFrom(book).catch((error: unknown) => this.#withoutPicture(error)),
      soonestEnd: () => this.#salvage.soonestEnd(book.soonestEnd),
      logger: this.#logger,
      nft,
      table,
      drop,
      isAllowed: (subject) => this.#allowed.why(subject, null) !== null,
    });
    this.#kernelSets.request(0);
  }

  async #openPostscreen(): Promise<void> {
    await this.#postscreen?.stop();
    this.#postscreen = null;
    const { config, postscreenMap: map } = this.#plan;
    if (map === null || this.#options.once) return;
    const { Postscreen } = await import('./postscreen.js');
    const book = new BanBook(this.#store);
    // Nobody is refused in the other modes, also not by what an earlier run left behind.
    const nobody: Picture = { changes: null, all: () => [] };
    this.#postscreen = new Postscreen({
      map,
      picture: async () => (config.mode === 'enforce' ? this.#pictureFrom(book) : nobody),
      everyMs: config.postfix.postscreen_every,
      logger: this.#logger,
    });
    this.#postscreen.request(0);
  }

  async #usePlan(plan: Plan): Promise<void> {
    this.#plan = plan;
    const lists = await this.#openLists();
    this.#policy = new Policy(toPolicySettings(plan.config), await this.#allowlist(), lists);
    await this.#pruning?.stop();
    this.#pruning = await this.#schedule(plan.config.store.prune, () => this.#inBackground(() => this.#prune()));
    this.#counting?.use(plan.filter, this.#policy);
    await this.#lists?.start(Date.now());
    await this.#scheduleDigest();
    await this.#scheduleHandover();
    await this.#scheduleExport();
    await this.#opening;
    await this.#publisher?.stop();
    this.#publisher = null;
    await this.#openKernelSets();
    await this.#openPostscreen();
    if (plan.map === null) return;
    if (plan.config.mode === 'dry-run') {
      await this.#emptyMap();
      return;
    }
    const opening = this.#openMap(plan.map);
    if ((await plan.map.bytes()) < LARGE_MAP_BYTES) return opening;
    // It is in force as it was left, and the log need not wait until a hundred thousand bans are compared.
    this.#opening = opening.catch((error: unknown) => this.#fail(error));
  }

  /** Compares the map with the store, publishes it, and keeps it published. */
  async #openMap(map: AccessMap): Promise<void> {
    await this.#salvage.look(map, this.#policy);
    const book = new BanBook(this.#store);
    this.#publisher = new Publisher({
      map,
      picture: () => this.#pictureFrom(book).catch((error: unknown) => this.#withoutPicture(error)),
      soonestEnd: () => this.#salvage.soonestEnd(book.soonestEnd),
      onPublished: () => book.published(),
      logger: this.#logger,
      observer: this.#observer,
    });
    await this.#publisher.publish();
  }

  /** A store that is found damaged ends the daemon, and leaves the map as it is. @throws UnavailableError */
  #withoutPicture(error: unknown): never {
    if (!(error instanceof DamagedError)) throw error;
    this.#fail(error);
    throw new UnavailableError(error.message, { cause: error });
  }

  /** What the map shall hold. A store that has just been emptied must not empty the map. */
  async #pictureFrom(book: BanBook): Promise<Picture> {
    const now = Date.now();
    const picture = await book.update(now);
    // Asked behind the reading: what holds now held then.
    if ((await this.#store.changesSince(this.#cursor)).gap) {
      throw new UnavailableError(`store ${this.#store.url} has lost changes: the access map is compared with it first`);
    }
    await requireKnownSchema(this.#store);
    if (!this.#salvage.isNeeded) return picture;
    return { changes: null, all: () => this.#salvage.with(picture.all(), now) };
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
      this.#observer.notPublished(error.message);
    }
  }

  async #allowlist(): Promise<Allowlist> {
    const { allow } = this.#plan.config;
    this.#people = await this.#store.allowed();
    this.#allowed = new Allowlist(
      allowRules({
        own: ownAddresses(),
        mynetworks: await this.#plan.ownNetworks.read(),
        addresses: allow.addresses,
        hostnames: allow.hostnames,
        people: this.#people.map(({ entry }) => entry),
      }),
    );
    return this.#allowed;
  }

  /** Those that are there already; they are refreshed beside the counting. */
  async #openLists(): Promise<Lists> {
    await this.#lists?.stop();
    this.#lists = null;
    const { config } = this.#plan;
    if (config.lists.length === 0) return NO_LISTS;
    const { ListKeeper } = await import('./list-keeper.js');
    this.#lists = new ListKeeper({
      config,
      folder: listsFolder(config),
      logger: this.#logger,
      onChanged: (lists) => this.#replacePolicy(this.#policy.allowlist, lists),
      schedule: (expression, work) => this.#schedule(expression, work),
    });
    return this.#lists.open();
  }

  #replacePolicy(allowlist: Allowlist, lists: Lists): void {
    this.#policy = new Policy(this.#policy.settings, allowlist, lists);
    this.#counting?.use(this.#plan.filter, this.#policy);
  }

  /** Some process committed: another host's ban, a person's order, or our own. */
  async #onStoreChanged(): Promise<void> {
    const { changes, cursor, gap } = await this.#store.changesSince(this.#cursor);
    if (gap) await this.#afterLoss();
    this.#cursor = cursor;
    if (changes.length === 0 && !gap) return;
    this.#observer.heard(changes);
    if (gap || changes.some(({ type }) => type === 'allow' || type === 'disallow')) {
      this.#replacePolicy(await this.#allowlist(), this.#policy.lists);
      const heard = changes.flatMap((change) => (change.type === 'allow' ? change.entry : []));
      await this.#releaseAllowed(gap ? this.#people.map(({ entry }) => entry) : heard);
    }
    this.#follow();
  }

  /** A host that had not heard yet whom people allowed, frozen or cut off, may have banned him since: this one, too. */
  async #releaseAllowed(people: readonly string[]): Promise<void> {
    if (people.length === 0) return;
    const allowlist = new Allowlist(allowRules({ own: [], mynetworks: [], addresses: [], hostnames: [], people }));
    const now = Date.now();
    const subjects: string[] = [];
    await eachInTurns(await this.#store.bans(now), ({ subject, host }) => {
      if (allowlist.why(subject, host) !== null) subjects.push(subject);
    });
    if (subjects.length === 0) return;
    const policy = new Policy(this.#policy.settings, allowlist);
    this.#tell(await this.#store.commit(subjects, (states) => policy.releaseProtected(subjects, states, now)));
  }

  /** The feed broke off: too much happened while we were away, or the store was emptied or put back. */
  async #afterLoss(): Promise<void> {
    if ((await this.#store.note('half-lives')) === null) await this.#onEmptied();
    else await this.#lookForLost();
    await this.#adoptHalfLives();
    await this.#reconcile();
  }

  /** No line can bring back what the store held: bans go back into it before the next line is judged. */
  async #onEmptied(): Promise<void> {
    await this.#lookForLost();
    if (this.#salvage.isNeeded) for (const one of await this.#salvage.takeBack(this.#policy)) this.#tell(one);
    const known = new Set((await this.#store.allowed()).map(({ entry }) => entry));
    const allow = this.#people.filter(({ entry }) => !known.has(entry));
    const changes = allow.map(({ entry, at }) => ({ type: 'allow', entry, at }) as const);
    if (allow.length > 0) await this.#store.commit([], () => ({ allow, changes }));
  }

  async #lookForLost(): Promise<void> {
    await this.#opening;
    const { map } = this.#plan;
    if (map !== null && this.#publisher !== null) await this.#salvage.look(map, this.#policy);
  }

  /** Lines that the store has forgotten are read again, also when no new one tells that it has. */
  async #reconcile(): Promise<void> {
    await this.#counting?.reconcile(AbortSignal.abort());
    if (this.#counting?.outdated) this.#source?.stop();
  }

  async #takeBackLost(): Promise<void> {
    const counting = this.#counting;
    if (!this.#salvage.isNeeded || counting === null || counting.storeAway || counting.outdated) return;
    if (!this.#plan.logs.every((log) => isReadToItsEnd(log, counting))) return;
    for (const outcome of await this.#salvage.takeBack(this.#policy)) this.#tell(outcome);
  }

  #housekeep(): void {
    this.#tick++;
    this.#checkSchema();
    // Waiting for a store that is away is no standstill; it would not end by a restart.
    if (this.#counting?.storeAway) this.#tellSupervisor();
    // While the store is away the work before this waits for it, and ticks must not pile up.
    if (this.#housekeeping) return;
    this.#housekeeping = true;
    this.#inBackground(async () => {
      try {
        await this.#settleEnded();
        if (this.#tick % CURTAIL_EVERY_TICKS === 1) await this.#curtail();
        if (this.#counting?.storeAway === false) await this.#counting.flush(AbortSignal.abort());
        if (this.#counting?.outdated) this.#source?.stop();
        await this.#takeBackLost();
        if (performance.now() - this.#beatenAt >= HEARTBEAT_MS) {
          // Whatever became of the watching.
          await this.#onStoreChanged();
          await this.#reconcile();
          this.#lists?.tellOld(Date.now());
          await this.#heartbeat(null);
        }
        if (this.#tick % INTACT_EVERY_TICKS === 0) await this.#publisher?.repairIfDamaged();
      } finally {
        this.#housekeeping = false;
        this.#tellSupervisor();
      }
    });
  }

  /**
   * Another host may have been upgraded. Beside all other work, which may wait for a store that it can't read any more.
   */
  #checkSchema(): void {
    if (this.#checkingSchema) return;
    this.#checkingSchema = true;
    requireKnownSchema(this.#store)
      .catch((error: unknown) => {
        if (error instanceof NewerStoreError || !(error instanceof UnavailableError)) this.#fail(error);
      })
      .finally(() => {
        this.#checkingSchema = false;
      });
  }

  /** Only what was queued with the counting, and came to its turn, says that both are alive. */
  #tellSupervisor(): void {
    const counting = this.#counting;
    const caughtUp =
      counting !== null && !counting.storeAway && this.#plan.logs.every((log) => isCountedIn(log, counting));
    this.#supervision.turned({ caughtUp, status: this.#status() });
  }

  #status(): string {
    if (this.#counting?.storeAway) return `Waiting for store ${this.#store.url}; the log keeps the lines`;
    const { offenses, bans, releases } = this.#counters;
    const lines = this.#counting?.lines ?? 0;
    return `${this.#plan.config.mode}: ${lines} lines, ${offenses} offenses, ${bans} bans, ${releases} releases since the start`;
  }

  async #settleEnded(): Promise<void> {
    const now = Date.now();
    for (let round = 0; round < SETTLE_ROUNDS; round++) {
      const ended = await this.#store.endedBans(now, SETTLE_BATCH);
      if (ended.length === 0) return;
      this.#tell(await this.#store.commit(ended, (states) => this.#policy.settle(ended, states, now)));
      if (ended.length < SETTLE_BATCH) return;
      await nextTurn();
    }
  }

  /** A clock that was ahead, or a `ban.max` that was longer, must not outlive itself in the bans of that time. */
  async #curtail(): Promise<void> {
    const now = Date.now();
    const shortest = Math.min(this.#policy.settings.maxMs, LONGEST_ORDER_MS);
    const far = (await this.#store.bans(now + shortest)).filter((ban) => this.#policy.outlasts(ban, now));
    const subjects = far.map(({ subject }) => subject).slice(0, SETTLE_BATCH);
    if (subjects.length === 0) return;
    this.#logger.warn(
      { event: 'curtailed', bans: far.length },
      `${far.length} bans would last longer than ban.max allows from now on, and are cut down to it`,
    );
    this.#tell(await this.#store.commit(subjects, (states) => this.#policy.curtail(subjects, states, now)));
  }

  /** By the config in force; a run for one log makes none. */
  async #scheduleDigest(): Promise<void> {
    await this.#digesting?.stop();
    this.#digesting = null;
    const { config } = this.#plan;
    if (config.report.schedule === undefined) return;
    const { Digest } = await import('./digest.js');
    const digest = new Digest(config, this.#store, this.#logger);
    // Beside the counting, which must not wait for a mail to be taken.
    const make = () => {
      this.#digest = digest.run(Date.now()).catch((error: unknown) => {
        this.#logger.error({ event: 'digest-failed' }, `the digest could not be made: ${reasonOf(error)}`);
      });
      return this.#digest;
    };
    this.#digesting = await this.#schedule(config.report.schedule, make);
  }

  /** At once too: what an earlier run wrote in another mode must not stay. */
  async #scheduleExport(): Promise<void> {
    await this.#exporting?.stop();
    this.#exporting = null;
    const { config } = this.#plan;
    if (config.export.file === undefined || this.#options.once) return;
    const { BanExport } = await import('./ban-export.js');
    const bans = new BanExport(config, this.#store, this.#logger);
    await bans.write(Date.now());
    this.#exporting = await this.#schedule(config.export.schedule, () => bans.write(Date.now()));
  }

  /** Beside the counting: name servers may take their time. */
  async #scheduleHandover(): Promise<void> {
    await this.#handover?.stop();
    this.#handover = null;
    const { enabled, every, servers } = this.#plan.config.handover;
    if (!enabled || this.#options.once) return;
    const [{ Handover }, { namesFrom }] = await Promise.all([import('./handover.js'), import('./names.js')]);
    const handover = new Handover({
      store: this.#store,
      policy: () => this.#policy,
      namesOf: namesFrom(servers),
      logger: this.#logger,
      serially: (work) => this.#serially(work),
      onReleased: (outcome) => this.#tell(outcome),
    });
    const look = async () => {
      try {
        await handover.look(this.#stopping.signal);
      } catch (error) {
        // The next round looks again.
        if (!(error instanceof UnavailableError)) this.#fail(error);
      }
    };
    this.#handover = await this.#schedule(every, look);
  }

  /** A run for one log ends before anything is due, and need not load the clockwork. */
  async #schedule(expression: string, work: () => void | Promise<void>): Promise<ScheduledTask | null> {
    if (this.#options.once) return null;
    const { schedule } = await import('node-cron');
    const task = schedule(expression, work, { noOverlap: true });
    // `stop` does nothing while its work runs (node-cron 4.6): it must not keep a daemon that ends.
    task.unref();
    return task;
  }

  async #prune(): Promise<void> {
    const now = Date.now();
    const keepMs = this.#plan.config.store.keep;
    // Nothing that is under way may add to what is cut down.
    await this.#counting?.flush(AbortSignal.abort());
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

  /** The name of the store as it is; hosts that share it agree on the one that was written last. */
  async #birth(): Promise<string> {
    if ((await this.#store.note('birth')) === null) await this.#store.setNote('birth', randomUUID());
    return String(await this.#store.note('birth'));
  }

  async #heartbeat(stoppedAt: number | null): Promise<void> {
    const { config, map, logs } = this.#plan;
    this.#beatenAt = performance.now();
    writePlaces(this.#options.positionsFile, this.#counting?.places ?? new Map());
    const counters: DaemonCounters = {
      lines: this.#lines,
      ...this.#counters,
      leftOut: this.#publisher?.leftOut ?? 0,
      loopDelayMaxMs: this.#loopDelay.maxMs,
    };
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
        maxEntries: config.postfix.max_entries,
        postscreenMap: config.postfix.postscreen_map ?? null,
        postscreenEveryMs: config.postfix.postscreen_every,
      },
      startedAt: this.#startedAt,
      heartbeatAt: Date.now(),
      stoppedAt,
      counters,
      ...(this.#lists !== null && { lists: { folder: listsFolder(config), all: this.#lists.notes } }),
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
      await this.#serially(() => this.#takeBackLost());
      await this.#opening;
      if (this.#publisher !== null) await this.#publisher.publish();
      await this.#publisher?.stop();
      await this.#heartbeat(Date.now());
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#logger.warn({ event: 'store-away' }, `stopped without the store: ${error.message}`);
    }
    this.#logger.info({ event: 'stopped', lines: this.#lines, ...this.#counters }, 'stopped');
  }

  /** What a newer blockd has made is neither written nor published; the map keeps its entries, and they their ends. */
  async #leaveToNewer(): Promise<void> {
    await this.#opening;
    await this.#publisher?.stop();
    this.#logger.info({ event: 'stopped', lines: this.#lines, ...this.#counters }, 'stopped');
  }

  /** Work that nobody waits for: what it can't live with ends the daemon, and `run()` throws it. */
  #inBackground(work: () => Promise<void>): void {
    this.#serially(work).catch((error: unknown) => this.#fail(error));
  }

  #fail(error: unknown): void {
    if (this.#failure instanceof NewerStoreError) return;
    this.#failure = error;
    if (error instanceof NewerStoreError && !this.#stopping.signal.aborted) {
      this.#logger.error(
        { event: 'store-newer' },
        `${error.message}; this daemon ends: the log keeps the lines, bans in the access map stay and end on time`,
      );
      this.#end(error.message);
      return;
    }
    this.stop(`ending because of an error: ${reasonOf(error)}`);
  }

  /** One after another: two commits of one daemon never wait for each other's subjects. Store faults only wait. */
  #serially<T>(work: () => Promise<T>): Promise<T | undefined> {
    const next = this.#busy.then(work).catch((error: unknown) => {
      if (error instanceof UnavailableError && !(error instanceof NewerStoreError)) return undefined;
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

function banFields({ subject, since, until, reason, by, host, listed }: Ban): Record<string, unknown> {
  const [from, to] = [new Date(since).toISOString(), new Date(until).toISOString()];
  return { subject, since: from, until: to, reason, by, host, ...(listed !== undefined && { listed: listed.list }) };
}

function describe(ban: Ban, now: number): string {
  const length = `for ${formatDuration(ban.until - ban.since)}`;
  const over = ban.until <= now ? ', already over' : '';
  return `${ban.subject}${ban.host === null ? '' : ` (${ban.host})`} ${length}${over}: ${reasonWithList(ban)}`;
}
