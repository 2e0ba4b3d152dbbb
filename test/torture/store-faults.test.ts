/**
 * Redis breaks while a real daemon counts a log of known truth: killed, frozen, full, read-only, slow, cut off in the
 * middle of a commit, emptied, put back, failed over. In the end each line has counted exactly once.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Random } from '../../src/demo/random.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { CuttingProxy } from '../support/cutting-proxy.js';
import { type LogEntry, RunningDaemon } from '../support/programs.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { byForm, chanceFor, repeatWith, seed } from './form.js';
import { expectSame, type KnownLog, LASTING, makeKnownLog, PieceWriter, untilCounted } from './known-log.js';

const PART = 'store-faults';
const LINES = byForm(600, 2_000);
const SCHEDULES = byForm(4, 60);
const AOF = ['--appendonly', 'yes', '--appendfsync', 'always'];

const folder = mkdtempSync(join(tmpdir(), 'blockd-faults-'));
const ends: (() => Promise<unknown>)[] = [];
let known: KnownLog;
let labs = 0;

beforeAll(async () => {
  known = await makeKnownLog(folder, seed, LINES);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** One Redis behind a proxy, one log, one daemon. */
class Lab {
  readonly place = join(folder, `lab${++labs}`);
  readonly map = join(this.place, 'map', 'client_access');
  readonly log: LogEntry[][] = [];
  readonly redis: LabRedis;
  readonly proxy: CuttingProxy;
  readonly writer: PieceWriter;
  /** Looks past the proxy. */
  readonly store: Store;
  readonly url: string;
  #daemon: RunningDaemon | null = null;

  private constructor(redis: LabRedis, proxy: CuttingProxy, url: string, store: Store) {
    this.redis = redis;
    this.proxy = proxy;
    this.url = url;
    this.store = store;
    mkdirSync(this.place);
    this.writer = new PieceWriter(join(this.place, 'mail.log'), known.text);
  }

