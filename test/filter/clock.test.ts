import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LineClock } from '../../src/filter/clock.js';

const zoneBefore = process.env.TZ;

function inZone(zone: string): void {
  process.env.TZ = zone;
}

beforeEach(() => inZone('UTC'));
afterEach(() => {
  if (zoneBefore === undefined) delete process.env.TZ;
  else process.env.TZ = zoneBefore;
});

const at = (iso: string): number => Date.parse(iso);
const parse = (stamp: string, reference: string): number => new LineClock(at(reference)).parse(stamp);

describe('traditional stamps', () => {
  test.each([
    ['Nov 25 01:12:15', '2026-11-25T01:12:16Z', '2026-11-25T01:12:15Z'],
    ['Nov  5 01:12:15', '2026-11-25T01:12:16Z', '2026-11-05T01:12:15Z'],
    ['Nov 5 01:12:15', '2026-11-25T01:12:16Z', '2026-11-05T01:12:15Z'],
    ['Nov 05 01:12:15', '2026-11-25T01:12:16Z', '2026-11-05T01:12:15Z'],
    ['Dec 31 23:59:59', '2027-01-01T00:00:03Z', '2026-12-31T23:59:59Z'],
    ['Jan  1 00:00:00', '2026-12-31T23:59:59Z', '2027-01-01T00:00:00Z'],
    ['Jan  2 00:00:00', '2026-12-31T23:59:59Z', '2026-01-02T00:00:00Z'],
    ['Feb 29 10:00:00', '2027-03-01T00:00:00Z', '2024-02-29T10:00:00Z'],
    ['Feb 29 10:00:00', '2028-03-01T00:00:00Z', '2028-02-29T10:00:00Z'],
    ['Jun 30 23:59:60', '2026-07-01T00:00:01Z', '2026-07-01T00:00:00Z'],
  ])('%s in a log last written at %s is %s', (stamp, reference, expected) => {
    expect(parse(stamp, reference)).toBe(at(expected));
  });

  test.each([
    'Feb 30 10:00:00',
    'Apr 31 10:00:00',
    'Nov  0 10:00:00',
    'Nov 32 10:00:00',
    'Nov 25 24:00:00',
    'Nov 25 10:60:00',
    'Nov 25 10:00:61',
    'nov 25 10:00:00',
    'Xxx 25 10:00:00',
    'Nov 25 10.00.00',
    'Nov 25 1:00:00',
    'Nov-25 10:00:00',
    'Nov 2a 10:00:00',
    'Nov 0 10:00:00',
    'Nov a 10:00:00',
    'Nov  10:00:00',
    'Nov 5  10:00:00',
    'Nov   5 10:00:00',
    '',
  ])('"%s" is none', (stamp) => {
    expect(parse(stamp, '2026-12-01T00:00:00Z')).toBeNaN();
  });

  test('are read in local time', () => {
    inZone('Europe/Berlin');
    expect(parse('Jul  1 12:00:00', '2026-07-01T11:00:00Z')).toBe(at('2026-07-01T10:00:00Z'));
    expect(parse('Dec  1 12:00:00', '2026-12-01T12:00:00Z')).toBe(at('2026-12-01T11:00:00Z'));
  });

  test('go on through the hour that the end of summer time repeats', () => {
    inZone('Europe/Berlin');
    const clock = new LineClock(at('2026-10-25T03:00:00Z'));
    const stamps = ['01:59:59', '02:00:00', '02:30:00', '02:59:59', '02:00:00', '02:30:00', '02:59:59', '03:00:00'];
    const read = stamps.map((time) => clock.parse(`Oct 25 ${time}`));
    expect(read.map((instant) => new Date(instant).toISOString().slice(11, 19))).toEqual([
      '23:59:59',
      '00:00:00',
      '00:30:00',
      '00:59:59',
      '01:00:00',
      '01:30:00',
      '01:59:59',
      '02:00:00',
    ]);
  });

  test('go on through the hour that summer time skips', () => {
    inZone('Europe/Berlin');
    const clock = new LineClock(at('2026-03-29T02:00:00Z'));
    expect(clock.parse('Mar 29 03:00:00') - clock.parse('Mar 29 01:59:59')).toBe(1_000);
  });

  test('get another year when the log is written to in another year', () => {
    const clock = new LineClock(at('2026-11-25T02:00:00Z'));
    expect(clock.parse('Nov 25 01:00:00')).toBe(at('2026-11-25T01:00:00Z'));
    clock.reference(at('2027-11-25T02:00:00Z'));
    expect(clock.parse('Nov 25 01:00:00')).toBe(at('2027-11-25T01:00:00Z'));
  });

  test('of any instant of the last 363 days come back as that instant', () => {
    const reference = at('2026-11-25T02:00:00Z');
    const clock = new LineClock(reference);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 363 * 86_400 }), (secondsAgo) => {
        const instant = reference - secondsAgo * 1_000;
        const text = new Date(instant).toUTCString();
        const stamp = `${text.slice(8, 11)} ${String(Number(text.slice(5, 7))).padStart(2)} ${text.slice(17, 25)}`;
        expect(clock.parse(stamp)).toBe(instant);
      }),
    );
  });
});

describe('RFC 3339 stamps', () => {
  test.each([
    ['2026-11-25T01:15:02.105618+00:00', '2026-11-25T01:15:02.105Z'],
    ['2026-11-25T01:15:02Z', '2026-11-25T01:15:02.000Z'],
    ['2026-11-25T01:15:02.9+05:30', '2026-11-24T19:45:02.900Z'],
    ['2026-11-25T01:15:02-0330', '2026-11-25T04:45:02.000Z'],
    ['2026-11-25T01:15:02,5+01', '2026-11-25T00:15:02.500Z'],
    ['2026-11-25 01:15:02', '2026-11-25T01:15:02.000Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
  ])('%s is %s', (stamp, expected) => {
    expect(new Date(parse(stamp, '2026-11-25T02:00:00Z')).toISOString()).toBe(expected);
  });

  test.each([
    '2026-02-29T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-00-01T00:00:00Z',
    '2026-11-25T25:00:00Z',
    '2026-11-25T01:15:02.Z',
    '2026-11-25T01:15:02+1',
    '2026-11-25T01:15:02+25:00',
    '2026-11-25T01:15:02Zx',
    '2026-11-25T01:15',
    '2026/11/25T01:15:02Z',
    '1795569135',
  ])('"%s" is none', (stamp) => {
    expect(parse(stamp, '2026-11-25T02:00:00Z')).toBeNaN();
  });

  test('of any instant and zone come back as that instant', () => {
    const clock = new LineClock(at('2026-11-25T02:00:00Z'));
    fc.assert(
      fc.property(
        fc.integer({ min: at('1990-01-01T00:00:00Z'), max: at('2090-01-01T00:00:00Z') }),
        fc.integer({ min: -720, max: 840 }),
        (instant, minutes) => {
          const local = new Date(instant + minutes * 60_000).toISOString().slice(0, -1);
          const distance = Math.abs(minutes);
          const zone = `${minutes < 0 ? '-' : '+'}${String(Math.floor(distance / 60)).padStart(2, '0')}:${String(distance % 60).padStart(2, '0')}`;
          expect(clock.parse(local + zone)).toBe(instant);
        },
      ),
    );
  });
});
