/** One of several mail hosts that share a store: its log, its map, its daemon; and what all of them must agree on. */
import { appendFileSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import { UnavailableError } from '../../src/domain/errors.js';
import type { Store } from '../../src/store/store.js';
import type { SettableClock } from '../support/clock.js';
import { blockctl, type LogEntry, RunningDaemon } from '../support/programs.js';
import { bansInMap, bansInStore } from './bans.js';
import { UNPRUNED } from './form.js';

/** What a loaded machine may take for what is soon done. */
export const PATIENCE_MS = 90_000;

const QUIET = new Set(['published', 'ban', 'release']);

export interface HostOptions {
  readonly name: string;
  /** A folder is made in it. */
  readonly folder: string;
  readonly store: string;
  readonly clock?: SettableClock;
  /** A command that runs the host's programs: `ip netns exec NAME`. */
  readonly through?: readonly string[];
  readonly settings?: readonly string[];
  /** A log never seen before is read from its end. */
  readonly fromEnd?: boolean;
  /** A log and a map that are already there, in place of its own. */
  readonly postfix?: { readonly logFile: string; readonly mapPath: string };
}

export class MxHost {
  readonly name: string;
  readonly log: string;
  readonly map: string;
  /** Offenses written, by address. */
  readonly written = new Map<string, number>();
  readonly #options: HostOptions;
  #daemon: RunningDaemon | null = null;
  readonly #earlier: LogEntry[] = [];
  #session = 0;

  constructor(options: HostOptions) {
    const folder = join(options.folder, options.name);
    mkdirSync(folder, { recursive: true });
    this.name = options.name;
    this.log = options.postfix?.logFile ?? join(folder, 'mail.log');
    this.map = options.postfix?.mapPath ?? join(folder, 'map/client_access');
    this.#options = options;
    appendFileSync(this.log, '');
  }

  get daemon(): RunningDaemon {
    if (this.#daemon === null) throw new Error(`${this.name} has no daemon`);
    return this.#daemon;
  }

  get isUp(): boolean {
    return this.#daemon !== null && !this.#daemon.hasEnded;
  }

  get now(): number {
    return this.#options.clock?.now() ?? Date.now();
  }

  async start(): Promise<void> {
    this.launch();
    await this.daemon.until(({ event }) => event === 'started', PATIENCE_MS);
  }

  /** Waits for nothing: the store may be away. */
  launch(): void {
    const start = this.#options.fromEnd === true ? [] : ['--from-start'];
    const args = ['--log', this.log, ...start, '--mode', 'enforce', ...this.#common()];
    this.#daemon = RunningDaemon.launch(args, this.#run());
  }

  async kill(): Promise<void> {
    await this.#daemon?.stop('SIGKILL');
    this.#earlier.push(...(this.#daemon?.log ?? []));
    this.#daemon = null;
  }

  /** `blockctl` as it is called on this host. @throws Error unless it ends with `code`. */
  async ctl(args: readonly string[], code = 0): Promise<string> {
    const done = await blockctl([...this.#common(), ...args], { ...this.#run(), timeoutMs: PATIENCE_MS });
    expect(done.code, `${this.name}: blockctl ${args.join(' ')}: ${done.stderr}`).toBe(code);
    return done.stdout;
  }

  /** Rejects of an address, each in a session of its own. Five of them within minutes are a ban. */
  offend(address: string, times = 5): void {
    const stamp = new Date(this.now).toISOString();
    const lines = Array.from({ length: times }, () => {
      const n = ++this.#session;
      return `${stamp} ${this.name} postfix/smtpd[${n}]: NOQUEUE: reject: RCPT from unknown[${address}]: 550 5.1.1 <x${n}@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x${n}@lab.example> proto=ESMTP helo=<c.example>\n`;
    });
    appendFileSync(this.log, lines.join(''));
    this.written.set(address, (this.written.get(address) ?? 0) + times);
  }

  /** What its daemons said, but of the map. */
  get story(): string {
    const told = [...this.#earlier, ...(this.#daemon?.log ?? [])].filter(({ event }) => !QUIET.has(String(event)));
    return told.map(({ time, msg }) => `${this.name} ${time} ${msg}`).join('\n');
  }

  /** Keys of the map's text. */
  keys(): Set<string> {
    return new Set(bansInMap(this.map).map((line) => line.slice(0, line.indexOf(' '))));
  }

  #run() {
    const { clock, through } = this.#options;
    return { ...(clock !== undefined && { env: clock.env({ TZ: 'UTC' }) }), ...(through !== undefined && { through }) };
  }

  #common(): string[] {
    const set = [
      `store.host=${this.name}`,
      'allow.mynetworks=false',
      'ban.networks=0',
      'handover.enabled=false',
      'postfix.reload=["true"]',
      ...(this.#options.settings ?? []),
    ];
    const where = ['--store', this.#options.store, '--map', `hash:${this.map}`];
    return [...where, ...UNPRUNED, ...set.flatMap((one) => ['--set', one])];
  }
}

/** Waits until what `read` tells is `wanted`. */
export async function eventually<T>(read: () => T | Promise<T>, wanted: T, hint: string): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(100)) {
    const found = await read();
    if (isDeepStrictEqual(found, wanted)) return;
    if (Date.now() > deadline) expect(found, hint).toEqual(wanted);
  }
}

/** The test's own connection may not be back yet: undefined then. */
async function unlessAway<T>(work: Promise<T>): Promise<T | undefined> {
  return work.catch((error: unknown) => {
    if (error instanceof UnavailableError) return undefined;
    throw error;
  });
}

/** Waits until every map holds the store's bans, and nothing else. */
export async function untilAgreed(hosts: readonly MxHost[], store: Store, hint: string): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(100)) {
    const wanted = (await unlessAway(bansInStore(store))) ?? ['the store is away'];
    const differing = hosts.find(({ map }) => bansInMap(map).join('\n') !== wanted.join('\n'));
    // What was asked for first may be outdated by now.
    if (differing === undefined && (await unlessAway(bansInStore(store)))?.join('\n') === wanted.join('\n')) return;
    if (Date.now() > deadline) {
      const log = differing?.daemon.log.map((entry) => JSON.stringify(entry)).join('\n');
      expect(bansInMap(differing?.map ?? ''), `map of ${differing?.name}; ${hint}\n${log}`).toEqual(wanted);
    }
  }
}

/** Waits until each host's log is counted to its end. */
export async function untilAllCounted(hosts: readonly MxHost[], store: Store, hint: string): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(100)) {
    const places = await Promise.all(
      hosts.map(async ({ name, log }) => ({
        name,
        log,
        place: (await unlessAway(store.progress(name)))?.get(log)?.position,
      })),
    );
    const behind = places.find(({ log, place }) => {
      const { size } = statSync(log);
      return size > 0 && (place?.kind !== 'file' || place.offset !== size);
    });
    if (behind === undefined) return;
    if (Date.now() > deadline) {
      const host = hosts.find(({ name }) => name === behind.name);
      const said = host?.daemon.log.map((entry) => JSON.stringify(entry)).join('\n');
      throw new Error(`${behind.name} is not counted: ${JSON.stringify(behind.place)}; ${hint}\n${said}`);
    }
  }
}

