import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { knownKeys, loadConfig } from '../../src/config/load.js';
import { configSchema, defaultConfig } from '../../src/config/schema.js';

const example = new URL('../../systemd/blockd.toml', import.meta.url).pathname;
const text = readFileSync(example, 'utf8');
const dir = mkdtempSync(join(tmpdir(), 'blockd-example-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Keys that have no fixed default, and so are commented out. */
const WITHOUT_DEFAULT = new Set([
  'store.host',
  'store.password_file',
  'store.ca_file',
  'points',
  'postfix.map',
  'postfix.config_directory',
  'postfix.postscreen_map',
  'export.file',
  'export.sign_key',
  'report.schedule',
  'report.mail_to',
  'report.html_dir',
  'metrics.listen',
  'metrics.textfile',
  'notify.webhook',
]);

it('the packaged example is the default config, word for word', () => {
  expect(loadConfig({ file: example }).config).toEqual(defaultConfig());
});

it('the packaged example gives every key that has a default', () => {
  const sections = new Set(
    Object.keys(configSchema.keys ?? {}).filter((name) => configSchema.keys?.[name]?.keys !== undefined),
  );
  const wanted = knownKeys(configSchema, []).filter(
    (key) => !sections.has(key) && !WITHOUT_DEFAULT.has(key) && !key.startsWith('lists.'),
  );
  expect(
    [...loadConfig({ file: example }).explicit].filter((key) => !sections.has(key) && key !== 'points').sort(),
  ).toEqual(wanted.sort());
});

it('the packaged example shows every other key commented out, and each of those is right too', () => {
  // A key that stands there twice, empty and as an example, keeps the example.
  const uncommented = text
    .replace(/^(files|addresses|hostnames|command) = \[\]$/gm, '')
    // A list is at one of two places.
    .replace(/^# file = ".*neighbours.*"$/m, '')
    .replace(/^# (\[\[[a-z]+\]\]|"?[a-z_/-]+"? = (?:".*"|\[.*\]|\d+))$/gm, '$1');
  const file = join(dir, 'uncommented.toml');
  writeFileSync(file, uncommented);
  const { explicit, config } = loadConfig({ file });
  const shown = { ...config.lists[0], file: '' };
  expect(Object.keys(shown).sort()).toEqual(Object.keys(configSchema.keys?.['lists']?.keys ?? {}).sort());
  for (const key of WITHOUT_DEFAULT)
    expect(
      [...explicit].some((given) => given === key || given.startsWith(`${key}.`)),
      key,
    ).toBe(true);
});

it('the packaged example says something about every key', () => {
  const lines = text.split('\n');
  const silent = lines.filter((line, i) => /^(# )?"?[a-z_/-]+"? = /.test(line) && !isExplained(lines, i));
  expect(silent).toEqual([]);
});

/** By a comment right above, if only that of a neighbour which it shares. */
function isExplained(lines: readonly string[], index: number): boolean {
  for (let i = index - 1; i >= 0; i--) {
    const line = lines[i] ?? '';
    if (line === '' || line.startsWith('[')) return line === '[points]';
    if (line.startsWith('# ') && !/^# "?[a-z_/-]+"? = /.test(line)) return true;
  }
  return false;
}
