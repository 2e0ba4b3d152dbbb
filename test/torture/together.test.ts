/** Many mail hosts with one Redis: what one of them bans all refuse, soon, through whatever befalls some of them. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import type { Ban } from '../../src/domain/ban.js';
import { openStore } from '../../src/store/open.js';
import { MAX_CHANGES, type Store } from '../../src/store/store.js';
import { SettableClock } from '../support/clock.js';
import { MapWatch } from '../support/map-watch.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { bansInMap } from './bans.js';
import { byForm, chanceFor, isLong, repeatWith, seed } from './form.js';
import {
  Arrivals,
  eventually,
  expectCountedOnce,
  MxHost,
  PATIENCE_MS,
  percentile,
  untilAgreed,
  untilAllCounted,
} from './mx-host.js';

const PART = 'together';
const HOUR_MS = 3_600_000;
const hint = repeatWith(PART);
const AOF = ['--appendonly', 'yes', '--appendfsync', 'always'];

const folder = mkdtempSync(join(tmpdir(), 'blockd-together-'));
let labs = 0;

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What a test leaves behind goes when it ends, the last first; they run side by side, since they mostly wait. */
type WhenDone = (undo: () => Promise<void>) => void;

interface Lab {
  readonly redis: LabRedis;
  readonly store: Store;
  readonly hosts: readonly MxHost[];
}

/** Hosts that run, on a Redis of their own. */
async function labOf(
  whenDone: WhenDone,
  count: number,
  options: {
    readonly args?: readonly string[];
    readonly settings?: readonly string[];
    readonly clocks?: readonly SettableClock[];
    readonly fromEnd?: boolean;
  } = {},
): Promise<Lab> {
  const redis = await startRedis({ args: options.args ?? [] });
  whenDone(() => redis.stop());
  const place = join(folder, `lab${++labs}`);
  const hosts = Array.from({ length: count }, (_, i) => {
    const clock = options.clocks?.[i];
    const settings = options.settings ?? [];
    return new MxHost({
      ...{ name: `mx${i + 1}`, folder: place, store: redis.url, settings },
      ...(clock !== undefined && { clock }),
      ...(options.fromEnd === true && { fromEnd: true }),
    });
  });
  whenDone(async () => {
    for (const host of hosts) await host.kill();
  });
  const store = await openStore(redis.url, { prefix: 'blockd' });
  whenDone(() => store.close());
  for (const host of hosts) await host.start();
  return { redis, store, hosts };
}

function cli(redis: LabRedis, ...args: string[]): string {
  return execFileSync('redis-cli', ['-p', String(redis.port), ...args], { encoding: 'utf8' }).trim();
}

function one(hosts: readonly MxHost[], i: number): MxHost {
  const host = hosts[i % hosts.length];
  if (host === undefined) throw new RangeError('no host');
  return host;
}

const address = (n: number) => `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`;

/** Postfix's own answer. */
function isRefused({ map }: MxHost, who: string): boolean {
  try {
    return execFileSync('postmap', ['-q', who, `hash:${map}`], { encoding: 'utf8' }).startsWith('554 ');
  } catch {
    return false;
  }
}

