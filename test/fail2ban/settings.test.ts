import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseIni } from '../../src/fail2ban/ini.js';
import { PREFIX_LINE, Settings, textOf, withTags } from '../../src/fail2ban/settings.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'blockd-ini-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function file(name: string, text: string): string {
  writeFileSync(join(directory, name), text);
  return join(directory, name);
}

it('reads values over several lines, and keeps the place of each line', () => {
  const text =
    '; a\n[one]\nRegex = a ; why\n  # not this\n\n   b = c\n\t;nor this\n    d\nother: e;f\n[two]\nregex=\n  g\n';
  const sections = parseIni(text, 'f');
  expect(sections.get('one')?.get('regex')).toEqual([
    { text: 'a', file: 'f', line: 3 },
    { text: 'b = c', file: 'f', line: 6 },
    { text: 'd', file: 'f', line: 8 },
  ]);
  expect(sections.get('one')?.get('other')).toEqual([{ text: 'e;f', file: 'f', line: 9 }]);
  expect(sections.get('two')?.get('regex')).toEqual([{ text: 'g', file: 'f', line: 12 }]);
});

it('lays included files under and over the one that includes them, their .local files too', () => {
  file('before.conf', '[Definition]\na = before\nb = before\n');
  file('before.local', '[Definition]\nb = local\n');
  file('after.conf', '[Definition]\nc = after\n');
  const main = file(
    'main.conf',
    '[INCLUDES]\nbefore = before.conf\nafter = after.conf\n  none.conf\n[Definition]\na = main %(known/a)s\nc = main\n',
  );
  const settings = Settings.read([main]);
  expect(['a', 'b', 'c'].map((name) => settings.text('Definition', name))).toEqual(['main before', 'local', 'after']);
});

it('fills in names of the section, of DEFAULT and of other sections, and leaves what it does not know', () => {
  const main = file('main.conf', '[DEFAULT]\nd = D\n[s]\nx = %(y)s-%(d)s-%(t/z)s-%(none)s-100%%\ny = Y\n[t]\nz = Z\n');
  expect(Settings.read([main]).text('s', 'x')).toBe('Y-D-Z-%(none)s-100%');
  expect(Settings.read([file('p.conf', '[s]\nx = ^%(__prefix_line)sa\n')]).text('s', 'x')).toBe(`^${PREFIX_LINE}a`);
});

it('ends with files that include each other, names that stand for themselves, and growth without bound', () => {
  file('a.conf', '[INCLUDES]\nbefore = b.conf\n[s]\nx = %(y)s\ny = %(x)s\n');
  const loop = file('b.conf', '[INCLUDES]\nbefore = a.conf\n[s]\nz = %(z)s\n');
  expect(Settings.read([loop]).text('s', 'x')).toMatch(/%\([xy]\)s/);
  expect(Settings.read([loop]).text('s', 'z')).toBe('%(z)s');
  const names = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));
  const bomb = names.map((name, i) => `${name} = ${`%(${names[i + 1] ?? 'd'})s`.repeat(9)}`).join('\n');
  const twice = '[s]\nk = %(known/k)s%(known/k)s\n';
  const grown = Settings.read([file('c.conf', `[s]\n${bomb}\n`), file('d.conf', twice), file('e.conf', twice)]);
  for (const name of ['a', 'k']) expect((grown.text('s', name) ?? '').length, name).toBeLessThan(1_000_000);
  const tags = withTags([{ text: '<a> ', file: '', line: 0 }], () => [{ text: '<a><a> ', file: '', line: 0 }]);
  expect(textOf(tags).length).toBeLessThan(1_000_000);
});
