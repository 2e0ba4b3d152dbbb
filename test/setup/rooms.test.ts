/** The lint rule that holds the directions between the rooms under src/. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAY_IMPORT: Record<string, readonly string[]> = {
  domain: [],
  config: ['domain'],
  source: ['config', 'domain'],
  filter: ['config', 'domain'],
  policy: ['domain'],
  store: ['policy', 'config', 'domain'],
  lists: ['policy', 'config', 'domain'],
  postfix: ['config', 'domain'],
  report: ['source', 'filter', 'policy', 'store', 'config', 'domain'],
  fail2ban: ['filter', 'config', 'domain'],
  demo: ['domain'],
  daemon: ['report', 'lists', 'source', 'filter', 'policy', 'store', 'postfix', 'config', 'domain'],
  cli: ['fail2ban', 'report', 'lists', 'source', 'filter', 'policy', 'store', 'postfix', 'config', 'domain'],
};
const ROOMS = Object.keys(MAY_IMPORT);
const WAYS: Record<string, (path: string) => string> = {
  static: (path) => `import { thing } from '${path}';\nconsole.log(thing);\n`,
  type: (path) => `import type { Thing } from '${path}';\nexport type Other = Thing;\n`,
  again: (path) => `export { thing } from '${path}';\n`,
  dynamic: (path) => `export const thing = await import('${path}');\n`,
};

const folder = mkdtempSync(join(tmpdir(), 'blockd-rooms-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the linter refuses every import between rooms but those that the design allows', () => {
  const forbidden: string[] = [];
  for (const room of ROOMS) {
    for (const other of ROOMS.filter((name) => name !== room)) {
      for (const [way, source] of Object.entries(WAYS)) {
        const file = `src/${room}/${way}-${other}.ts`;
        write(file, source(`../${other}/thing.js`));
        if (!MAY_IMPORT[room]?.includes(other)) forbidden.push(file);
      }
    }
  }
  expect(refused().sort()).toEqual(forbidden.sort());
});

test('the linter refuses a room that imports a program, and lets a program import any room', () => {
  rmSync(join(folder, 'src'), { recursive: true, force: true });
  const forbidden = ROOMS.map((room) => `src/${room}/program.ts`);
  for (const file of forbidden) write(file, WAYS['static']?.('../blockd.js') ?? '');
  for (const room of ROOMS) write(`src/program-${room}.ts`, WAYS['static']?.(`./${room}/thing.js`) ?? '');
  expect(refused().sort()).toEqual(forbidden.sort());
});

/** Files in the temporary copy in which the linter finds an import that is not allowed. */
function refused(): string[] {
  cpSync(join(ROOT, 'biome.json'), join(folder, 'biome.json'));
  const biome = join(ROOT, 'node_modules/.bin/biome');
  const args = ['lint', '--vcs-enabled=false', '--only=style/noRestrictedImports', '--max-diagnostics=none'];
  const { stdout, stderr } = spawnSync(biome, [...args, '--reporter=json', '.'], { cwd: folder, encoding: 'utf8' });
  const { diagnostics } = JSON.parse(stdout || stderr) as { diagnostics: { location: { path: unknown } }[] };
  return [...new Set(diagnostics.map(({ location }) => pathOf(location.path)))];
}

function pathOf(path: unknown): string {
  const text = typeof path === 'string' ? path : String((path as { file: string }).file);
  return `src/${basename(dirname(text))}/${basename(text)}`;
}

function write(file: string, text: string): void {
  mkdirSync(dirname(join(folder, file)), { recursive: true });
  writeFileSync(join(folder, file), text);
}
