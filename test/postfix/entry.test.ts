import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MapEntry, parseLine, type Rendering, renderLine, tableOf } from '../../src/postfix/entry.js';

const REJECT: Rendering = { reply: 'Blocked until {until} after repeated rejects', action: 'reject' };
const WARN: Rendering = { ...REJECT, action: 'warn' };
const UNTIL = Date.parse('2026-05-11T04:00:00Z');

const entry = (subject: string, more: Partial<MapEntry> = {}): MapEntry => ({
  subject,
  until: UNTIL,
  reason: 'repeated rejects',
  ...more,
});
const render = (subject: string, rendering = REJECT) => renderLine(entry(subject), tableOf(subject), rendering);

describe('an entry of the access map', () => {
  it('tells the sender until when, and Postfix to refuse or only to warn', () => {
    expect(render('203.0.113.9')).toBe('203.0.113.9\t554 5.7.1 Blocked until 2026-05-11T04:00Z after repeated rejects');
    expect(render('203.0.113.9', WARN)).toBe(
      '203.0.113.9\tWARN blockd: Blocked until 2026-05-11T04:00Z after repeated rejects',
    );
  });

  it('is a key that Postfix looks up: IPv4 networks on whole octets without their zeros, all else as CIDR', () => {
    const key = (subject: string) => [tableOf(subject), render(subject).split('\t')[0]];
    expect(key('203.0.113.9')).toEqual(['indexed', '203.0.113.9']);
    expect(key('203.0.113.0/24')).toEqual(['indexed', '203.0.113']);
    expect(key('203.0.0.0/16')).toEqual(['indexed', '203.0']);
    expect(key('203.0.0.0/8')).toEqual(['indexed', '203']);
    expect(key('203.0.112.0/23')).toEqual(['cidr', '203.0.112.0/23']);
    expect(key('0.0.0.0/0')).toEqual(['cidr', '0.0.0.0/0']);
    expect(key('2001:db8:1:2::/64')).toEqual(['cidr', '2001:db8:1:2::/64']);
    expect(key('2001:db8::1')).toEqual(['cidr', '2001:db8::1/128']);
  });

  it('names seconds only when they are not zero, and never ends before the ban does', () => {
    const until = (at: number) => parseLine(renderLine(entry('203.0.113.9', { until: at }), 'indexed', REJECT))?.until;
    expect(render('203.0.113.9')).toContain('T04:00Z ');
    expect(renderLine(entry('203.0.113.9', { until: UNTIL + 5_000 }), 'indexed', REJECT)).toContain('T04:00:05Z ');
    expect(until(UNTIL + 1)).toBe(UNTIL + 1_000);
  });

  it('keeps its marker and its end whatever the template says', () => {
    for (const reply of ['go away', '', 'Blocked until {until}, sorry', 'Blocked until {until}!', '554 {until}']) {
      const line = renderLine(entry('203.0.113.9'), 'indexed', { ...REJECT, reply });
      expect(line).toBe('203.0.113.9\t554 5.7.1 Blocked until 2026-05-11T04:00Z');
    }
  });
});

describe('reading back', () => {
  it('knows blockd’s own lines only', () => {
    const foreign = [
      '',
      '# a comment',
      '203.0.113.9 REJECT',
      '203.0.113.9\tREJECT',
      '203.0.113.9\t554 5.7.1 Blocked until further notice',
      '203.0.113.9\t554 5.7.1 Blocked until 2026-13-45T99:00Z',
      '203.0.113.9\t554 5.7.1 Blocked until 2026-05-11T04:00Zzz',
      ' 203.0.113.9\t554 5.7.1 Blocked until 2026-05-11T04:00Z',
      'host.example\t554 5.7.1 Blocked until 2026-05-11T04:00Z',
      '203.0.113.009\t554 5.7.1 Blocked until 2026-05-11T04:00Z',
      '1795566704\t554 5.7.1 Blocked until 2026-05-11T04:00Z',
    ];
    for (const line of foreign) expect(parseLine(line), line).toBeNull();
  });

  const subjects = fc.oneof(
    fc.ipV4(),
    fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255)).map((octets) => `${octets.join('.')}.0/24`),
    fc.tuple(fc.nat(255), fc.nat(255)).map((octets) => `${octets.join('.')}.0.0/16`),
    fc.constantFrom('10.0.0.0/8', '203.0.112.0/23', '2001:db8:1:2::/64', '2001:db8::/48', '2001:db8::1'),
  );
  const untils = fc.integer({ min: 0, max: 4_102_444_800 }).map((seconds) => seconds * 1_000);

  it('gives the subject and the end that were rendered, for any entry and action', () => {
    fc.assert(
      fc.property(subjects, untils, fc.constantFrom('reject', 'warn'), (subject, until, action) => {
        const line = renderLine({ subject, until, reason: 'x' }, tableOf(subject), { ...REJECT, action });
        expect(parseLine(line)).toEqual({ subject, until, line });
      }),
    );
  });

  it('is not led astray by any reason or template: one short printable line, a text as value, the same end', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 400 }),
      fc.constantFrom(
        '\n198.51.100.1\tOK',
        '\r\n\tDUNNO',
        '$& $1 $$ %s',
        '{ip}{until}{reason}',
        '1795566704',
        '\0',
        'ü',
      ),
    );
    const replies = fc.oneof(
      hostile,
      hostile.map((text) => `Blocked until {until} ${text} {reason} {ip}`),
    );
    fc.assert(
      fc.property(subjects, untils, hostile, replies, (subject, until, reason, reply) => {
        const line = renderLine({ subject, until, reason }, tableOf(subject), { reply, action: 'reject' });
        expect(line).toMatch(/^[!-~]+\t[ -~]+$/);
        const value = line.slice(line.indexOf('\t') + 1);
        expect(value.length).toBeLessThan(200);
        expect(value).not.toMatch(/^\d+$/);
        expect(parseLine(line)).toEqual({ subject, until, line });
      }),
      { numRuns: 200 },
    );
  });

  it('does not expand what a reason looks like', () => {
    const rendering: Rendering = { reply: 'Blocked until {until} {reason}', action: 'reject' };
    const line = renderLine(entry('203.0.113.9', { reason: "$& $' $1" }), 'indexed', rendering);
    expect(line).toMatch(/ \$& \$' \$1$/);
  });
});
