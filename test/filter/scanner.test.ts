/** The lines of a chunk, which the inner loop reads, give what each of them gives alone, whatever was read before. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Match } from '../../src/domain/event.js';
import { LineClock } from '../../src/filter/clock.js';
import { Filter } from '../../src/filter/filter.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import type { Rule } from '../../src/filter/rule.js';
import { corpus } from './corpus.js';
import { ownRule } from './own-rule.js';

const stamp = fc.constantFrom(
  '2026-01-12T00:00:00.061000+00:00',
  '2026-01-12T00:00:07.1+00:00 x.061000',
  '2026-01-12 00:00:00.06100+00:00.',
  '2026-01-12T00:00:00.06 000+00:00',
  '2026-01-12T00:00:00.061000+01:00',
  '2026-01-12T00:00:00Z',
  '2026-01-12 00:00:00',
  'Nov 25 01:12:15',
  'Nov  5 01:12:15',
  'Nov 5 01:12:15',
  'Nov 5 01:12:1 ',
  '<22>Nov 25 01:12:15',
  '\0Nov 25 01:12:15',
  '\0' + '2026-01-12T00:00:00.061000+00:0',
);
const host = fc.constantFrom(' mx ', ' mx1 ', ' mx  ', ' mx.lab.example ', ' mx: ', ' mx x ', '  mx ', ' m ');
const tag = fc.constantFrom(
  'postfix/smtpd',
  'postfix/smtp',
  'postfix/submission/smtpd',
  'postfix/qmgr',
  'postfix-in/smtpd',
  'dovecot',
  'auth',
  'kernel.lo',
);
const pid = fc.constantFrom(
  '[27409]: ',
  '[1]: ',
  '[0001]: ',
  ': ',
  '[]: ',
  '[x]: ',
  '[12] ',
  '[999999999]: ',
  '[2147483648]: ',
  '[99999999999999999999]: ',
  '',
);
const message = fc.constantFrom(
  'lost connection after AUTH from unknown[198.51.100.3]',
  'x mx postfix/smtpd[1]: lost connection after AUTH from unknown[198.51.100.3]',
  'warning: mail.example[198.51.100.7]: SASL LOGIN authentication failed: x',
  '4F1A223E361: client=mail.example[2001:db8::1]',
  'connect from unknown[198.51.100.3]',
  'message repeated 3 times: [ lost connection after AUTH from unknown[198.51.100.3] ]',
  'lost connection after AUTH from unknown[198.51.100.3]\r',
  'x',
  '',
);
const any = fc.tuple(stamp, host, tag, pid, message).map((parts) => parts.join(''));
/** Mostly alike, as in a log, and some with a byte that does not belong there. */
const alike = fc
  .tuple(
    fc.constantFrom(
      '2026-01-12T00:00:00.061000+00:00 mx ',
      '2026-01-12T23:59:07.999999+00:00 mx ',
      'Nov 25 01:12:15 mx ',
    ),
    tag,
    pid,
    message,
    fc.option(fc.tuple(fc.nat(45), fc.constantFrom(' ', ':', '\0', '<', '[', 'x', '7')), { freq: 2 }),
  )
  .map(([head, name, id, text, other]) => {
    const whole = `${head}${name}${id}${text}`;
    return other === null ? whole : whole.slice(0, other[0]) + other[1] + whole.slice(other[0] + 1);
  });
const line = fc.oneof({ weight: 1, arbitrary: any }, { weight: 5, arbitrary: alike });

const packaged = loadRules(packagedFilters(), null, 'own');
const clock = () => new LineClock(Date.UTC(2026, 10, 25, 12));

function scanned(filter: Filter, text: string | Buffer): { matches: Match[]; lines: number } {
  const matches: Match[] = [];
  const lines = filter.scan(text, clock(), (match) => matches.push(match));
  return { matches, lines };
}

/** What each line gives alone. */
function alone(filter: Filter, lines: readonly string[]): Match[] {
  const one = clock();
  return lines.map((each) => filter.match(each, one)).filter((match) => match !== null);
}

