/** What blockd asks of Redis, by a real one that tells: no more than docs/redis.md allows, nothing unbounded, no foreign key. */
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Output } from '../../src/cli/output.js';
import { buildProgram } from '../../src/cli/program.js';
import { UnavailableError } from '../../src/domain/errors.js';
import { openStore } from '../../src/store/open.js';
import { MAX_CHANGES, type Store } from '../../src/store/store.js';
import { startCluster } from '../support/cluster.js';
import { blockctl, blockdOnce, RunningDaemon } from '../support/programs.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { CLUSTER_RIGHTS, commandsIn, documentedRights, PASSWORD, setUser } from '../support/redis-acl.js';
import { banOf, changeOf, evidenceOf, progressOf, stateOf, T } from './samples.js';

const folder = mkdtempSync(join(tmpdir(), 'blockd-rights-'));
const ends: (() => Promise<unknown>)[] = [];
let redis: LabRedis;
let admin: Redis;

beforeAll(async () => {
  redis = await startRedis();
  admin = new Redis(redis.port, { disableClientInfo: true });
});
beforeEach(async () => {
  await admin.flushall();
  await admin.call('SCRIPT', 'FLUSH');
  await admin.call('ACL', 'LOG', 'RESET');
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  admin.disconnect();
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
});

const urlOf = (user: string) => `redis://${user}:${PASSWORD}@127.0.0.1:${redis.port}`;

async function open(url: string, prefix = 'blockd'): Promise<Store> {
  const store = await openStore(url, { prefix });
  ends.push(() => store.close());
  return store;
}

/** Commands that were denied since the last reset. */
const denied = () => deniedBy(admin);

async function deniedBy(node: Redis): Promise<string[]> {
  const log = (await node.call('ACL', 'LOG')) as string[][];
  return log.map((entry) => String(entry[entry.indexOf('object') + 1])).sort();
}

/** Commands of blockctl that ask the store, as they are called; the others ask none. */
const WITH_STORE: Readonly<Record<string, readonly string[][]>> = {
  list: [['list'], ['list', '--all']],
  ban: [['ban', '198.51.100.7', '--for', '2h']],
  unban: [
    ['unban', '198.51.100.7'],
    ['unban', '--all'],
  ],
  allow: [['allow', '192.0.2.77']],
  disallow: [['disallow', '192.0.2.77']],
  allowed: [['allowed']],
  explain: [['explain', '203.0.113.9']],
  status: [['status'], ['--json', 'status']],
  top: [['--json', 'top']],
  doctor: [['doctor']],
  report: [['report', '--since', '24h']],
  sync: [['sync']],
  import: [['import', 'list', join(folder, 'list'), '--for', '1h']],
  export: [['export']],
  complete: [['complete', '--', 'unban', '']],
};
const WITHOUT_STORE = ['setup', 'check', 'test', 'tune', 'sweep', 'completion'];
const LOOKING = ['list', 'allowed', 'explain', 'status', 'top', 'doctor', 'report', 'export', 'complete'];

it('knows every command of blockctl', () => {
  const program = buildProgram('0.0.0', new Output(process.stdout, process.stderr), () => undefined);
  const names = program.commands.map((command) => command.name());
  expect([...Object.keys(WITH_STORE), ...WITHOUT_STORE].sort()).toEqual(names.sort());
});

const reject = (ip: string, at: number) =>
  `${new Date(at).toISOString()} mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>\n`;

/** A daemon that bans, prunes and converts its scores, and every command of blockctl. */
async function liveThroughADay(url: string): Promise<void> {
  const [log, map] = [join(folder, 'mail.log'), join(folder, 'client_access')];
  writeFileSync(log, reject('203.0.113.10', Date.now() - 3 * 3_600_000).repeat(3));
  writeFileSync(join(folder, 'list'), '198.51.100.99\n');
  const where = ['--store', url, '--map', `hash:${map}`, '--set', 'mode=enforce', '--set', 'store.host=mx'];
  const quiet = ['--set', 'allow.mynetworks=false', '--set', 'postfix.postconf=/nowhere/postconf'];
  const follow = [...where, ...quiet, '--log', log, '--from-start'];
  const start = async (...more: string[]) => {
    const daemon = await RunningDaemon.start([...follow, ...more], { timeoutMs: 60_000 });
    ends.push(() => daemon.stop('SIGKILL'));
    return daemon;
  };
  const daemon = await start('--set', 'store.prune=* * * * * *', '--set', 'store.keep=90m');
  appendFileSync(log, reject('203.0.113.9', Date.now()).repeat(8));
  await daemon.until((entry) => entry['event'] === 'ban');
  for (const calls of Object.values(WITH_STORE)) {
    for (const call of calls) {
      const { code, stderr } = await blockctl([...where, ...quiet, ...call]);
      // Without Postfix doctor can't say that all is well.
      expect([call[0], code, stderr]).toEqual([call[0], call[0] === 'doctor' ? 3 : 0, expect.any(String)]);
      expect(stderr).not.toContain('permission');
    }
  }
  await sleep(1_500);
  expect(await daemon.stop()).toBe(0);
  const converted = await start('--set', 'score.half_life=5h');
  expect(await converted.stop()).toBe(0);
  for (const one of [daemon, converted]) {
    expect(one.log.filter((entry) => entry['event'] === 'store-away' || entry['event'] === 'map-error')).toEqual([]);
  }
}

