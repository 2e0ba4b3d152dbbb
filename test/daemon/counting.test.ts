/** Counting while the batch before is on its way to the disk: each line once, whatever becomes of that one. */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Counting } from '../../src/daemon/counting.js';
import { History } from '../../src/daemon/history.js';
import { createLogger } from '../../src/daemon/log.js';
import { UnavailableError } from '../../src/domain/errors.js';
import { readHours } from '../../src/report/kept-hours.js';
import { type Outcome, StaleProgressError, type Store } from '../../src/store/store.js';
import { FILTER, policyOf } from '../report/support.js';
import { progressOf, stateOf } from '../store/samples.js';
import { type LmdbTwice, openLmdbTwice } from '../support/lmdb-twice.js';

const LOG = '/var/log/mail.log';
const { signal } = new AbortController();

let store: LmdbTwice['store'];
let other: LmdbTwice['other'];
let end: LmdbTwice['end'];

const logger = await createLogger({ level: 'fatal', format: 'json' });

beforeEach(async () => {
  ({ store, other, end } = await openLmdbTwice());
});
afterEach(() => end());

function countingIn(to: Store): Counting {
  return new Counting({
    store: asHere(to),
    host: 'mx1',
    logger,
    filter: FILTER,
    policy: policyOf({}),
    history: new History(to, 'mx1'),
    progress: new Map(),
    fallback: new Map(),
    birth: 'b',
    readBirth: async () => 'b',
    onEmptied: async () => undefined,
    onCommitted: () => undefined,
  });
}

/** The compiled store throws errors of classes of its own. */
function asHere(to: Store): Store {
  const told = (error: Error): never => {
    throw error.name === 'StaleProgressError' ? new StaleProgressError(error.message) : error;
  };
  const begun = new WeakMap<Promise<Outcome>, Promise<Outcome>>();
  const asOurs = (commit: Promise<Outcome>) => {
    const ours = commit.catch(told);
    begun.set(ours, commit);
    return ours;
  };
  const { commitBehind } = to;
  return Object.assign(Object.create(to) as Store, {
    commit: (...args: Parameters<Store['commit']>) => asOurs(to.commit(...args)),
    progress: (host: string) => to.progress(host),
    ...(commitBehind && {
      commitBehind: (before: Promise<Outcome>, ...args: Parameters<Store['commit']>) =>
        asOurs(commitBehind.call(to, begun.get(before) ?? before, ...args)),
    }),
  });
}

const startAt = Date.now() - 3_600_000;
let lines = 0;
function chunk(count: number, lagBytes = 1) {
  let text = '';
  for (let i = 0; i < count; i++) {
    const stamp = new Date(startAt + ++lines * 10).toISOString();
    const [pid, ip] = [1_000 + lines, `203.0.113.${lines % 3}`];
    text += `${stamp} mx postfix/smtpd[${pid}]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <u@example.net>: Recipient address rejected: User unknown in local recipient table; from=<a@example.org> to=<u@example.net> proto=ESMTP helo=<x>\n`;
  }
  return {
    log: LOG,
    lines: Buffer.from(text, 'latin1'),
    position: { kind: 'journal', cursor: String(lines) } as const,
    writtenAt: Date.now(),
    lagBytes,
  };
}

async function told() {
  const states = await other.states(['203.0.113.0', '203.0.113.1', '203.0.113.2']);
  const hours = await readHours(other, 'mx1', 0, Number.POSITIVE_INFINITY);
  return {
    offenses: [...states.values()].reduce((sum, { offenses }) => sum + offenses, 0),
    attempts: hours.reduce((sum, { attempts }) => sum + attempts, 0),
    position: (await other.progress('mx1')).get(LOG)?.position,
  };
}

const all = () => ({
  offenses: lines,
  attempts: lines,
  position: { kind: 'journal', cursor: String(lines) },
});

beforeEach(() => {
  lines = 0;
});

