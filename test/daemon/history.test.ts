/** The daemon's own history: the same figures as a report on its log, each event once, over kills and restarts. */
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toPolicySettings } from '../../src/config/load.js';
import { defaultConfig } from '../../src/config/schema.js';
import { History } from '../../src/daemon/history.js';
import { Traffic } from '../../src/demo/traffic.js';
import { Allowlist } from '../../src/policy/allowlist.js';
import { Policy } from '../../src/policy/policy.js';
import { historyNote, hourNote, readHours } from '../../src/report/kept-hours.js';
import { MemoryStore } from '../../src/store/memory.js';
import { progressOf } from '../store/samples.js';
import { blockctl, blockdOnce, RunningDaemon } from '../support/programs.js';
import { type LabRedis, startRedis } from '../support/redis.js';

const HOUR_MS = 3_600_000;
const LINES = 6_000;
/** Ends before now: lines from the future would be taken as of now. */
const startAt = Date.now() - 9 * HOUR_MS;
const traffic = [...new Traffic({ seed: 21, startAt, perSecond: 0.12, attackShare: 0.5 }).lines(LINES)].map(
  ({ text }) => text,
);

interface Figures {
  readonly lines: null;
  readonly mail: null;
  readonly from: string;
  readonly policy: Record<string, unknown>;
  readonly reasons: readonly { reason: string; count: number }[];
  readonly accepted: number;
  readonly collateral: readonly unknown[];
  readonly networks: readonly unknown[];
  readonly timeline: { buckets: readonly { at: string; banned: number }[] };
}

let folder: string;
let redis: LabRedis;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blockd-history-'));
  redis = await startRedis();
});
afterAll(async () => {
  await redis?.stop();
  await rm(folder, { recursive: true, force: true });
});

const text = (from: number, to: number) =>
  traffic
    .slice(from, to)
    .map((line) => `${line}\n`)
    .join('');
const common = (store: string) => ['--store', store, '--set', 'allow.mynetworks=false'];