describe.each([
  ['with vector instructions', true],
  ['without vector instructions', false],
])('%s', (_, vectors) => {
  const compile = (rules: readonly Rule[]) => Filter.compile(rules, { vectors });

  describe('lines of any begin', () => {
    const scanning = compile(packaged);
    const matching = compile(packaged);

    test('are read as each alone', () => {
      let found = 0;
      fc.assert(
        fc.property(fc.array(line, { minLength: 1, maxLength: 20 }), fc.boolean(), (lines, isEnded) => {
          const text = Buffer.from(`${lines.join('\n')}${isEnded ? '\n' : ''}`, 'latin1');
          const { matches, lines: count } = scanned(scanning, text);
          expect(matches).toEqual(alone(matching, lines));
          expect(count).toBe(lines.at(-1) === '' && !isEnded ? lines.length - 1 : lines.length);
          found += matches.length;
        }),
        { numRuns: 3_000 },
      );
      expect(found).toBeGreaterThan(1_000);
    });

    test('also with each byte of them changed', () => {
      const lines = [
        '2026-01-12T00:00:00.061000+00:00 mx postfix/smtpd[27409]: lost connection after AUTH from x[198.51.100.3]',
        'Nov 25 01:12:15 mx postfix/smtpd[27409]: lost connection after AUTH from x[198.51.100.3]',
      ];
      for (const whole of lines) {
        for (let at = 0; at < whole.length; at++) {
          for (const byte of ['\0', '\n', '\r', ' ', ':', '[', ']', '0', 'a', '\xff']) {
            const changed = whole.slice(0, at) + byte + whole.slice(at + 1);
            const text = Buffer.from(`${whole}\n${changed}\n${whole}\n`, 'latin1');
            expect(scanned(scanning, text).matches, changed).toEqual(
              alone(matching, [whole, ...changed.split('\n'), whole]),
            );
          }
        }
      }
    });
  });

  test('stamps of any date, time and zone are told as a clock tells each alone', () => {
    const scanning = compile(packaged);
    const matching = compile(packaged);
    const two = (most: number) => fc.integer({ min: 0, max: most }).map((n) => String(n).padStart(2, '0'));
    const stamps = fc
      .tuple(
        fc.constantFrom('2026-03-28', '2026-03-29', '2026-03-30', '2024-02-29', '2025-02-29', '2026-00-10'),
        fc.constantFrom('T', 'T', 'T', 't', ' '),
        fc.tuple(two(25), two(60), two(61)).map((parts) => parts.join(':')),
        fc.constantFrom('', '.', '.5', '.061000', '.1234567', '.0004999', ',25', '.1x', '.1.2'),
        fc.constantFrom('+00:00', '+00:00', 'Z', 'z', '+02:00', '-0330', '+01', '', '+1', '+24:00'),
      )
      .map((parts) => parts.join(''));
    const zoneBefore = process.env.TZ;
    // One of these days has no hour from two to three, which stamps without a zone are told by.
    process.env.TZ = 'Europe/Berlin';
    try {
      let found = 0;
      fc.assert(
        fc.property(fc.array(stamps, { minLength: 1, maxLength: 12 }), fc.nat(12), (some, cut) => {
          const lines = some.map(
            (one) => `${one} mx postfix/smtpd[7]: lost connection after AUTH from x[198.51.100.3]`,
          );
          const expected = alone(matching, [...lines, ...lines]);
          const one = clock();
          const matches: Match[] = [];
          // What a chunk has taught holds for the next one.
          for (const part of [lines.slice(0, cut), lines.slice(cut), lines])
            scanning.scan(part.map((each) => `${each}\n`).join(''), one, (match) => matches.push(match));
          expect(matches).toEqual(expected);
          found += matches.length;
        }),
        { numRuns: 3_000 },
      );
      expect(found).toBeGreaterThan(5_000);
    } finally {
      if (zoneBefore === undefined) delete process.env.TZ;
      else process.env.TZ = zoneBefore;
    }
  });

  test('a large mixed log gives what its lines give', () => {
    const lines = [...corpus({ seed: 31, lines: 20_000, attack: 0.5 })].map(({ line: text }) =>
      Buffer.from(text, 'utf8').toString('latin1'),
    );
    const { matches, lines: count } = scanned(compile(packaged), Buffer.from(`${lines.join('\n')}\n`, 'latin1'));
    expect(count).toBe(lines.length);
    expect(matches).toEqual(alone(compile(packaged), lines));
    expect(matches.length).toBeGreaterThan(5_000);
  });

  test('more programs than are remembered at a time are told apart', () => {
    const lines = Array.from(
      { length: 2_000 },
      (_, i) =>
        `Nov 25 01:12:15 mx postfix/s${i % 300}x/smtpd[${i}]: lost connection after AUTH from x[198.51.100.${i % 250}]`,
    );
    const { matches } = scanned(compile(packaged), `${lines.join('\n')}\n`);
    expect(matches.map(({ process }) => process)).toEqual(lines.map((_, i) => `postfix/s${i % 300}x/smtpd[${i}]`));
  });

  test('hosts that take turns are told apart', () => {
    const lines = Array.from({ length: 400 }, (_, i) => {
      const host = ['mx', 'mail', 'a-host-with-a-rather-long-name.example', 'm'.repeat(300)][i % 4];
      return `Nov 25 01:12:15 ${host} postfix/smtpd[7]: lost connection after AUTH from x[198.51.100.${i % 250}]`;
    });
    const filter = compile(packaged);
    expect(scanned(filter, `${lines.join('\n')}\n`).matches).toEqual(alone(filter, lines));
  });

  test('lines longer than any chunk are read, and those behind them', () => {
    const hit = 'Nov 25 01:12:15 mx postfix/smtpd[7]: lost connection after AUTH from x[198.51.100.3]';
    const long = `Nov 25 01:12:15 mx postfix/smtpd[7]: ${'x'.repeat(3_000_000)}`;
    const filter = compile(packaged);
    for (let round = 0; round < 3; round++)
      expect(scanned(filter, `${hit}\n${long}\n${hit}\n`)).toMatchObject({
        lines: 3,
        matches: [{ line: hit }, { line: hit }],
      });
  });

  describe('beside rules of the admin, each of which may be switched off', () => {
    const lines = [...corpus({ seed: 32, lines: 3_000, attack: 0.5 })].map(({ line: text }) =>
      Buffer.from(text, 'utf8').toString('latin1'),
    );

    test.each([
      ['before', (rules: readonly Rule[]) => [ownRule('own/first', 'connect from {client}'), ...rules]],
      ['behind', (rules: readonly Rule[]) => [...rules, ownRule('own/last', 'connect from {client}')]],
      [
        'in the midst of',
        (rules: readonly Rule[]) =>
          rules.flatMap((rule, i) => (i === 9 ? [ownRule('own/mid', 'connect from {client}'), rule] : [rule])),
      ],
    ])('that stand %s the packaged ones, lines are read as each alone', (_, mixed) => {
      const rules = mixed(packaged);
      const { matches } = scanned(compile(rules), `${lines.join('\n')}\n`);
      expect(matches).toEqual(alone(compile(rules), lines));
      expect(matches.some(({ rule }) => rule.startsWith('own/'))).toBe(true);
    });
  });

  test('rules that take too many states are read by their expressions from then on', () => {
    const wide: Rule = {
      ...(packaged[0] as Rule),
      name: 'wide',
      pattern: '(?:a|b)*a(?:a|b){14}{client} end',
      program: ['postfix/smtpd'],
    };
    let seed = 7;
    const lines = Array.from({ length: 2_000 }, () => {
      let words = '';
      for (let at = 0; at < 40; at++) {
        seed = (Math.imul(seed, 1_103_515_245) + 12_345) | 0;
        words += (seed >>> 20) & 1 ? 'a' : 'b';
      }
      return `Nov 25 01:12:15 mx postfix/smtpd[7]: ${words}x[192.0.2.1] end`.replace('x[', seed & 1 ? '[' : 'x[');
    });
    const scanning = compile([wide]);
    const { matches } = scanned(scanning, `${lines.join('\n')}\n`);
    expect(matches.map(({ line: text }) => text)).toEqual(alone(compile([wide]), lines).map(({ line: text }) => text));
    expect(matches.length).toBeGreaterThan(100);
  });
});
