import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { UsageError } from '../../src/domain/errors.js';
import { LineClock } from '../../src/filter/clock.js';
import { Filter } from '../../src/filter/filter.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import { runSamples } from '../../src/filter/samples.js';

let root: string;
let packaged: string;
let override: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'blockd-filters-'));
  packaged = join(root, 'packaged');
  override = join(root, 'etc');
  mkdirSync(packaged);
  mkdirSync(override);
});

afterEach(() => rmSync(root, { recursive: true }));

function rule(name: string, extra = ''): string {
  return `[[rule]]
name = "${name}"
kind = "offense"
points = 1
program = "postfix/smtpd"
description = "A test."
pattern = 'bad thing from {client}'
${extra}
`;
}

describe('the packaged rules', () => {
  test('are found beside the module, each with a description and samples', () => {
    const rules = loadRules(packagedFilters(), null);
    expect(rules.length).toBeGreaterThan(40);
    expect(rules.filter((each) => each.matches.length === 0 || each.description.length < 20)).toEqual([]);
  });

  test('keep their samples', () => {
    expect(runSamples(loadRules(packagedFilters(), null))).toEqual([]);
  });

  test('are without their samples for those who only read logs', () => {
    const whole = loadRules(packagedFilters(), null, 'own');
    const short = loadRules(packagedFilters(), null, 'short');
    expect(short).toEqual(whole.map((each) => ({ ...each, matches: [], ignores: [] })));
    writeFileSync(join(override, 'own.toml'), rule('own/a', 'ignores = ["x"]'));
    expect(loadRules(packagedFilters(), override, 'short')[0]).toMatchObject({ name: 'own/a', ignores: ['x'] });
  });

  test('are the only ones when the admin has no directory of his own', () => {
    writeFileSync(join(packaged, 'a.toml'), rule('test/a'));
    expect(loadRules(packaged, join(root, 'absent')).map(({ name }) => name)).toEqual(['test/a']);
    expect(loadRules(packaged, null).map(({ name }) => name)).toEqual(['test/a']);
  });
});

test('a packaged rule that somebody spoilt is told by its file and name', () => {
  writeFileSync(join(packaged, 'a.toml'), rule('test/a').replace('thing from', 'thing (from'));
  const rules = loadRules(packaged, null, 'own');
  expect(() => Filter.compile(rules)).toThrow(UsageError);
  expect(() => Filter.compile(rules)).toThrow(/packaged\/a\.toml, rule "test\/a": its pattern /);
});

describe("the admin's rules", () => {
  test('replace packaged ones of the same name in their place, and come first otherwise', () => {
    writeFileSync(join(packaged, 'a.toml'), rule('test/a') + rule('test/b'));
    writeFileSync(join(override, 'mine.toml'), `${rule('test/b', 'echo = true')}${rule('test/mine')}`);
    writeFileSync(join(override, 'README'), 'not a rule file');
    const rules = loadRules(packaged, override);
    expect(rules.map(({ name }) => name)).toEqual(['test/mine', 'test/a', 'test/b']);
    expect(rules[2]).toMatchObject({ echo: true, file: join(override, 'mine.toml') });
  });

  test.each(['', '# [[rule]]\n# name = "test/mine"\n'])('may all be commented out', (text) => {
    writeFileSync(join(packaged, 'a.toml'), rule('test/a'));
    writeFileSync(join(override, 'mine.toml'), text);
    expect(loadRules(packaged, override).map(({ name }) => name)).toEqual(['test/a']);
  });

  test('may take lines from packaged rules', () => {
    cpSync(packagedFilters(), packaged, { recursive: true });
    const line =
      'Nov 25 01:12:15 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from x.example[198.51.100.1]: 554 5.7.1 <x.example[198.51.100.1]>: Client host rejected: partner hour; from=<> to=<a@b.example> proto=SMTP helo=<x>';
    writeFileSync(
      join(override, 'mine.toml'),
      `[[rule]]\nname = "mine/partner"\nkind = "offense"\npoints = 0\nprogram = "postfix/smtpd"\ndescription = "Counts nothing."\npattern = '{qid}: reject: [A-Z-]+ from {client}: 554 5\\.7\\.1 <[^>]*>: Client host rejected: partner hour'\n`,
    );
    const clock = new LineClock(Date.UTC(2026, 10, 26));
    expect(Filter.compile(loadRules(packaged, null)).match(line, clock)?.rule).toBe('postfix/client-rejected');
    expect(Filter.compile(loadRules(packaged, override)).match(line, clock)).toBeNull();
  });
});

