/**
 * What one Redis takes and holds, measured; and what becomes of a botnet's probes under several ways to put a hundred or
 * ten thousand hosts together, simulated with the real policy. docs/scale.md says what the ways are.
 */
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Random } from '../../src/demo/random.js';
import type { LogEvent } from '../../src/domain/event.js';
import { MemoryStore } from '../../src/store/memory.js';
import type { openStore } from '../../src/store/open.js';
import { startRedis } from '../support/redis.js';
import { address } from './bans.js';
import { type Figure, median, type Part, quantile } from './figures.js';
import { policy } from './policy.js';
import { ROOT } from './processes.js';

const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;
const BATCH = 500;
const CLIENTS = 4;
const GIB = 2 ** 30;

export const scale: Part = {
  name: 'scale',
  title: 'Many hosts: what one Redis takes, and what the ways of putting more together come to',
  run: async ({ lines }) => [
    ...(await oneRedis(Math.min(lines, 200_000) / 2)),
    ...(await ways(100)),
    ...(await ways(10_000)),
  ],
};

/** By the processor time of Redis itself: what else the machine does is left out. */
async function oneRedis(offenses: number): Promise<Figure[]> {
  const redis = await startRedis();
  const asker = new Redis(redis.url);
  // Its scripts lie beside the compiled program.
  const { openStore: open }: { openStore: typeof openStore } = await import(join(ROOT, 'dist/store/open.js'));
  const stores = await Promise.all(Array.from({ length: CLIENTS }, () => open(redis.url, { prefix: 'blockd' })));
  const [memoryBefore, processorBefore] = [await told(asker, 'used_memory'), await processorOf(asker)];
  const at = Date.UTC(2026, 0, 12);
  const batches = Array.from({ length: Math.ceil(offenses / BATCH) }, (_, batch) =>
    Array.from({ length: BATCH }, (_, i) => offense(address(Math.floor((batch * BATCH + i) / 3)), at + batch)),
  );
  await Promise.all(
    stores.map(async (store) => {
      for (let events = batches.shift(); events !== undefined; events = batches.shift()) {
        const judged = events;
        await store.commit(policy.subjectsOf(judged.map(({ ip }) => ip)), (states) =>
          policy.judge(judged, states, at + HOUR_MS),
        );
      }
    }),
  );
  const spentS = (await processorOf(asker)) - processorBefore;
  const bytes =
    ((await told(asker, 'used_memory')) - memoryBefore) /
    ((await stores[0]?.counts(at).then(({ scored }) => scored)) ?? 1);
  for (const store of stores) await store.close();
  asker.disconnect();
  await redis.stop();
  return [
    {
      what: 'offenses that one core of Redis takes',
      value: offenses / spentS,
      unit: '/s',
      note: `${CLIENTS} hosts, ${BATCH} a commit`,
    },
    {
      what: 'memory of one scored address with three lines',
      value: bytes,
      unit: 'bytes',
      note: `${Math.round(GIB / bytes / 1e3)},000 addresses in 1 GiB`,
    },
  ];
}

async function told(redis: Redis, name: string): Promise<number> {
  return Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(await redis.info())?.[1]);
}

async function processorOf(redis: Redis): Promise<number> {
  return (await told(redis, 'used_cpu_user')) + (await told(redis, 'used_cpu_sys'));
}

function offense(ip: string, at: number): LogEvent {
  const line = `2026-01-12T00:00:00+00:00 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x@example.net>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@example.net> proto=ESMTP helo=<c.example>`;
  return { kind: 'offense', rule: 'postfix/user-unknown', ip, at, host: null, points: 1, line };
}

/** One way to put hosts together. */
interface Way {
  readonly name: string;
  readonly regions: number;
  /** Which regions an offense seen in one of them goes to, and after how long. */
  readonly counted: 'where seen' | 'everywhere' | 'in the shard of the address';
  /** After how long a ban of one region is in the maps of the others. */
  readonly bridgeMs: number;
}

