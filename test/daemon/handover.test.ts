/** An address that changes hands is let go, and only then: asked of a real name server whose zone changes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toPolicySettings } from '../../src/config/load.js';
import { defaultConfig } from '../../src/config/schema.js';
import { Handover } from '../../src/daemon/handover.js';
import { namesFrom } from '../../src/daemon/names.js';
import { Allowlist } from '../../src/policy/allowlist.js';
import { Policy } from '../../src/policy/policy.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { banOf, stateOf } from '../store/samples.js';
import { NameServer } from '../support/name-server.js';
import { blockctl, RunningDaemon } from '../support/programs.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const IP = '203.0.113.9';

const policy = new Policy(
  { ...toPolicySettings(defaultConfig()), dryRun: false },
  new Allowlist({ addresses: [], hostnames: [] }),
);

let dns: NameServer;
let store: Store;
let now: number;

beforeEach(async () => {
  dns = await NameServer.start();
  store = await openStore('memory:', { prefix: 'test' });
  now = Date.UTC(2026, 4, 11, 4);
});
afterEach(async () => {
  dns.close();
  await store.close();
});

async function banned(subject: string, host: string | null, more: object = {}): Promise<void> {
  const ban = banOf(subject, now + 3 * DAY, { since: now, host, ...more });
  const strikes = { value: 2, at: now };
  await store.commit([subject], () => ({ put: new Map([[subject, stateOf(0, { ban, host, strikes })]]) }));
}

function watch(logger = pino({ level: 'silent' })): Handover {
  return new Handover({
    store,
    policy: () => policy,
    namesOf: namesFrom([dns.address]),
    logger,
    serially: (work) => work(),
    onReleased: () => undefined,
    gapMs: 0,
    clock: () => now,
  });
}

const never = new AbortController().signal;
const stateNow = async (subject = IP) => (await store.states([subject])).get(subject);

/** Looks `times` times, an hour apart. */
async function looks(handover: Handover, times = 1): Promise<void> {
  for (let i = 0; i < times; i++) {
    now += HOUR;
    await handover.look(never);
  }
}

describe('a banned address', () => {
  it('is let go when it has another verified name twice in a row; half the threshold and the strikes stay', async () => {
    dns.set(IP, ['mail.spam.example']);
    await banned(IP, 'mail.spam.example');
    const handover = watch();
    await looks(handover, 3);
    expect((await stateNow())?.ban).not.toBeNull();
    dns.set(IP, ['MX1.Decent.Example']);
    await looks(handover);
    expect((await stateNow())?.ban).not.toBeNull();
    await looks(handover);
    const state = await stateNow();
    expect(state).toMatchObject({ ban: null, host: 'mx1.decent.example', strikes: { value: 2 } });
    expect(state?.releases[0]).toMatchObject({ how: 'handover', at: now, ban: { host: 'mail.spam.example' } });
    expect(state && policy.scoreAt(state, now)).toBe(2.5);
    expect(await store.history(1)).toMatchObject([{ type: 'release', release: { how: 'handover' } }]);
  });

  it('stays banned while its name servers are silent or fail, and what was seen before is not forgotten', async () => {
    await banned(IP, 'mail.spam.example');
    dns.set(IP, ['mx1.decent.example']);
    const handover = watch();
    await looks(handover);
    dns.mood = 'fails';
    await looks(handover, 2);
    expect((await stateNow())?.ban).not.toBeNull();
    dns.mood = 'silent';
    await looks(handover);
    expect((await stateNow())?.ban).not.toBeNull();
    dns.mood = 'answers';
    await looks(handover);
    expect((await stateNow())?.ban).toBeNull();
  }, 60_000);

  it('is asked for in vain ten times a round at most, and the log says so once', async () => {
    for (let i = 0; i < 30; i++) await banned(`203.0.113.${i}`, `mail${i}.spam.example`);
    now += HOUR;
    dns.mood = 'fails';
    const said: string[] = [];
    const stream = { write: (line: string) => void said.push(line) };
    const handover = watch(pino({}, stream));
    await handover.look(never);
    await handover.look(never);
    // Each is put a few times; all thirty of both rounds would be 240.
    expect(dns.asked).toBeLessThan(100);
    expect(said.filter((line) => line.includes('handover-blind'))).toHaveLength(1);
    dns.mood = 'answers';
    await handover.look(never);
    dns.mood = 'fails';
    await handover.look(never);
    expect(said.filter((line) => line.includes('handover-blind'))).toHaveLength(2);
  });

  it.each([
    ['no name at all', [], IP],
    ['a name that does not lead back', ['mx1.decent.example'], '198.51.100.1'],
    ['its old name among others', ['other.example', 'mail.spam.example'], IP],
    ['what is no host name', ['evil name\x1b[2J.example'], IP],
  ])('stays banned with %s', async (_what, names, leadsBackTo) => {
    await banned(IP, 'mail.spam.example');
    dns.set(IP, names, leadsBackTo);
    await looks(watch(), 4);
    expect((await stateNow())?.ban).not.toBeNull();
  });

  it('stays banned when its name flaps among those of a pool', async () => {
    await banned(IP, 'a.pool.example');
    const handover = watch();
    for (const name of ['b', 'c', 'a', 'b', 'd', 'c']) {
      dns.set(IP, [`${name}.pool.example`]);
      await looks(handover);
    }
    expect((await stateNow())?.ban).not.toBeNull();
  });

  it('is let go in this way once in a half-life of the strikes: who owns a zone may write anything into it', async () => {
    await banned(IP, 'a.spam.example');
    const handover = watch();
    dns.set(IP, ['b.spam.example']);
    await looks(handover, 2);
    const released = await stateNow();
    expect(released?.ban).toBeNull();
    const again = banOf(IP, now + 9 * DAY, { since: now, host: 'b.spam.example' });
    await store.commit([IP], (states) => ({ put: new Map([[IP, { ...(states.get(IP) ?? stateOf(0)), ban: again }]]) }));
    dns.set(IP, ['c.spam.example']);
    const asked = dns.asked;
    await looks(handover, 4);
    expect((await stateNow())?.ban).not.toBeNull();
    expect(dns.asked, 'nobody is asked in vain').toBe(asked);
  });

  it.each([
    ['young', { since: Date.UTC(2026, 4, 11, 6, 30) }],
    ['banned by a person', { by: 'person' }],
  ])('is not looked at when %s', async (_what, more) => {
    await banned(IP, 'mail.spam.example', more);
    dns.set(IP, ['mx1.decent.example']);
    const handover = watch();
    await looks(handover, 3);
    expect((await stateNow())?.ban).not.toBeNull();
    expect(dns.asked).toBe(0);
  });

  it('is asked for one after the other, and the rest later when the daemon ends', async () => {
    for (let i = 0; i < 5; i++) await banned(`203.0.113.${i}`, `mail${i}.spam.example`);
    now += HOUR;
    const ending = new AbortController();
    const handover = watch();
    const run = handover.look(ending.signal);
    ending.abort();
    await run;
    expect(dns.asked).toBeLessThan(2);
    await handover.look(never);
    expect(dns.asked).toBeGreaterThanOrEqual(5);
  });
});

