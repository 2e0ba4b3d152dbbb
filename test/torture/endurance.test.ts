/** An hour of heavy traffic in minutes: memory stays flat, the store is pruned, the map is bounded, nothing blocks the loop. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Random } from '../../src/demo/random.js';
import { openStore } from '../../src/store/open.js';
import { blockctl, RunningDaemon } from '../support/programs.js';
import { byForm, chanceFor, repeatWith } from './form.js';

const again = repeatWith('endurance');
const LINES = byForm(200_000, 5_000_000);
const ADDRESSES = byForm(20_000, 200_000);
const MAX_ENTRIES = byForm(500, 2_000);
const IS_LONG = byForm(false, true);
const LINES_AT_ONCE = 1_000;
/** What the machine takes from a process that does nearly nothing is taken off. */
const MOST_KEPT_MS = 100;
const LINES_A_ROUND = byForm(20_000, 100_000);

it('takes an hour of heavy traffic', { timeout: byForm(240_000, 3_600_000) }, async ({ onTestFinished }) => {
  const folder = mkdtempSync(join(tmpdir(), 'blockd-endurance-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const [log, store, map] = [join(folder, 'mail.log'), `lmdb:${folder}/store`, `${folder}/map/client_access`];
  writeFileSync(log, '');
  const common = ['--store', store, '--map', `lmdb:${map}`];
  // An hour's half-lives and terms, compressed as the traffic is.
  const settings = [
    ...[
      'score.half_life=1s',
      'score.threshold=1.5',
      'score.standing=false',
      'ban.first=20s',
      'ban.factor=1',
      'ban.networks=0',
      'ban.strikes_half_life=1s',
    ],
    ...['store.keep=60s', 'store.prune=*/10 * * * * *', `postfix.max_entries=${MAX_ENTRIES}`],
    ...['allow.mynetworks=false', 'postfix.reload=["true"]'],
  ].flatMap((one) => ['--set', one]);
  const daemon = await RunningDaemon.start([
    ...common,
    ...['--mode', 'enforce', '--log', log, '--from-start'],
    ...settings,
  ]);
  onTestFinished(async () => void (await daemon.stop('SIGKILL')));
  const idle = idleLoop(folder);
  onTestFinished(async () => void (await idle.end()));

  const traffic = new Traffic(chanceFor('endurance', 0));
  const memory: Memory[] = [];
  const sampling = setInterval(() => memory.push(memoryOf(daemon.pid)), 250);
  onTestFinished(() => clearInterval(sampling));
  const reader = await openStore(store, { prefix: 'blockd' });
  const startedAt = Date.now();
  let [mostEntries, mostScored, mostBanned] = [0, 0, 0];
  for (let written = 0; written < LINES; written += LINES_A_ROUND) {
    for (let lines = 0; lines < LINES_A_ROUND; lines += LINES_AT_ONCE) {
      appendFileSync(log, traffic.lines(LINES_AT_ONCE), 'latin1');
      // The daemon's own log is read in between, or it would wait for us.
      await nextTurn();
    }
    await untilCounted(reader, log);
    renameSync(log, `${log}.1`);
    writeFileSync(log, '');
    const { scored, banned } = await reader.counts(Date.now());
    mostEntries = Math.max(mostEntries, entriesOf(map));
    [mostScored, mostBanned] = [Math.max(mostScored, scored), Math.max(mostBanned, banned)];
  }
  const tookMs = Date.now() - startedAt;
  clearInterval(sampling);
  // Everybody has been quiet for long: what is left is forgotten.
  await untilTrue(async () => (await reader.counts(Date.now())).scored < mostScored);
  const status = JSON.parse((await blockctl([...common, '--json', 'status'])).stdout);
  await reader.close();
  expect(await daemon.stop()).toBe(0);
  const { counters } = JSON.parse((await blockctl([...common, '--json', 'status'])).stdout);
  const noiseMs = await idle.end();

  const third = Math.floor(memory.length / 3);
  const heap = memory.map(({ anonymous }) => anonymous);
  const [middle, last] = [median(heap.slice(third, 2 * third)), median(heap.slice(2 * third))];
  console.info(
    [
      `${LINES} lines of ${traffic.seen.size} addresses in ${Math.round(tookMs / 1_000)} s (${Math.round((LINES / tookMs) * 1_000)} lines/s)`,
      `  memory of its own: median ${middle} MiB in the middle third, ${last} MiB in the last; with mapped files at most ${Math.max(...memory.map(({ all }) => all))} MiB`,
      `  store: at most ${mostScored} subjects and ${mostBanned} bans; ${status.scored} subjects after the last pruning`,
      `  map: at most ${mostEntries} of ${MAX_ENTRIES} entries; ${counters.bans} bans made`,
      `  event loop kept from its work for ${counters.loopDelayMaxMs} ms at most; one beside it that only syncs a page now and then for ${noiseMs} ms`,
    ].join('\n'),
  );
  expect(counters.lines, again).toBe(LINES);
  expect(traffic.seen.size).toBeGreaterThanOrEqual(ADDRESSES);
  expect(mostBanned, 'more bans than the map takes').toBeGreaterThan(MAX_ENTRIES);
  expect(mostEntries).toBeGreaterThan(MAX_ENTRIES / 2);
  expect(mostEntries).toBeLessThanOrEqual(MAX_ENTRIES);
  const full = daemon.log.filter(({ event }) => event === 'map-full');
  expect(full.length).toBeGreaterThan(0);
  expect(status.map.entries).toBeLessThanOrEqual(MAX_ENTRIES);
  expect(mostScored, 'the store is pruned').toBeLessThan(byForm(2 * ADDRESSES, ADDRESSES));
  expect(last, `memory is flat; ${again}`).toBeLessThan(1.2 * middle + byForm(60, 20));
  expect(counters.loopDelayMaxMs, again).toBeGreaterThan(0);
  // Among other tests the short form would measure them.
  if (IS_LONG) expect(counters.loopDelayMaxMs - noiseMs, `the event loop; ${again}`).toBeLessThan(MOST_KEPT_MS);
});

async function untilCounted(store: Awaited<ReturnType<typeof openStore>>, log: string): Promise<void> {
  const { ino, size } = statSync(log);
  for (;;) {
    for (const { position } of (await store.progress(hostOf())).values()) {
      if (position.kind === 'file' && position.file.ino === ino && position.offset >= size) return;
    }
    await sleep(50);
  }
}

async function untilTrue(isTrue: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 120_000; !(await isTrue()); await sleep(200)) {
    if (Date.now() > deadline) throw new Error(`the store is not pruned; ${again}`);
  }
}

function hostOf(): string {
  return readFileSync('/proc/sys/kernel/hostname', 'utf8').trim();
}

function entriesOf(map: string): number {
  return readFileSync(map, 'latin1').split('\n').length - 2;
}

interface Memory {
  /** MiB that no file backs. */
  readonly anonymous: number;
  readonly all: number;
}

function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  const of = (name: string) => Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) / 1_024);
  return { anonymous: of('RssAnon'), all: of('VmRSS') };
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
}

