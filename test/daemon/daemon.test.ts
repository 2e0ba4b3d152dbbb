/** The daemon as a process: what it promises over restarts, signals, reloads and a store that goes away. */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { Traffic } from '../../src/demo/traffic.js';
import { networkOf, subjectOf } from '../../src/domain/address.js';
import type { SubjectState } from '../../src/policy/state.js';
import { openStore } from '../../src/store/open.js';
import { CuttingProxy } from '../support/cutting-proxy.js';
import { blockctl, blockdOnce, RunningDaemon } from '../support/programs.js';
import { startRedis } from '../support/redis.js';

const folder = mkdtempSync(join(tmpdir(), 'blockd-daemon-'));
let counter = 0;
const running = new Set<RunningDaemon>();

afterEach(async () => {
  await Promise.all([...running].map((daemon) => daemon.stop('SIGKILL')));
  running.clear();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A log, a store and a map of its own, and the arguments that name them. */
function place() {
  const at = join(folder, String(counter++));
  const log = `${at}.log`;
  const store = `lmdb:${at}-store`;
  const map = `${at}-map/client_access`;
  writeFileSync(log, '');
  const where = ['--store', store, '--map', `hash:${map}`];
  const args = [...where, '--log', log, '--from-start', '--set', 'allow.mynetworks=false'];
  return { log, store, map, where, args };
}

async function start(args: readonly string[]): Promise<RunningDaemon> {
  const daemon = await RunningDaemon.start(args);
  running.add(daemon);
  return daemon;
}

const reject = (ip: string, at = Date.now(), pid = 7) =>
  `${new Date(at).toISOString()} mx postfix/smtpd[${pid}]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>\n`;
const banned = (ip: string) => (entry: Readonly<Record<string, unknown>>) =>
  entry['event'] === 'ban' && entry['subject'] === ip;

/** Every state that the store holds of `clients`. */
async function statesIn(url: string, clients: readonly string[]): Promise<Map<string, SubjectState>> {
  const store = await openStore(url, { prefix: 'blockd' });
  try {
    return await store.states([...clients].sort());
  } finally {
    await store.close();
  }
}

/** The last lines of a made-up log that ends now, and its clients with their networks. */
function madeUpLog(count: number): { lines: string[]; clients: string[] } {
  const perSecond = 0.5;
  // A visit is about six lines; the margin keeps the last ones out of the future, where stamps are taken as of now.
  const startAt = Date.now() - (count / 3 / perSecond) * 1_000;
  const traffic = new Traffic({ seed: 11, startAt, perSecond, attackShare: 0.6 });
  const lines = [...traffic.lines(count)];
  const clients = new Set<string>();
  for (const { client } of lines) {
    if (client === null) continue;
    const subject = subjectOf(client);
    for (const one of [subject, networkOf(subject)]) if (one !== null) clients.add(one);
  }
  return { lines: lines.map(({ text }) => text), clients: [...clients] };
}

describe('every line counts exactly once', () => {
  it('when the log is read in pieces, with a restart between any two lines, as in one go', async () => {
    const { lines, clients } = madeUpLog(45);
    const strict = ['--once', '--set', 'score.threshold=1.5'];
    const whole = place();
    writeFileSync(whole.log, `${lines.join('\n')}\n`);
    expect((await blockdOnce([...strict, ...whole.args])).code).toBe(0);
    const pieces = place();
    for (const line of lines) {
      appendFileSync(pieces.log, `${line}\n`);
      expect((await blockdOnce([...strict, ...pieces.args])).code).toBe(0);
    }
    const expected = await statesIn(whole.store, clients);
    expect([...expected.values()].some(({ ban, releases }) => ban !== null || releases.length > 0)).toBe(true);
    expect(await statesIn(pieces.store, clients)).toEqual(expected);
  }, 240_000);

  it('when a restart lies within the hour that the end of summer time repeats', async () => {
    const env = { ...process.env, TZ: 'Europe/Berlin' };
    const lines = ['02:50:00', '02:10:00'].map((time) => reject('203.0.113.9').replace(/^\S+/, `Oct 25 ${time}`));
    const whole = place();
    writeFileSync(whole.log, lines.join(''));
    expect((await blockdOnce(['--once', ...whole.args], { env })).code).toBe(0);
    const pieces = place();
    for (const line of lines) {
      appendFileSync(pieces.log, line);
      expect((await blockdOnce(['--once', ...pieces.args], { env })).code).toBe(0);
    }
    const expected = await statesIn(whole.store, ['203.0.113.9']);
    expect(new Date(expected.get('203.0.113.9')?.score.at ?? 0).toISOString()).toMatch(/-10-25T01:10:00/);
    expect(await statesIn(pieces.store, ['203.0.113.9'])).toEqual(expected);
  }, 60_000);

  it('when the daemon is killed again and again while it reads', async () => {
    const { lines, clients } = madeUpLog(9_000);
    const text = `${lines.join('\n')}\n`;
    const whole = place();
    writeFileSync(whole.log, text);
    expect((await blockdOnce(['--once', ...whole.args])).code).toBe(0);
    const broken = place();
    let written = 0;
    for (let round = 0; round < 8; round++) {
      const daemon = await start(broken.args);
      const upTo = Math.floor((text.length * (round + 1)) / 8);
      for (; written < upTo; written += 3_001) {
        appendFileSync(broken.log, text.slice(written, Math.min(upTo, written + 3_001)), 'latin1');
        await sleep(1);
      }
      written = upTo;
      await sleep(round * 20);
      await daemon.stop('SIGKILL');
    }
    expect((await blockdOnce(['--once', ...broken.args])).code).toBe(0);
    const [expected, counted] = [await statesIn(whole.store, clients), await statesIn(broken.store, clients)];
    for (const [client, state] of expected) {
      expect(counted.get(client)?.offenses, client).toBe(state.offenses);
      expect(counted.get(client)?.accepted.value, client).toBeCloseTo(state.accepted.value, 9);
    }
  }, 120_000);

  it('when Redis goes away in the middle and comes back', async () => {
    const redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    try {
      const { log, map } = place();
      const daemon = await start([
        '--store',
        redis.url,
        '--map',
        `hash:${map}`,
        '--log',
        log,
        '--mode',
        'enforce',
        '--from-start',
        '--set',
        'allow.mynetworks=false',
      ]);
      for (let i = 0; i < 3; i++) appendFileSync(log, reject('203.0.113.9', Date.now(), i));
      await sleep(700);
      redis.signal('SIGSTOP');
      for (let i = 3; i < 6; i++) appendFileSync(log, reject('203.0.113.9', Date.now(), i));
      await daemon.until((entry) => entry['event'] === 'store-away', 30_000);
      await redis.restart();
      await daemon.until((entry) => entry['event'] === 'store-back', 30_000);
      await daemon.until(banned('203.0.113.9'));
      const states = await statesIn(redis.url, ['203.0.113.9']);
      expect(states.get('203.0.113.9')?.offenses).toBe(6);
      expect(await daemon.stop()).toBe(0);
    } finally {
      await redis.stop();
    }
  }, 90_000);

  it('of several logs at once', async () => {
    const { log, args } = place();
    const other = `${log}.other`;
    writeFileSync(other, '');
    const daemon = await start([...args, '--log', other]);
    for (let i = 0; i < 3; i++) {
      appendFileSync(log, reject('203.0.113.9', Date.now(), i));
      appendFileSync(other, reject('203.0.113.9', Date.now(), 100 + i));
    }
    await daemon.until(banned('203.0.113.9'));
  });
});

describe('dry-run', () => {
  it('does everything but the map, says so, and enforce starts from what was learned', async () => {
    const { log, map, where, args } = place();
    writeFileSync(log, reject('203.0.113.9').repeat(8));
    const dry = await start(args);
    const ban = await dry.until(banned('203.0.113.9'));
    expect(ban.msg).toContain('DRY-RUN');
    expect(existsSync(`${map}.db`)).toBe(false);
    const listed = await blockctl([...where, 'list']);
    expect(`${listed.stdout}${listed.stderr}`).toContain('DRY-RUN');
    expect(listed.stdout).toContain('203.0.113.9');
    expect(JSON.parse((await blockctl([...where, '--json', 'status'])).stdout)).toMatchObject({
      mode: 'dry-run',
      banned: 1,
    });
    expect(await dry.stop()).toBe(0);
    const real = await start([...args, '--mode', 'enforce']);
    expect(readFileSync(map, 'utf8')).toMatch(/^203\.0\.113\.9\t554 5\.7\.1 Blocked until /m);
    expect(await real.stop()).toBe(0);
    // And back: nobody is refused in dry-run, also not by what enforce left behind.
    const again = await start(args);
    expect(readFileSync(map, 'utf8')).not.toContain('203.0.113.9');
    expect(await again.stop()).toBe(0);
  });
});

describe('signals', () => {
  it('SIGHUP reads config and rules again, and keeps the old ones when the new are bad', async () => {
    const { log, where, store, map } = place();
    const config = `${log}.toml`;
    const text = (threshold: string) =>
      `[log]\nfiles = ["${log}"]\n[store]\nurl = "${store}"\n[postfix]\nmap = "hash:${map}"\n[allow]\nmynetworks = false\n[score]\nthreshold = ${threshold}\n`;
    writeFileSync(config, text('50'));
    const daemon = await start(['--config', config, '--from-start']);
    appendFileSync(log, reject('203.0.113.9').repeat(8));
    await sleep(500);
    writeFileSync(config, text('"many"'));
    daemon.signal('SIGHUP');
    const refused = await daemon.until((entry) => entry['event'] === 'reload-failed');
    expect(refused.msg).toContain('score.threshold');
    writeFileSync(config, text('2'));
    daemon.signal('SIGHUP');
    await daemon.until((entry) => entry['event'] === 'reloaded');
    appendFileSync(log, reject('203.0.113.10').repeat(2));
    await daemon.until(banned('203.0.113.10'));
    expect(daemon.log.some(banned('203.0.113.9'))).toBe(false);
    expect((await blockctl([...where, 'list'])).stdout).toContain('203.0.113.10');
    expect(await daemon.stop('SIGINT')).toBe(0);
  });

  it('SIGHUP while an earlier one is put into force is not forgotten', async () => {
    const { log, store, map } = place();
    const slowPostconf = `${log}.postconf`;
    writeFileSync(slowPostconf, '#!/bin/sh\nsleep 1\necho 127.0.0.0/8\n', { mode: 0o755 });
    const config = `${log}.toml`;
    const text = (threshold: number) =>
      `[log]\nfiles = ["${log}"]\n[store]\nurl = "${store}"\n[postfix]\nmap = "hash:${map}"\npostconf = "${slowPostconf}"\n[score]\nthreshold = ${threshold}\n`;
    writeFileSync(config, text(50));
    const daemon = await start(['--config', config, '--from-start']);
    writeFileSync(config, text(40));
    daemon.signal('SIGHUP');
    await sleep(400);
    writeFileSync(config, text(2));
    daemon.signal('SIGHUP');
    const reloads = () => daemon.log.filter(({ event }) => event === 'reloaded').length;
    await expect.poll(reloads, { timeout: 15_000 }).toBe(2);
    appendFileSync(log, reject('203.0.113.10').repeat(2));
    await daemon.until(banned('203.0.113.10'));
    expect(await daemon.stop()).toBe(0);
  }, 60_000);

  it('SIGTERM commits what was read', async () => {
    const { log, store, args } = place();
    const daemon = await start(args);
    appendFileSync(log, reject('203.0.113.9'));
    await sleep(400);
    expect(await daemon.stop()).toBe(0);
    expect((await statesIn(store, ['203.0.113.9'])).get('203.0.113.9')?.offenses).toBe(1);
  });
});

describe('a signal while a slow store is asked how far the log was counted', () => {
  it('ends the daemon, although no log is open yet', async () => {
    const redis = await startRedis();
    const proxy = new CuttingProxy(redis.port);
    try {
      const { args, log } = place();
      const url = await proxy.listen();
      proxy.delayMs = 150;
      const daemon = await start([...args, '--store', url, '--log', log]);
      expect(await daemon.stop()).toBe(0);
    } finally {
      await proxy.close();
      await redis.stop();
    }
  }, 60_000);
});

describe('one daemon a state folder', () => {
  it('a second one says so and ends; a crashed one is no obstacle', async () => {
    const { args } = place();
    const first = await start(args);
    const second = await blockdOnce(args, { timeoutMs: 15_000 });
    expect(second.code).toBe(3);
    expect(second.stderr).toContain('another blockd');
    await first.stop('SIGKILL');
    const third = await start(args);
    expect(await third.stop()).toBe(0);
  });

  it('two on one log and one Redis, under one host name: the later commit is refused, and says why', async () => {
    const redis = await startRedis();
    try {
      const { log } = place();
      const args = ['--store', redis.url, '--log', log, '--from-start', '--set', 'allow.mynetworks=false'];
      const first = await start(args);
      appendFileSync(log, reject('203.0.113.9'));
      await sleep(800);
      const second = await start(args);
      for (let i = 0; i < 20; i++) {
        appendFileSync(log, reject('203.0.113.9', Date.now(), i));
        await sleep(50);
      }
      await sleep(500);
      const ended = [first, second].filter(({ log: said }) =>
        said.some(({ msg }) => msg.includes('another blockd counts the same log')),
      );
      expect(ended.length).toBe(1);
      expect((await statesIn(redis.url, ['203.0.113.9'])).get('203.0.113.9')?.offenses).toBe(21);
    } finally {
      await Promise.all([...running].map((daemon) => daemon.stop('SIGKILL')));
      await redis.stop();
    }
  }, 60_000);
});

describe('a ban ends by itself', () => {
  it('in the map and in the store, on time', async () => {
    const { log, map, where, args } = place();
    const daemon = await start([...args, '--mode', 'enforce', '--set', 'ban.first=2s']);
    appendFileSync(log, reject('203.0.113.9').repeat(8));
    const { until } = await daemon.until(banned('203.0.113.9'));
    await expect.poll(() => readFileSync(map, 'utf8'), { timeout: 10_000 }).toContain('203.0.113.9\t');
    await daemon.until((entry) => entry['event'] === 'release' && entry['how'] === 'expired', 10_000);
    await expect.poll(() => readFileSync(map, 'utf8'), { timeout: 10_000 }).not.toContain('203.0.113.9\t');
    expect(Math.abs(Date.now() - Date.parse(String(until)))).toBeLessThan(8_000);
    expect(JSON.parse((await blockctl([...where, '--json', 'list'])).stdout)).toEqual([]);
  }, 40_000);

  it('also when the daemon is dead: sweep takes it out of the map alone', async () => {
    const { log, map, where, args } = place();
    writeFileSync(log, reject('203.0.113.9').repeat(8));
    await blockdOnce(['--once', ...args, '--mode', 'enforce', '--set', 'ban.first=6s']);
    expect(readFileSync(map, 'utf8')).toContain('203.0.113.9\t');
    await sleep(7_200);
    const swept = await blockctl(['--map', `hash:${map}`, 'sweep']);
    expect(swept.code).toBe(0);
    expect(readFileSync(map, 'utf8')).not.toContain('203.0.113.9\t');
    expect(where.length).toBe(4);
  }, 40_000);
});
