/** One automaton for many rules says what their regular expressions say, one after the other. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Clients } from '../../src/filter/clients.js';
import type { Finding } from '../../src/filter/finding.js';
import { JoinedReader } from '../../src/filter/joined-reader.js';
import { Line } from '../../src/filter/line.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import { Opening } from '../../src/filter/opening.js';
import { parseRulePattern, type Rule } from '../../src/filter/rule.js';
import { Scanner } from '../../src/filter/scanner.js';
import { PatternError } from '../../src/filter/syntax.js';
import { corpus } from './corpus.js';

const clients = new Clients();
/** Of all readers here. */
const scanner = new Scanner();

/** Neighbours with the same opening words are joined, as programs do it. */
function openingsOf(patterns: readonly { readonly name: string; readonly pattern: string }[]): Opening[] {
  const openings: Opening[] = [];
  for (const { name, pattern } of patterns) {
    const parsed = parseRulePattern(pattern, 'Blocked until {until}');
    const weighed = { rule: { name } as Rule, kind: 'offense' as const, points: 1 };
    if (!openings.at(-1)?.take(parsed, weighed)) openings.push(new Opening(parsed, weighed, null));
  }
  return openings;
}

function lineOf(before: string, message: string, behind: string): [line: Line, start: number, end: number] {
  const line = new Line();
  line.useBytes(Buffer.from(`${before}${message}${behind}`, 'latin1'));
  line.set(0, line.bytes.length);
  scanner.put(line.bytes, false);
  return [line, before.length, before.length + message.length];
}

function told(finding: Finding | null) {
  if (finding === null) return null;
  const { weighed, isPlain, client, times } = finding;
  return { rule: weighed.rule.name, isPlain, ...client, times };
}

function compare(openings: readonly Opening[], reader: JoinedReader, message: string, before = '', behind = ''): void {
  const [line, start, end] = lineOf(before, message, behind);
  const joined = told(reader.find(line, start, end));
  let expected = null;
  for (const opening of openings) expected ??= told(opening.find(line, start, end, clients));
  expect(joined, JSON.stringify([before, message, behind])).toEqual(expected);
}

const packaged = loadRules(packagedFilters(), null, 'own');
const programs = [...new Set(packaged.flatMap(({ program }) => program))];
const openingsFor = (program: string) => openingsOf(packaged.filter((rule) => rule.program.includes(program)));
const SAMPLES = packaged.flatMap(({ matches, ignores }) => [...matches.map(({ line }) => line), ...ignores]);

describe.each(programs)('the rules of %s', (program) => {
  const openings = openingsFor(program);
  const reader = JoinedReader.of(openings, new Clients(), scanner);
  const read = (message: string, before?: string, behind?: string) =>
    compare(openings, reader, message, before, behind);

  test('find the same in all samples, cut off anywhere, and with any byte of theirs changed', () => {
    for (const sample of SAMPLES) {
      for (const message of messagesOf(sample)) {
        for (let end = 0; end <= message.length; end++) read(message.slice(0, end), 'x ', end % 2 === 0 ? ' ]' : '');
        for (let at = 0; at < message.length; at += 3)
          for (const other of [' ', '[', '9', ':', '\xe9']) read(message.slice(0, at) + other + message.slice(at + 1));
      }
    }
  });

  test('find the same in what their samples are made of, put together otherwise', () => {
    const pieces = SAMPLES.flatMap(messagesOf).flatMap((message) => message.split(/(?<=[ :,<>[\]()/=])/));
    const piece = fc.oneof(fc.constantFrom(...pieces), fc.constantFrom(...SAMPLES.flatMap(messagesOf)));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), fc.string({ unit: 'binary-ascii', maxLength: 3 }), (some, tail) =>
        read(some.join('') + tail),
      ),
      { numRuns: 2_000 },
    );
  });
});

test('the packaged rules find the same in a large mixed log', () => {
  const readers = programs.map((program) => {
    const openings = openingsFor(program);
    return { openings, reader: JoinedReader.of(openings, new Clients(), scanner) };
  });
  for (const { line } of corpus({ seed: 30, lines: 5_000, attack: 0.5 })) {
    for (const message of messagesOf(Buffer.from(line, 'utf8').toString('latin1')))
      for (const { openings, reader } of readers) compare(openings, reader, message);
  }
});