/** A process that only syncs a page to the disk now and then: how long this machine keeps even that from running. */
function idleLoop(folder: string): { end(): Promise<number> } {
  const program = `
    const { monitorEventLoopDelay } = require('node:perf_hooks');
    const delay = monitorEventLoopDelay({ resolution: 10 });
    delay.enable();
    const fs = require('node:fs');
    const file = fs.openSync(process.argv[1], 'w');
    setInterval(() => {
      fs.writeSync(file, Buffer.alloc(4096), 0, 4096, 0);
      fs.fsyncSync(file);
    }, 100).unref();
    process.stdin.on('end', () => process.stdout.write(String(Math.max(0, Math.round(delay.max / 1e6) - 10)))).resume();
  `;
  const child = spawn(process.execPath, ['-e', program, join(folder, 'page')], { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (data) => {
    said += data;
  });
  const closed = once(child, 'close');
  return {
    end: async () => {
      child.stdin.end();
      await closed;
      return Number(said);
    },
  };
}

/** Sessions of many addresses, nearly all of which are seen for a while and never again. */
class Traffic {
  readonly seen = new Set<number>();
  readonly #chance: Random;
  #written = 0;
  #session = 0;

  constructor(chance: Random) {
    this.#chance = chance;
  }

  lines(count: number): string {
    const lines: string[] = [];
    const stamp = new Date().toISOString();
    while (lines.length < count) this.#visit(lines, stamp);
    lines.length = count;
    this.#written += count;
    return `${lines.join('\n')}\n`;
  }

  #visit(lines: string[], stamp: string): void {
    const chance = this.#chance;
    // A window of addresses that moves on with the traffic.
    const from = Math.floor(((this.#written + lines.length) / LINES) * ADDRESSES * 1.2);
    const n = from + chance.between(0, Math.ceil(ADDRESSES / 100));
    this.seen.add(n);
    const ip = `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`;
    const pid = 1_000 + (this.#session++ % 5_000);
    const say = (text: string) => lines.push(`${stamp} mx postfix/smtpd[${pid}]: ${text}`);
    say(`connect from unknown[${ip}]`);
    if (chance.chance(0.45)) {
      const rejects = chance.between(1, 6);
      for (let i = 0; i < rejects; i++) {
        say(
          `NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x${i}@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x${i}@lab.example> proto=ESMTP helo=<c.example>`,
        );
      }
    } else if (chance.chance(0.3)) {
      const id = `4h${pid.toString(36)}${this.#session.toString(36)}z`;
      say(`${id}: client=unknown[${ip}]`);
      lines.push(`${stamp} mx postfix/cleanup[77]: ${id}: message-id=<${id}@b.example>`);
      lines.push(`${stamp} mx postfix/qmgr[78]: ${id}: from=<a@b.example>, size=2000, nrcpt=1 (queue active)`);
      lines.push(`${stamp} mx postfix/qmgr[78]: ${id}: removed`);
    }
    say(`disconnect from unknown[${ip}] ehlo=1 quit=1 commands=2`);
  }
}
