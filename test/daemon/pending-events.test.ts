/** What the filter finds in chunks of a log, taken down in columns, is what its matches say, their lines included. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PendingEvents } from '../../src/daemon/pending-events.js';
import { type LogEvent, type Match, toEvent } from '../../src/domain/event.js';
import { LineClock } from '../../src/filter/clock.js';
import { Filter } from '../../src/filter/filter.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import { corpus } from '../filter/corpus.js';
import { ownRule } from '../filter/own-rule.js';

const MOST_KEPT = 1_024;
const rules = loadRules(packagedFilters(), null, 'own');
const clock = () => new LineClock(Date.UTC(2026, 10, 25, 12));
const lost = (n: number) => `Nov 25 01:12:15 mx postfix/smtpd[1]: lost connection after AUTH from x[198.51.100.${n}]`;
const LINES = [...corpus({ seed: 41, lines: 4_000, attack: 0.6 })].map(({ line }, n) =>
  // Some end as Windows has it, some are longer than what is kept of them.
  Buffer.from(n % 50 === 7 ? `${line}\r` : n % 60 === 9 ? `${line} ${'x'.repeat(n)}` : line, 'utf8').toString('latin1'),
);

function chunksOf(lines: readonly string[], ends: readonly number[]): Buffer[] {
  const inOrder = [0, ...[...ends].sort((a, b) => a - b), lines.length];
  return inOrder.slice(1).map((end, i) => {
    const part = lines.slice(inOrder[i], end);
    return Buffer.from(part.map((line) => `${line}\n`).join(''), 'latin1');
  });
}

function taken(filter: Filter, chunks: readonly Buffer[], into: PendingEvents, keeps = true): PendingEvents {
  const one = clock();
  for (const chunk of chunks) {
    filter.read(chunk, one, (hit) => into.add(hit, hit.points), keeps);
    into.keep(filter.kept);
  }
  return into;
}

function matched(filter: Filter, chunks: readonly Buffer[]): LogEvent[] {
  const one = clock();
  const matches: Match[] = [];
  for (const chunk of chunks) filter.scan(chunk, one, (match) => matches.push(match));
  return matches
    .map((match) => toEvent(match, match.points))
    .filter((event) => event !== null)
    .map((event) => ({ ...event, line: event.line.slice(0, MOST_KEPT) }));
}

/** As they are told, each as an object of its own. */
function told(events: PendingEvents): LogEvent[] {
  const all: LogEvent[] = [];
  events.forEach(({ kind, rule, ip, at, host, points, line }) => {
    all.push({ kind, rule, ip, at, host, points, line });
  });
  return all;
}

test.each([
  ['the packaged rules', rules],
  ['rules of the admin, too', [ownRule('own', 'connect from {client}'), ...rules]],
] as const)('wherever chunks end, the same as the matches of %s', (_, some) => {
  const filter = Filter.compile(some);
  const whole = matched(filter, chunksOf(LINES, []));
  expect(whole.length).toBeGreaterThan(1_500);
  expect(whole.some(({ line }) => line.length === MOST_KEPT)).toBe(true);
  const events = new PendingEvents();
  fc.assert(
    fc.property(fc.array(fc.nat(LINES.length), { maxLength: 30 }), (ends) => {
      // Used again and again, as batch after batch does.
      events.clear();
      expect(told(taken(filter, chunksOf(LINES, ends), events))).toEqual(whole);
      expect(events.length).toBe(whole.length);
    }),
    { numRuns: 20 },
  );
  expect(events.at(3)?.line).toBe(whole[3]?.line);
  expect(events.at(whole.length)).toBeUndefined();
});

test('are counted as they come', () => {
  const events = taken(Filter.compile(rules), chunksOf(LINES, []), new PendingEvents());
  const all = told(events);
  expect(events.offenses).toBe(all.filter(({ kind, points }) => kind === 'offense' && points > 0).length);
  expect(events.refused).toBe(all.filter(({ kind }) => kind === 'refused').length);
  expect(new Set(events.addresses)).toEqual(new Set(all.map(({ ip }) => ip)));
  events.clear();
  expect([events.length, events.offenses, events.refused, events.addresses.size]).toEqual([0, 0, 0, 0]);
  expect(told(events)).toEqual([]);
});

test('go behind those of another batch, when that one is taken back', () => {
  const filter = Filter.compile(rules);
  const first = taken(filter, chunksOf(LINES.slice(0, 1_500), [700]), new PendingEvents());
  const second = taken(filter, chunksOf(LINES.slice(1_500), [9, 800]), new PendingEvents());
  const all = [...told(first), ...told(second)];
  first.append(second);
  expect(told(first)).toEqual(all);
  expect(first.offenses).toBe(all.filter(({ kind, points }) => kind === 'offense' && points > 0).length);
  second.clear();
  taken(filter, chunksOf(LINES.slice(0, 99), []), second);
  expect(told(first)).toEqual(all);
});

test('have no lines where nobody is to look at them', () => {
  const filter = Filter.compile(rules);
  const chunks = chunksOf(LINES, [50, 2_000]);
  const whole = matched(filter, chunks);
  const events = taken(filter, chunks, new PendingEvents(), false);
  expect(told(events)).toEqual(whole.map((event) => ({ ...event, line: '' })));
  expect(filter.kept.length).toBe(0);
});

test('have their own lines also when a rule was switched off between them', { timeout: 60_000 }, () => {
  const switchedOff: string[] = [];
  const filter = Filter.compile([ownRule('own', 'x {client} (?:a+)+$'), ...rules], {
    onSlow: ({ name }) => switchedOff.push(name),
  });
  const trap = `Nov 25 01:12:15 mx postfix/smtpd[1]: x y[192.0.2.1] ${'a'.repeat(60)}!`;
  // A chunk full of them, which are read once more when the trap behind them was left.
  const early = (n: number) =>
    `Nov 25 01:12:15 mx postfix/postscreen[2]: PREGREET 600 after 0.05 from [198.51.100.${n % 250}]:50123: EHLO ${'u'.repeat(600)}\\r\\n`;
  const lines = [lost(1), ...Array.from({ length: 350 }, (_, n) => early(n)), trap, lost(2)];
  const events = taken(filter, chunksOf(lines, []), new PendingEvents());
  expect(switchedOff).toEqual(['own']);
  expect(told(events).map(({ line }) => line)).toEqual(lines.filter((line) => line !== trap));
  expect(filter.kept.length).toBe(lines.filter((line) => line !== trap).join('').length);
  expect(told(taken(filter, chunksOf([lost(3), early(4)], []), new PendingEvents())).length).toBe(2);
});