describe('rules of any wording', () => {
  const atom = fc.constantFrom('a', 'b', '1', ':', '-', '\\.', ' ', '[ab]', '[^a]', '\\d', '\\w', '.', '<', '\\[');
  /** What is repeated is read in one way only: other expressions, which the guard refuses, take minutes for a line. */
  const repeated = fc.oneof(
    fc.array(atom, { minLength: 1, maxLength: 3 }).map((atoms) => atoms.join('')),
    fc.constantFrom('a|b', '\\d|<', 'ab|b', 'x|\\['),
  );
  const { source } = fc.letrec<{ source: string }>((tie) => ({
    source: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      atom,
      fc.array(atom, { minLength: 2, maxLength: 4 }).map((atoms) => atoms.join('')),
      fc.tuple(tie('source'), tie('source')).map(([one, other]) => one + other),
      fc.tuple(tie('source'), tie('source')).map(([one, other]) => `(?:${one}|${other})`),
      fc
        .tuple(repeated, fc.constantFrom('*', '+', '?', '{0,2}', '{2}', '{1,3}', '*?', '+?', '??', '{1,3}?'))
        .map(([one, quantifier]) => `(?:${one})${quantifier}`),
      fc.tuple(tie('source'), fc.constantFrom('?=', '?!')).map(([one, look]) => `(${look}${one})`),
      fc.tuple(tie('source'), tie('source')).map(([one, other]) => `(?:${one}|${other}$)`),
    ),
  }));
  const pattern = fc
    .record({
      head: fc.oneof(fc.constantFrom('a', 'b from ', ''), source),
      address: fc.constantFrom('{client}', '{ip}'),
      tail: fc.oneof(fc.constantFrom('', ' auth=0/(?<times>\\d+)', ': b'), source),
      end: fc.constantFrom('', '', '$'),
    })
    .map(({ head, address, tail, end }) => `${head}${address}${tail}${end}`)
    .filter(isPattern);
  const message = fc
    .array(
      fc.oneof(
        fc.constantFrom('a', 'b', 'ab', '1', ':', '-', '.', ' ', '<', '[', ']', 'b from ', ': b', ' auth=0/7', '\r'),
        fc.constantFrom(
          'x[192.0.2.1]',
          '[2001:db8::1]:25',
          '[192.0.2.7]:123456',
          '192.0.2.9',
          '2001:db8::9',
          '1.2.3.4.5',
        ),
      ),
      { maxLength: 14 },
    )
    .map((pieces) => pieces.join(''));

  test('are read by it as by their regular expressions', () => {
    fc.assert(
      fc.property(
        fc.array(pattern, { minLength: 1, maxLength: 5 }),
        fc.array(message, { maxLength: 40 }),
        (some, messages) => {
          const openings = openingsOf(some.map((text, i) => ({ name: `r${i}`, pattern: text })));
          const reader = JoinedReader.of(openings, clients, scanner);
          for (const each of messages) compare(openings, reader, each, 'b ', '');
        },
      ),
      // Always the same ones: by chance several repetitions may still stand side by side.
      { numRuns: 1_000, seed: 20_261 },
    );
  });

  test('that take too many states for it are read all the same', () => {
    const wide = { name: 'wide', pattern: '(?:a|b)*a(?:a|b){14}{client} end' };
    const openings = openingsOf([wide]);
    const reader = JoinedReader.of(openings, new Clients(), scanner);
    let seed = 7;
    for (let i = 0; i < 2_000; i++) {
      let words = '';
      for (let at = 0; at < 40; at++) {
        seed = (Math.imul(seed, 1_103_515_245) + 12_345) | 0;
        words += (seed >>> 20) & 1 ? 'a' : 'b';
      }
      compare(openings, reader, `${words}x[192.0.2.1] end`);
      compare(openings, reader, `${words}[192.0.2.1] end`);
    }
    expect(reader.isSwift).toBe(false);
  });
});

test('a packaged rule is never too intricate for it', () => {
  for (const program of programs) {
    const reader = JoinedReader.of(openingsFor(program), new Clients(), scanner);
    for (const sample of SAMPLES)
      for (const message of messagesOf(sample)) {
        const [line, start, end] = lineOf('', message, '');
        reader.find(line, start, end);
      }
    expect([program, reader.isSwift]).toEqual([program, true]);
  }
});

/** What stands behind the header, with and without a queue id before it. */
function messagesOf(line: string): string[] {
  const message = /^(?:<\d+>)?(?:\S+ +\d+ \S+|\S+) \S+ [^:[]+(?:\[\d+\])?: (.*)$/s.exec(line)?.[1] ?? line;
  const behind = /^[0-9A-Zb-df-hj-np-tv-z]{5,26}: (.*)$/s.exec(message)?.[1];
  return behind === undefined ? [message] : [message, behind];
}

function isPattern(text: string): boolean {
  try {
    parseRulePattern(text, '');
    return true;
  } catch (error) {
    if (error instanceof PatternError) return false;
    throw error;
  }
}
