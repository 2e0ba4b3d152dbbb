/**
 * Redis breaks while a real daemon counts a log of known truth: killed, frozen, full, read-only, slow, cut off in the
 * middle of a commit, emptied, put back, failed over. In the end each line has counted exactly once.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Random } from '../../src/demo/random.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { type LabCluster, startCluster } from '../support/cluster.js';
import { CuttingProxy } from '../support/cutting-proxy.js';
import { blockctl, type LogEntry, RunningDaemon } from '../support/programs.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { startSentinel } from '../support/sentinel.js';
import { bansInMap, bansInStore, watchMap } from './bans.js';
import { byForm, chanceFor, repeatWith, seed } from './form.js';
import { expectSame, type KnownLog, LASTING, makeKnownLog, PieceWriter, untilCounted } from './known-log.js';

const PART = 'store-faults';
const LINES = byForm(600, 2_000);
const SCHEDULES = byForm(3, 60);
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
    return Lab.at(redis, proxy, await proxy.listen(), redis.url);
  }

  static async at(redis: LabRedis, proxy: CuttingProxy, url: string, direct: string): Promise<Lab> {
    const store = await openStore(direct, { prefix: 'blockd' });
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
    const where = ['--store', url, '--map', `hash:${map}`, '--log', this.writer.file, '--mode', 'enforce'];
    this.#daemon = await RunningDaemon.start([...where, ...LASTING, '--set', 'store.host=mx'], { timeoutMs: 60_000 });
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
    await untilCounted(this.store, this.writer.file).catch((error: Error) => {
      const said = this.log
        .flat()
        .slice(-30)
        .map((entry) => JSON.stringify(entry));
      throw new Error(`${error.message}; its last words:\n${said.join('\n')}`);
    });
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
    240_000,
  );
});

describe('a Redis that has lost everything', () => {
  it('is gone on with at the present place; bans in the map stay, and go back into it with their ends', async () => {
    const chance = chanceFor(PART, -1);
    const hint = repeatWith(PART);
    const lab = await Lab.make([]);
    await lab.write(chance, 0.6);
    await untilCounted(lab.store, lab.writer.file);
    await lab.store.commit([], () => ({
      allow: [{ entry: '192.0.2.77', at: 1 }],
      changes: [{ type: 'allow', at: 1, entry: '192.0.2.77' }],
    }));
    const bans = await bansInStore(lab.store);
    expect(bans.length, hint).toBeGreaterThan(0);
    await expect.poll(() => bansInMap(lab.map), { timeout: 10_000 }).toEqual(bans);
    const before = await lab.store.states(known.subjects);
    const stopWatching = watchMap(lab.map, bans);
    await lab.redis.restart();
    // No line has to come for the position to be stored anew.
    await untilCounted(lab.store, lab.writer.file);
    await lab.finish(chance);
    await lab.daemon.until((entry) => entry['event'] === 'bans-taken-back');
    expect(await stopWatching(), hint).toEqual([]);
    const after = await lab.store.states(known.subjects);
    for (const [subject, { offenses }] of known.states) {
      const counted = (before.get(subject)?.offenses ?? 0) + (after.get(subject)?.offenses ?? 0);
      expect(counted, `${subject}; ${hint}`).toBe(offenses);
    }
    expect(await bansInStore(lab.store), hint).toEqual(expect.arrayContaining(bans));
    const reasons = (await lab.store.bans(Date.now())).map(({ reason }) => reason);
    expect(reasons).toContain('taken back from the access map');
    expect(await lab.store.allowed()).toEqual([{ entry: '192.0.2.77', at: 1 }]);
    expect(lab.said('store-emptied').length, hint).toBe(1);
    expect(lab.said('bans-lost').length, hint).toBe(1);
    expect(await lab.daemon.stop(), hint).toBe(0);
  }, 120_000);

  it('is no reason for blockctl to empty the map while no daemon runs', async () => {
    const lab = await Lab.make([]);
    const chance = chanceFor(PART, -5);
    await lab.finish(chance);
    const bans = await bansInStore(lab.store);
    await expect.poll(() => bansInMap(lab.map), { timeout: 10_000 }).toEqual(bans);
    expect(await lab.daemon.stop()).toBe(0);
    await lab.redis.restart();
    const args = ['--store', lab.redis.url, '--map', `hash:${lab.map}`, '--set', 'mode=enforce'];
    const sync = await blockctl([...args, 'sync']);
    expect(sync.code, sync.stderr).toBe(0);
    expect(sync.stderr).toContain(`the store had lost ${bans.length} of the access map's bans`);
    expect(bansInMap(lab.map)).toEqual(bans);
    expect(await bansInStore(lab.store)).toEqual(bans);
    const unban = await blockctl([...args, 'unban', '--all']);
    expect(unban.code, unban.stderr).toBe(0);
    expect(bansInMap(lab.map)).toEqual([]);
  }, 120_000);
});

describe('a Redis that was put back to an old snapshot', () => {
  it('is told what it has forgotten, also when no line comes; orders of people stay in force', async () => {
    const chance = chanceFor(PART, -2);
    const hint = repeatWith(PART);
    const lab = await Lab.make([]);
    await lab.write(chance, 0.3);
    await untilCounted(lab.store, lab.writer.file);
    await lab.cli('save');
    await lab.finish(chance);
    const args = ['--store', lab.redis.url, '--map', `hash:${lab.map}`, '--set', 'store.host=mx'];
    const order = await blockctl([...args, 'ban', '198.51.100.77', '--for', '5h']);
    expect(order.code, order.stderr).toBe(0);
    const bans = await bansInStore(lab.store);
    await expect.poll(() => bansInMap(lab.map), { timeout: 10_000 }).toEqual(bans);
    const stopWatching = watchMap(lab.map, bans);
    await lab.redis.restart();
    await untilCounted(lab.store, lab.writer.file);
    await lab.daemon.until((entry) => entry['event'] === 'bans-taken-back');
    expectSame(await lab.store.states(known.subjects), known.states, hint);
    expect(await bansInStore(lab.store), hint).toEqual(bans);
    expect(await stopWatching(), hint).toEqual([]);
    expect(lab.said('bans-taken-back').map((entry) => entry['bans'])).toEqual([1]);
    expect(await lab.daemon.stop(), hint).toBe(0);
  }, 120_000);
});

describe('a Redis that freezes just when the daemon begins to read', () => {
  it('is waited for', async () => {
    const chance = chanceFor(PART, -4);
    const lab = await Lab.make(AOF);
    lab.redis.signal('SIGSTOP');
    // A reload begins anew, as a start does: it asks the store for the positions and for whom people have allowed.
    lab.daemon.signal('SIGHUP');
    await lab.daemon.until((entry) => entry['event'] === 'store-away', 20_000);
    lab.redis.signal('SIGCONT');
    await lab.daemon.until((entry) => entry['event'] === 'reloaded', 20_000);
    await lab.finish(chance);
    expectSame(await lab.store.states(known.subjects), known.states, repeatWith(PART));
    expect(await lab.daemon.stop()).toBe(0);
  }, 90_000);
});

describe('Redis under Sentinel', () => {
  it('may fail over while the daemon counts', async () => {
    const chance = chanceFor(PART, -3);
    const hint = repeatWith(PART);
    const sentinel = await startSentinel();
    ends.push(() => sentinel.stop());
    const lab = await Lab.at(sentinel.primary, new CuttingProxy(0), sentinel.url, sentinel.replica.url);
    await lab.write(chance, 0.3);
    // What was never replicated would be lost by construction.
    await untilCounted(lab.store, lab.writer.file);
    await lab.write(chance, 0.1);
    await sentinel.primary.kill();
    await lab.write(chance, 0.3);
    await lab.finish(chance);
    expectSame(await lab.store.states(known.subjects), known.states, hint);
    expect(await lab.daemon.stop(), hint).toBe(0);
  }, 120_000);
});

describe('a Redis Cluster', () => {
  const slotOf = async ({ nodes }: LabCluster, key: string) =>
    Number(await nodes[0]?.client.call('CLUSTER', 'KEYSLOT', key));

  async function make(): Promise<{ cluster: LabCluster; lab: Lab }> {
    const cluster = await startCluster(AOF);
    ends.push(() => cluster.stop());
    const { redis } = await cluster.ownerOf('{blockd}:subjects');
    return { cluster, lab: await Lab.at(redis, new CuttingProxy(0), cluster.url, cluster.url) };
  }

  it('holds all in one slot, which may move from node to node while the daemon counts', async () => {
    const chance = chanceFor(PART, -6);
    const hint = repeatWith(PART);
    const { cluster, lab } = await make();
    const slot = await slotOf(cluster, '{blockd}:subjects');
    await lab.write(chance, 0.2);
    for (let move = 0; move < byForm(2, 6); move++) {
      const owner = await cluster.ownerOf('{blockd}:subjects');
      const to = chance.pick(cluster.nodes.filter((node) => node !== owner));
      const moving = cluster.moveSlot(slot, to);
      await lab.write(chance, 0.1);
      await moving;
      await lab.write(chance, 0.1);
    }
    await lab.finish(chance);
    expectSame(await lab.store.states(known.subjects), known.states, hint);
    const owner = await cluster.ownerOf('{blockd}:subjects');
    const keys: string[] = [];
    for (const node of cluster.nodes) {
      const found = await node.client.keys('*');
      // The others hold nothing: a cluster does not spread the load.
      expect(found.length > 0, hint).toBe(node === owner);
      keys.push(...found);
    }
    expect(keys.length).toBeGreaterThan(5);
    for (const key of keys) expect(await slotOf(cluster, key), key).toBe(slot);
    expect(await lab.daemon.stop(), hint).toBe(0);
  }, 120_000);

  it('may lose the node with that slot to its replica while the daemon counts', async () => {
    const chance = chanceFor(PART, -7);
    const hint = repeatWith(PART);
    const { cluster, lab } = await make();
    const owner = await cluster.ownerOf('{blockd}:subjects');
    const replica = await cluster.addReplica(owner);
    await lab.write(chance, 0.3);
    await untilCounted(lab.store, lab.writer.file);
    // What was never replicated would be lost by construction.
    await owner.client.call('WAIT', 1, 5_000);
    await lab.write(chance, 0.1);
    await owner.redis.kill();
    await lab.write(chance, 0.3);
    await lab.finish(chance);
    expect(await replica.client.call('ROLE')).toEqual(expect.arrayContaining(['master']));
    expectSame(await lab.store.states(known.subjects), known.states, hint);
    expect(await lab.daemon.stop(), hint).toBe(0);
  }, 120_000);
});