describe('a daemon and every command of blockctl', () => {
  it('ask for what docs/redis.md allows and no more, for no key but their own, and for nothing without bound', async () => {
    await setUser(admin, 'blockd', 'blockd', documentedRights('blockd'));
    const own = /\baddr=(\S+)/.exec(String(await admin.call('CLIENT', 'INFO')))?.[1];
    const watching = admin.duplicate();
    ends.push(async () => watching.disconnect());
    const monitor = await watching.monitor();
    ends.push(async () => monitor.disconnect());
    const asked: string[][] = [];
    monitor.on('monitor', (_time: string, args: string[], source: string) => {
      if (source !== own) asked.push(args);
    });
    await liveThroughADay(urlOf('blockd'));
    expect(await denied()).toEqual([]);
    monitor.disconnect();
    const nameOf = (args: readonly string[]) => (args[0] ?? '').toLowerCase();
    const names = new Set(asked.map(nameOf));
    for (const connecting of ['hello', 'auth', 'monitor']) names.delete(connecting);
    expect([...names].sort()).toEqual(commandsIn(documentedRights('blockd')).sort());
    expect(asked.length).toBeGreaterThan(1_000);
    const keys = new Set<string>();
    for (const args of asked) {
      // Some have no key: Redis says so.
      const found = await admin.call('COMMAND', 'GETKEYS', ...args).catch(() => []);
      for (const key of found as string[]) keys.add(key);
    }
    expect([...keys].filter((key) => !key.startsWith('{blockd}:'))).toEqual([]);
    expect([...keys]).toEqual(expect.arrayContaining(['{blockd}:subjects', '{blockd}:events', '{blockd}:positions']));
    expect(asked.filter((args) => isUnbounded(args.map((arg) => arg.toLowerCase())))).toEqual([]);
  }, 120_000);
});

/** Could its answer grow with what the store holds, and keep Redis from all else? In lower case. */
function isUnbounded([command = '', key = '', ...rest]: readonly string[]): boolean {
  const after = (word: string) => (rest.includes(word) ? Number(rest[rest.indexOf(word) + 1]) : Number.NaN);
  switch (command) {
    case 'zrangebyscore':
      return !(Number(rest[rest.indexOf('limit') + 2]) <= 10_000);
    case 'hscan':
      return !(after('count') <= 1_000);
    case 'zrevrange':
      return !(Number(rest[1]) >= 0 && Number(rest[1]) < 1_000);
    case 'xrange':
      // The feed itself is bounded; whoever reads all of it begins at what he has seen.
      return !(after('count') <= MAX_CHANGES || /^\d+-\d+$/.test(rest[0] ?? ''));
    case 'xrevrange':
      return !(after('count') <= MAX_CHANGES);
    case 'hvals':
      // What people have allowed by hand.
      return key !== '{blockd}:allow';
    case 'hkeys':
      // A name for each log of each host.
      return key !== '{blockd}:positions';
    default:
      return /^(?:keys|scan|sort|smembers|hgetall|lrange|zrange|sunion|flush.*|config|script|debug)$/.test(command);
  }
}

const LOOKS: readonly ((store: Store) => Promise<unknown>)[] = [
  (store) => store.note('half-lives'),
  (store) => store.states(['203.0.113.1']),
  (store) => store.evidence('203.0.113.1'),
  (store) => store.bans(0),
  (store) => store.endedBans(T, 10),
  (store) => store.allowed(),
  (store) => store.progress('mx1'),
  (store) => store.hosts(),
  (store) => store.changesSince('0-0'),
  (store) => store.history(10),
  (store) => store.counts(T),
  (store) => store.top(10),
  (store) => store.risks(),
];

