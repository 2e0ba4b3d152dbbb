/** What can go wrong between blockd and Redis, with a real one. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { UnavailableError, UsageError } from '../../src/domain/errors.js';
import { openStore } from '../../src/store/open.js';
import { type Outcome, StaleProgressError, type Store } from '../../src/store/store.js';
import { CuttingProxy } from '../support/cutting-proxy.js';
import { type LabRedis, type RedisOptions, startRedis } from '../support/redis.js';
import { changeOf, evidenceOf, progressOf, stateOf, T } from './samples.js';

const ends: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function lab(options?: RedisOptions): Promise<LabRedis> {
  const redis = await startRedis(options);
  ends.push(() => redis.stop());
  return redis;
}

async function open(url: string, onNotice?: (level: string, message: string) => void): Promise<Store> {
  const store = await openStore(url, { prefix: 'test', ...(onNotice && { onNotice }) });
  ends.push(() => store.close());
  return store;
}

/** Has committed once: what a commit needs is tried before the first. */
async function openBehind(proxy: CuttingProxy): Promise<Store> {
  const store = await open(await proxy.listen());
  await store.setNote('a fact', 1);
  return store;
}

function cli(redis: LabRedis, ...args: string[]): string {
  return execFileSync('redis-cli', ['-p', String(redis.port), ...args], { encoding: 'utf8' }).trim();
}

/** Counts one more offense, as a daemon's commit does. */
function countOne(store: Store, commit: string, after: string | null): Promise<Outcome> {
  return store.commit(['203.0.113.1'], (states) => {
    const offenses = (states.get('203.0.113.1')?.offenses ?? 0) + 1;
    return {
      put: new Map([['203.0.113.1', stateOf(offenses)]]),
      evidence: new Map([['203.0.113.1', [evidenceOf(`line ${offenses}`)]]]),
      changes: [changeOf('203.0.113.1')],
      progress: [progressOf(commit, after)],
    };
  });
}

async function offensesIn(store: Store): Promise<number> {
  return (await store.states(['203.0.113.1'])).get('203.0.113.1')?.offenses ?? 0;
}

describe('a commit whose connection breaks', () => {
  it('is applied exactly once, wherever the connection was cut', async () => {
    const redis = await lab();
    const proxy = new CuttingProxy(redis.port);
    ends.push(() => proxy.close());
    const store = await openBehind(proxy);
    let turn = 0;
    proxy.cut = () => (++turn % 5 === 0 ? null : turn % 2 === 0 ? 'request' : 'reply');
    let after: string | null = null;
    let counted = 0;
    while (proxy.cuts < 60) {
      const commit = `c${++counted}`;
      for (let outcome: Outcome | null = null; outcome === null; ) {
        outcome = await countOne(store, commit, after).catch((error: unknown) => {
          if (error instanceof UnavailableError) return null;
          throw error;
        });
        if (outcome !== null) expect(outcome.put?.get('203.0.113.1')?.offenses).toBe(counted);
      }
      after = commit;
    }
    proxy.cut = null;
    expect(await offensesIn(store)).toBe(counted);
    expect((await store.history(1_000)).length).toBe(counted);
    expect((await store.evidence('203.0.113.1'))[0]?.line).toBe(`line ${counted}`);
    expect((await store.progress('mx1')).get('/var/log/mail.log')?.commit).toBe(after);
  }, 60_000);

  it('is applied exactly once also when it has no position to be known by', async () => {
    const redis = await lab();
    const proxy = new CuttingProxy(redis.port);
    ends.push(() => proxy.close());
    const store = await openBehind(proxy);
    let cutNext = false;
    proxy.cut = () => {
      cutNext = !cutNext;
      return cutNext ? 'reply' : null;
    };
    for (let i = 1; i <= 20; i++) {
      await store.commit(['203.0.113.1'], (states) => ({
        put: new Map([['203.0.113.1', stateOf((states.get('203.0.113.1')?.offenses ?? 0) + 1)]]),
      }));
    }
    expect(proxy.cuts).toBeGreaterThanOrEqual(20);
    expect(await offensesIn(store)).toBe(20);
  }, 60_000);

  it('gives the caller the outcome that was applied when he asks again after giving up', async () => {
    const redis = await lab();
    const proxy = new CuttingProxy(redis.port);
    ends.push(() => proxy.close());
    const store = await openBehind(proxy);
    proxy.cut = () => 'reply';
    await expect(countOne(store, 'a', null)).rejects.toThrow(UnavailableError);
    proxy.cut = null;
    const outcome = await countOne(store, 'a', null);
    expect(outcome.put?.get('203.0.113.1')?.offenses).toBe(1);
    expect(await offensesIn(store)).toBe(1);
    await expect(countOne(store, 'b', null)).rejects.toThrow(StaleProgressError);
  }, 30_000);
});

