/** What `blockctl top` shows, read from the store again and again. It only looks: nothing is stored, nothing locked. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { LoadedConfig } from '../config/load.js';
import type { Ban } from '../domain/ban.js';
import type { Policy } from '../policy/policy.js';
import { HOUR_MS, type Hour, hourOf } from '../report/hours.js';
import { hourNote } from '../report/kept-hours.js';
import { type DaemonNote, daemonNoteName } from '../store/daemon-note.js';
import { requireKnownSchema } from '../store/schema.js';
import type { Store } from '../store/store.js';
import { Desk, openFor } from './desk.js';
import { Output } from './output.js';
import { type LogFacts, logFacts, type MapFacts, mapFacts, storeUrl } from './status.js';

/** More rows fit on no screen. */
const MOST_ROWS = 60;
const RATES_KEPT = 120;
/** The whole map is read for it. */
const MAP_EVERY_MS = 5_000;
/** Postfix is asked for it. */
const POLICY_EVERY_MS = 60_000;
const CHANGES_READ = 300;

export interface Picture {
  readonly at: number;
  readonly desk: Pick<Desk, 'mode' | 'running' | 'missing' | 'note'>;
  readonly host: string;
  readonly storeUrl: string;
  readonly counts: Awaited<ReturnType<Store['counts']>>;
  readonly logs: readonly LogFacts[];
  readonly map: MapFacts | null;
  /** Rejects per second, one value a look, the newest last. */
  readonly rates: readonly number[];
  /** Newest first. */
  readonly bans: readonly RecentBan[];
  readonly offenders: readonly Offender[];
}

export interface RecentBan {
  readonly ban: Ban;
  readonly active: boolean;
}

/** Somebody with a score. */
export interface Offender {
  readonly subject: string;
  readonly host: string | null;
  readonly score: number;
  readonly threshold: number;
  /** The active ban that it is under, its own or its network's, or null. */
  readonly bannedAs: string | null;
  /** Why it is never banned, or null. */
  readonly protectedWhy: string | null;
}

export class TopFeed {
  readonly #loaded: LoadedConfig;
  /** What adapters notice would be written across the screen. */
  readonly #silent = new Output(sink(), sink());
  #open: Awaited<ReturnType<typeof openFor>> | null = null;
  /** Inode of the embedded store's file. */
  #file: number | null = null;
  #cursor: string | null = null;
  #recent: Ban[] = [];
  #ended = new Set<string>();
  #rejects: Map<number, number> | null = null;
  #lookedAt = 0;
  #rates: number[] = [];
  #map: { readonly at: number; readonly facts: MapFacts | null } | null = null;
  #policy: { readonly at: number; readonly policy: Policy } | null = null;

  constructor(loaded: LoadedConfig) {
    this.#loaded = loaded;
  }

  /** @throws BlockdError; the next look begins anew. */
  async look(): Promise<Picture> {
    try {
      return await this.#look();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    this.#cursor = null;
    this.#rejects = null;
    await open?.store.close();
  }

  async #look(): Promise<Picture> {
    const { config } = this.#loaded;
    const file = inodeOf(config.store.url);
    // One that was not there yet may be there now, and one that somebody removed is no longer the daemon's.
    if (this.#open !== null && file !== this.#file) await this.close();
    this.#file = file;
    this.#open ??= await openFor(config, { create: false, quiet: true }, this.#silent);
    const { store, missing } = this.#open;
    await requireKnownSchema(store);
    const note = ((await store.note(daemonNoteName(config.store.host))) ?? null) as DaemonNote | null;
    const desk = new Desk(this.#loaded, { store, missing, note }, this.#silent);
    await this.#noteRate(desk);
    await this.#noteBans(desk);
    const counts = await store.counts(desk.now);
    if (this.#map === null || desk.now - this.#map.at >= MAP_EVERY_MS)
      this.#map = { at: desk.now, facts: await mapFacts(desk, counts.banned) };
    return {
      at: desk.now,
      desk,
      host: config.store.host,
      storeUrl: storeUrl(desk),
      counts,
      logs: await logFacts(desk),
      map: this.#map.facts,
      rates: this.#rates,
      bans: this.#recent.map((ban) => ({ ban, active: ban.until > desk.now && !this.#ended.has(nameOf(ban)) })),
      offenders: await this.#offenders(desk),
    };
  }

  /** From the history that each commit keeps up: the daemon's own note is ten seconds old at times. */
  async #noteRate({ store, config, now }: Desk): Promise<void> {
    const present = hourOf(now);
    const totals = new Map<number, number>();
    for (const at of [present - HOUR_MS, present]) {
      const hour = (await store.note(hourNote(config.store.host, at))) as Hour | null;
      totals.set(at, hour === null ? 0 : Object.values(hour.rules).reduce((sum, count) => sum + count, 0));
    }
    const before = this.#rejects;
    this.#rejects = totals;
    const tookMs = now - this.#lookedAt;
    this.#lookedAt = now;
    if (before === null || tookMs <= 0) return;
    const more = [...totals].reduce((sum, [at, total]) => sum + total - (before.get(at) ?? 0), 0);
    this.#rates = [...this.#rates, (Math.max(0, more) * 1_000) / tookMs].slice(-RATES_KEPT);
  }

  async #noteBans({ store }: Desk): Promise<void> {
    const { changes, cursor, gap } = await store.changesSince(this.#cursor);
    const anew = this.#cursor === null || gap;
    this.#cursor = cursor;
    if (anew) {
      this.#recent = [];
      this.#ended.clear();
    }
    for (const change of anew ? (await store.history(CHANGES_READ)).reverse() : changes) {
      if (change.type === 'ban') {
        // It takes the place of the ban that its subject was under.
        for (const before of this.#recent) if (before.subject === change.ban.subject) this.#ended.add(nameOf(before));
        this.#ended.delete(nameOf(change.ban));
        this.#recent.unshift(change.ban);
      } else if (change.type === 'release') this.#ended.add(nameOf(change.release.ban));
    }
    this.#recent = this.#recent.slice(0, MOST_ROWS);
    const shown = new Set(this.#recent.map(nameOf));
    for (const name of this.#ended) if (!shown.has(name)) this.#ended.delete(name);
  }

  async #offenders(desk: Desk): Promise<Offender[]> {
    const { store, now } = desk;
    if (this.#policy === null || now - this.#policy.at > POLICY_EVERY_MS)
      this.#policy = { at: now, policy: await desk.policy() };
    const { policy } = this.#policy;
    const states = await store.states(await store.top(MOST_ROWS));
    const around = await store.states([...states.keys()].flatMap((subject) => policy.subjectsFor(subject).slice(1)));
    const isBanned = (subject: string) => ((states.get(subject) ?? around.get(subject))?.ban?.until ?? 0) > now;
    return [...states]
      .map(([subject, state]) => ({
        subject,
        host: state.host,
        score: policy.scoreAt(state, now),
        threshold: policy.thresholdAt(state, now),
        bannedAs: policy.subjectsFor(subject).find(isBanned) ?? null,
        protectedWhy: policy.protectedWhy(subject, state, now),
      }))
      .filter(({ score }) => score >= 0.05)
      .sort((a, b) => b.score - a.score);
  }
}

/** Null for a store that is no file of this host, or is not there. */
function inodeOf(url: string): number | null {
  if (!url.startsWith('lmdb:')) return null;
  try {
    return statSync(join(url.slice('lmdb:'.length), 'data.mdb')).ino;
  } catch {
    return null;
  }
}

function nameOf({ subject, since }: Ban): string {
  return `${subject} ${since}`;
}

function sink(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done() });
}
