/** What a policy would have done: bans, attempts stopped, mail that it would have cost, and whom allow rules spared. */
import { spawnSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { Traffic } from '../../src/demo/traffic.js';
import { Folder, NOON, reportOn, Scribe } from './support.js';

const folder = new Folder();
afterAll(() => folder.remove());
const BAD = 'unknown[203.0.113.9]';
const MIXED = 'mx.mixed.example[198.51.100.7]';
const HOUR_MS = 3_600_000;

test('attempts in a session that began during a would-be ban are stopped; those of the session that led to it are not', async () => {
  const scribe = new Scribe();
  scribe.visit(BAD, (visit) => {
    for (let i = 0; i < 8; i++) visit.reject();
  });
  scribe.wait(60_000).visit(BAD, (visit) => {
    for (let i = 0; i < 3; i++) visit.reject();
  });
  scribe.wait(2 * HOUR_MS).visit(BAD, (visit) => visit.reject());
  const { policy, offenders } = await folder.report(scribe.lines);
  expect(policy).toMatchObject({
    bans: 1,
    subjects: 1,
    rejects: 12,
    stopped: 3,
    bannedAtOnce: 1,
    bannedAtEnd: 0,
    hurt: 0,
  });
  expect(offenders).toMatchObject([{ subject: '203.0.113.9', bans: 1, stopped: 3, reason: 'postfix/user-unknown' }]);
  expect(offenders[0]?.curve.offenses).toHaveLength(12);
});

test("postscreen's rejects are told, and never counted as stopped", async () => {
  const scribe = new Scribe();
  scribe.visit(BAD, (visit) => {
    for (let i = 0; i < 5; i++) visit.reject();
  });
  scribe.wait(60_000);
  scribe.say(
    'NOQUEUE: reject: RCPT from [203.0.113.9]:4711: 550 5.7.1 Service unavailable; client [203.0.113.9] blocked using bl.lab.example; from=<a@b.example>, to=<ok1@lab.example>, proto=ESMTP, helo=<x>',
    'postfix/postscreen',
  );
  const { policy, reasons } = await folder.report(scribe.lines);
  expect(policy).toMatchObject({ bans: 1, rejects: 6, stopped: 0 });
  expect(reasons).toMatchObject([
    {
      stage: 'RCPT',
      reason: 'Recipient address rejected: User unknown in local recipient table',
      count: 5,
      clients: [{ name: '203.0.113.9', count: 5 }],
      networks: [{ name: '203.0.113.0/24', count: 5 }],
      recipients: [{ name: 'nobody@lab.example', count: 5 }],
    },
    {
      stage: 'RCPT (postscreen)',
      reason: 'blocked using bl.lab.example',
      count: 1,
      recipients: [{ name: 'ok1@lab.example', count: 1 }],
    },
  ]);
});

/** Delivers, misbehaves until it is banned, delivers in the ban, and delivers after it. */
function mixed(): Scribe {
  const scribe = new Scribe();
  scribe.visit(MIXED, (visit) => visit.deliver());
  scribe.visit(MIXED, (visit) => {
    for (let i = 0; i < 30; i++) visit.reject();
  });
  scribe.wait(60_000).visit(MIXED, (visit) => {
    visit.deliver();
    visit.deliver();
  });
  return scribe.wait(20 * HOUR_MS).visit(MIXED, (visit) => visit.deliver());
}

test('collateral: accepted mail of a client that would have been banned, before, during and after, with the lines', async () => {
  const { policy, accepted, collateral } = await folder.report(mixed().lines);
  expect(accepted).toBe(4);
  expect(policy.hurt).toBe(2);
  expect(collateral).toMatchObject([
    {
      subject: '198.51.100.7',
      host: 'mx.mixed.example',
      accepted: 4,
      before: 1,
      refused: 2,
      after: 1,
      protected: null,
    },
  ]);
  expect(collateral[0]?.lost).toHaveLength(2);
  expect(collateral[0]?.lost[0]).toContain('client=mx.mixed.example[198.51.100.7]');
  expect(collateral[0]?.offenses[0]).toContain('User unknown');
});

test.each([
  ['an address', { addresses: [{ entry: '198.51.100.0/28', why: "Postfix's mynetworks" }] }, "Postfix's mynetworks"],
  [
    'a name',
    { hostnames: [{ entry: 'mixed.example', why: 'allow.hostnames in the config' }] },
    'allow.hostnames in the config',
  ],
])('an allow rule for %s spares the client, and the report says so', async (_what, wish, why) => {
  const { policy, collateral } = await folder.report(mixed().lines, wish);
  expect(policy).toMatchObject({ bans: 0, hurt: 0 });
  expect(collateral).toMatchObject([{ subject: '198.51.100.7', accepted: 4, refused: 0, bans: 0, protected: why }]);
});

test('a client whose user logged in is spared, and named', async () => {
  const scribe = new Scribe();
  scribe.visit(MIXED, (visit) =>
    visit.say(`4F00000001: client=${MIXED}, sasl_method=PLAIN, sasl_username=u1@lab.example`),
  );
  scribe.visit(MIXED, (visit) => {
    for (let i = 0; i < 90; i++) visit.reject();
  });
  const { policy, collateral } = await folder.report(scribe.lines);
  expect(policy.bans).toBe(0);
  expect(collateral).toMatchObject([
    { subject: '198.51.100.7', accepted: 1, loggedIn: true, protected: 'a user logged in from here' },
  ]);
});

test('shadow mode: mail that Postfix took although it would have refused its client', async () => {
  const scribe = new Scribe();
  const warn = (who: string) =>
    `NOQUEUE: warn: RCPT from ${who}: blockd: Blocked until 2026-11-24T15:00Z after repeated rejects; from=<a@b.example> to=<ok1@lab.example> proto=ESMTP helo=<c.example>`;
  scribe.visit(MIXED, (visit) => {
    visit.say(warn(MIXED));
    visit.deliver();
  });
  scribe.visit(BAD, (visit) => {
    visit.say(warn(BAD));
    visit.reject();
  });
  scribe.visit(MIXED, (visit) => visit.deliver());
  const { shadow } = await folder.report(scribe.lines);
  expect(shadow.wouldRefuse).toBe(2);
  expect(shadow.losses).toMatchObject([{ subject: '198.51.100.7', host: 'mx.mixed.example' }]);
});

test('lines that look like a reject and match no rule are grouped by shape, those for good first', async () => {
  const scribe = new Scribe();
  for (const n of [1, 2, 3]) {
    scribe.say(
      `NOQUEUE: reject: RCPT from mx${n}.b.example[198.51.100.${n}]: 450 4.2.0 <u${n}@lab.example>: Recipient address rejected: Greylisted for ${n} seconds; from=<a@b.example> to=<u${n}@lab.example> proto=ESMTP helo=<h${n}>`,
    );
  }
  scribe.say('warning: policy attack limit exceeded by client 203.0.113.9');
  scribe.say('warning: policy attack limit exceeded by client 203.0.113.77');
  const { unmatched } = await folder.report(scribe.lines);
  expect(unmatched.count).toBe(5);
  expect(unmatched.shapes).toMatchObject([
    {
      program: 'postfix/smtpd',
      count: 2,
      temporary: false,
      shape: 'warning: policy attack limit exceeded by client IP',
    },
    { program: 'postfix/smtpd', count: 3, temporary: true },
  ]);
  expect(unmatched.shapes[1]?.shape).not.toMatch(/198\.51|u1@/);
});

test('rotated and packed logs are read in the order of their first time stamp, whatever their names and sizes say', async () => {
  const traffic = new Traffic({ seed: 3, startAt: NOON - 6 * HOUR_MS, perSecond: 0.3, attackShare: 0.5 });
  const lines = [...traffic.lines(8_000)].map(({ text }) => text);
  const part = (from: number, to: number) => `${lines.slice(from, to).join('\n')}\n`;
  const whole = await reportOn([folder.log('whole.log', part(0, 8_000))]);
  const pieces = [
    folder.log('a.log', part(6_000, 8_000)),
    folder.log('b.log.gz', gzipSync(part(2_000, 4_000))),
    folder.log('c.log.xz', spawnSync('xz', ['-c'], { input: part(0, 2_000) }).stdout),
    folder.log('d.log.zst', spawnSync('zstd', ['-c'], { input: part(4_000, 6_000) }).stdout),
  ];
  const parted = await reportOn(pieces);
  expect(parted.logs.map((name) => name.slice(-6))).toEqual(['log.xz', 'log.gz', 'og.zst', '/a.log']);
  expect({ ...parted, logs: [] }).toEqual({ ...whole, logs: [] });
});

test('years are inferred for a log from last December, over New Year', async () => {
  const written = Date.UTC(2026, 0, 2);
  const line = (stamp: string) =>
    `${stamp} mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from ${BAD}: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown; from=<> to=<x@lab.example> proto=ESMTP helo=<x>\n`;
  const { from, to } = await reportOn([
    folder.log('y.log', line('Dec 31 23:59:00') + line('Jan  1 00:01:00'), written),
  ]);
  expect([from, to].map((at) => new Date(at ?? 0).getFullYear())).toEqual([2025, 2026]);
});

test('since and until cut the log', async () => {
  const scribe = new Scribe();
  for (let i = 0; i < 10; i++) scribe.visit(BAD, (visit) => visit.reject());
  const { lines } = await folder.report(scribe.lines, { since: NOON - HOUR_MS + 3_000, until: NOON - HOUR_MS + 9_000 });
  expect(lines).toBe(6);
});

test('bytes that are no text, NULs and a line of a megabyte do no harm', async () => {
  const scribe = new Scribe();
  scribe.visit(BAD, (visit) => visit.reject('\xff\xfe\x1b[31m\0@lab.example'));
  const { lines, reasons } = await folder.report([...scribe.lines, `\0\0${'x'.repeat(1_500_000)}`, '\x80\r', '']);
  expect(lines).toBe(6);
  expect(reasons[0]?.count).toBe(1);
});

test('an empty log gives an empty report', async () => {
  const { lines, from, policy, timeline } = await reportOn([folder.log('empty.log', '')]);
  expect({ lines, from, bans: policy.bans, buckets: timeline.buckets }).toEqual({
    lines: 0,
    from: null,
    bans: 0,
    buckets: [],
  });
});