describe('what is known of a subject from the last commit', () => {
  it('is not asked for again, and what another host changed meanwhile is judged anew', async () => {
    const redis = await lab();
    const [one, other] = [await open(redis.url), await open(redis.url)];
    const reads = () => Number(/cmdstat_hmget:calls=(\d+)/.exec(cli(redis, 'INFO', 'commandstats'))?.[1] ?? 0);
    await countOne(one, 'a', null);
    const before = reads();
    await countOne(one, 'b', 'a');
    await countOne(one, 'c', 'b');
    // Each compares its state and adds to its evidence, once.
    expect(reads() - before).toBe(4);
    await countOne(other, 'd', 'c');
    const judged: (number | undefined)[] = [];
    await one.commit(['203.0.113.1'], (states) => {
      const offenses = states.get('203.0.113.1')?.offenses;
      judged.push(offenses);
      return { put: new Map([['203.0.113.1', stateOf((offenses ?? 0) + 1)]]), progress: [progressOf('e', 'd')] };
    });
    expect(judged).toEqual([3, 4]);
    expect(await offensesIn(other)).toBe(5);
    cli(redis, 'DEL', '{test}:subjects');
    await countOne(other, 'f', 'e');
    expect(await offensesIn(one)).toBe(1);
  });

  it('is compared although the decision leaves it as it is', async () => {
    const redis = await lab();
    const [one, other] = [await open(redis.url), await open(redis.url)];
    await countOne(one, 'a', null);
    await countOne(other, 'b', 'a');
    const judged: (number | undefined)[] = [];
    await one.commit(['203.0.113.1'], (states) => {
      judged.push(states.get('203.0.113.1')?.offenses);
      return { changes: [changeOf('203.0.113.2')] };
    });
    expect(judged).toEqual([1, 2]);
    expect((await one.history(9)).length).toBe(3);
  });
});

