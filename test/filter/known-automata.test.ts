/** Automata that were worked out when blockd was packaged read what those read that are worked out as lines come. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Match } from '../../src/domain/event.js';
import { LineClock } from '../../src/filter/clock.js';
import { Filter, type FilterOptions } from '../../src/filter/filter.js';
import { toBeKnown } from '../../src/filter/known-automata.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import type { Rule } from '../../src/filter/rule.js';
import { corpus } from './corpus.js';

const ROOT = resolve(import.meta.dirname, '../..');
const CACHE = join(ROOT, 'node_modules/.cache');
const packaged = loadRules(packagedFilters(), null, 'own');
const REWORDED = { reply: 'Blocked until {until}, ask postmaster' };

/** Programs beside which `known` stands, from a folder of their own: what is known is looked up once. */
async function filtersBeside(known: Buffer | null): Promise<typeof Filter> {
  const place = mkdtempSync(join(CACHE, 'known-automata-'));
  places.push(place);
  cpSync(join(ROOT, 'dist'), place, { recursive: true });
  writeFileSync(join(place, 'package.json'), '{"type":"module"}');
  if (known !== null) writeFileSync(join(place, 'filter/known-automata.bin'), known);
  const programs = await import(pathToFileURL(join(place, 'filter/filter.js')).href);
  return (programs as { readonly Filter: typeof Filter }).Filter;
}

const places: string[] = [];
let known: Buffer;
let Known: typeof Filter;
beforeAll(async () => {
  mkdirSync(CACHE, { recursive: true });
  known = toBeKnown(Filter.compile(packaged).toKnown());
  Known = await filtersBeside(known);
}, 60_000);
afterAll(() => {
  for (const place of places) rmSync(place, { recursive: true });
});

function read(filter: Filter, text: string): Match[] {
  const matches: Match[] = [];
  filter.scan(Buffer.from(text, 'latin1'), new LineClock(Date.UTC(2026, 10, 25, 12)), (match) => matches.push(match));
  return matches;
}

/** The programs whose automata are worked out as lines come. */
function unknown(filter: Filter): number {
  return filter.toKnown().length;
}

function compare(Beside: typeof Filter, text: string, rules: readonly Rule[], options: FilterOptions = {}): number {
  const expected = read(Filter.compile(rules, options), text);
  expect(read(Beside.compile(rules, options), text)).toEqual(expected);
  return expected.length;
}

const SAMPLES = packaged.flatMap(({ matches, ignores }) => [...matches.map(({ line }) => line), ...ignores]);
const text = [...corpus({ seed: 20_261_126, lines: 20_000, attack: 0.5 })].map(({ line }) => line).join('\n');

describe('known automata', () => {
  test('find the same in a long log', () => {
    expect(unknown(Known.compile(packaged))).toBe(0);
    expect(unknown(Filter.compile(packaged))).toBe(6);
    expect(compare(Known, text, packaged)).toBeGreaterThan(5_000);
  });

  test('find the same in all samples, with any byte of theirs another', () => {
    const lines = SAMPLES.flatMap((sample) => [
      sample,
      ...Array.from(sample, (_, at) => sample.slice(0, at) + (' [9:\xe9'[at % 5] ?? '') + sample.slice(at + 1)),
    ]);
    expect(compare(Known, lines.join('\n'), packaged)).toBeGreaterThan(SAMPLES.length);
  });

  test('are known also when a reply is worded otherwise behind the end of the ban, and not when it is before', () => {
    expect(unknown(Known.compile(packaged, REWORDED))).toBe(0);
    const others = { reply: 'Go away until {until}' };
    expect(unknown(Known.compile(packaged, others))).toBe(1);
    for (const options of [REWORDED, others]) {
      const reply = options.reply.replace('{until}', '2026-11-25T12:00:00Z');
      const line = `Nov 25 01:12:15 mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from x[192.0.2.1]: 554 5.7.1 <x[192.0.2.1]>: Client host rejected: ${reply}; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<x>`;
      expect(read(Known.compile(packaged, options), line)).toMatchObject([{ kind: 'refused', ip: '192.0.2.1' }]);
    }
  });

  test('leave rules of the admin to be read as ever, and points to his config', () => {
    const [first] = packaged.filter(({ program }) => program.includes('postfix/smtpd'));
    if (first === undefined) throw new Error('no rule');
    const own = { ...first, name: 'own', pattern: '^connect from {client}', kind: 'offense', packaged: false } as const;
    const connect = 'Nov 25 01:12:15 mx postfix/smtpd[7]: connect from x[192.0.2.1]';
    expect(read(Known.compile([own, ...packaged]), connect)).toMatchObject([{ rule: 'own', ip: '192.0.2.1' }]);
    compare(Known, text, [own, ...packaged]);
    const weighed = read(Known.compile(packaged, { points: { [first.name]: 77 } }), SAMPLES.join('\n'));
    expect(weighed.filter(({ rule }) => rule === first.name).map(({ points }) => points)).toContain(77);
  });

  test('are those of the package that the program is of, when an upgrade has put others there', async () => {
    const Beside = await filtersBeside(known);
    const filter = Beside.compile(packaged);
    const file = join(places.at(-1) ?? '', 'filter/known-automata.bin');
    const other = Buffer.from(known);
    other.fill(0, 8 + other.readUInt32LE(4));
    writeFileSync(`${file}.new`, other);
    renameSync(`${file}.new`, file);
    const start = text.slice(0, 200_000);
    expect(read(filter, start)).toEqual(read(Filter.compile(packaged), start));
    expect(unknown(filter)).toBe(0);
  });

  test.each([
    ['nothing', () => Buffer.alloc(0)],
    ['its first half', (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1)],
    ['noise', (bytes: Buffer) => Buffer.alloc(bytes.length, 'x')],
  ])('are left aside when of their file there is %s', async (_, spoil) => {
    const Beside = await filtersBeside(spoil(readFileSync(join(places[0] ?? '', 'filter/known-automata.bin'))));
    expect(unknown(Beside.compile(packaged))).toBe(6);
    compare(Beside, text.slice(0, 100_000), packaged);
  });
});