describe('what is judged ahead', () => {
  it('counts once in scores and history, and each batch is its own commit', async () => {
    const counting = countingIn(store);
    counting.take(chunk(700));
    expect(counting.ahead()).toBe(false);
    const first = counting.flush(signal);
    counting.take(chunk(300));
    expect(counting.ahead()).toBe(true);
    counting.take(chunk(200));
    expect(counting.ahead()).toBe(false);
    expect(await first).toBe(true);
    expect(counting.isAhead).toBe(true);
    expect(counting.ahead()).toBe(true);
    expect(await counting.finish(signal)).toBe(true);
    expect(await counting.finish(signal)).toBe(true);
    expect(counting.isAhead).toBe(false);
    expect(await told()).toEqual(all());
  });

  it('is part of a flush that finds it under way, as is what came behind it', async () => {
    const counting = countingIn(store);
    counting.take(chunk(100));
    const first = counting.flush(signal);
    counting.take(chunk(100));
    counting.ahead();
    counting.take(chunk(100));
    await first;
    expect(await counting.flush(signal)).toBe(true);
    expect(counting.isAhead).toBe(false);
    expect(await told()).toEqual(all());
  });

  it('counts once when the commit before it fails and is made again', async () => {
    let failures = 2;
    const failing = Object.assign(Object.create(store) as Store, {
      // As on a full disk: the thread answers that it could not.
      commit: async (...args: Parameters<Store['commit']>) => {
        if (failures-- <= 0) return store.commit(...args);
        await nextTurn();
        await nextTurn();
        throw new UnavailableError('no space left on the device');
      },
      commitBehind: async () => {
        throw new UnavailableError('no space left on the device');
      },
      note: (name: string) => store.note(name),
      bans: (since: number) => store.bans(since),
    });
    const counting = countingIn(failing);
    counting.take(chunk(100));
    const first = counting.flush(signal);
    counting.take(chunk(100));
    expect(counting.ahead()).toBe(true);
    await expect.poll(() => counting.storeAway).toBe(true);
    // It waits to be tried again, and nothing can follow it.
    counting.take(chunk(100));
    expect(counting.ahead()).toBe(false);
    expect(await first).toBe(true);
    expect(await told()).toMatchObject({ offenses: 100, position: { cursor: '100' } });
    expect(await counting.flush(signal)).toBe(true);
    expect(await told()).toEqual(all());
  });

  it('is asked for behind that one, however long that one takes to get ready', async () => {
    let isFirst = true;
    const slow = Object.assign(Object.create(store) as Store, {
      commit: (...args: Parameters<Store['commit']>) => store.commit(...args),
      commitBehind: (...args: Parameters<Required<Store>['commitBehind']>) => store.commitBehind(...args),
      note: (name: string) => store.note(name),
      // As a node of a cluster that sends us on to another.
      bans: async (since: number) => {
        if (isFirst) {
          isFirst = false;
          await sleep(300);
        }
        return store.bans(since);
      },
    });
    const counting = countingIn(slow);
    counting.take(chunk(100));
    const first = counting.flush(signal);
    counting.take(chunk(100));
    expect(counting.ahead()).toBe(true);
    expect(await first).toBe(true);
    expect(await counting.flush(signal)).toBe(true);
    expect(await told()).toEqual(all());
  });

  it('is not counted when another daemon has taken the log', async () => {
    const counting = countingIn(store);
    counting.take(chunk(100));
    await counting.flush(signal);
    const before = (await other.progress('mx1')).get(LOG);
    const theirs = progressOf('theirs', before?.commit ?? null, { at: Date.now() + 60_000 });
    await other.commit([], () => ({ progress: [theirs] }));
    counting.take(chunk(100));
    const second = counting.flush(signal);
    counting.take(chunk(100));
    counting.ahead();
    await expect(second).rejects.toThrow(StaleProgressError);
    expect(counting.isAhead).toBe(false);
    expect(await told()).toMatchObject({ offenses: 100, attempts: 100 });
  });

  it('counts once although it was refused for having come too soon', async () => {
    let isFirst = true;
    const hasty = Object.assign(Object.create(store) as Store, {
      commit: (...args: Parameters<Store['commit']>) => store.commit(...args),
      // As when another commit of this process came between: it does not wait for the right one.
      commitBehind: (...args: Parameters<Required<Store>['commitBehind']>) => {
        if (isFirst) {
          isFirst = false;
          return Promise.reject(new StaleProgressError(LOG));
        }
        return store.commitBehind(...args);
      },
      note: (name: string) => store.note(name),
      bans: (since: number) => store.bans(since),
    });
    const counting = countingIn(hasty);
    counting.take(chunk(100));
    const first = counting.flush(signal);
    counting.take(chunk(100));
    expect(counting.ahead()).toBe(true);
    await first;
    const second = counting.finish(signal);
    counting.take(chunk(100));
    expect(counting.ahead()).toBe(true);
    await second;
    await counting.flush(signal);
    expect(await told()).toEqual(all());
  });

  it('counts once while this process and another write all the time', async () => {
    const counting = countingIn(store);
    let committed: Promise<unknown> = Promise.resolve();
    for (let i = 0; i < 60; i++) {
      counting.take(chunk(50));
      if (i === 0) committed = counting.flush(signal);
      else if (!counting.ahead()) {
        await committed;
        committed = counting.flush(signal);
      }
      if (i % 3 === 0) await other.setNote('other', i);
      if (i % 5 === 0) void store.commit(['192.0.2.1'], () => ({ put: new Map([['192.0.2.1', stateOf(i)]]) }));
      if (i % 7 === 0) void other.setNote('soon', i);
      if (i % 4 === 0) await nextTurn();
    }
    await committed;
    await counting.flush(signal);
    expect(await told()).toEqual(all());
  }, 30_000);
});