describe('an allowed name', () => {
  it('ends the ban of the address that it has come to', async () => {
    const friendly = new Policy(
      policy.settings,
      new Allowlist({ addresses: [], hostnames: [{ entry: 'partner.example', why: 'allowed' }] }),
    );
    await banned(IP, 'mail.spam.example');
    const seen = {
      kind: 'accepted',
      rule: 'postfix/accepted',
      ip: IP,
      host: 'mx.partner.example',
      at: now + 1_000,
      points: 0,
      line: '',
    } as const;
    const states = await store.states([IP]);
    const { put, changes } = friendly.judge([seen], states, now + 1_000);
    expect(put.get(IP)?.ban).toBeNull();
    expect(changes).toMatchObject([{ type: 'release', release: { how: 'allowed' } }]);
  });
});

describe('the daemon', () => {
  it('looks on its schedule, lets go who changed hands, and explains it', async ({ onTestFinished }) => {
    const folder = mkdtempSync(join(tmpdir(), 'blockd-handover-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const [log, storeUrl] = [join(folder, 'mail.log'), `lmdb:${folder}/store`];
    const at = new Date(Date.now() - 1.5 * HOUR).toISOString();
    const lines = Array.from(
      { length: 12 },
      (_, i) =>
        `${at} mx postfix/smtpd[${100 + i}]: NOQUEUE: reject: RCPT from mail.spam.example[${IP}]: 550 5.1.1 <u${i}@example.net>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<u${i}@example.net> proto=ESMTP helo=<c.example>\n`,
    );
    writeFileSync(log, lines.join(''));
    dns.set(IP, ['mx1.decent.example']);
    const daemon = await RunningDaemon.start([
      ...['--log', log, '--from-start', '--store', storeUrl, '--mode', 'dry-run'],
      ...[
        'ban.first=6h',
        'allow.mynetworks=false',
        'handover.every=* * * * * *',
        `handover.servers=["${dns.address}"]`,
      ].flatMap((one) => ['--set', one]),
    ]);
    onTestFinished(async () => void (await daemon.stop('SIGKILL')));
    await expect.poll(() => daemon.log.map(({ event }) => event), { timeout: 20_000 }).toContain('handover');
    const { msg } = daemon.log.find(({ event }) => event === 'handover') ?? {};
    expect(msg).toBe(`${IP} has changed hands: it was mail.spam.example, and is mx1.decent.example now`);
    expect(await daemon.stop()).toBe(0);
    const told = await blockctl(['--store', storeUrl, '--json', 'explain', IP]);
    expect(JSON.parse(told.stdout)).toMatchObject({ ban: null, releases: [{ how: 'handover' }] });
    expect((await blockctl(['--store', storeUrl, 'explain', IP])).stdout).toContain('the address changed hands');
  }, 40_000);
});