const WRITES: readonly ((store: Store) => Promise<unknown>)[] = [
  (store) =>
    store.commit(['203.0.113.1'], () => ({
      put: new Map([['203.0.113.1', stateOf(1, { ban: banOf('203.0.113.1', T) })]]),
      evidence: new Map([['203.0.113.1', [evidenceOf('x')]]]),
      changes: [changeOf('203.0.113.1')],
      progress: [progressOf('a', null)],
    })),
  (store) => store.setNote('a fact', 1),
  (store) => store.rewrite((state) => ({ state, rank: 1 })),
  (store) => store.prune(() => true, T, 1),
];

/** All that a store is asked for; what fails doesn't keep the rest from being tried. */
async function tryAll(url: string, prefix: string, what: typeof LOOKS): Promise<unknown[]> {
  const errors: unknown[] = [];
  const failed = (error: unknown) => errors.push(error);
  const store = await openStore(url, { prefix }).catch(failed);
  if (typeof store === 'number') return errors;
  const isWriting = what.length > LOOKS.length;
  const stop = isWriting ? store.watch(() => undefined) : async () => undefined;
  for (const one of what) await one(store).catch(failed);
  if (isWriting) await sleep(100);
  await stop();
  await store.close();
  return errors;
}

describe.each([
  ['blockd', [...WRITES, ...LOOKS]],
  ['blockd-monitor', LOOKS],
] as const)('the user %s of docs/redis.md', (user, what) => {
  const rights = documentedRights(user);

  it('is enough in another database with +select, as docs/redis.md says', async () => {
    const url = `${urlOf(user)}/3`;
    await setUser(admin, user, 'blockd', rights);
    await expect(openStore(url, { prefix: 'blockd' })).rejects.toThrow(/lacks a permission .*select/);
    await setUser(admin, user, 'blockd', [...rights, '+select']);
    const store = await open(url);
    expect(await store.counts(T)).toEqual({ scored: 0, banned: 0 });
  });

  it('may do all it is for, and every command of its line is needed', async () => {
    const store = await open(redis.url);
    for (const one of WRITES.slice(0, 2)) await one(store);
    await setUser(admin, user, 'blockd', rights);
    await admin.call('SCRIPT', 'FLUSH');
    expect(await tryAll(urlOf(user), 'blockd', what)).toEqual([]);
    expect(await denied()).toEqual([]);
    const needless: string[] = [];
    for (const command of commandsIn(rights)) {
      await setUser(
        admin,
        user,
        'blockd',
        rights.filter((right) => right !== `+${command}`),
      );
      await admin.call('SCRIPT', 'FLUSH');
      await admin.call('ACL', 'LOG', 'RESET');
      const errors = await tryAll(urlOf(user), 'blockd', what);
      for (const error of errors) expect(error).toBeInstanceOf(UnavailableError);
      if (!(await denied()).includes(command)) needless.push(command);
    }
    expect(needless).toEqual([]);
  }, 120_000);

  it('may not empty Redis, list or change what it is not for, nor see the keys of others', async () => {
    await setUser(admin, user, 'blockd', rights);
    await admin.hset('{other}:subjects', '203.0.113.1', 'x');
    await admin.set('session', 'x');
    const client = new Redis(urlOf(user), { disableClientInfo: true });
    ends.push(async () => client.disconnect());
    for (const call of [
      ['FLUSHALL'],
      ['FLUSHDB'],
      ['KEYS', '*'],
      ['SCAN', '0'],
      ['CONFIG', 'GET', '*'],
      ['CONFIG', 'SET', 'maxmemory', '1'],
      ['MONITOR'],
      ['SHUTDOWN', 'NOSAVE'],
      ['ACL', 'LIST'],
      ['CLIENT', 'LIST'],
      ['SCRIPT', 'FLUSH'],
      ['SUBSCRIBE', 'news'],
      ['PUBLISH', 'news', 'x'],
      ['SELECT', '1'],
      ['HGET', '{other}:subjects', '203.0.113.1'],
      ['HGET', '{blockd}x:subjects', '203.0.113.1'],
      ['EVAL', "return redis.call('GET', 'session')", '0'],
      ['GET', 'session'],
    ] as const) {
      const [command, ...args] = call;
      await expect(client.call(command, ...args), call.join(' ')).rejects.toThrow(
        /NOPERM|No permissions to access|user executing the script can't/,
      );
    }
  });
});