describe('hosts that share one Redis', () => {
  it('ban one that probes each of them too little for a ban', async ({ onTestFinished }) => {
    const { hosts, store } = await labOf(onTestFinished, 3);
    for (const host of hosts) host.offend('203.0.113.9', 2);
    one(hosts, 0).offend('203.0.113.10', 2);
    await untilAllCounted(hosts, store, hint);
    await expect
      .poll(() => hosts.map((host) => isRefused(host, '203.0.113.9')), { timeout: PATIENCE_MS })
      .toEqual([true, true, true]);
    await untilAgreed(hosts, store, hint);
    expect(hosts.some((host) => isRefused(host, '203.0.113.10'))).toBe(false);
    await expectCountedOnce(hosts, store, hint);
    const evidence = (await store.evidence('203.0.113.9')).map(({ line }) => / (mx\d) /.exec(line)?.[1]);
    expect(new Set(evidence)).toEqual(new Set(['mx1', 'mx2', 'mx3']));
  }, 120_000);

  it('have in their maps within a second what one of them banned, unbanned or allowed', async ({ onTestFinished }) => {
    const { hosts, store } = await labOf(onTestFinished, byForm(3, 8), { settings: ['ban.first=1d'] });
    const chance = chanceFor(PART, 1);
    const arrivals = new Arrivals(hosts, 15);
    onTestFinished(async () => arrivals.stop());
    const bans = byForm(50, 1_000);
    const orderEvery = byForm(20, 40);
    const [banned, ordered]: [Promise<number>[], Promise<number>[]] = [[], []];
    const free: string[] = [];
    for (let n = 0; n < bans; n++) {
      const who = address(n + 256);
      const startedAt = Date.now();
      one(hosts, n).offend(who);
      banned.push(arrivals.everywhere(who, startedAt));
      if (n % orderEvery === orderEvery - 1) {
        // Of somebody who is banned by now.
        const freed = address(n + 256 - chance.between(5, orderEvery - 1));
        await arrivals.everywhere(freed, startedAt);
        const host = one(hosts, n + 1);
        const order = n % (2 * orderEvery) === orderEvery - 1 ? 'unban' : 'allow';
        const gone = arrivals.everywhere(freed, 0, true).then(() => Date.now());
        await host.ctl([order, freed]);
        const change = (await store.history(200)).find(
          (made) => made.type === 'release' && made.release.ban.subject === freed,
        );
        expect(change, `${order} ${freed}; ${hint}`).toBeDefined();
        ordered.push(gone.then((at) => at - (change?.at ?? 0)));
        free.push(freed);
      }
      await sleep(Math.max(0, startedAt + chance.between(20, byForm(100, 180)) - Date.now()));
    }
    const [banMs, orderMs] = await Promise.all([Promise.all(banned), Promise.all(ordered)]);
    await untilAgreed(hosts, store, hint);
    for (const host of hosts) for (const who of free) expect(host.keys().has(who), `${who}; ${hint}`).toBe(false);
    await expectCountedOnce(hosts, store, hint);
    const told = (values: readonly number[]) =>
      `${values.length}, p50 ${percentile(values, 50)} ms, p99 ${percentile(values, 99)} ms, most ${Math.max(...values)} ms`;
    console.log(
      `${hosts.length} hosts, seed ${seed}: from the log line to every map: bans ${told(banMs)}; from the order to every map: unbans and allows ${told(orderMs)}`,
    );
    if (!isLong) return;
    expect(percentile(banMs, 99), hint).toBeLessThanOrEqual(1_000);
    expect(percentile(orderMs, 99), hint).toBeLessThanOrEqual(1_000);
  }, 600_000);
});

/** Bans with different ends, made on hosts in turn. */
function attack(hosts: readonly MxHost[], from: number, count: number): string[] {
  return Array.from({ length: count }, (_, i) => {
    const who = address(from + i);
    one(hosts, i).offend(who);
    return who;
  });
}

function untilIn(hosts: readonly MxHost[], wanted: readonly string[]): Promise<void> {
  return eventually(() => hosts.flatMap((host) => wanted.filter((who) => !host.keys().has(who))), [], hint);
}

function untilGone(hosts: readonly MxHost[], unwanted: readonly string[]): Promise<void> {
  return eventually(() => hosts.flatMap((host) => unwanted.filter((who) => host.keys().has(who))), [], hint);
}

/** More changes than the stream keeps, all about one address. */
async function overflow(store: Store, who: string): Promise<void> {
  const at = Date.now();
  const ban: Ban = {
    subject: who,
    since: at,
    until: at + 1,
    reason: 'x',
    strikes: 0,
    host: null,
    by: 'person',
    refused: 0,
  };
  const changes = Array.from({ length: 500 }, () => ({ type: 'ban', at, ban }) as const);
  for (let made = 0; made < MAX_CHANGES + 1_000; made += changes.length) await store.commit([], () => ({ changes }));
}