describe('a mistake in a rule file is named with file, rule and reason', () => {
  test.each([
    [
      'an unknown key',
      rule('test/a', 'pionts = 2'),
      /a\.toml, rule "test\/a": unknown key pionts; did you mean points\?$/,
    ],
    ['an unknown kind', rule('test/a').replace('"offense"', '"crime"'), /rule "test\/a": kind/],
    ['no pattern', rule('test/a').replace(/pattern.*\n/, ''), /rule "test\/a": pattern is missing/],
    ['no name', rule('test/a').replace(/name.*\n/, ''), /rule number 1: name is missing/],
    ['no kind', rule('test/a').replace(/kind.*\n/, ''), /rule "test\/a": kind is missing/],
    ['no program', rule('test/a').replace(/program.*\n/, ''), /rule "test\/a": program is missing/],
    ['no program in its list', rule('test/a').replace(/program.*\n/, 'program = []\n'), /program is missing/],
    [
      'two mistakes, a line each,',
      rule('Test A', 'echo = 1'),
      /^\S+a\.toml, rule "Test A": name wants lower-case.*\n\S+a\.toml, rule "Test A": echo wants true or false.*$/,
    ],
    ['a rule that is no table', 'rule = [1]', /rule number 1: is a table: write its keys under \[\[rule\]\], not 1$/],
    [
      'a sample that is no table',
      rule('test/a', 'matches = ["x"]'),
      /rule "test\/a": matches\.1 is a table: write its keys under \[\[rule\.matches\]\], not "x"$/,
    ],
    [
      'keys without their heading',
      rule('test/a').replace('[[rule]]', ''),
      /a\.toml: name, kind, points, program, description, pattern belong to a rule: write \[\[rule\]\] above the keys of each$/,
    ],
    ['rules that are no list', 'rule = 1', /a\.toml: rule is a list of tables/],
    ['no points', rule('test/a').replace(/points.*\n/, ''), /rule "test\/a": wants points/],
    ['negative points', rule('test/a').replace('points = 1', 'points = -1'), /rule "test\/a": points/],
    ['a name twice', rule('test/a') + rule('test/a'), /rule "test\/a": is there twice/],
    ['a bad name', rule('Test A'), /rule "Test A": name/],
    ['a bad program', rule('test/a').replace('postfix/smtpd', 'postfix smtpd'), /rule "test\/a": program/],
    [
      'a bad sample address',
      rule('test/a', 'matches = [{ line = "x", ip = "1.2.3" }]'),
      /rule "test\/a": matches\.1\.ip wants an address, such as "203\.0\.113\.9", not "1\.2\.3"$/,
    ],
    ['another table', '[rules]\nx = 1', /^\S+a\.toml: unknown key rules; did you mean rule\?$/],
    ['broken TOML', '[[rule]\n', /a\.toml: line 1, column 8: expected end of table array declaration$/],
    ['what is no text', Uint8Array.of(0, 0xff, 1), /a\.toml: is not UTF-8 text$/],
  ])('%s', (_, text, reason) => {
    writeFileSync(join(packaged, 'a.toml'), text);
    expect(() => loadRules(packaged, null)).toThrow(UsageError);
    expect(() => loadRules(packaged, null)).toThrow(reason);
  });

  test('one name in two files', () => {
    writeFileSync(join(packaged, 'a.toml'), rule('test/a'));
    writeFileSync(join(packaged, 'b.toml'), rule('test/a'));
    expect(() => loadRules(packaged, null)).toThrow(/b\.toml, rule "test\/a": is also in .*a\.toml/);
  });

  test('a directory that is a file', () => {
    writeFileSync(join(root, 'file'), '');
    expect(() => loadRules(packaged, join(root, 'file'))).toThrow(/file: is a file; name the folder of the rule files/);
  });
});

describe('samples', () => {
  const line = 'Nov 25 01:12:15 mx postfix/smtpd[1]: bad thing from x.example[198.51.100.1]';
  test.each([
    [
      'that nothing matches',
      `matches = [{ line = "Nov 25 01:12:15 mx postfix/smtpd[1]: fine", ip = "198.51.100.1" }]`,
      'no rule matches it',
    ],
    [
      'with another address',
      `matches = [{ line = "${line}", ip = "198.51.100.2" }]`,
      'found 198.51.100.1, expected 198.51.100.2',
    ],
    [
      'with other points',
      `matches = [{ line = "${line}", ip = "198.51.100.1", points = 3 }]`,
      'is worth 1 points, expected 3',
    ],
    ['that must be ignored and are not', `ignores = ["${line}"]`, 'is matched, with 198.51.100.1, and should not be'],
  ])('%s are reported', (_, samples, problem) => {
    writeFileSync(join(packaged, 'a.toml'), rule('test/a', samples));
    expect(runSamples(loadRules(packaged, null))).toMatchObject([
      { rule: 'test/a', file: join(packaged, 'a.toml'), problem },
    ]);
  });

  test('that another rule takes are reported', () => {
    writeFileSync(
      join(packaged, 'a.toml'),
      rule('test/a') + rule('test/b', `matches = [{ line = "${line}", ip = "198.51.100.1" }]`),
    );
    expect(runSamples(loadRules(packaged, null))).toMatchObject([
      { rule: 'test/b', problem: 'rule "test/a" matches it first' },
    ]);
  });
});
