/** Hosts of several releases on one store: each goes on with what it knows, and leaves alone what it does not. */
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { NewerStoreError, UnavailableError } from '../../src/domain/errors.js';
import { openEnvironment } from '../../src/store/lmdb-file.js';
import { openStore } from '../../src/store/open.js';
import { SCHEMA, SCHEMA_VERSION } from '../../src/store/schema.js';
import type { Store } from '../../src/store/store.js';
import { blockctl, blockdOnce, RunningDaemon } from '../support/programs.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { upgradedPrograms } from '../support/upgraded.js';
import { changeOf, progressOf, stateOf, T } from './samples.js';

const NEWER = SCHEMA_VERSION + 1;
const REFUSED = `was made by a newer blockd (version ${NEWER}; this one knows up to ${SCHEMA_VERSION}): upgrade blockd on this host; nothing was changed`;

const folder = mkdtempSync(join(tmpdir(), 'blockd-schema-'));
const ends: (() => Promise<unknown>)[] = [];
let redis: LabRedis;
let upgraded: string;
let labs = 0;

beforeAll(async () => {
  redis = await startRedis();
  const at = join(folder, 'upgraded');
  mkdirSync(at);
  upgraded = upgradedPrograms(at);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The same for both, each time with nothing in it. */
function lab(kind: string) {
  const name = `lab${++labs}`;
  const at = join(folder, name);
  mkdirSync(at);
  const url = kind === 'redis' ? redis.url : `lmdb:${join(at, 'state')}`;
  const map = join(at, 'client_access');
  const log = join(at, 'mail.log');
  writeFileSync(log, '');
  const where = ['--store', url, '--map', `hash:${map}`, '--set', `store.prefix=${name}`, '--set', 'mode=enforce'];
  const follow = [...where, '--log', log, '--from-start', '--set', 'allow.mynetworks=false', '--set', 'store.host=mx'];
  const open = async (): Promise<Store> => {
    const store = await openStore(url, { prefix: name });
    ends.push(() => store.close());
    return store;
  };
  const daemon = async (programs?: string): Promise<RunningDaemon> => {
    const running = await RunningDaemon.start(follow, { ...(programs !== undefined && { programs }) });
    ends.push(() => running.stop('SIGKILL'));
    return running;
  };
  return { url, map, log, where, follow, open, daemon };
}

const reject = (ip: string) =>
  `${new Date().toISOString()} mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>\n`;

async function offensesOf(store: Store, subject: string): Promise<number> {
  return (await store.states([subject])).get(subject)?.offenses ?? 0;
}

describe.each(['redis', 'lmdb'])('the version of a store in %s', (kind) => {
  it('is told by the first commit, not by who only looks', async () => {
    const store = await lab(kind).open();
    expect(await store.counts(T)).toEqual({ scored: 0, banned: 0 });
    expect(await store.note(SCHEMA)).toBeNull();
    await store.setNote('a fact', 1);
    expect(await store.note(SCHEMA)).toBe(SCHEMA_VERSION);
  });

  it.each([null, SCHEMA_VERSION - 1])('of before (%s) is gone on with, and then is ours', async (version) => {
    const { open } = lab(kind);
    const store = await open();
    await store.commit([], () => ({
      put: new Map([['203.0.113.1', stateOf(3)]]),
      notes: new Map([[SCHEMA, version]]),
    }));
    expect(await store.note(SCHEMA)).toBe(version);
    const next = await open();
    expect(await offensesOf(next, '203.0.113.1')).toBe(3);
    await next.commit([], () => ({ progress: [progressOf('a', null)] }));
    expect(await next.note(SCHEMA)).toBe(SCHEMA_VERSION);
  });

  it('stops every writing of a program that had opened it before it moved on, and nothing is written', async () => {
    const { open } = lab(kind);
    const store = await open();
    await store.commit([], () => ({
      put: new Map([['203.0.113.1', stateOf(3)]]),
      evidence: new Map([['203.0.113.1', [{ at: 1, rule: 'r', points: 1, line: 'l' }]]]),
      changes: [
        { type: 'allow', at: 1, entry: '192.0.2.1' },
        { type: 'allow', at: 2, entry: '192.0.2.1' },
      ],
    }));
    await store.setNote(SCHEMA, NEWER);
    const writings = [
      () => store.commit(['203.0.113.1'], () => ({ put: new Map([['203.0.113.1', stateOf(4)]]) })),
      () => store.commit([], () => ({ progress: [progressOf('a', null)] })),
      () => store.setNote('a fact', 1),
      () => store.rewrite(() => ({ state: stateOf(5), rank: 1 })),
      () => store.prune(() => true, T, 1),
      () => store.prune(() => false, T, 1),
    ];
    for (const write of writings) await expect(write()).rejects.toThrow(NewerStoreError);
    expect(await offensesOf(store, '203.0.113.1')).toBe(3);
    expect(await store.note('a fact')).toBeNull();
    expect((await store.evidence('203.0.113.1')).length).toBe(1);
    expect((await store.history(9)).length).toBe(2);
    expect(await store.progress('mx1')).toEqual(new Map());
    expect(await store.note(SCHEMA)).toBe(NEWER);
  });

  it.each([NEWER, 'of another kind', { major: 2 }])(
    'that is %j stops daemon and blockctl at the door with exit code 3, and nothing is changed',
    async (version) => {
      const { open, where, follow, url } = lab(kind);
      const store = await open();
      await store.commit([], () => ({ put: new Map([['203.0.113.1', stateOf(3)]]) }));
      await store.setNote(SCHEMA, version);
      const stamp = kind === 'lmdb' ? statSync(join(url.slice('lmdb:'.length), 'data.mdb')).mtimeMs : null;
      await expect(open()).rejects.toThrow(UnavailableError);
      const sentence = version === NEWER ? REFUSED : 'was made by a newer blockd (a version of another kind';
      for (const run of [
        await blockctl([...where, 'list']),
        await blockctl([...where, 'ban', '203.0.113.9']),
        await blockctl([...where, '--json', 'status']),
        await blockctl([...where, 'doctor']),
        await blockdOnce([...follow, '--once']),
      ]) {
        expect((run.stderr + run.stdout).replace(/\s+/g, ' ')).toContain(sentence);
        expect(run.code).toBe(3);
      }
      // A service: systemd/blockd.service names the code that is not started again.
      const service = await blockdOnce(follow);
      expect(service.stderr).toContain(sentence);
      expect(service.code).toBe(2);
      expect(await store.bans(0)).toEqual([]);
      expect(await store.note(SCHEMA)).toEqual(version);
      expect(await store.progress('mx')).toEqual(new Map());
      if (stamp !== null) expect(statSync(join(url.slice('lmdb:'.length), 'data.mdb')).mtimeMs).toBe(stamp);
    },
    60_000,
  );
});

describe('a store in LMDB of a newer blockd', () => {
  it('is no damage, whatever it holds: it is not set aside', async () => {
    const { open, follow } = lab('lmdb');
    const store = await open();
    await store.commit([], () => ({ put: new Map([['203.0.113.1', stateOf(3)]]) }));
    await store.setNote(SCHEMA, NEWER);
    await store.close();
    ends.pop();
    const state = follow[1]?.slice('lmdb:'.length) ?? '';
    const root = openEnvironment(state);
    root.openDB<string, string>({ name: 'subjects', encoding: 'string' }).putSync('203.0.113.2', 'no JSON any more');
    await root.close();
    const run = await blockdOnce([...follow, '--once']);
    expect(run.stderr).toContain(REFUSED);
    expect(run.code).toBe(3);
    expect(run.stderr).not.toContain('set aside');
  }, 60_000);
});

describe('systemd/blockd.service', () => {
  it('does not start a daemon again that has ended for a newer store', () => {
    const unit = readFileSync(new URL('../../systemd/blockd.service', import.meta.url), 'utf8');
    expect(unit).toMatch(/^RestartPreventExitStatus=2$/m);
  });
});

describe.each(['redis', 'lmdb'])('a rolling upgrade over %s', (kind) => {
  it('shares bans while the versions are equal; the newer marks, the older ends by itself, and each line counts once', async () => {
    const { log, map, where, follow, open, daemon } = lab(kind);
    const old = await daemon();
    appendFileSync(log, reject('203.0.113.9').repeat(8));
    await old.until((entry) => entry['event'] === 'ban' && entry['subject'] === '203.0.113.9');
    await expect.poll(() => readFileSync(map, 'utf8'), { timeout: 10_000 }).toContain('203.0.113.9\t');
    // Upgraded blockctl beside the daemon of before: one that looks changes nothing.
    const list = await blockctl([...where, 'list', '--json'], { programs: upgraded });
    expect(list.stdout).toContain('203.0.113.9');
    expect(old.hasEnded).toBe(false);
    const store = await open();
    expect(await store.note(SCHEMA)).toBe(SCHEMA_VERSION);
    const order = await blockctl([...where, 'ban', '198.51.100.7', '--for', '2h'], { programs: upgraded });
    expect(order.code, order.stderr).toBe(0);
    expect(await store.note(SCHEMA)).toBe(NEWER);
    const markedAt = Date.now();
    await old.until((entry) => entry['event'] === 'store-newer', 5_000);
    appendFileSync(log, reject('203.0.113.10').repeat(3));
    const code = await old.exited;
    expect(Date.now() - markedAt).toBeLessThan(10_000);
    expect(code).toBe(2);
    expect(old.log.filter((entry) => entry['event'] === 'store-newer')).toHaveLength(1);
    expect(old.log.find((entry) => entry['event'] === 'store-newer')?.msg).toContain(REFUSED);
    expect(old.log.filter((entry) => entry['event'] === 'store-away')).toEqual([]);
    // What holds in the map holds on, and ends without the daemon.
    expect(readFileSync(map, 'utf8')).toContain('203.0.113.9\t');
    expect(await offensesOf(store, '203.0.113.10')).toBe(0);
    const again = await blockdOnce(follow);
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining(REFUSED)]);
    // This host is upgraded too.
    const next = await daemon(upgraded);
    await expect.poll(() => offensesOf(store, '203.0.113.10'), { timeout: 10_000 }).toBe(3);
    expect(await offensesOf(store, '203.0.113.9')).toBe(8);
    await expect.poll(() => readFileSync(map, 'utf8'), { timeout: 10_000 }).toContain('198.51.100.7\t');
    expect(readFileSync(map, 'utf8')).toContain('203.0.113.9\t');
    expect(await next.stop()).toBe(0);
  }, 90_000);

  it('ends a daemon also when it can no longer read what the newer one has written', async () => {
    const { log, map, open, daemon } = lab(kind);
    const old = await daemon();
    appendFileSync(log, reject('203.0.113.9').repeat(8));
    await expect.poll(() => readFileSync(map, 'utf8'), { timeout: 10_000 }).toContain('203.0.113.9\t');
    const store = await open();
    if (kind === 'redis') {
      const client = new Redis(redis.port);
      const name = `{lab${labs}}:`;
      await client.multi().hset(`${name}notes`, SCHEMA, NEWER).hset(`${name}subjects`, '203.0.113.9', 'other').exec();
      client.disconnect();
    } else await store.setNote(SCHEMA, NEWER);
    appendFileSync(log, reject('203.0.113.9').repeat(3));
    expect(await old.exited).toBe(2);
    expect(old.log.filter((entry) => entry['event'] === 'store-newer')).toHaveLength(1);
    expect(readFileSync(map, 'utf8')).toContain('203.0.113.9\t');
  }, 60_000);
});

describe('a map that follows a store', () => {
  it('does not follow what a newer blockd has written, not even at once', async () => {
    const { log, map, daemon } = lab('redis');
    const old = await daemon();
    appendFileSync(log, reject('203.0.113.9').repeat(8));
    await expect.poll(() => readFileSync(map, 'utf8'), { timeout: 10_000 }).toContain('203.0.113.9\t');
    // Where it was quiet, a change is published at once.
    await sleep(2_500);
    const client = new Redis(redis.port);
    const name = `{lab${labs}}:`;
    const before = readFileSync(map, 'utf8');
    // It keeps states elsewhere, and tells of a longer ban.
    const change = JSON.stringify(changeOf('203.0.113.9', Date.now() + 36_000_000));
    await client
      .multi()
      .hset(`${name}notes`, SCHEMA, NEWER)
      .hdel(`${name}subjects`, '203.0.113.9')
      .zrem(`${name}bans`, '203.0.113.9')
      .xadd(`${name}events`, '*', 'c', change)
      .exec();
    client.disconnect();
    expect(await old.exited).toBe(2);
    expect(readFileSync(map, 'utf8')).toBe(before);
  }, 60_000);
});