describe.concurrent('a host that was away', () => {
  const FEEDS = ['its place in the feed still there', 'the feed trimmed by MINID', 'the feed trimmed to its length'];
  it.for(FEEDS.slice(0, byForm(2, 3)))(
    'for long, as a frozen process, has the same bans soon after: %s',
    { timeout: 300_000 },
    async (how, { onTestFinished }) => {
      const { hosts, store, redis } = await labOf(onTestFinished, 3);
      const [frozen, ...others] = hosts;
      if (frozen === undefined) return;
      const before = attack(hosts, 1_000, 12);
      await untilIn(hosts, before);
      await one(others, 0).ctl(['ban', '198.51.100.1', '--for', '15s']);
      await untilIn(hosts, ['198.51.100.1']);
      frozen.daemon.signal('SIGSTOP');
      frozen.offend('203.0.113.7', 3);
      const during = attack(others, 2_000, 12);
      await untilIn(others, during);
      // What ended while it was away must not come back from its map.
      await one(others, 1).ctl(['unban', ...before.slice(0, 4)]);
      await one(others, 0).ctl(['allow', before[4] ?? '']);
      await one(others, 0).ctl(['unban', before[5] ?? '']);
      await one(others, 0).ctl(['ban', before[5] ?? '', '--for', '10m']);
      await untilGone(others, ['198.51.100.1']);
      if (how.includes('MINID')) cli(redis, 'xtrim', '{blockd}:events', 'MINID', `${Date.now() + 1}`);
      if (how.includes('length')) await overflow(store, '198.51.100.2');
      const after = attack(others, 3_000, 4);
      await untilIn(others, after);
      // It may judge this before it hears that he was allowed meanwhile; the ban does not last then.
      const allowed = before[4] ?? '';
      frozen.offend(allowed, 6);
      frozen.daemon.signal('SIGCONT');
      const thawedAt = Date.now();
      await untilAllCounted(hosts, store, hint);
      const banOfAllowed = async () => (await store.states([allowed])).get(allowed)?.ban;
      await eventually(banOfAllowed, null, hint);
      await untilAgreed(hosts, store, hint);
      console.log(`a frozen host, ${how}: the same bans ${Date.now() - thawedAt} ms after it went on`);
      const keys = frozen.keys();
      expect([...during, ...after, ...before.slice(5)].filter((who) => !keys.has(who))).toEqual([]);
      expect([...before.slice(0, 5), '198.51.100.1'].filter((who) => keys.has(who))).toEqual([]);
      const said = hosts.flatMap(({ daemon }) => daemon.log.map(({ event }) => event));
      expect(said.filter((event) => event === 'bans-lost' || event === 'bans-taken-back')).toEqual([]);
      await expectCountedOnce(hosts, store, hint);
    },
  );

  it('asleep for an hour ends at once what ended meanwhile, and has what was banned meanwhile', async ({
    onTestFinished,
  }) => {
    const clock = new SettableClock();
    onTestFinished(async () => clock.remove());
    const { hosts, store, redis } = await labOf(onTestFinished, 3, {
      settings: ['ban.first=30m'],
      clocks: [clock, clock, clock],
    });
    const [asleep, ...others] = hosts;
    if (asleep === undefined) return;
    const before = attack(hosts, 1_000, 6);
    await untilIn(hosts, before);
    asleep.daemon.signal('SIGSTOP');
    clock.set(HOUR_MS);
    const during = attack(others, 2_000, 6);
    await untilIn(others, during);
    cli(redis, 'xtrim', '{blockd}:events', 'MAXLEN', '1');
    asleep.daemon.signal('SIGCONT');
    await untilIn([asleep], during);
    await untilGone(hosts, before);
    await untilAllCounted(hosts, store, hint);
    for (const host of hosts) expect(bansInMap(host.map)).toEqual(bansInMap(asleep.map));
    await expectCountedOnce(hosts, store, hint);
  }, 180_000);

  it('cut off from Redis in any way has the same bans when it is back', async ({ onTestFinished }) => {
    const { hosts, store, redis } = await labOf(onTestFinished, 3, { args: AOF });
    const chance = chanceFor(PART, 2);
    for (let round = 0; round < byForm(3, 15); round++) {
      attack(hosts, 1_000 + 100 * round, 5);
      if (round % 3 === 0) {
        for (let times = 0; times < 5; times++) {
          cli(redis, 'client', 'kill', 'type', 'normal');
          attack(hosts, 1_010 + 100 * round + 3 * times, 3);
          await sleep(chance.between(0, 300));
        }
      } else if (round % 3 === 1) await redis.restart();
      else {
        await redis.kill();
        attack(hosts, 1_050 + 100 * round, 5);
        await sleep(chance.between(0, 3_000));
        await redis.start();
      }
    }
    await untilAllCounted(hosts, store, hint);
    await untilAgreed(hosts, store, hint);
    await expectCountedOnce(hosts, store, hint);
  }, 300_000);
});