async function history(store: string, ...more: string[]): Promise<Figures> {
  const { stdout, stderr, code } = await blockctl([...common(store), '--json', 'report', '--since', '24h', ...more]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Figures;
}

/** How many hold at one time is looked at when a batch is stored, and batches differ from run to run. */
function comparable({ policy: { bannedAtOnce: _, bannedAtEnd: __, ...policy }, timeline, ...rest }: Figures) {
  return { ...rest, policy, hours: timeline.buckets.map(({ banned: _banned, ...bucket }) => bucket) };
}

async function countedAtOnce(name: string): Promise<Figures> {
  const store = `lmdb:${folder}/${name}-store`;
  const log = join(folder, `${name}.log`);
  await writeFile(log, text(0, LINES));
  const { code, stderr } = await blockdOnce([...common(store), '--once', '--from-start', '--log', log]);
  expect(code, stderr).toBe(0);
  return history(store);
}

describe.each(['lmdb', 'redis'] as const)('kept in %s', (kind) => {
  test('kills and restarts between and within batches change no figure', async () => {
    const whole = await countedAtOnce(`whole-${kind}`);
    const store = kind === 'lmdb' ? `lmdb:${folder}/parts` : redis.url;
    const log = join(folder, `parts-${kind}.log`);
    await writeFile(log, '');
    let written = 0;
    for (const part of [700, 1_500, 1_600, 3_900, LINES]) {
      const daemon = await RunningDaemon.start([...common(store), '--from-start', '--log', log]);
      await appendFile(log, text(written, part));
      written = part;
      await sleep(part % 1_000 === 0 ? 0 : 150);
      await daemon.stop('SIGKILL');
    }
    // As the daemons before it: none of them may have lived long enough to store a position.
    const { code, stderr } = await blockdOnce([...common(store), '--once', '--from-start', '--log', log]);
    expect(code, stderr).toBe(0);
    expect(comparable(await history(store))).toEqual(comparable(whole));
  }, 120_000);
});

test('tells what a report on the same log tells', async () => {
  const own = await countedAtOnce('same');
  const { stdout } = await blockctl([...common(`lmdb:${folder}/none`), '--json', 'report', join(folder, 'same.log')]);
  const replayed = JSON.parse(stdout) as Figures;
  expect(own.accepted).toBe(replayed.accepted);
  expect(own.policy['bans']).toBe(replayed.policy['bans']);
  expect(own.policy['subjects']).toBe(replayed.policy['subjects']);
  expect(own.policy['hurt']).toBe(replayed.policy['hurt']);
  const stopped = [own, replayed].map(({ policy }) => Number(policy['stopped']));
  expect(stopped[0]).toBeGreaterThan(300);
  // The log tells when a session began; the events do not.
  expect(Math.abs((stopped[0] ?? 0) - (stopped[1] ?? 0)) / (stopped[1] ?? 1)).toBeLessThan(0.05);
  const words = await blockctl([...common(`lmdb:${folder}/same-store`), 'report']);
  expect(words.stdout).toMatch(
    /^what blockd itself counted: .*\n\nNone of \d+ accepted messages would have been refused\.\n/,
  );
});

test('--since leaves earlier hours out', async () => {
  const store = `lmdb:${folder}/same-store`;
  const recent = await history(store, '--since', '7h');
  expect(recent.timeline.buckets.length).toBeGreaterThan(0);
  expect(Date.parse(recent.from)).toBeGreaterThan(Date.now() - 8 * HOUR_MS - 1_000);
  const whole = await history(store);
  expect(Number(recent.policy['rejects'])).toBeLessThan(Number(whole.policy['rejects']));
});

test('where nothing was counted it says so, and what to do', async () => {
  const { code, stderr } = await blockctl([...common(`lmdb:${folder}/empty`), 'report']);
  expect(code).toBe(2);
  expect(stderr).toMatch(/has counted nothing on \S+ in that time: name a log to report on/);
});

test('hours older than store.keep are forgotten, the others stay', async () => {
  const store = new MemoryStore();
  const history = new History(store, 'mx1');
  const policy = new Policy(toPolicySettings(defaultConfig()), new Allowlist({ addresses: [], hostnames: [] }));
  const noon = Date.UTC(2026, 10, 24, 12);
  for (let hour = 0; hour < 5; hour++) {
    const event = {
      kind: 'accepted',
      rule: 'postfix/accepted',
      ip: '198.51.100.7',
      at: noon + hour * HOUR_MS,
      host: null,
      points: 0,
      line: 'x: client=',
    } as const;
    await history.prepare([event], noon);
    const outcome = await store.commit([], (states) => {
      const verdict = policy.judge([event], states, event.at);
      return { notes: history.notes({ events: [event], before: states, verdict, policy, enforced: false }) };
    });
    history.adopt(outcome.notes, outcome.changes);
  }
  await history.prune(noon + 3 * HOUR_MS);
  const hours = await readHours(store, 'mx1', 0, Number.POSITIVE_INFINITY);
  expect(hours.map(({ at, accepted }) => [at, accepted])).toEqual([
    [noon + 3 * HOUR_MS, 1],
    [noon + 4 * HOUR_MS, 1],
  ]);
  expect(await store.note(hourNote('mx1', noon))).toBeNull();
});

test('hours of a host that is gone are forgotten by the others, those of a host at work are its own', async () => {
  const store = new MemoryStore();
  const noon = Date.UTC(2026, 4, 11, 12);
  const hosts: Record<string, readonly number[]> = { gone: [noon, noon + HOUR_MS], here: [noon, noon + 9 * HOUR_MS] };
  for (const [host, hours] of Object.entries(hosts)) {
    const notes = new Map<string, unknown>([[historyNote(host), { hours }]]);
    for (const at of hours) notes.set(hourNote(host, at), { at });
    await store.commit([], () => ({ notes, progress: [progressOf(host, null, { host })] }));
  }
  await new History(store, 'mx1').prune(noon + 5 * HOUR_MS);
  for (const [host, hours] of Object.entries(hosts)) {
    const isKept = host === 'here';
    for (const at of hours) expect((await store.note(hourNote(host, at))) !== null, `${host} ${at}`).toBe(isKept);
    expect((await store.note(historyNote(host))) !== null, host).toBe(isKept);
  }
});
