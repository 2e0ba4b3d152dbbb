/** What every store promises, held against each of them; Redis is a real one. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Evidence, MAX_EVIDENCE, type SubjectState } from '../../src/policy/state.js';
import { openStore } from '../../src/store/open.js';
import { MAX_CHANGES, StaleProgressError, type Store } from '../../src/store/store.js';
import { type LabCluster, startCluster } from '../support/cluster.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { documentedRights, PASSWORD, setUser } from '../support/redis-acl.js';
import { banOf, changeOf, evidenceOf, progressOf, stateOf, T } from './samples.js';

interface Lab {
  /** Another handle on the same store. */
  open(): Promise<Store>;
  end(): Promise<void>;
}

let redis: LabRedis;
let admin: Redis;
let cluster: LabCluster;
let prefixes = 0;

beforeAll(async () => {
  redis = await startRedis();
  admin = new Redis(redis.port);
  cluster = await startCluster();
});
afterAll(async () => {
  admin.disconnect();
  await redis.stop();
  await cluster.stop();
});

async function lmdbLab(openIt: typeof openStore, options: { readonly ownThread?: true }): Promise<Lab> {
  const folder = await mkdtemp(join(tmpdir(), 'blockd-store-'));
  const opened: Store[] = [];
  return {
    open: async () => {
      const store = await openIt(`lmdb:${folder}`, { prefix: 'test', ...options });
      opened.push(store);
      return store;
    },
    end: async () => {
      for (const store of opened) await store.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** Lines of evidence, as far as this kind of store keeps any: nobody can ask a process for its own memory. */
function keptBy(kind: string, lines: Evidence[]): Evidence[] {
  return kind === 'memory' ? [] : lines;
}

const LABS: Record<string, () => Promise<Lab>> = {
  memory: async () => {
    const store = await openStore('memory:', { prefix: 'test' });
    return { open: async () => store, end: () => store.close() };
  },
  lmdb: () => lmdbLab(openStore, {}),
  // A thread is started from the compiled file.
  'lmdb, written by a thread': async () => {
    const { openStore: compiled } = await import(`${new URL('../../dist/store/open.js', import.meta.url)}`);
    return lmdbLab(compiled, { ownThread: true });
  },
  redis: async () => redisLab(redis.url, nextPrefix()),
  // No right is missing for any promise.
  'redis, as the user of docs/redis.md': async () => {
    const prefix = nextPrefix();
    await setUser(admin, prefix, prefix, documentedRights('blockd'));
    return redisLab(`redis://${prefix}:${PASSWORD}@127.0.0.1:${redis.port}`, prefix);
  },
  'redis cluster': async () => redisLab(cluster.url, nextPrefix()),
};

const nextPrefix = () => `test${++prefixes}`;

function redisLab(url: string, prefix: string): Lab {
  const opened: Store[] = [];
  return {
    open: async () => {
      const store = await openStore(url, { prefix });
      opened.push(store);
      return store;
    },
    end: async () => {
      for (const store of opened) await store.close();
    },
  };
}

describe.each(Object.keys(LABS))('a %s store', (kind) => {
  let lab: Lab;
  let store: Store;

  const setUp = async () => {
    lab = await (LABS[kind] as () => Promise<Lab>)();
    store = await lab.open();
  };
  const put = (subject: string, state: SubjectState | null, rank?: number) =>
    store.commit([subject], () => ({
      put: new Map([[subject, state]]),
      ranks: new Map(rank === undefined ? [] : [[subject, rank]]),
    }));

  afterEach(async () => {
    await lab.end();
  });

  it('hands the known states to the decision, and stores what it returns', async () => {
    await setUp();
    await put('203.0.113.1', stateOf(1));
    const seen: string[][] = [];
    const outcome = await store.commit(['203.0.113.1', '203.0.113.2'], (states) => {
      seen.push([...states.keys()]);
      return { put: new Map([['203.0.113.2', stateOf(2)]]) };
    });
    expect(seen).toEqual([['203.0.113.1']]);
    expect([...(outcome.put ?? [])]).toEqual([['203.0.113.2', stateOf(2)]]);
    expect(await store.states(['203.0.113.1', '203.0.113.2', '203.0.113.3'])).toEqual(
      new Map([
        ['203.0.113.1', stateOf(1)],
        ['203.0.113.2', stateOf(2)],
      ]),
    );
    expect(await store.states([])).toEqual(new Map());
  });

  it('changes nothing when the decision throws', async () => {
    await setUp();
    await expect(
      store.commit([], () => {
        throw new RangeError('no');
      }),
    ).rejects.toThrow(RangeError);
    await put('203.0.113.1', stateOf(1));
    expect(await store.counts(T)).toEqual({ scored: 1, banned: 0 });
  });

  it('changes nothing when one of several positions was moved by another', async () => {
    await setUp();
    await store.commit([], () => ({ progress: [progressOf('a1', null)] }));
    const other = { log: '/var/log/other.log' };
    const late = store.commit([], () => ({
      put: new Map([['203.0.113.1', stateOf(1)]]),
      evidence: new Map([['203.0.113.1', [evidenceOf('x')]]]),
      changes: [changeOf('203.0.113.1')],
      allow: [{ entry: '192.0.2.1', at: T }],
      notes: new Map([['a note', 1]]),
      progress: [progressOf('b1', null, other), progressOf('a2', 'a0')],
    }));
    await expect(late).rejects.toMatchObject({ name: StaleProgressError.name });
    expect(await store.counts(T)).toEqual({ scored: 0, banned: 0 });
    expect(await store.evidence('203.0.113.1')).toEqual([]);
    expect(await store.history(10)).toEqual([]);
    expect(await store.allowed()).toEqual([]);
    expect(await store.note('a note')).toBeNull();
    expect([...(await store.progress('mx1')).keys()]).toEqual(['/var/log/mail.log']);
    await expect(store.commit([], () => ({ progress: [progressOf('a3', null)] }))).rejects.toMatchObject({
      name: StaleProgressError.name,
    });
    await store.commit([], () => ({ progress: [progressOf('a2', 'a1'), progressOf('b1', null, other)] }));
    expect((await store.progress('mx1')).get('/var/log/mail.log')).toEqual(progressOf('a2', 'a1'));
  });

  it('keeps and forgets named facts in the step that moves the position', async () => {
    await setUp();
    await store.setNote('old', 1);
    const notes = new Map<string, unknown>([
      ['old', null],
      ['new', { hours: [1, 2] }],
    ]);
    await store.commit([], () => ({ progress: [progressOf('a', null)], notes }));
    expect(await store.note('old')).toBeNull();
    expect(await store.note('new')).toEqual({ hours: [1, 2] });
  });

  it('keeps the positions of each host apart', async () => {
    await setUp();
    await store.commit([], () => ({ progress: [progressOf('a', null), progressOf('b', null, { host: 'mx2' })] }));
    expect((await store.progress('mx2')).get('/var/log/mail.log')?.commit).toBe('b');
    expect(await store.progress('mx3')).toEqual(new Map());
    expect((await store.hosts()).sort()).toEqual(['mx1', 'mx2']);
  });

  it('loses nothing when two handles commit to the same subject at once', async () => {
    await setUp();
    const other = await lab.open();
    const worker = async (handle: Store, times: number) => {
      for (let i = 0; i < times; i++) {
        await handle.commit(['203.0.113.1'], (states) => ({
          put: new Map([['203.0.113.1', stateOf((states.get('203.0.113.1')?.offenses ?? 0) + 1)]]),
        }));
      }
    };
    await Promise.all([worker(store, 125), worker(store, 125), worker(other, 125), worker(other, 125)]);
    expect((await store.states(['203.0.113.1'])).get('203.0.113.1')).toEqual(stateOf(500));
  });

  it('forgets a subject with its evidence, rank and ban', async () => {
    await setUp();
    await store.commit([], () => ({
      put: new Map([['203.0.113.1', stateOf(1, { ban: banOf('203.0.113.1', T + 1_000) })]]),
      ranks: new Map([['203.0.113.1', 3]]),
      evidence: new Map([['203.0.113.1', [evidenceOf('x')]]]),
    }));
    // The decision need not have read what it forgets.
    await store.commit([], () => ({ put: new Map([['203.0.113.1', null]]) }));
    expect(await store.counts(T)).toEqual({ scored: 0, banned: 0 });
    expect(await store.evidence('203.0.113.1')).toEqual([]);
    expect(await store.top(10)).toEqual([]);
    expect(await store.bans(0)).toEqual([]);
    expect(await store.endedBans(T + 9_999, 10)).toEqual([]);
  });

  it('keeps the newest lines of evidence, newest first', async () => {
    await setUp();
    const lines = (from: number, count: number) =>
      Array.from({ length: count }, (_, i) => evidenceOf(`line ${from + i}`, T + from + i));
    await store.commit([], () => ({ evidence: new Map([['203.0.113.1', lines(0, 3)]]) }));
    await store.commit([], () => ({ evidence: new Map([['203.0.113.1', lines(3, MAX_EVIDENCE - 1)]]) }));
    expect(await store.evidence('203.0.113.1')).toEqual(keptBy(kind, lines(2, MAX_EVIDENCE)).reverse());
    await store.commit([], () => ({ evidence: new Map([['203.0.113.1', lines(50, 2 * MAX_EVIDENCE)]]) }));
    expect(await store.evidence('203.0.113.1')).toEqual(keptBy(kind, lines(50 + MAX_EVIDENCE, MAX_EVIDENCE)).reverse());
  });

  it('asks for no more lines of evidence than it keeps', async () => {
    await setUp();
    const lines = Array.from({ length: 5_000 }, (_, i) => evidenceOf(`line ${i}`, T + i));
    const asked: number[] = [];
    const evidence = {
      length: lines.length,
      slice: (start: number) => {
        asked.push(start);
        return lines.slice(start);
      },
      findLast: () => expect.unreachable(),
      forEach: () => expect.unreachable(),
    };
    await store.commit([], () => ({ evidence: new Map([['203.0.113.1', evidence]]) }));
    expect(await store.evidence('203.0.113.1')).toEqual(keptBy(kind, lines.slice(-MAX_EVIDENCE)).reverse());
    expect(new Set(asked)).toEqual(new Set(kind === 'memory' ? [] : [-MAX_EVIDENCE]));
  });

  it('lists bans in order of their end, and apart from them those that have ended', async () => {
    await setUp();
    const ends = [5, 3, 9, 1, 3].map((seconds, i) => [`203.0.113.${i}`, T + seconds * 1_000] as const);
    await store.commit([], () => ({
      put: new Map(ends.map(([subject, until]) => [subject, stateOf(0, { ban: banOf(subject, until) })])),
    }));
    const endsOf = async (since: number) => (await store.bans(since)).map(({ until }) => (until - T) / 1_000);
    expect(await endsOf(0)).toEqual([1, 3, 3, 5, 9]);
    expect(await endsOf(T + 3_000)).toEqual([5, 9]);
    expect((await store.endedBans(T + 3_000, 10))[0]).toBe('203.0.113.3');
    expect((await store.endedBans(T + 3_000, 10)).sort()).toEqual(['203.0.113.1', '203.0.113.3', '203.0.113.4']);
    expect(await store.endedBans(T + 3_000, 1)).toEqual(['203.0.113.3']);
    expect(await store.counts(T + 3_000)).toEqual({ scored: 5, banned: 2 });
    await put('203.0.113.2', stateOf(0, { ban: banOf('203.0.113.2', T + 4_000) }));
    await put('203.0.113.0', stateOf(0));
    expect(await endsOf(0)).toEqual([1, 3, 3, 4]);
  });

  it('orders subjects by rank, and leaves out those without a score', async () => {
    await setUp();
    await put('203.0.113.1', stateOf(1), 10.000000001);
    await put('203.0.113.2', stateOf(1), 10.000000002);
    await put('203.0.113.3', stateOf(1), -5);
    await put('203.0.113.4', stateOf(1), Number.NEGATIVE_INFINITY);
    await put('203.0.113.5', stateOf(1));
    await put('203.0.113.6', stateOf(1), 99);
    await put('203.0.113.6', stateOf(0));
    expect(await store.top(10)).toEqual(['203.0.113.2', '203.0.113.1', '203.0.113.3']);
    expect(await store.top(1)).toEqual(['203.0.113.2']);
  });

  it('feeds changes to each reader from where it stopped, in order', async () => {
    await setUp();
    const start = (await store.changesSince(null)).cursor;
    expect(await store.changesSince(start)).toMatchObject({ changes: [], gap: false });
    const changes = Array.from({ length: 5 }, (_, i) => changeOf(`203.0.113.${i}`));
    await store.commit([], () => ({ changes: changes.slice(0, 2) }));
    const first = await store.changesSince(start);
    expect(first).toMatchObject({ changes: changes.slice(0, 2), gap: false });
    await store.commit([], () => ({ changes: changes.slice(2) }));
    const second = await store.changesSince(first.cursor);
    expect(second).toMatchObject({ changes: changes.slice(2), gap: false });
    expect(await store.changesSince(start)).toMatchObject({ changes, gap: false });
    expect(await store.changesSince(second.cursor)).toEqual({ changes: [], gap: false, cursor: second.cursor });
    expect((await store.changesSince(null)).cursor).toBe(second.cursor);
    expect(await store.history(3)).toEqual(changes.slice(2).reverse());
  });

  it('says so when changes were trimmed that a reader has not seen', async () => {
    await setUp();
    const start = (await store.changesSince(null)).cursor;
    const batch = (count: number) => Array.from({ length: count }, (_, i) => changeOf(`198.51.100.${i % 256}`));
    await store.commit([], () => ({ changes: batch(10) }));
    const early = (await store.changesSince(null)).cursor;
    await store.commit([], () => ({ changes: batch(MAX_CHANGES + 500) }));
    const late = await store.changesSince(early);
    expect(late).toMatchObject({ gap: true, changes: [] });
    expect((await store.changesSince(start)).gap).toBe(true);
    await store.commit([], () => ({ changes: batch(1) }));
    expect(await store.changesSince(late.cursor)).toMatchObject({ gap: false, changes: batch(1) });
    expect((await store.history(2 * MAX_CHANGES)).length).toBeLessThan(MAX_CHANGES + 500);
    expect((await store.changesSince('no cursor of ours')).gap).toBe(true);
  });

  it('wakes a watcher in under a second after another handle committed a change', async () => {
    await setUp();
    const other = await lab.open();
    let calls = 0;
    const stop = store.watch(() => calls++);
    await sleep(600);
    calls = 0;
    await other.commit([], () => ({ put: new Map([['203.0.113.1', stateOf(1)]]) }));
    await other.commit([], () => ({ changes: [changeOf('203.0.113.1')] }));
    await expect.poll(() => calls, { timeout: 10_000, interval: 10 }).toBeGreaterThan(0);
    await sleep(300);
    calls = 0;
    await other.commit([], () => ({ changes: [changeOf('203.0.113.1')] }));
    await expect.poll(() => calls, { timeout: 10_000, interval: 10 }).toBeGreaterThan(0);
    await stop();
    calls = 0;
    await other.commit([], () => ({ changes: [changeOf('203.0.113.1')] }));
    await sleep(400);
    expect(calls).toBe(0);
  });

  it('prunes idle subjects and old evidence', async () => {
    await setUp();
    const subjects = Array.from({ length: 2_500 }, (_, i) => `203.0.${i >> 8}.${i & 255}`);
    await store.commit([], () => ({
      put: new Map(subjects.map((subject, i) => [subject, stateOf(i % 2)])),
      ranks: new Map(subjects.map((subject) => [subject, 1])),
      evidence: new Map([
        ['203.0.0.0', [evidenceOf('of a pruned one')]],
        ['203.0.0.1', [evidenceOf('old', T - 10_000), evidenceOf('new', T)]],
        ['203.0.0.3', [evidenceOf('old', T - 10_000)]],
      ]),
    }));
    expect(await store.prune((_, state) => state.score.value === 0, T, 5_000)).toBe(1_250);
    expect(await store.counts(T)).toEqual({ scored: 1_250, banned: 0 });
    expect((await store.top(9_999)).length).toBe(1_250);
    expect(await store.evidence('203.0.0.0')).toEqual([]);
    expect(await store.evidence('203.0.0.1')).toEqual(keptBy(kind, [evidenceOf('new', T)]));
    expect(await store.evidence('203.0.0.3')).toEqual([]);
  });

  it('prunes old changes but the newest, without a gap for who has read them', async () => {
    await setUp();
    const changes = Array.from({ length: 2_500 }, (_, i) => ({ ...changeOf('203.0.113.1'), at: T + i }));
    await store.commit([], () => ({ changes: changes.slice(0, 2_000) }));
    const { cursor } = await store.changesSince(null);
    await store.commit([], () => ({ changes: changes.slice(2_000) }));
    await store.prune(() => false, T + 10_000, 10_000 - 1_999);
    expect(await store.history(9_999)).toEqual(changes.slice(2_000).reverse());
    expect((await store.changesSince(cursor)).gap).toBe(kind.startsWith('redis'));
    const read = (await store.changesSince(null)).cursor;
    await store.prune(() => false, T + 99_999, 1);
    expect(await store.history(9_999)).toEqual(changes.slice(-1));
    expect(await store.changesSince(read)).toEqual({ changes: [], cursor: read, gap: false });
    await store.commit([], () => ({ changes: [changeOf('203.0.113.2')] }));
    expect(await store.changesSince(read)).toMatchObject({ changes: [changeOf('203.0.113.2')], gap: false });
  });

  it('rewrites every state exactly once, with its rank and ban, also while others commit', async () => {
    await setUp();
    const subjects = Array.from({ length: 5_000 }, (_, i) => `203.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
    await store.commit([], () => ({
      put: new Map(subjects.map((one, i) => [one, stateOf(i, i === 7 ? { ban: banOf(one, T + 7_000) } : {})])),
      ranks: new Map(subjects.map((one, i) => [one, -i])),
    }));
    const other = await lab.open();
    const busy = (async () => {
      for (let i = 0; i < 10; i++) {
        await other.commit(['192.0.2.1'], (states) => ({
          put: new Map([
            [
              '192.0.2.1',
              { ...stateOf(0), ...states.get('192.0.2.1'), offenses: (states.get('192.0.2.1')?.offenses ?? 0) + 1 },
            ],
          ]),
        }));
        await sleep(5);
      }
    })();
    await store.rewrite((state) => ({
      state: { ...state, accepted: { value: state.accepted.value + 1, at: T } },
      rank: state.score.value,
    }));
    await busy;
    const states = await store.states([...subjects, '192.0.2.1']);
    const wrong = subjects.filter((one) => states.get(one)?.accepted.value !== 1);
    expect(wrong).toEqual([]);
    expect(states.get('192.0.2.1')?.offenses).toBe(10);
    expect((await store.top(2)).slice(0, 1)).toEqual([subjects.at(-1)]);
    expect((await store.bans(T)).map(({ subject }) => subject)).toEqual([subjects[7]]);
  });

  it('rewrites an empty store to an empty store', async () => {
    await setUp();
    await store.rewrite((state) => ({ state, rank: 0 }));
    expect(await store.counts(T)).toEqual({ scored: 0, banned: 0 });
  });

  it('keeps the never-banned list', async () => {
    await setUp();
    await store.commit([], () => ({
      allow: [
        { entry: '192.0.2.0/24', at: T },
        { entry: '.mail.example', at: T + 1 },
      ],
    }));
    await store.commit([], () => ({
      disallow: ['192.0.2.0/24', 'unknown.example'],
      allow: [{ entry: '.mail.example', at: T + 2 }],
    }));
    expect(await store.allowed()).toEqual([{ entry: '.mail.example', at: T + 2 }]);
  });

  it('keeps notes as JSON, and answers null for one that was never set', async () => {
    await setUp();
    expect(await store.note('settings')).toBeNull();
    await store.setNote('settings', { a: [], b: {}, c: 1e300, d: null });
    await store.setNote('daemon:mx1', 'text');
    expect(await (await lab.open()).note('settings')).toEqual({ a: [], b: {}, c: 1e300, d: null });
    expect(await store.note('daemon:mx1')).toBe('text');
  });

  it('takes thousands of subjects in one commit', async () => {
    await setUp();
    const subjects = Array.from({ length: 12_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
    const bump = () =>
      store.commit(subjects, (states) => ({
        put: new Map(subjects.map((one) => [one, stateOf((states.get(one)?.offenses ?? 0) + 1)])),
        ranks: new Map(subjects.map((one) => [one, 1])),
        evidence: new Map(subjects.map((one) => [one, [evidenceOf(`from ${one}`)]])),
        progress: [],
      }));
    await bump();
    await bump();
    expect((await store.states(['10.0.46.223'])).get('10.0.46.223')?.offenses).toBe(2);
    const [one, other] = [evidenceOf('from 10.0.46.223'), evidenceOf('from 10.0.46.223')];
    expect(await store.evidence('10.0.46.223')).toEqual(keptBy(kind, [one, other]));
  });

  it('gives back any text, any JSON and any double as it was', async () => {
    await setUp();
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }),
      fc.constantFrom(
        'a\nb',
        'a\0b',
        '\0',
        '}{',
        '{',
        '"',
        "'",
        '\\',
        '\r\n',
        '%s',
        '__proto__',
        'constructor',
        '😀',
        '\u2028',
        ' ',
      ),
    );
    const json = fc
      .jsonValue({ noUnicodeString: false, maxDepth: 3 })
      .map((value) => JSON.parse(JSON.stringify(value)) as unknown);
    const double = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0);
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        hostile,
        hostile,
        hostile,
        json,
        double,
        fc.array(hostile, { maxLength: 3 }),
        async (subject, host, log, carry, value, lines) => {
          const commit = `c${++round}`;
          const state = stateOf(1, {
            score: { value, at: T },
            host,
            ban: banOf(subject, T + 1_000, { reason: log }),
            members: { [host === '__proto__' ? 'p' : host]: value },
          });
          const evidence = lines.map((line) => ({ ...evidenceOf(line), rule: log, points: value }));
          const stored = (await store.progress(host)).get(log);
          const progress = progressOf(commit, stored?.commit ?? null, { host, log, carry });
          const change = { type: 'allow', at: T, entry: subject } as const;
          await store.commit([subject], () => ({
            put: new Map([[subject, state]]),
            evidence: new Map([[subject, evidence]]),
            allow: [{ entry: subject, at: value }],
            changes: [change],
            progress: [progress],
          }));
          await store.setNote(host, carry);
          expect((await store.states([subject])).get(subject)).toEqual(state);
          const kept = (await store.evidence(subject)).slice(0, evidence.length);
          expect(kept).toEqual(keptBy(kind, evidence).toReversed());
          expect((await store.bans(T)).map((ban) => ban.subject)).toEqual([subject]);
          expect(await store.allowed()).toEqual([{ entry: subject, at: value }]);
          expect(await store.history(1)).toEqual([change]);
          expect((await store.progress(host)).get(log)).toEqual(progress);
          expect(await store.note(host)).toEqual(carry);
          await store.commit([subject], () => ({ put: new Map([[subject, null]]), disallow: [subject] }));
        },
      ),
      { numRuns: 200 },
    );
  });

  it('holds a path as long as the system allows', async () => {
    await setUp();
    const log = `/${'x'.repeat(4_000)}`;
    await store.commit([], () => ({ progress: [progressOf('a', null, { log })] }));
    expect((await store.progress('mx1')).get(log)).toEqual(progressOf('a', null, { log }));
  });
});