describe('the user blockd-monitor of docs/redis.md', () => {
  it('is enough for every command that only looks, and orders nothing', async () => {
    const store = await open(redis.url);
    for (const one of WRITES.slice(0, 2)) await one(store);
    await setUser(admin, 'blockd-monitor', 'blockd', documentedRights('blockd-monitor'));
    await admin.call('ACL', 'LOG', 'RESET');
    const log = join(folder, 'once.log');
    writeFileSync(log, reject('203.0.113.9', Date.now()).repeat(8));
    const set = ['--set', 'postfix.postconf=/nowhere/postconf', '--set', 'allow.mynetworks=false'];
    const host = ['--set', 'store.host=mx'];
    const run = await blockdOnce(['--once', '--log', log, '--from-start', '--store', redis.url, ...set, ...host]);
    expect(run.code, run.stderr).toBe(0);
    const where = ['--store', urlOf('blockd-monitor'), '--map', `hash:${join(folder, 'no_map')}`, ...host];
    for (const name of LOOKING) {
      for (const call of WITH_STORE[name] ?? []) {
        const { code, stderr } = await blockctl([...where, ...set, ...call]);
        expect([name, code, stderr]).toEqual([name, name === 'doctor' ? 3 : 0, expect.any(String)]);
        expect(stderr).not.toContain('permission');
      }
    }
    expect(await denied()).toEqual([]);
    for (const call of [
      ['ban', '198.51.100.7'],
      ['allow', '192.0.2.77'],
      ['unban', '203.0.113.1'],
    ]) {
      const { code, stderr } = await blockctl([...where, ...set, ...call]);
      expect([call[0], code, stderr]).toEqual([
        call[0],
        3,
        expect.stringContaining('the Redis user lacks a permission'),
      ]);
    }
    expect(await store.allowed()).toEqual([]);
    expect((await store.bans(0)).map(({ subject }) => subject)).toContain('203.0.113.9');
  }, 60_000);
});

describe('a node of a Cluster', () => {
  it('needs what docs/redis.md adds, each of it', async () => {
    const cluster = await startCluster();
    ends.push(() => cluster.stop());
    const url = cluster.url.replace('://', `://blockd:${PASSWORD}@`);
    /** Commands denied by any node, while all is tried. */
    const tryWith = async (rights: readonly string[]) => {
      for (const { client } of cluster.nodes) {
        await setUser(client, 'blockd', 'blockd', rights);
        await client.call('ACL', 'LOG', 'RESET');
      }
      const errors = await tryAll(url, 'blockd', [...WRITES, ...LOOKS]);
      const logs = await Promise.all(cluster.nodes.map(({ client }) => deniedBy(client)));
      return { errors, denied: new Set(logs.flat()) };
    };
    const rights = [...documentedRights('blockd'), ...CLUSTER_RIGHTS];
    expect(await tryWith(rights)).toEqual({ errors: [], denied: new Set() });
    for (const right of CLUSTER_RIGHTS) {
      const { denied } = await tryWith(rights.filter((one) => one !== right));
      expect([...denied]).toEqual([right.slice(1)]);
    }
  }, 90_000);
});

describe('two installations on one Redis', () => {
  it('do not see each other, by their prefixes alone', async () => {
    const [one, other] = [await open(redis.url, 'one'), await open(redis.url, 'other')];
    let woken = 0;
    const stop = other.watch(() => woken++);
    await expect.poll(() => woken, { timeout: 10_000 }).toBeGreaterThan(0);
    const { cursor } = await other.changesSince(null);
    woken = 0;
    for (const write of WRITES.slice(0, 2)) await write(one);
    await sleep(500);
    expect(woken).toBe(0);
    expect(await other.states(['203.0.113.1'])).toEqual(new Map());
    expect(await other.bans(0)).toEqual([]);
    expect(await other.evidence('203.0.113.1')).toEqual([]);
    expect(await other.progress('mx1')).toEqual(new Map());
    expect(await other.note('a fact')).toBeNull();
    expect(await other.changesSince(cursor)).toEqual({ changes: [], cursor, gap: false });
    expect(await other.counts(0)).toEqual({ scored: 0, banned: 0 });
    await other.rewrite((state) => ({ state, rank: 1 }));
    expect(await other.prune(() => true, T, 1)).toBe(0);
    expect(await one.counts(0)).toEqual({ scored: 1, banned: 1 });
    await stop();
  }, 30_000);
});