describe('a Redis that goes away', () => {
  it('makes commits fail within about two seconds, and is found again by itself', async () => {
    const redis = await lab({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    const notices: string[] = [];
    const store = await open(redis.url, (level, message) => notices.push(`${level} ${message}`));
    let calls = 0;
    const stop = store.watch(() => calls++);
    await countOne(store, 'a', null);
    redis.signal('SIGSTOP');
    const begun = Date.now();
    await expect(countOne(store, 'b', 'a')).rejects.toThrow(/no answer|lost/);
    expect(Date.now() - begun).toBeLessThan(4_500);
    redis.signal('SIGCONT');
    await expect
      .poll(
        () =>
          countOne(store, 'b', 'a').then(
            () => true,
            () => false,
          ),
        { timeout: 10_000 },
      )
      .toBe(true);
    expect(await offensesIn(store)).toBe(2);
    await redis.restart();
    await expect
      .poll(
        () =>
          countOne(store, 'c', 'b').then(
            () => true,
            () => false,
          ),
        { timeout: 10_000 },
      )
      .toBe(true);
    expect(await offensesIn(store)).toBe(3);
    expect(notices).toContainEqual(expect.stringMatching(/^warn .*lost/));
    expect(notices).toContainEqual(expect.stringMatching(/^info .*again/));
    await sleep(3_000);
    calls = 0;
    await countOne(store, 'd', 'c');
    await expect.poll(() => calls, { timeout: 10_000 }).toBeGreaterThan(0);
    await stop();
  }, 60_000);

  it('is told as refused while it is down', async () => {
    const redis = await lab();
    const store = await open(redis.url);
    await redis.stop();
    const begun = Date.now();
    await expect(countOne(store, 'a', null)).rejects.toThrow(/connection refused: does Redis run there\?/);
    expect(Date.now() - begun).toBeLessThan(2_500);
  }, 20_000);
});

describe('a Redis that answers no', () => {
  const fails = async (url: string, sentence: RegExp) => {
    const begun = Date.now();
    const error: unknown = await open(url).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error, url).toBeInstanceOf(UnavailableError);
    expect((error as Error).message).toMatch(sentence);
    expect((error as Error).message).not.toContain('hunter2');
    expect(Date.now() - begun).toBeLessThan(5_500);
  };

  it('is told by what is wrong: password, port, host, socket, no Redis, silence', async () => {
    const locked = await lab({ args: ['--requirepass', 'right'] });
    await fails(locked.url, /wants a password/);
    await fails(`redis://:hunter2@127.0.0.1:${locked.port}`, /wrong user name or password/);
    await fails(`redis://admin:hunter2@127.0.0.1:${locked.port}`, /wrong user name or password/);
    await fails('redis://:hunter2@127.0.0.1:1', /connection refused/);
    await fails('unix:/nowhere/redis.sock?password=hunter2', /no such socket/);
    await fails(`redis://:right@127.0.0.1:${locked.port}/999`, /DB index is out of range/);
    expect(cli(locked, '-a', 'right', '--no-auth-warning', 'DBSIZE')).toBe('0');
    const greeter = createServer((socket) =>
      socket.on('error', () => undefined).end('220 mx1.example ESMTP Postfix\r\n'),
    );
    const silent = createServer((socket) => socket.on('error', () => undefined));
    for (const [server, sentence] of [
      [greeter, /no Redis|lost/],
      [silent, /no answer/],
    ] as const) {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const address = server.address();
      await fails(`redis://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`, sentence);
      server.close();
    }
  }, 60_000);

  it('is opened with the right password, by user, by socket, in another database', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'blockd-sock-'));
    ends.push(() => rm(folder, { recursive: true }));
    const socket = join(folder, 'redis.sock');
    const redis = await lab({
      args: [
        '--requirepass',
        'p@ss/w:rd',
        '--unixsocket',
        socket,
        '--user',
        ...'blockd on >x +@all ~{test}:*'.split(' '),
      ],
    });
    const password = encodeURIComponent('p@ss/w:rd');
    for (const url of [
      `redis://:${password}@127.0.0.1:${redis.port}/3`,
      `redis://blockd:x@127.0.0.1:${redis.port}`,
      `unix:${socket}?db=2&password=${password}`,
    ]) {
      const store = await open(url);
      expect(store.url).not.toContain(password);
      expect(store.url).not.toContain(':x@');
      await countOne(store, 'a', null);
      expect(await offensesIn(store)).toBe(1);
    }
  }, 30_000);

  it('is refused at the first commit when its user lacks a command that any needs, leaving no trace', async () => {
    const redis = await lab({ args: ['--user', ...'blockd on >x +@all -xadd ~{test}:*'.split(' ')] });
    const store = await open(`redis://blockd:x@127.0.0.1:${redis.port}`);
    await expect(store.setNote('a fact', 1)).rejects.toThrow(/lacks a permission/);
    expect(await store.note('a fact')).toBeNull();
    expect(cli(redis, 'KEYS', '{test}:[^p]*')).toBe('');
    const other = await lab({ args: ['--user', ...'blockd on >x +@all ~other:*'.split(' ')] });
    await fails(`redis://blockd:x@127.0.0.1:${other.port}`, /lacks a permission/);
    expect(cli(other, 'DBSIZE')).toBe('0');
  }, 30_000);

  it('can be read while it is full or a replica, and takes commits whole or not at all', async () => {
    const redis = await lab();
    const store = await open(redis.url);
    await countOne(store, 'a', null);
    cli(redis, 'CONFIG', 'SET', 'maxmemory', '1');
    await expect(countOne(store, 'b', 'a')).rejects.toThrow(/out of memory/);
    expect(await offensesIn(await open(redis.url))).toBe(1);
    expect((await store.history(10)).length).toBe(1);
    cli(redis, 'CONFIG', 'SET', 'maxmemory', '0');
    await countOne(store, 'b', 'a');
    cli(redis, 'REPLICAOF', '127.0.0.1', '1');
    await expect(countOne(store, 'c', 'b')).rejects.toThrow(/read-only replica/);
    expect(await offensesIn(await open(redis.url))).toBe(2);
    cli(redis, 'REPLICAOF', 'NO', 'ONE');
    await countOne(store, 'c', 'b');
    expect(await offensesIn(store)).toBe(3);
  }, 30_000);

  it("is told when another program's key stands in the way, and nothing is half written", async () => {
    const redis = await lab();
    const store = await open(redis.url);
    cli(redis, 'SET', '{test}:events', 'not a stream');
    await expect(countOne(store, 'a', null)).rejects.toThrow(/WRONGTYPE \{test\}:events is a string, not a stream/);
    expect(await offensesIn(store)).toBe(0);
    cli(redis, 'HSET', '{test}:subjects', '203.0.113.9', 'no JSON');
    await expect(store.states(['203.0.113.9'])).rejects.toThrow(/not written by blockd/);
  });
});

