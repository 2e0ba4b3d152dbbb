/** What the daemon tells the service manager, heard on a real NOTIFY_SOCKET. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { NotifySocket } from '../support/notify-socket.js';
import { blockctl, RunningDaemon, type RunOptions } from '../support/programs.js';
import { startRedis } from '../support/redis.js';

const HOLDER = fileURLToPath(new URL('../support/lmdb-holder.mjs', import.meta.url));
const BACKLOG_LINES = 120_000;

let folder = '';
let log = '';
let config = '';
let socket: NotifySocket;
let ends: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'blockd-supervision-'));
  log = join(folder, 'mail.log');
  writeFileSync(log, '');
  config = join(folder, 'blockd.toml');
  writeFileSync(config, 'mode = "dry-run"\n');
  socket = await NotifySocket.open(join(folder, 'notify'));
});
afterEach(async () => {
  for (const end of ends.reverse()) await end();
  ends = [];
  await socket.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The n-th reject, of a client of its own for each ten. */
function reject(n: number): string {
  const client = `10.${(n / 655_360) & 255}.${(n / 2_560) & 255}.${(n / 10) & 255}`;
  const at = new Date().toISOString().replace('Z', '+00:00');
  return `${at} mx postfix/smtpd[${n}]: NOQUEUE: reject: RCPT from unknown[${client}]: 550 5.1.1 <a@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<b@remote.example> to=<a@lab.example> proto=ESMTP helo=<x.example>\n`;
}

const store = () => `lmdb:${join(folder, 'store')}`;

async function start(args: readonly string[] = [], options: RunOptions & { watchdogMs?: number } = {}) {
  const { watchdogMs, ...rest } = options;
  const watchdog = watchdogMs === undefined ? {} : { WATCHDOG_USEC: String(watchdogMs * 1_000) };
  const env = { ...process.env, NOTIFY_SOCKET: socket.path, ...watchdog };
  const daemon = await RunningDaemon.start(['--config', config, '--log', log, '--store', store(), ...args], {
    env,
    ...rest,
  });
  ends.push(() => daemon.stop());
  return daemon;
}

const statusOf = ({ sent }: { sent: readonly string[] }) => sent.find((one) => one.startsWith('STATUS='));

test('it is ready only when the backlog is counted', async () => {
  writeFileSync(log, Array.from({ length: BACKLOG_LINES }, (_, n) => reject(n)).join(''));
  await start(['--from-start', '--set', 'ban.networks=0']);
  expect(socket.count('READY=1')).toBe(0);
  const ready = await socket.message('READY=1', { withinMs: 60_000 });
  expect(statusOf(ready)).toContain(`${BACKLOG_LINES} lines`);
  const { stdout } = await blockctl(['--store', store(), '--json', 'status']);
  expect(JSON.parse(stdout)).toMatchObject({ scored: BACKLOG_LINES / 10, logs: [{ lagBytes: 0 }] });
  expect(socket.count('READY=1')).toBe(1);
}, 90_000);

test.each([
  ['an empty log', () => undefined],
  ['a log that is begun at its end', () => writeFileSync(log, reject(1))],
  ['a log that is not there yet', () => rmSync(log)],
])('%s has no backlog: it is ready at once', async (_, prepare) => {
  prepare();
  await start();
  await socket.message('READY=1', { withinMs: 5_000 });
});

test('an abstract socket is told too', async () => {
  const file = socket;
  socket = await NotifySocket.open(`@blockd-test-${process.pid}`);
  ends.push(() => file.close());
  await start();
  await socket.message('READY=1');
});

test('the watchdog is fed while the loop turns, and not while it stands still', async () => {
  const daemon = await start([], { watchdogMs: 1_500 });
  await socket.message('READY=1');
  await socket.message('WATCHDOG=1', { from: socket.received.length });
  daemon.signal('SIGSTOP');
  // What was on its way.
  await sleep(500);
  const before = socket.received.length;
  await sleep(4_000);
  expect(socket.received.length).toBe(before);
  daemon.signal('SIGCONT');
  await socket.message('WATCHDOG=1', { from: before });
});

