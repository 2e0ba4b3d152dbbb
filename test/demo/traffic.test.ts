/** The made-up mail log: the same each time, as Postfix would write it, and true to what it says of itself. */
import { expect, test } from 'vitest';
import { Traffic, type TrafficLine, type TrafficOptions } from '../../src/demo/traffic.js';
import { parseAddress } from '../../src/domain/address.js';
import { LineClock } from '../../src/filter/clock.js';
import { Filter } from '../../src/filter/filter.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';

const OPTIONS: TrafficOptions = { seed: 1, startAt: Date.UTC(2026, 4, 3), perSecond: 5, attackShare: 0.4 };
const LINES = 20_000;
const log = (options: Partial<TrafficOptions> = {}, count = LINES) => [
  ...new Traffic({ ...OPTIONS, ...options }).lines(count),
];
const texts = (lines: readonly TrafficLine[]) => lines.map(({ text }) => text);

test('one seed gives one log, another seed another', () => {
  expect(texts(log())).toEqual(texts(log()));
  expect(texts(log({ seed: 2 }, 100))).not.toEqual(texts(log({}, 100)));
});

test('the log is the same whether it is made at once or bit by bit', () => {
  const bitByBit = new Traffic(OPTIONS);
  const lines: TrafficLine[] = [];
  for (let at = OPTIONS.startAt; lines.length < 1_000; at += 70) lines.push(...bitByBit.until(at));
  expect(texts(lines).slice(0, 1_000)).toEqual(texts(log({}, 1_000)));
});

test.each(['rfc3339', 'traditional'] as const)(
  'the packaged rules see in each line with %s stamps what it says of itself',
  (stamps) => {
    const filter = Filter.compile(loadRules(packagedFilters(), null));
    const clock = new LineClock(OPTIONS.startAt + 86_400_000);
    const wrong = log({ stamps }).filter(({ text, client, says, at }) => {
      const match = filter.match(text, clock);
      const seen = match === null || match.kind === 'closed' ? null : match.echo ? 'echo' : match.kind;
      const stamped = stamps === 'traditional' ? Math.floor(at / 1_000) * 1_000 : at;
      return seen !== says || (match !== null && (match.ip !== client || match.at !== stamped));
    });
    expect(texts(wrong).slice(0, 10)).toEqual([]);
  },
);

test('every kind of line and every kind of visitor comes up, and attackers fill their share', () => {
  const lines = log();
  const kinds = new Set(lines.map(({ says }) => says));
  expect(kinds).toEqual(new Set(['accepted', 'authenticated', 'offense', 'echo', null]));
  const all = texts(lines).join('\n');
  for (const words of [
    'status=bounced',
    'sender non-delivery notification',
    'Greylisted',
    'from=<>',
    'PREGREET',
    'PASS NEW',
    'SASL LOGIN authentication failed',
    'Relay access denied',
    'Helo command rejected',
    'non-SMTP command',
    'too many errors',
  ]) {
    expect(all).toContain(words);
  }
  expect(lines.filter(({ attacker }) => attacker).length / LINES).toBeCloseTo(0.4, 2);
  const botnet = new Set(lines.map(({ client }) => client).filter((ip) => ip?.startsWith('192.0.2.')));
  expect(botnet.size).toBe(6);
});

test.each([0, 1])('a share of %d leaves out one side', (attackShare) => {
  const sides = new Set(
    log({ attackShare }, 2_000).flatMap(({ client, attacker }) => (client === null ? [] : [attacker])),
  );
  expect(sides).toEqual(new Set([attackShare === 1]));
});

test('lines come in order, visits overlap, and a process serves one client at a time', () => {
  const serving = new Map<string, string>();
  let at = 0;
  let most = 0;
  for (const line of log()) {
    expect(line.at).toBeGreaterThanOrEqual(at);
    at = line.at;
    const [, process, message] = /postfix\/((?:submission\/)?smtpd\[\d+\]): (.*)$/.exec(line.text) ?? [];
    if (process === undefined || message === undefined || line.client === null) continue;
    expect([undefined, line.client]).toContain(serving.get(process));
    if (message.startsWith('disconnect ')) serving.delete(process);
    else serving.set(process, line.client);
    most = Math.max(most, serving.size);
  }
  expect(most).toBeGreaterThan(1);
});

test('a client that the map names is turned away with its words, and does nothing else', () => {
  const blocked = '203.0.113.10';
  const refusal = (client: string) =>
    client === blocked ? 'Blocked until 2026-05-03T04:00Z after repeated rejects' : null;
  const lines = log({ refusal }).filter(({ client }) => client === blocked);
  expect(lines.length).toBeGreaterThan(100);
  expect(new Set(lines.map(({ says }) => says))).toEqual(new Set(['refused', null]));
  expect(lines[1]?.text).toContain(
    `NOQUEUE: reject: RCPT from unknown[${blocked}]: 554 5.7.1 <unknown[${blocked}]>: Client host rejected: Blocked until 2026-05-03T04:00Z after`,
  );
});

test('a large scale has thousands of clients, all apart, all from ranges that nobody routes', () => {
  const sides = new Map<string, boolean>();
  for (const { client, attacker } of log({ scale: 300 }, 100_000)) {
    if (client === null) continue;
    expect(parseAddress(client)).toBe(client);
    expect(sides.get(client) ?? attacker).toBe(attacker);
    sides.set(client, attacker);
  }
  expect([...sides.values()].filter(Boolean).length).toBeGreaterThan(3_000);
  const reserved = /^(203\.0\.113|198\.51\.100|192\.0\.2|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d+)\.\d+$|^2001:db8:/;
  expect([...sides.keys()].filter((ip) => !reserved.test(ip))).toEqual([]);
});

test('a million lines take a few seconds', () => {
  const started = performance.now();
  let lines = 0;
  for (const _ of new Traffic(OPTIONS).lines(100_000)) lines++;
  expect(lines).toBe(100_000);
  // A tenth of what a slow machine does: only a change of order should fail.
  expect(lines / (performance.now() - started)).toBeGreaterThan(30);
});