const ATTACKERS = 200;
const PROBES_EACH_PER_SECOND = 2;
const SECONDS = 90;
/** From a ban in a store to the maps of the hosts that share it. */
const MAP_MS = SECOND_MS;
const BRIDGE_MS = 5 * SECOND_MS;

async function ways(hosts: number): Promise<Figure[]> {
  const regions = hosts > 1_000 ? 50 : 5;
  const all: Way[] = [
    { name: 'one Redis for all', regions: 1, counted: 'where seen', bridgeMs: 0 },
    { name: `${regions} shards by network`, regions, counted: 'in the shard of the address', bridgeMs: MAP_MS },
    { name: `${regions} regions, bans bridged`, regions, counted: 'where seen', bridgeMs: BRIDGE_MS },
    { name: `${regions} regions, points bridged`, regions, counted: 'everywhere', bridgeMs: BRIDGE_MS },
  ];
  const figures: Figure[] = [];
  for (const way of all) {
    const { passed, busiest } = await simulated(way, hosts);
    figures.push({
      what: `${hosts.toLocaleString('en')} hosts, ${way.name}: probes until banned everywhere`,
      value: median(passed),
      unit: '',
      note: `95 %: ${quantile(passed, 0.95)}; the busiest store counts ${(busiest * 100).toFixed(0)} % of the offenses`,
    });
  }
  return figures;
}

/** Probes of each attacker that met no ban, and the share of the offenses that the busiest store had to count. */
async function simulated(way: Way, hosts: number): Promise<{ readonly passed: number[]; readonly busiest: number }> {
  const chance = new Random(5);
  const startedAt = Date.UTC(2026, 0, 12);
  const stores = Array.from({ length: way.regions }, () => new MemoryStore());
  const counted = stores.map(() => 0);
  /** When a region's maps have the ban, by attacker. */
  const bannedFrom = stores.map(() => new Map<number, number>());
  const passed = Array.from({ length: ATTACKERS }, () => 0);
  let offenses = 0;
  /** Offenses under way to other regions, in the order in which they come. */
  const underWay: {
    readonly at: number;
    readonly event: LogEvent;
    readonly attacker: number;
    readonly region: number;
  }[] = [];

  const count = async (event: LogEvent, attacker: number, region: number, now: number) => {
    const store = stores[region];
    if (store === undefined) return;
    counted[region] = (counted[region] ?? 0) + 1;
    const { changes } = await store.commit(policy.subjectsOf([event.ip]), (states) =>
      policy.judge([event], states, now),
    );
    if (!changes?.some(({ type }) => type === 'ban')) return;
    for (const [other, bans] of bannedFrom.entries()) {
      const from = now + (other === region ? MAP_MS : Math.max(MAP_MS, way.bridgeMs));
      bans.set(attacker, Math.min(from, bans.get(attacker) ?? Number.POSITIVE_INFINITY));
    }
  };

  const stepMs = SECOND_MS / (ATTACKERS * PROBES_EACH_PER_SECOND);
  for (let now = startedAt; now < startedAt + SECONDS * SECOND_MS; now += stepMs) {
    for (let first = underWay[0]; first !== undefined && first.at <= now; first = underWay[0]) {
      underWay.shift();
      await count(first.event, first.attacker, first.region, first.at);
    }
    const attacker = chance.between(0, ATTACKERS - 1);
    const seenIn = chance.between(0, hosts - 1) % way.regions;
    if ((bannedFrom[seenIn]?.get(attacker) ?? Number.POSITIVE_INFINITY) <= now) continue;
    passed[attacker] = (passed[attacker] ?? 0) + 1;
    offenses++;
    const event = offense(address(attacker * 7), now);
    if (way.counted === 'in the shard of the address') await count(event, attacker, attacker % way.regions, now);
    else await count(event, attacker, seenIn, now);
    if (way.counted !== 'everywhere') continue;
    for (let region = 0; region < way.regions; region++) {
      if (region !== seenIn) underWay.push({ at: now + way.bridgeMs, event, attacker, region });
    }
  }
  return { passed, busiest: Math.max(...counted) / offenses };
}