/** Each offense that any host has written, whoever counted it and how often he was killed meanwhile. */
export function writtenBy(hosts: readonly MxHost[]): Map<string, number> {
  const all = new Map<string, number>();
  for (const { written } of hosts) for (const [who, times] of written) all.set(who, (all.get(who) ?? 0) + times);
  return all;
}

/** The store has counted each offense once. */
export async function expectCountedOnce(hosts: readonly MxHost[], store: Store, hint: string): Promise<void> {
  const written = writtenBy(hosts);
  const states = await store.states([...written.keys()]);
  const counted = new Map([...written.keys()].map((who) => [who, states.get(who)?.offenses ?? 0]));
  if (isDeepStrictEqual(counted, written)) return;
  expect(counted, `${hint}\n${hosts.map((host) => host.story).join('\n')}`).toEqual(written);
}

/** When what stood in the hosts' maps for the first time, and when it was gone. Looks at a file that each publish renews. */
export class Arrivals {
  readonly #waiting = new Set<(host: string, keys: ReadonlySet<string>) => void>();
  readonly #timer: NodeJS.Timeout;
  readonly #seen = new Map<string, { stamp: string; keys: ReadonlySet<string> }>();
  readonly #hosts: readonly MxHost[];

  constructor(hosts: readonly MxHost[], everyMs: number) {
    this.#hosts = hosts;
    this.#timer = setInterval(() => this.#look(), everyMs);
  }

  /** Resolves with the milliseconds from `since` until `key` stands in all maps; with `gone`, in none. */
  everywhere(key: string, since: number, gone = false): Promise<number> {
    return new Promise((resolve) => {
      const left = new Set(this.#hosts.map(({ name }) => name));
      const meet = (host: string, keys: ReadonlySet<string>) => {
        if (keys.has(key) === gone) return;
        left.delete(host);
        if (left.size > 0) return;
        this.#waiting.delete(meet);
        resolve(Date.now() - since);
      };
      this.#waiting.add(meet);
      for (const [host, { keys }] of this.#seen) meet(host, keys);
    });
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const { name, map } of this.#hosts) {
      const { ino, mtimeMs } = statSync(`${map}.state`, { throwIfNoEntry: false }) ?? { ino: 0, mtimeMs: 0 };
      const stamp = `${ino} ${mtimeMs}`;
      if (this.#seen.get(name)?.stamp === stamp || ino === 0) continue;
      const text = readFileSync(map, 'latin1');
      const keys = new Set(text.split('\n').map((line) => line.slice(0, line.indexOf('\t'))));
      this.#seen.set(name, { stamp, keys });
      for (const meet of [...this.#waiting]) meet(name, keys);
    }
  }
}

/** The value that so many per cent do not exceed. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil((sorted.length * percent) / 100) - 1)] ?? Number.NaN;
}