  static async make(args: readonly string[]): Promise<Lab> {
    const redis = await startRedis({ args });
    ends.push(() => redis.stop());
    const proxy = new CuttingProxy(redis.port);
    ends.push(() => proxy.close());
    const url = await proxy.listen();
    const store = await openStore(redis.url, { prefix: 'blockd' });
    ends.push(() => store.close());
    const lab = new Lab(redis, proxy, url, store);
    ends.push(async () => lab.#daemon?.stop('SIGKILL'));
    await lab.startDaemon();
    return lab;
  }

  get daemon(): RunningDaemon {
    if (this.#daemon === null) throw new Error('no daemon');
    return this.#daemon;
  }

  async startDaemon(): Promise<void> {
    const { url, map } = this;
    this.#daemon = await RunningDaemon.start(
      ['--store', url, '--map', `hash:${map}`, '--log', this.writer.file, ...LASTING].concat([
        '--mode',
        'enforce',
        '--set',
        'store.host=mx',
      ]),
    );
    this.log.push(this.#daemon.log);
  }

  async cli(...args: string[]): Promise<string> {
    return (await promisify(execFile)('redis-cli', ['-p', String(this.redis.port), ...args])).stdout.trim();
  }

  /** Some lines, with pauses in which some of them are counted. */
  async write(chance: Random, share: number): Promise<void> {
    const until = this.writer.left - Math.ceil(known.text.length * share);
    while (this.writer.left > Math.max(0, until)) {
      this.writer.write(chance.between(1, 4_000));
      if (chance.chance(0.3)) await sleep(chance.between(0, 40));
    }
  }

  async finish(chance: Random): Promise<void> {
    await this.write(chance, 1);
    await untilCounted(this.store, this.writer.file);
  }

  /** Addresses in the map now. */
  banned(): string[] {
    if (!existsSync(this.map)) return [];
    return [this.map, `${this.map}.cidr`]
      .flatMap((file) => readFileSync(file, 'utf8').split('\n'))
      .filter((line) => line.includes('Blocked until '))
      .map((line) => `${line.split('\t')[0]} until ${/until (\S+)/.exec(line)?.[1]}`)
      .sort();
  }

  said(event: string): LogEntry[] {
    return this.log.flat().filter((entry) => entry['event'] === event);
  }
}

type Fault = (lab: Lab, chance: Random) => Promise<void>;

const FAULTS: Readonly<Record<string, Fault>> = {
  'killed and restarted': async ({ redis }, chance) => {
    await redis.kill();
    await sleep(chance.between(0, 800));
    await redis.start();
  },
  frozen: async ({ redis }, chance) => {
    redis.signal('SIGSTOP');
    await sleep(chance.between(100, 3_000));
    redis.signal('SIGCONT');
  },
  'out of memory': async (lab, chance) => {
    await lab.cli('config', 'set', 'maxmemory', '100kb');
    await lab.write(chance, 0.05);
    await sleep(chance.between(100, 600));
    await lab.cli('config', 'set', 'maxmemory', '0');
  },
  'a read-only replica': async (lab, chance) => {
    await lab.cli('replicaof', '127.0.0.1', '1');
    await lab.write(chance, 0.05);
    await sleep(chance.between(100, 600));
    await lab.cli('replicaof', 'no', 'one');
  },
  slow: async (lab, chance) => {
    lab.proxy.delayMs = chance.between(5, 300);
    await lab.write(chance, 0.05);
    await sleep(chance.between(100, 1_000));
    lab.proxy.delayMs = 0;
  },
  'cut before a commit arrives': (lab, chance) => cutting(lab, chance, 'request'),
  'cut before its answer arrives': (lab, chance) => cutting(lab, chance, 'reply'),
  disconnected: async ({ proxy }) => proxy.dropAll(),
  saved: async (lab) => {
    await lab.cli('save');
  },
  'blockd killed': async (lab) => {
    await lab.daemon.stop('SIGKILL');
    await lab.startDaemon();
  },
};

async function cutting(lab: Lab, chance: Random, where: 'request' | 'reply'): Promise<void> {
  let left = chance.between(1, 4);
  lab.proxy.cut = () => (left-- > 0 ? where : null);
  await lab.write(chance, 0.05);
  await sleep(chance.between(50, 400));
  lab.proxy.cut = null;
}

describe('every line counts exactly once', () => {
  const tried = new Map<string, number>();
  afterAll(() => {
    const list = [...tried].map(([name, times]) => `${name} ${times}`).join(', ');
    console.log(`store faults, seed ${seed}: ${SCHEDULES} schedules; ${list}`);
  });

  // A Redis without an append-only file is put back to what it saved last whenever it is killed.
  it.each(Array.from({ length: SCHEDULES }, (_, i) => [i, i % 2 === 0 ? 'keeps' : 'forgets'] as const))(
    'over random faults of Redis, schedule %i: one that %s what it held when it was killed',
    async (schedule, kind) => {
      const chance = chanceFor(PART, schedule);
      const lab = await Lab.make(kind === 'keeps' ? AOF : []);
      await lab.write(chance, 0.1);
      await untilCounted(lab.store, lab.writer.file);
      await lab.cli('save');
      const steps: string[] = [];
      for (let step = 0; step < byForm(4, 8); step++) {
        await lab.write(chance, 0.08);
        const name = chance.pick(Object.keys(FAULTS));
        steps.push(name);
        tried.set(name, (tried.get(name) ?? 0) + 1);
        await FAULTS[name]?.(lab, chance);
      }
      const hint = `${steps.join(', ')}; ${repeatWith(PART)}`;
      await lab.finish(chance).catch((error: unknown) => {
        throw new Error(
          `${error}; ${hint}\n${lab.log
            .flat()
            .map((e) => JSON.stringify(e))
            .join('\n')}`,
        );
      });
      expectSame(await lab.store.states(known.subjects), known.states, hint);
      expect(await lab.daemon.stop(), hint).toBe(0);
      expect(lab.said('bans-taken-back').filter(({ bans }) => bans !== 0)).toEqual([]);
    },
    120_000,
  );
});