describe.concurrent('hosts whose clocks differ', () => {
  const apartMs = byForm(4_000, 30_000);
  const lengthMs = byForm(14_000, 90_000);

  it(`by ${apartMs / 1_000} s each way have the same bans, none of which ends late, or earlier than that difference`, async ({
    onTestFinished,
  }) => {
    const offsets = [0, apartMs, -apartMs];
    const clocks = offsets.map((offset) => new SettableClock(offset));
    onTestFinished(async () => {
      for (const clock of clocks) clock.remove();
    });
    const settings = [`ban.first=${lengthMs / 1_000}s`, 'score.standing=false'];
    const { hosts, store } = await labOf(onTestFinished, 3, { clocks, settings });
    const watches = hosts.map(({ map }) => new MapWatch(map));
    onTestFinished(async () => {
      for (const watch of watches) watch.stop();
    });
    const bans = attack(hosts, 1_000, 9);
    // One whom no host alone would ban, by stamps of all three.
    for (const host of hosts) host.offend('203.0.113.9', 2);
    bans.push('203.0.113.9');
    for (const watch of watches)
      await watch.until('banned everywhere', () => bans.every((who) => watch.seen.has(who)), PATIENCE_MS);
    await untilAllCounted(hosts, store, hint);
    for (const watch of watches)
      await watch.until('free again', (present) => present.size === 0, lengthMs + 2 * apartMs + PATIENCE_MS);
    for (const [i, watch] of watches.entries()) {
      for (const who of bans) {
        const { until, lastAt, firstAt } = watch.seen.get(who) ?? { until: 0, lastAt: 0, firstAt: 0 };
        const said = `${who} on ${one(hosts, i).name}; ${hint}`;
        const endedAt = lastAt + (offsets[i] ?? 0);
        // Which host made it is told by its number; its clock set the end, and the fastest clock may end it.
        expect(endedAt - until, `late: ${said}`).toBeLessThan(8_000);
        expect(until - endedAt, `early: ${said}`).toBeLessThan(2 * apartMs + 3_000);
        expect(firstAt, said).toBeGreaterThan(0);
      }
    }
    await expectCountedOnce(hosts, store, hint);
  }, 400_000);
});

describe.concurrent('a host whose clock was set back', () => {
  it('counts each line once when Redis is put back to an earlier state then', async ({ onTestFinished }) => {
    const clock = new SettableClock();
    onTestFinished(async () => clock.remove());
    const { hosts, store, redis } = await labOf(onTestFinished, 1, { clocks: [clock] });
    attack(hosts, 1_000, 4);
    await untilAllCounted(hosts, store, hint);
    cli(redis, 'save');
    clock.set(-60_000);
    attack(hosts, 2_000, 4);
    await untilAllCounted(hosts, store, hint);
    await redis.restart();
    await eventually(() => one(hosts, 0).daemon.log.some(({ event }) => event === 'store-put-back'), true, hint);
    await untilAllCounted(hosts, store, hint);
    await untilAgreed(hosts, store, hint);
    await expectCountedOnce(hosts, store, hint);
    expect(one(hosts, 0).isUp).toBe(true);
  }, 120_000);
});

