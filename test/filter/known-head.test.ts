/** A line that begins like the ones before is read as any other. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineClock } from '../../src/filter/clock.js';
import { Filter } from '../../src/filter/filter.js';
import { LineHeader } from '../../src/filter/header.js';
import { KnownHead } from '../../src/filter/known-head.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import { Tag } from '../../src/filter/tag.js';
import { viewOf } from '../../src/filter/words.js';

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
const process = fc.constantFrom(
  '[27409]: ',
  '[1]: ',
  '[0001]: ',
  ': ',
  '[]: ',
  '[x]: ',
  '[12] ',
  '[99999999999999999999]: ',
  '',
);
const message = fc.constantFrom(
  'lost connection after AUTH from unknown[198.51.100.3]',
  'x mx postfix/smtpd[1]: lost connection after AUTH from unknown[198.51.100.3]',
  'warning: mail.example[198.51.100.7]: SASL LOGIN authentication failed: x',
  '4F1A223E361: client=mail.example[2001:db8::1]',
  'connect from unknown[198.51.100.3]',
  '',
);
const any = fc.tuple(stamp, host, tag, process, message).map((parts) => parts.join(''));
/** Mostly alike, as in a log, and some with a byte that does not belong there. */
const alike = fc
  .tuple(
    fc.constantFrom(
      '2026-01-12T00:00:00.061000+00:00 mx ',
      '2026-01-12T23:59:07.999999+00:00 mx ',
      'Nov 25 01:12:15 mx ',
    ),
    tag,
    process,
    message,
    fc.option(fc.tuple(fc.nat(45), fc.constantFrom(' ', ':', '\0', '<', '[', 'x', '7')), { freq: 2 }),
  )
  .map(([head, name, id, text, other]) => {
    const whole = `${head}${name}${id}${text}`;
    return other === null ? whole : whole.slice(0, other[0]) + other[1] + whole.slice(other[0] + 1);
  });
const line = fc.oneof({ weight: 1, arbitrary: any }, { weight: 5, arbitrary: alike });

function partsOf({
  stampStart,
  stampEnd,
  programStart,
  programEnd,
  processEnd,
  messageStart,
  pid,
  hostless,
}: LineHeader) {
  return { stampStart, stampEnd, programStart, programEnd, processEnd, messageStart, pid, hostless };
}

test('in the same parts, whatever was read before', () => {
  let known = 0;
  fc.assert(
    fc.property(fc.array(line, { minLength: 2, maxLength: 12 }), (lines) => {
      const bytes = Buffer.from(lines.join('\n'), 'latin1');
      const view = viewOf(bytes);
      const head = new KnownHead();
      let from = 0;
      for (const each of lines) {
        const to = from + each.length;
        const header = new LineHeader();
        const expected = new LineHeader();
        const isHeader = expected.read(bytes, from, to);
        if (head.read(bytes, view, from, to, header)) {
          known++;
          expect(isHeader, each).toBe(true);
          expect([each, partsOf(header)]).toEqual([each, partsOf(expected)]);
          const { programStart, programEnd } = expected;
          expect(head.tag?.isAt(bytes, programStart, programEnd), each).toBe(true);
        } else if (isHeader && !expected.hostless) {
          const logged = bytes.toString('latin1', expected.programStart, expected.programEnd);
          head.learn(bytes, view, from, expected, new Tag(logged, null));
        }
        from = to + 1;
      }
    }),
    { numRuns: 3_000 },
  );
  expect(known).toBeGreaterThan(100);
});

test('to the same match, whatever was read before', () => {
  const rules = loadRules(packagedFilters(), null, 'own').filter(({ program }) => program.includes('postfix/smtpd'));
  const used = Filter.compile(rules);
  const clock = () => new LineClock(Date.UTC(2026, 10, 25, 12));
  fc.assert(
    fc.property(fc.array(line, { minLength: 2, maxLength: 6 }), (lines) => {
      for (const each of lines) expect(used.match(each, clock())).toEqual(Filter.compile(rules).match(each, clock()));
    }),
    { numRuns: 60 },
  );
});
