import { describe, expect, it } from 'vitest';
import { banJson, localTime, plural, relative, roughly, shortNumber } from '../../src/cli/format.js';
import { readable } from '../../src/cli/logtext.js';
import { allowEntryFrom, subjectFrom, subjectToBan } from '../../src/cli/subject.js';
import { UsageError } from '../../src/domain/errors.js';

describe('times', () => {
  const now = Date.UTC(2026, 4, 11, 12);
  it.each([
    [0, 'just now', 'now'],
    [-12 * 60_000, '12 min ago', '12 min ago'],
    [3 * 3_600_000 + 20 * 60_000, 'in 3 h 20 min', 'in 3 h'],
    [86 * 60_000, 'in 1 h 26 min', 'in 86 min'],
    [7_199_000, 'in 1 h 59 min', 'in 2 h'],
    [37 * 3_600_000, 'in 1 d 13 h', 'in 2 d'],
    [-59_700, '1 min ago', '60 s ago'],
    [-86_400_000, '1 d ago', '24 h ago'],
  ])('%d ms from now is %j, roughly %j', (distance, exact, rough) => {
    expect(relative(now + distance, now)).toBe(exact);
    expect(roughly(now + distance, now)).toBe(rough);
  });

  it('on their own are local, as those of the log are', () => {
    const at = new Date(2026, 4, 1, 3, 4, 5).getTime();
    expect(localTime(at)).toBe('2026-05-01 03:04:05');
  });
});

it('numbers are as short as they can be read', () => {
  expect([0.04321, 2.5, 4, 4.98, 123.4].map(shortNumber)).toEqual(['0.043', '2.5', '4', '5', '123']);
  expect([plural(1, 'line'), plural(2, 'line'), plural(2, 'entry', 'entries')]).toEqual([
    '1 line',
    '2 lines',
    '2 entries',
  ]);
});

it('a ban in JSON has its times in ISO 8601 UTC', () => {
  const since = Date.UTC(2026, 4, 11, 3);
  const ban = {
    subject: '203.0.113.9',
    since,
    until: since + 3_600_000,
    reason: 'postfix/user-unknown',
    strikes: 0.99999,
    host: null,
    by: 'score',
    refused: 3,
  } as const;
  expect(banJson(ban)).toEqual({
    subject: '203.0.113.9',
    since: '2026-05-11T03:00:00.000Z',
    until: '2026-05-11T04:00:00.000Z',
    reason: 'postfix/user-unknown',
    strikes: 1,
    host: null,
    by: 'score',
    refused: 3,
  });
});

it('a log line is read as UTF-8 where it is that, and byte by byte where not', () => {
  expect(readable(Buffer.from('from=<müller@example>', 'utf8').toString('latin1'))).toBe('from=<müller@example>');
  expect(readable('from=<m\xfcller@example>')).toBe('from=<m\xfcller@example>');
  expect(readable('m\xc3\xbcller \x9b2J \xed\xa0\x80')).toBe('müller \x9b2J \xed\xa0\x80');
  expect(readable('日本')).toBe('日本');
});

function complaintOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return (error as UsageError).message;
  }
  throw new Error('was accepted');
}

describe('what a person types as a subject', () => {
  it.each([
    ['203.0.113.9', '203.0.113.9'],
    ['::ffff:203.0.113.9', '203.0.113.9'],
    ['203.0.113.9/24', '203.0.113.0/24'],
    ['203.0.113.9/32', '203.0.113.9'],
    ['2001:DB8:1:2::7', '2001:db8:1:2::/64'],
    ['2001:db8:1::/48', '2001:db8:1::/48'],
  ])('%s means %s', (typed, subject) => {
    expect(subjectFrom(typed, 64)).toBe(subject);
    expect(subjectToBan(typed, 64)).toBe(subject);
  });

  it.each([
    ['999.1.1.1', /its parts go from 0 to 255/],
    ['010.0.0.1', /leading zero/],
    ['10.1', /four parts/],
    ['fe80::1%eth0', /zone/],
    ['203.0.113.9/33', /\/33 is no prefix length/],
    ['mail.example.org', /write one such as/],
    ['', /write one such as/],
  ])('%j is refused with the reason', (typed, reason) => {
    expect(complaintOf(() => subjectFrom(typed, 64))).toMatch(reason);
  });

  it.each(['0.0.0.0/0', '203.0.0.0/15', '2001:db8::/31', '::/0'])('%s is too wide to ban', (typed) => {
    expect(complaintOf(() => subjectToBan(typed, 64))).toMatch(/too wide to ban/);
  });
});

describe('what a person allows', () => {
  it.each([
    ['203.0.113.9', '203.0.113.9'],
    ['203.0.113.9/32', '203.0.113.9'],
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['2001:DB8::1', '2001:db8::1'],
    ['Customer.Example', 'customer.example'],
    ['.customer.example', 'customer.example'],
    ['customer.example.', 'customer.example'],
  ])('%s is kept as %s', (typed, entry) => {
    expect(allowEntryFrom(typed)).toBe(entry);
  });

  it.each([
    ['999.1.1.1', /0 to 255/],
    ['010.0.0.1', /leading zero/],
    ['fe80::1%eth0', /zone/],
    ['example', /two labels/],
    ['foo bar.example', /no address, network or host name/],
    ['ex\x1bample.org', /no address, network or host name/],
    ['0.0.0.0/0', /too wide/],
    ['10.0.0.0/7', /too wide/],
  ])('%j is refused with the reason', (typed, reason) => {
    expect(complaintOf(() => allowEntryFrom(typed))).toMatch(reason);
  });
});