describe('a Redis URL', () => {
  it.each([
    'redis://',
    'redis://host:port',
    'redis://host:99999',
    'redis://host/x',
    'redis://a,b',
    'redis://:hunter2%@host',
    'redis://:hun@ter2@',
    'sentinel://host:26379',
    'unix:/s?db=x',
    'mysql://host',
    'lmdb:',
  ])('%s is refused with the spelling to use, and no password', async (url) => {
    const error: unknown = await openStore(url, { prefix: 'test' }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UsageError);
    expect((error as Error).message).toMatch(/: write /);
    expect((error as Error).message).not.toMatch(/hunter2|ter2/);
  });

  it('is told by what is wrong when too few replicas follow it', async () => {
    const redis = await lab({ args: ['--min-replicas-to-write', '1'] });
    const store = await open(redis.url);
    const refused = /takes no writes while too few replicas follow it \(min-replicas-to-write\)/;
    await expect(countOne(store, 'a', null)).rejects.toThrow(refused);
    await expect(store.setNote('a', 1)).rejects.toThrow(refused);
    cli(redis, 'config', 'set', 'min-replicas-to-write', '0');
    await countOne(store, 'a', null);
    expect(await offensesIn(store)).toBe(1);
  });

  it('has a gap for who read a change that another one replaced, under the same number, at a failover', async () => {
    const redis = await lab();
    const store = await open(redis.url);
    const add = (id: string, entry: string) =>
      cli(redis, 'xadd', '{test}:events', id, 'c', JSON.stringify({ type: 'allow', at: 1, entry }));
    add('1000-0', '192.0.2.1');
    const { cursor: before } = await store.changesSince(null);
    add('1001-0', '192.0.2.2');
    const { cursor: lost } = await store.changesSince(before);
    cli(redis, 'xdel', '{test}:events', '1001-0');
    cli(redis, 'xsetid', '{test}:events', '1000-0');
    add('1001-0', '192.0.2.3');
    expect(await store.changesSince(lost)).toMatchObject({ changes: [], gap: true });
    expect(await store.changesSince(before)).toMatchObject({ changes: [{ entry: '192.0.2.3' }], gap: false });
  });

  it('may name a cluster', async () => {
    const redis = await lab({ args: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] });
    cli(redis, 'CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
    await expect.poll(() => cli(redis, 'CLUSTER', 'INFO'), { timeout: 15_000 }).toContain('cluster_state:ok');
    const store = await open(`cluster://127.0.0.1:${redis.port}`);
    let calls = 0;
    const stop = store.watch(() => calls++);
    await sleep(500);
    calls = 0;
    await countOne(store, 'a', null);
    await expect.poll(() => calls, { timeout: 10_000 }).toBeGreaterThan(0);
    await stop();
    await store.rewrite((state) => ({ state, rank: 1 }));
    expect(await store.top(1)).toEqual(['203.0.113.1']);
    expect(await store.prune(() => true, T, 1)).toBe(1);
  }, 30_000);
});
