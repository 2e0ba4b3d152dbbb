/** The manual says all that the programs and the config know, and groff takes it without a warning. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Output } from '../../src/cli/output.js';
import { buildProgram } from '../../src/cli/program.js';
import { knownKeys } from '../../src/config/load.js';
import { configSchema } from '../../src/config/schema.js';
import { blockdProgram } from '../../src/daemon/program.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import { runSamples } from '../../src/filter/samples.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'blockd-manual-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(() => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/manual.mjs', folder], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  expect(`${status}${stderr}`).toBe('0');
});

const page = (name: string) =>
  readFileSync(join(folder, 'man', name), 'utf8')
    .replaceAll('\\-', '-')
    .replaceAll('\\(dq', '"')
    .replaceAll('\\(aq', "'");

const program = buildProgram('0', new Output(process.stdout, process.stderr), () => undefined);
const shown = (command: Command): readonly Command[] =>
  command.commands.filter((one) => one.name() !== 'complete').flatMap((one) => [one, ...shown(one)]);

it('names every option of blockd', () => {
  const text = page('blockd.8');
  for (const { flags } of blockdProgram('0').options) expect(text).toContain(`.B ${flags}\n`);
});

it('names every command of blockctl, and each option of it', () => {
  const text = page('blockctl.8');
  for (const command of shown(program)) {
    if (command.commands.length === 0) expect(text).toMatch(new RegExp(`^\\.SS (?:import )?${command.name()}\\b`, 'm'));
    for (const { flags } of command.options) expect(text, command.name()).toContain(`.B ${flags}\n`);
  }
  expect(text).not.toContain('.SS complete ');
});

it('names every key of the config', () => {
  const text = page('blockd.toml.5');
  for (const key of knownKeys(configSchema, [])) {
    const [last, first] = key.split('.').reverse();
    if (first === undefined) expect(text).toMatch(new RegExp(`^\\.(?:B ${last} =|SS \\[${last}\\])`, 'm'));
    else {
      const section = text.slice(text.indexOf(`.SS [${first}]`)).split('\n.SS ')[0];
      expect(section, key).toContain(`.B ${last} = `);
    }
  }
});

it('is taken by groff without a warning, and fits a terminal of 80 columns', () => {
  for (const name of readdirSync(join(folder, 'man'))) {
    const { stdout, stderr, error } = spawnSync(
      'groff',
      ['-man', '-ww', '-Tutf8', '-rLL=80n', join(folder, 'man', name)],
      {
        encoding: 'utf8',
        env: { ...process.env, GROFF_NO_SGR: '1' },
      },
    );
    if (error !== undefined) {
      console.warn('groff is not installed: the pages are not rendered');
      return;
    }
    expect(stderr, name).toBe('');
    const wide = stdout
      .replace(/.\x08/g, '')
      .split('\n')
      .filter((line) => line.length > 80);
    // A command line is one word to whoever copies it, and is not wrapped.
    expect(
      wide.filter((line) => !/\bblockctl \w/.test(line)),
      name,
    ).toEqual([]);
    // No mark of the page's source is left for the reader.
    expect(stdout, name).not.toMatch(/\\-|\\\(|\bundefined\b/);
  }
});

it('tells a default from an example', () => {
  const text = page('blockd.toml.5');
  const said = (key: string) => text.split(`.B ${key} = `)[1]?.split('\n.TP')[0];
  expect(said('listen')).toContain('Not set by default');
  expect(said('threshold')).not.toContain('Not set by default');
  expect(said('addresses')).toMatch(/For example: addresses = \["192/);
});

it('shows a rule that is right: its samples match, and no other rule suffers', () => {
  const shownRule = readFileSync(join(ROOT, 'scripts/manual/blockd-filters.5.txt'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('    '))
    .map((line) => line.slice(4))
    .join('\n');
  const own = join(folder, 'filters');
  mkdirSync(own);
  writeFileSync(join(own, 'mysite.toml'), shownRule);
  const rules = loadRules(packagedFilters(), own, 'own');
  expect(rules.map(({ name }) => name)).toContain('mysite/policy-refused');
  expect(runSamples(rules)).toEqual([]);
});