describe.concurrent('a Redis put back to a state in which it did not know one of the hosts', () => {
  const STARTS = ['beginning', 'end'];
  it.for(STARTS)(
    'has not lost everything: that host reads its log from its %s, as it began',
    {
      timeout: 120_000,
    },
    async (start, { onTestFinished }) => {
      const { hosts, store, redis } = await labOf(onTestFinished, 2, { fromEnd: start === 'end' });
      const [known, late] = [one(hosts, 0), one(hosts, 1)];
      attack([known], 1_000, 3);
      await untilAllCounted(hosts, store, hint);
      cli(redis, 'save');
      attack([late], 2_000, 3);
      late.offend('203.0.113.9', 2);
      await untilAllCounted(hosts, store, hint);
      await redis.restart();
      late.offend('203.0.113.9', 1);
      await untilAllCounted(hosts, store, hint);
      await untilAgreed(hosts, store, hint);
      await expectCountedOnce(hosts, store, hint);
      expect(late.daemon.log.filter(({ event }) => event === 'store-emptied')).toEqual([]);
    },
  );

  it('unlike one that was flushed, whose bans all hosts put back, each once', async ({ onTestFinished }) => {
    const { hosts, store, redis } = await labOf(onTestFinished, 3);
    const bans = attack(hosts, 1_000, 6);
    await untilAllCounted(hosts, store, hint);
    await untilIn(hosts, bans);
    cli(redis, 'flushall');
    await eventually(
      async () => (await store.bans(Date.now())).map(({ subject }) => subject).sort(),
      bans.sort(),
      hint,
    );
    await untilAgreed(hosts, store, hint);
    await untilIn(hosts, bans);
    const states = await store.states(bans);
    // One strike each, however many maps held the ban.
    for (const who of bans) expect(states.get(who)?.strikes.value, `${who}; ${hint}`).toBeCloseTo(1, 3);
  }, 120_000);
});

describe.concurrent('without a leader', () => {
  it.for(Array.from({ length: byForm(1, 8) }, (_, i) => i))(
    'any host may be killed at any time: the others go on, it comes back at its own place (schedule %i)',
    { timeout: 600_000 },
    async (schedule, { onTestFinished }) => {
      const chance = chanceFor(PART, 100 + schedule);
      const { hosts, store } = await labOf(onTestFinished, byForm(3, 5));
      const attackers = Array.from({ length: byForm(12, 40) }, (_, i) => address(4_000 + i));
      for (let step = 0; step < byForm(14, 60); step++) {
        const host = chance.pick(hosts);
        if (!host.isUp) await host.start();
        else if (chance.chance(0.45)) await host.kill();
        for (let times = chance.between(1, 12); times > 0; times--)
          chance.pick(hosts).offend(chance.pick(attackers), chance.between(1, 3));
        await sleep(chance.between(0, 250));
      }
      // All but one: that one goes on alone.
      const [alone, ...rest] = hosts;
      if (alone === undefined) return;
      for (const host of rest) await host.kill();
      if (!alone.isUp) await alone.start();
      const late = attack([alone], 5_000, 5);
      await untilIn([alone], late);
      for (const host of rest) await host.start();
      await untilAllCounted(hosts, store, hint);
      await untilAgreed(hosts, store, hint);
      await expectCountedOnce(hosts, store, hint);
      for (const host of hosts) {
        const own = await store.progress(host.name);
        expect([...own.keys()], host.name).toEqual([host.log]);
        expect(host.daemon.log.filter(({ event }) => event === 'store-put-back' || event === 'store-emptied')).toEqual(
          [],
        );
      }
    },
  );
});