test('the watchdog is not fed while counting hangs, though nothing else does', async () => {
  await start([], { watchdogMs: 1_500 });
  await socket.message('READY=1');
  const holder = spawn(process.execPath, [HOLDER, join(folder, 'store')], { stdio: ['ignore', 'pipe', 'inherit'] });
  ends.push(async () => holder.kill('SIGKILL'));
  await once(holder.stdout, 'data');
  appendFileSync(log, Array.from({ length: 10 }, (_, n) => reject(n)).join(''));
  await sleep(2_500);
  const before = socket.received.length;
  await sleep(4_000);
  expect(socket.received.length).toBe(before);
  holder.kill('SIGKILL');
  const after = await socket.message('WATCHDOG=1', { from: before });
  expect(statusOf(after)).toMatch(/ 10 lines, 10 offenses/);
});

test('a store that is away is no standstill: the watchdog is fed, and the status tells', async () => {
  const redis = await startRedis();
  ends.push(() => redis.stop());
  await start(['--store', redis.url], { watchdogMs: 1_500 });
  await socket.message('READY=1');
  await redis.kill();
  appendFileSync(log, reject(1));
  let status = '';
  for (let n = socket.received.length, tries = 0; !status.includes('Waiting for store') && tries < 20; tries++) {
    const beat = await socket.message('WATCHDOG=1', { from: n });
    n = socket.received.indexOf(beat) + 1;
    status = statusOf(beat) ?? '';
  }
  expect(status).toContain('Waiting for store redis://');
  const waiting = socket.received.length;
  await socket.message('WATCHDOG=1', { from: waiting });
  await redis.start();
});

test('a reload is told when it begins and when it is over', async () => {
  const daemon = await start();
  await socket.message('READY=1');
  writeFileSync(config, 'mode = "dry-run"\n[score]\nthreshold = 7\n');
  const from = socket.received.length;
  const earliest = process.hrtime.bigint() / 1_000n;
  daemon.signal('SIGHUP');
  await socket.message('READY=1', { from });
  const [begun, over, ...more] = socket.received.slice(from);
  expect(begun?.sent).toContain('RELOADING=1');
  const stamp = begun?.sent.find((one) => one.startsWith('MONOTONIC_USEC='))?.slice('MONOTONIC_USEC='.length);
  expect(BigInt(stamp ?? 0)).toBeGreaterThanOrEqual(earliest);
  expect(BigInt(stamp ?? 0)).toBeLessThanOrEqual(process.hrtime.bigint() / 1_000n);
  expect(over?.sent).toContain('READY=1');
  expect(more).toEqual([]);
});

test('a reload that fails is over too, and the status says why', async () => {
  const daemon = await start();
  await socket.message('READY=1');
  writeFileSync(config, 'mode = "aggressive"\n');
  const from = socket.received.length;
  daemon.signal('SIGHUP');
  await socket.message('RELOADING=1', { from });
  expect(statusOf(await socket.message('READY=1', { from }))).toMatch(/^STATUS=Not reloaded.*mode/);
});

test('the last that it tells is that it stops', async () => {
  const daemon = await start();
  await socket.message('READY=1');
  expect(await daemon.stop()).toBe(0);
  await socket.message('STOPPING=1');
  expect(socket.received.at(-1)?.sent).toContain('STOPPING=1');
});

test('a service manager that can not be reached is complained of once, and counting goes on', async () => {
  const gone = socket.path;
  await socket.close();
  const env = { ...process.env, NOTIFY_SOCKET: gone, WATCHDOG_USEC: '1500000' };
  const daemon = await RunningDaemon.start(['--config', config, '--log', log, '--store', store()], {
    env,
  });
  ends.push(() => daemon.stop());
  await daemon.until(({ event }) => event === 'notify-failed');
  await sleep(3_000);
  expect(daemon.log.filter(({ event }) => event === 'notify-failed')).toHaveLength(1);
  expect(await daemon.stop()).toBe(0);
  socket = await NotifySocket.open(join(folder, 'another'));
});
