/** `blockctl report` as its users see it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { Progress } from '../../src/cli/progress.js';
import { Traffic } from '../../src/demo/traffic.js';
import { Scribe } from '../report/support.js';
import { Bench } from './support.js';

const bench = new Bench();
afterAll(() => bench.remove());
const DAY = Date.UTC(2026, 4, 3);
const traffic = new Traffic({ seed: 11, startAt: DAY, perSecond: 0.3, attackShare: 0.4 });
const log = bench.file('mail.log', `${[...traffic.lines(8_000)].map(({ text }) => text).join('\n')}\n`);

interface ReportJson {
  readonly lines: number;
  readonly from: string;
  readonly mail: Record<string, number>;
  readonly reasons: readonly { stage: string; reason: string; count: number }[];
  readonly policy: Record<string, number>;
  readonly collateral: readonly Record<string, unknown>[];
}

test('the JSON has what others rely on', async () => {
  const report = (await bench.json('report', log)) as ReportJson;
  expect(report).toMatchObject({ lines: 8_000, from: expect.stringMatching(/^2026-05-03T00:00:\d\d\.\d{3}Z$/) });
  for (const key of [
    'received',
    'delivered',
    'forwarded',
    'deferred',
    'bounced',
    'rejected',
    'rejectWarnings',
    'held',
    'discarded',
    'bytesReceived',
    'bytesDelivered',
  ])
    expect(report.mail[key], key).toEqual(expect.any(Number));
  for (const key of ['bans', 'subjects', 'rejects', 'stopped', 'bannedAtOnce'])
    expect(report.policy[key], key).toBeGreaterThan(0);
  expect(report.reasons[0]).toMatchObject({
    stage: expect.any(String),
    reason: expect.any(String),
    count: expect.any(Number),
  });
});

test('for a person it begins with the verdict', async () => {
  const { code, stdout, stderr } = await bench.run('report', log);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [head, , verdict, second] = stdout.split('\n');
  expect(head).toMatch(/mail\.log: 8,000 lines; 2026-05-0/);
  expect(verdict).toMatch(/^None of \d+ accepted messages would have been refused\.$/);
  expect(second).toMatch(
    /^Of [\d,]+ rejected attempts, [\d,]+ \(\d+ %\) would have been turned away before .*: [\d,]+ would have been [\d,]+\.$/,
  );
  for (const title of ['Mail', 'Rejected, by stage and reason', 'What the policy would have done', 'Collateral'])
    expect(stdout).toContain(`\n${title}`);
});

test('settings of the config and of the command line count', async () => {
  const strict = (await bench.json('--set', 'score.threshold=2', 'report', log)) as ReportJson;
  const lax = (await bench.json('--set', 'score.threshold=50', 'report', log)) as ReportJson;
  expect(strict.policy['bans']).toBeGreaterThan(lax.policy['bans'] ?? 0);
  expect(strict.policy['rejects']).toBe(lax.policy['rejects']);
});

test('allow.addresses of the config and "blockctl allow" are honoured', async () => {
  const scribe = new Scribe(DAY);
  for (const ip of ['203.0.113.9', '203.0.113.10', '203.0.113.11'])
    scribe.visit(`unknown[${ip}]`, (visit) => {
      for (let i = 0; i < 6; i++) visit.reject();
    });
  const file = bench.file('three.log', `${scribe.lines.join('\n')}\n`);
  await bench.run('allow', '203.0.113.10');
  const { policy, collateral } = (await bench.json(
    '--set',
    'allow.addresses=["203.0.113.9"]',
    'report',
    file,
  )) as ReportJson;
  await bench.run('disallow', '203.0.113.10');
  expect(policy['bans']).toBe(1);
  expect(collateral).toMatchObject([
    { subject: '203.0.113.10', protected: 'blockctl allow' },
    { subject: '203.0.113.9', protected: 'allow.addresses in the config' },
  ]);
});

test('--since and --until cut the log', async () => {
  const whole = (await bench.json('report', log)) as ReportJson;
  const part = (await bench.json(
    'report',
    '--since',
    '2026-05-03T01:00Z',
    '--until',
    '2026-05-03T02:00Z',
    log,
  )) as ReportJson;
  expect(part.lines).toBeGreaterThan(0);
  expect(part.lines).toBeLessThan(whole.lines);
  expect(part.from >= '2026-05-03T01:00').toBe(true);
});

test('what holds nothing is not taken for good news', async () => {
  const page = bench.file('page.txt', 'hello\nworld\n');
  expect((await bench.run('report', page)).stderr).toMatch(/no line begins with a date, .*: is it the right file\?\n$/);
  expect((await bench.run('report', '--until', '2001-01-01', log)).stderr).toMatch(
    /no line of it lies in that time\n$/,
  );
  expect((await bench.run('report', bench.file('empty.log', ''))).stderr).toBe('');
  expect((await bench.run('tune', page)).stdout).toBe(
    'Nothing was rejected in 2 lines: on these logs no policy differs from another.\n',
  );
});

test('reads standard input as a process, whatever packs it', async () => {
  const line =
    '2026-05-03T00:00:00Z mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[203.0.113.9]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown; from=<> to=<x@lab.example> proto=ESMTP helo=<x>\n';
  const { code, stdout } = await bench.execute({ input: line.repeat(3) }, '--json', 'report', '-');
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ lines: 3, mail: { rejected: 3 } });
});

test('text of attackers does not steer the terminal, nor grow without bounds', async () => {
  const hostile = '\x1b]0;owned\x07\x1b[2J\xe2\x80\xae<b>';
  const scribe = new Scribe(DAY);
  scribe.visit('mx.b.example[203.0.113.9]', (visit) => {
    for (let i = 0; i < 6; i++) visit.reject(`${hostile}${'x'.repeat(5_000)}@lab.example`);
  });
  scribe.wait(60_000).visit('mx.b.example[203.0.113.9]', (visit) => {
    visit.deliver();
    visit.say(`warning: attack rejected ${hostile}`);
  });
  const file = bench.file('hostile.log', Buffer.from(`${scribe.lines.join('\n')}\n`, 'latin1'));
  const { stdout } = await bench.run('report', file);
  expect(stdout).toContain('1 of 1 accepted messages would have been refused');
  expect(stdout).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
  const asJson = (await bench.run('--json', 'report', file)).stdout;
  expect(asJson).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
  expect(() => JSON.parse(asJson)).not.toThrow();
});

describe('what can not be read is told, with exit code 2', () => {
  test.each([
    ['no log', ['report', '/no/such.log'], /The log \/no\/such\.log can't be read: no such file/],
    ['a folder', ['report', '/tmp'], /is a directory; name a log in it/],
    [
      'a damaged file',
      ['report', bench.file('cut.log.gz', Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3]))],
      /cut\.log\.gz can't be read to its end/,
    ],
    [
      'a wrong time',
      ['report', '--since', 'yesterday', log],
      /--since "yesterday" is no time: write how long ago \(24h, 7d\)/,
    ],
    [
      'times in the wrong order',
      ['report', '--since', '2026-05-03', '--until', '2026-05-02', log],
      /--since must lie before --until/,
    ],
  ])('%s', async (_what, args, sentence) => {
    const { code, stdout, stderr } = await bench.run(...args);
    expect(stderr).toMatch(sentence);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});

test('what this machine can not unpack is told, with what to do', async () => {
  const packed = bench.file('old.log.xz', Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 1, 2, 3]));
  const { code, stderr } = await bench.execute({ env: { PATH: '/nonexistent' } }, 'report', packed);
  expect(stderr).toContain(
    `can't unpack .xz, and xz is not installed; install it, or: xz -dc ${packed} | blockctl report -`,
  );
  expect(code).toBe(2);
});

test('on a terminal a bar tells share, rate and time left; it leaves nothing behind', () => {
  let shown = '';
  const screen = {
    isTTY: true,
    columns: 100,
    write: (text: string) => (shown += text),
  } as unknown as NodeJS.WritableStream;
  const reading = { name: 'a', size: 1_000, bytesRead: 250, writtenAt: 0, texts: () => (async function* () {})() };
  const progress = new Progress(screen, [reading]);
  const startedAt = performance.now();
  while (performance.now() - startedAt < 110);
  progress.show(5_000);
  expect(shown).toMatch(/^\r█{6}░{18} {2}25 % {2}5\.00k lines, [\d.]+[kM]?\/s, \d+ s left\x1b\[K$/);
  progress.clear();
  expect(shown.endsWith('\r\x1b[K')).toBe(true);
});

test('into a pipe no bar is written', async () => {
  const { stderr } = await bench.execute({}, 'report', log);
  expect(stderr).toBe('');
});

test('--html writes a page beside the answer', async () => {
  const page = join(bench.dir, 'report.html');
  const { code, stdout, stderr } = await bench.run('--json', 'report', '--html', page, log);
  expect({ code, stderr }).toEqual({ code: 0, stderr: `blockctl: the page is in ${page}\n` });
  expect(JSON.parse(stdout)).toMatchObject({ lines: 8_000 });
  expect(readFileSync(page, 'utf8')).toMatch(/^<!doctype html>[\s\S]*<\/html>\n$/);
  const denied = await bench.run('report', '--html', '/no/such/folder/x.html', log);
  expect(denied.code).toBe(2);
  expect(denied.stderr).toMatch(/The page \/no\/such\/folder\/x\.html can't be written: no such file/);
});

test('help tells where the totals differ from pflogsumm, with examples', async () => {
  const { stdout } = await bench.run('report', '--help');
  for (const words of [
    'as pflogsumm counts them',
    'blockctl report --html report.html',
    'postfix-in/smtpd',
    'postscreen',
  ])
    expect(stdout).toContain(words);
});

describe('blockctl tune', () => {
  const scribe = new Scribe(DAY);
  for (let visit = 0; visit < 6; visit++) {
    scribe.wait(300_000).visit('unknown[203.0.113.9]', (act) => {
      for (let i = 0; i < 4; i++) act.reject();
    });
  }
  const small = bench.file('small.log', `${scribe.lines.join('\n')}\n`);

  test('prints the trade, marks the policy in force and the best one, and lines to paste', async () => {
    const { code, stdout } = await bench.run('tune', small);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^60 policies over 36 lines; .*\n\nTHRESHOLD {2}HALF-LIFE {2}FIRST BAN +STOPPED {2}WANTED MAIL REFUSED {2}BANNED AT ONCE/,
    );
    expect(stdout).toMatch(/\n +5 {2}6 h .*in force\n/);
    expect(stdout).toMatch(/ best\n/);
    expect(stdout).toMatch(/\[score\]\nthreshold = \d+\nhalf_life = "\w+"\n\n\[ban\]\nfirst = "\w+"\n$/);
  });

  test('gives all of them as JSON', async () => {
    const { policies } = (await bench.json('tune', small)) as { policies: Record<string, unknown>[] };
    expect(policies).toHaveLength(60);
    expect(policies.find(({ current }) => current === true)).toMatchObject({
      threshold: 5,
      halfLife: '6h',
      firstBan: '1h',
      rejects: 24,
      hurt: 0,
      stopped: expect.any(Number),
      bannedAtOnce: 1,
    });
  });

  test('--html puts the picture into the page of the report', async () => {
    const page = join(bench.dir, 'tune.html');
    await bench.run('tune', '--html', page, small);
    expect(readFileSync(page, 'utf8')).toMatch(/<section id="tune">[\s\S]*<circle class="dot best"/);
  });
});
