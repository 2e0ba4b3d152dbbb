/**
 * Keeps the lists of others fresh: each is got on its schedule, and the last good one holds while that fails, until it is
 * too old. Nothing here waits for the counting, and the counting for nothing here.
 */
import type { ScheduledTask } from 'node-cron';
import type { Config, ListConfig } from '../config/schema.js';
import { formatDuration } from '../domain/duration.js';
import { reasonOf, UnavailableError } from '../domain/errors.js';
import { type Before, type Fetched, fetchList, readListFile } from '../lists/fetch-list.js';
import { keep, keepOn, sourceOf } from '../lists/kept-list.js';
import type { ListText } from '../lists/list-text.js';
import { type Got, listsOf, readLists, understood } from '../lists/lists.js';
import { isFresh, type Lists } from '../policy/lists.js';
import type { ListNote } from '../store/daemon-note.js';
import type { Logger } from './log.js';

/** A restart asks nobody anew who was asked a moment ago. */
const YOUNG_MS = 3_600_000;
const RETRY_MS = 900_000;

export interface ListKeeperOptions {
  readonly config: Config;
  /** Where the copies are kept; null: nowhere. */
  readonly folder: string | null;
  readonly logger: Logger;
  /** Of a list there is something else to go by. */
  readonly onChanged: (lists: Lists) => void;
  /** Runs work on a schedule; null where nothing is awaited any more. */
  readonly schedule: (expression: string, work: () => Promise<void>) => Promise<ScheduledTask | null>;
  readonly retryMs?: number;
}

interface Kept {
  readonly config: ListConfig;
  got: Got | null;
  /** Why it could not be refreshed, as it was told; null while that works. */
  problem: string | null;
  saidOld: boolean;
  retry: NodeJS.Timeout | undefined;
  busy: Promise<void>;
}

export class ListKeeper {
  readonly #options: ListKeeperOptions;
  readonly #stopping = new AbortController();
  readonly #tasks: (ScheduledTask | null)[] = [];
  #kept: Kept[] = [];

  constructor(options: ListKeeperOptions) {
    this.#options = options;
  }

  /** What is there already; without asking anybody. */
  async open(): Promise<Lists> {
    const { config, folder, logger } = this.#options;
    this.#kept = (await readLists(config, folder)).map(({ problem, ...one }) => ({
      ...one,
      // A URL that was not asked yet is none.
      problem: one.config.file === undefined ? null : problem,
      saidOld: false,
      retry: undefined,
      busy: Promise.resolve(),
    }));
    for (const { config: list, got, problem } of this.#kept) {
      if (got !== null) this.#tell(list, got.text, 'read');
      if (problem !== null) logger.warn({ event: 'list-failed', list: list.name }, `list ${list.name} ${problem}`);
    }
    return listsOf(this.#kept);
  }

  /** Refreshes from now on. */
  async start(now: number): Promise<void> {
    for (const kept of this.#kept) {
      const task = await this.#options.schedule(kept.config.schedule, () => this.#refresh(kept));
      this.#tasks.push(task);
      if (task === null) continue;
      const isYoung = kept.got !== null && now - kept.got.refreshedAt < YOUNG_MS;
      if (kept.config.url !== undefined && !isYoung) void this.#refresh(kept);
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const task of this.#tasks) await task?.stop();
    for (const { retry } of this.#kept) clearTimeout(retry);
    await Promise.all(this.#kept.map(({ busy }) => busy));
  }

  /** For `blockctl`. */
  get notes(): ListNote[] {
    return this.#kept.map(({ config, got, problem }) => ({
      name: config.name,
      source: sourceOf(config),
      points: config.points,
      maxAgeMs: config.max_age,
      entries: got?.text.entries ?? null,
      refreshedAt: got?.refreshedAt ?? null,
      problem,
    }));
  }

  /** Says once of each list that it is too old to give points. */
  tellOld(now: number): void {
    for (const kept of this.#kept) {
      if (kept.got === null) continue;
      const { name, max_age: maxAgeMs } = kept.config;
      const isOld = !isFresh({ refreshedAt: kept.got.refreshedAt, maxAgeMs }, now);
      if (isOld && !kept.saidOld)
        this.#options.logger.warn(
          { event: 'list-old', list: name },
          `list ${name} was not refreshed for longer than ${formatDuration(maxAgeMs)} (max_age): it gives no points until it is`,
        );
      kept.saidOld = isOld;
    }
  }

  /** Never throws. */
  #refresh(kept: Kept): Promise<void> {
    clearTimeout(kept.retry);
    kept.busy = kept.busy.then(async () => {
      const { logger, retryMs = RETRY_MS } = this.#options;
      const { name } = kept.config;
      if (this.#stopping.signal.aborted) return;
      try {
        await this.#renew(kept);
        if (kept.problem !== null) logger.info({ event: 'list-works', list: name }, `list ${name} is refreshed again`);
        kept.problem = null;
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        const reason = error instanceof UnavailableError ? error.message : `can't be taken: ${reasonOf(error)}`;
        if (kept.problem === null)
          logger.warn(
            { event: 'list-failed', list: name },
            `list ${name} ${reason}; ${kept.got === null ? 'it gives no points' : 'the last good copy holds until max_age'}; further failures are not logged until it works`,
          );
        kept.problem = reason;
        kept.retry = setTimeout(() => void this.#refresh(kept), retryMs).unref();
      }
    });
    return kept.busy;
  }

  async #renew(kept: Kept): Promise<void> {
    const { config, folder } = this.#options;
    const { config: list, got: before } = kept;
    const fetched = await this.#get(list, before);
    if (fetched === null) {
      const refreshedAt = Date.now();
      if (before !== null) this.#enforce(kept, { ...before, refreshedAt });
      if (folder !== null) await keepOn(folder, list, refreshedAt).catch((error) => this.#notKept(list, error));
      return;
    }
    const got = await understood(fetched, config.ban.ipv6_prefix);
    this.#enforce(kept, got);
    if (before?.digest !== got.digest) this.#tell(list, got.text, 'refreshed');
    if (folder !== null) await keep(folder, list, fetched).catch((error) => this.#notKept(list, error));
  }

  #enforce(kept: Kept, got: Got): void {
    kept.got = got;
    if (!this.#stopping.signal.aborted) this.#options.onChanged(listsOf(this.#kept));
  }

  #get({ file, url }: ListConfig, before: Before | null): Promise<Fetched | null> {
    if (file !== undefined) return readListFile(file);
    return fetchList(url ?? '', before, { signal: this.#stopping.signal });
  }

  #notKept({ name }: ListConfig, error: unknown): void {
    this.#options.logger.warn(
      { event: 'list-not-kept', list: name },
      `list ${name} is in force, but no copy of it can be kept for the next start: ${reasonOf(error)}`,
    );
  }

  #tell({ name }: ListConfig, { entries, bogus, bogusLine, tooWide }: ListText, how: string): void {
    const odd = [
      ...(bogus > 0 ? [`${bogus} lines that name none, such as "${bogusLine}"`] : []),
      ...(tooWide > 0 ? [`${tooWide} too wide to be taken (IPv4 below /8, IPv6 below /19)`] : []),
    ];
    const said = `list ${name} ${how}: ${entries} networks${odd.length > 0 ? `; ${odd.join('; ')}` : ''}`;
    this.#options.logger[odd.length > 0 ? 'warn' : 'info'](
      { event: 'list', list: name, entries, bogus, tooWide },
      said,
    );
  }
}
