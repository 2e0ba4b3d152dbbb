/** No ban is endless and none ends late, whatever happens to the daemon, its store and the clock. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  futimesSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { NOTHING } from '../../src/policy/decay.js';
import { UNKNOWN } from '../../src/policy/state.js';
import { openStore } from '../../src/store/open.js';
import { SettableClock } from '../support/clock.js';
import { MapWatch } from '../support/map-watch.js';
import { blockctl, RunningDaemon } from '../support/programs.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { byForm, chanceFor, repeatWith } from './form.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** What a loaded machine may take for what is to happen at once; every fault here would be an hour and more. */
const SOON_MS = 8_000;
const again = repeatWith('ban-ends');

/** What a test leaves behind goes when it ends; they run side by side, since most of their time is waiting. */
type WhenDone = (undo: () => Promise<void>) => void;

/** A log, a store, a map and a clock of its own. */
class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'blockd-ends-'));
  readonly log = join(this.folder, 'mail.log');
  readonly mapPath = join(this.folder, 'map/client_access');
  readonly clock: SettableClock;
  readonly watch: MapWatch;
  readonly type: string;
  readonly store: string;
  readonly #zone: string;
  readonly #whenDone: WhenDone;
  #next = 1;

  constructor(whenDone: WhenDone, options: { type?: string; aheadMs?: number; zone?: string; store?: string } = {}) {
    this.#whenDone = whenDone;
    this.type = options.type ?? 'hash';
    this.#zone = options.zone ?? 'UTC';
    this.store = options.store ?? `lmdb:${this.folder}/store`;
    this.clock = new SettableClock(options.aheadMs ?? 0);
    this.watch = new MapWatch(this.mapPath);
    writeFileSync(this.log, '');
    whenDone(async () => {
      this.watch.stop();
      this.clock.remove();
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  get map(): string {
    return `${this.type}:${this.mapPath}`;
  }

  async daemon(...settings: readonly string[]): Promise<RunningDaemon> {
    const set = ['allow.mynetworks=false', 'ban.networks=0', 'postfix.reload=["true"]', ...settings];
    const daemon = await RunningDaemon.start(
      [
        ...['--store', this.store, '--map', this.map, '--mode', 'enforce', '--log', this.log, '--from-start'],
        ...set.flatMap((one) => ['--set', one]),
      ],
      { env: this.clock.env({ TZ: this.#zone }) },
    );
    this.#whenDone(async () => void (await daemon.stop('SIGKILL')));
    return daemon;
  }

  /** `blockctl sweep` as cron runs it: it is told the map and nothing else. */
  async sweep(): Promise<number> {
    const nowhere = `lmdb:${this.folder}/no/store`;
    const args = ['--store', nowhere, '--map', this.map, '--set', 'postfix.reload=["true"]', '--json', 'sweep'];
    const { code, stdout, stderr } = await blockctl(args, { env: this.clock.env() });
    expect(code, stderr).toBe(0);
    return (JSON.parse(stdout) as { dropped: number }).dropped;
  }

  /** A new address that offends enough for a ban, by log lines with this stamp. */
  offend(stamp: string = new Date(this.clock.now()).toISOString()): string {
    const n = this.#next++;
    const address = `10.9.${n >> 8}.${n & 255}`;
    const line = (i: number) =>
      `${stamp} mx postfix/smtpd[${n}]: NOQUEUE: reject: RCPT from unknown[${address}]: 550 5.1.1 <x${i}@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x${i}@lab.example> proto=ESMTP helo=<c.example>\n`;
    const file = openSync(this.log, 'a');
    writeSync(file, [1, 2, 3, 4, 5].map(line).join(''));
    // As the writer's file system would note it by that clock.
    futimesSync(file, this.clock.now() / 1_000, this.clock.now() / 1_000);
    closeSync(file);
    return address;
  }

  /** Postfix's own answer, from the compiled map. */
  isRefused(address: string): boolean {
    try {
      return execFileSync('postmap', ['-q', address, this.map], { encoding: 'utf8' }).startsWith('554 ');
    } catch {
      return false;
    }
  }

  async untilBanned(...addresses: string[]): Promise<void> {
    await this.watch.until('banned', (present) => addresses.every((one) => present.has(one)), 2 * SOON_MS);
  }

  /** How long it takes until none of them is in the map. */
  async untilFree(...addresses: string[]): Promise<number> {
    const tookMs = await this.watch.until(again, (present) => !addresses.some((one) => present.has(one)), SOON_MS);
    for (const one of addresses) expect(this.isRefused(one), one).toBe(false);
    return tookMs;
  }
}

async function redisUntilEnd(whenDone: WhenDone): Promise<LabRedis> {
  const redis = await startRedis();
  whenDone(() => redis.stop());
  return redis;
}

describe.concurrent('with the daemon killed for good', () => {
  it.for(byForm(['hash', 'lmdb'], ['hash', 'btree', 'lmdb', 'cdb', 'cidr']))(
    'sweeps by the map alone end every ban on time, and none early (%s)',
    { timeout: 90_000 },
    async (type, { onTestFinished }) => {
      const bench = new Bench(onTestFinished, { type });
      const chance = chanceFor('ban-ends', type.length);
      const daemon = await bench.daemon('ban.first=12s', 'score.standing=false');
      const banned = new Map<string, number>();
      // Bans with ends over some seconds, half of them by lines of a while ago.
      for (let i = 0; i < byForm(40, 400); i++) {
        const at = bench.clock.now() - chance.between(0, 6) * 1_000;
        banned.set(bench.offend(new Date(at).toISOString()), Math.ceil((at + 12_000) / 1_000) * 1_000);
      }
      await bench.watch.until('all banned', (present) => present.size === banned.size, 2 * SOON_MS);
      await daemon.stop('SIGKILL');
      rmSync(join(bench.folder, 'store'), { recursive: true, force: true });
      const everyMs = 1_000;
      const swept: number[] = [];
      for (let left = banned.size; left > 0; await sleep(everyMs)) {
        const [startedAt] = [Date.now(), await bench.sweep()];
        const [present, endedAt] = [bench.watch.look(), Date.now()];
        for (const [address, until] of banned) {
          if (until <= startedAt) expect(present.has(address), `${address} is late; ${again}`).toBe(false);
          if (until > endedAt) expect(present.has(address), `${address} went early; ${again}`).toBe(true);
        }
        left = present.size;
        swept.push(left);
      }
      expect(swept.length).toBeGreaterThan(2);
      for (const address of [...banned.keys()].slice(0, 5)) expect(bench.isRefused(address)).toBe(false);
    },
  );
});

describe.concurrent('with the store gone', () => {
  it('a Redis that was flushed keeps no ban in the map', async ({ onTestFinished }) => {
    const redis = await redisUntilEnd(onTestFinished);
    const bench = new Bench(onTestFinished, { store: redis.url });
    await bench.daemon('ban.first=6s');
    const address = bench.offend();
    await bench.untilBanned(address);
    execFileSync('redis-cli', ['-p', String(redis.port), 'flushall']);
    await bench.watch.until('flushed', (present) => !present.has(address), 6_000 + SOON_MS);
    expect(bench.isRefused(address)).toBe(false);
  }, 60_000);

  it('a Redis that is gone, or stands still, keeps no ban in the map beyond its end', async ({ onTestFinished }) => {
    for (const fault of ['SIGKILL', 'SIGSTOP'] as const) {
      const redis = await redisUntilEnd(onTestFinished);
      const bench = new Bench(onTestFinished, { store: redis.url });
      await bench.daemon('ban.first=6s');
      const address = bench.offend();
      await bench.untilBanned(address);
      redis.signal(fault);
      await bench.watch.until(fault, (present) => !present.has(address), 6_000 + 3 * SOON_MS);
      expect(bench.isRefused(address)).toBe(false);
    }
  }, 90_000);
});

describe.concurrent('with the clock set', () => {
  it('forward by an hour, bans that are over by then end at once, with the store or without', async ({
    onTestFinished,
  }) => {
    const redis = await redisUntilEnd(onTestFinished);
    const bench = new Bench(onTestFinished, { store: redis.url });
    await bench.daemon('ban.first=30m');
    const first = bench.offend();
    await bench.untilBanned(first);
    bench.clock.set(HOUR_MS);
    await bench.untilFree(first);
    const second = bench.offend();
    await bench.untilBanned(second);
    await redis.stop();
    bench.clock.set(2 * HOUR_MS);
    await bench.untilFree(second);
  }, 90_000);

  it('back by an hour, bans go on being made and lifted at once, and end when the clock says so', async ({
    onTestFinished,
  }) => {
    const bench = new Bench(onTestFinished);
    await bench.daemon('ban.first=30m');
    const first = bench.offend();
    await bench.untilBanned(first);
    bench.clock.set(-HOUR_MS);
    const second = bench.offend();
    await bench.untilBanned(first, second);
    expect(bench.watch.seen.get(second)?.until).toBeLessThan(bench.clock.now() + HOUR_MS);
    const unban = ['--store', bench.store, '--map', bench.map, 'unban', second];
    expect((await blockctl(unban, { env: bench.clock.env() })).code).toBe(0);
    await bench.untilFree(second);
    const third = bench.offend();
    await bench.untilBanned(third);
    // Set right again: what was banned by the slow clock is over, and the first has its own half hour.
    bench.clock.set(0);
    await bench.untilFree(third);
    expect([...bench.watch.look()]).toEqual([first]);
    bench.clock.set(HOUR_MS);
    await bench.untilFree(first);
  }, 90_000);

  it('a year ahead and then right, its bans last no longer than the longest that the config allows', async ({
    onTestFinished,
  }) => {
    const bench = new Bench(onTestFinished, { aheadMs: 365 * DAY_MS });
    await bench.daemon('ban.first=4s', 'ban.max=6s');
    const address = bench.offend();
    await bench.untilBanned(address);
    bench.clock.set(0);
    await bench.watch.until('free', (present) => !present.has(address), 6_000 + 2 * SOON_MS);
    expect(bench.isRefused(address)).toBe(false);
  }, 60_000);
});

/** The newest switches before now, so that stamps without a year mean them. */
const SWITCHES = [
  { what: 'summer time begins', zone: 'Europe/Berlin', at: [3, 'last', 1] },
  { what: 'summer time ends', zone: 'Europe/Berlin', at: [10, 'last', 1] },
  { what: 'daylight saving begins', zone: 'America/New_York', at: [3, 2, 7] },
  { what: 'daylight saving ends', zone: 'America/New_York', at: [11, 1, 6] },
  { what: 'a year ends with a leap second', zone: 'UTC', at: [1, 'first', 0] },
  { what: 'a year ends', zone: 'America/New_York', at: [1, 'first', 5] },
] as const;

it.concurrent.for(SWITCHES)(
  'while $what in $zone, stamps without a year give bans of the right length',
  { timeout: 60_000 },
  async ({ what, zone, at }, { onTestFinished }) => {
    const [month, which, hour] = at;
    const switchAt = newestBefore(month, which, hour);
    const bench = new Bench(onTestFinished, { zone });
    const firstMs = 4_000;
    await bench.daemon('ban.first=4s', 'score.standing=false');
    bench.clock.set(switchAt - 5_000 - Date.now());
    const madeAt = new Map<string, number>();
    while (bench.clock.now() < switchAt + 6_000) {
      const now = bench.clock.now();
      const leap = what.includes('leap') && now >= switchAt && now < switchAt + 1_000;
      const stamp = leap ? 'Dec 31 23:59:60' : traditional(now, zone);
      madeAt.set(bench.offend(stamp), now);
      await sleep(500);
    }
    await bench.watch.until('the last one free', (present) => present.size === 0, firstMs + SOON_MS);
    const aheadMs = bench.clock.now() - Date.now();
    for (const [address, now] of madeAt) {
      const sighting = bench.watch.seen.get(address);
      expect(sighting, `${address}, at ${new Date(now).toISOString()}, was never banned; ${again}`).toBeDefined();
      const { until = 0, lastAt = 0 } = sighting ?? {};
      expect(until - now, `${address}: its end as told`).toBeGreaterThanOrEqual(firstMs - 1_000);
      expect(until - now, `${address}: its end as told`).toBeLessThanOrEqual(firstMs + 1_000);
      expect(lastAt + aheadMs - until, `${address}: late; ${again}`).toBeLessThan(SOON_MS);
    }
  },
);

it.concurrent('a log of December read in January, and lines from the future, give no ban that outlasts its length', async ({
  onTestFinished,
}) => {
  const newYear = newestBefore(1, 'first', 0);
  const bench = new Bench(onTestFinished, { aheadMs: newYear + 3_000 - Date.now() });
  const stale = bench.offend('Dec 31 23:58:00');
  const fresh = bench.offend('Dec 31 23:59:59');
  const future = bench.offend('Jan  1 06:00:00');
  await bench.daemon('ban.first=12s', 'score.standing=false');
  await bench.untilBanned(fresh, future);
  await bench.watch.until('all free', (present) => present.size === 0, 12_000 + SOON_MS);
  expect(bench.watch.seen.has(stale)).toBe(false);
  expect(bench.isRefused(future)).toBe(false);
}, 60_000);

it.concurrent('a daemon that stood still ends what ended meanwhile when it goes on; sweeps did so before', async ({
  onTestFinished,
}) => {
  const bench = new Bench(onTestFinished);
  const daemon = await bench.daemon('ban.first=4s');
  const first = bench.offend();
  await bench.untilBanned(first);
  await sleep(700);
  daemon.signal('SIGSTOP');
  try {
    await sleep(4_500);
    expect(bench.isRefused(first)).toBe(true);
  } finally {
    daemon.signal('SIGCONT');
  }
  await bench.untilFree(first);
  const second = bench.offend();
  await bench.untilBanned(second);
  await sleep(700);
  daemon.signal('SIGSTOP');
  try {
    await sleep(4_500);
    expect(await bench.sweep()).toBe(1);
    await bench.untilFree(second);
  } finally {
    daemon.signal('SIGCONT');
  }
}, 60_000);

describe.concurrent('nonsense in the store', () => {
  const now = Date.now();
  const NONSENSE: [what: string, until: unknown][] = [
    ['the year 9999', Date.UTC(9999, 11, 31)],
    ['beyond what a date can be', 9e15],
    ['infinite', Number.POSITIVE_INFINITY],
    ['no number', Number.NaN],
    ['before the epoch', -5],
    ['a text', 'tomorrow'],
  ];

  it('becomes no ban without an end, and stops neither daemon nor blockctl', async ({ onTestFinished }) => {
    const bench = new Bench(onTestFinished);
    const put = NONSENSE.map(([, until], i) => {
      const subject = `203.0.113.${i + 1}`;
      const ban = { subject, since: now, until, reason: 'x', strikes: 0, host: null, by: 'score', refused: 0 };
      return [subject, { ...UNKNOWN, score: NOTHING, ban }] as never;
    });
    put.push([
      'not an address',
      {
        ...UNKNOWN,
        ban: {
          subject: 'not an address',
          since: now,
          until: now + HOUR_MS,
          reason: 'x',
          strikes: 0,
          host: null,
          by: 'score',
          refused: 0,
        },
      },
    ] as never);
    const store = await openStore(bench.store, { prefix: 'blockd' });
    await store.commit([], () => ({ put: new Map(put) }));
    await store.close();
    await bench.daemon('ban.first=4s', 'ban.max=6s');
    const honest = bench.offend();
    await bench.untilBanned(honest);
    await bench.watch.until('all free', (present) => present.size === 0, 6_000 + 2 * SOON_MS);
    for (const [i] of NONSENSE.entries()) expect(bench.isRefused(`203.0.113.${i + 1}`)).toBe(false);
    const common = ['--store', bench.store, '--map', bench.map];
    for (const command of [['list', '--all'], ['status'], ['sync'], ['explain', '203.0.113.1']]) {
      const { code, stderr } = await blockctl([...common, ...command]);
      expect([0, 1], `${command.join(' ')}: ${stderr}`).toContain(code);
    }
  }, 60_000);

  it('an entry that no setting could have made is swept', async ({ onTestFinished }) => {
    const bench = new Bench(onTestFinished);
    const daemon = await bench.daemon('ban.first=1h');
    const honest = bench.offend();
    await bench.untilBanned(honest);
    await daemon.stop('SIGKILL');
    appendFileSync(bench.mapPath, '203.0.113.99\t554 5.7.1 Blocked until 9999-12-31T23:59Z after repeated rejects\n');
    execFileSync('postmap', [bench.map]);
    expect(bench.isRefused('203.0.113.99')).toBe(true);
    expect(await bench.sweep()).toBe(1);
    expect(bench.isRefused('203.0.113.99')).toBe(false);
    expect(bench.isRefused(honest)).toBe(true);
  }, 60_000);
});

/** The newest first, second or last Sunday of a month, or its first day, at this hour of UTC. */
function newestBefore(month: number, which: 'first' | 'last' | number, hour: number): number {
  for (let year = new Date().getUTCFullYear(); ; year--) {
    const days = Array.from({ length: new Date(Date.UTC(year, month, 0)).getUTCDate() }, (_, i) => i + 1);
    const sundays = days.filter((day) => new Date(Date.UTC(year, month - 1, day)).getUTCDay() === 0);
    const day = which === 'first' ? 1 : which === 'last' ? sundays.at(-1) : sundays[which - 1];
    const at = Date.UTC(year, month - 1, day, hour);
    if (at < Date.now() - 60_000) return at;
  }
}

function traditional(at: number, zone: string): string {
  const format = new Intl.DateTimeFormat('en-US', {
    ...{ timeZone: zone, month: 'short', day: 'numeric', hourCycle: 'h23' },
    ...{ hour: '2-digit', minute: '2-digit', second: '2-digit' },
  });
  const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
  return `${parts['month']} ${parts['day']?.padStart(2)} ${parts['hour']}:${parts['minute']}:${parts['second']}`;
}
