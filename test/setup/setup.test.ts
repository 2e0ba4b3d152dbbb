/** `scripts/setup.mjs`, which every npm script runs first, in a small project of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** A loaded machine takes three times as long. */
const MANY_COMPILATIONS_MS = 120_000;
let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'blockd-setup-'));
  for (const file of ['package.json', 'package-lock.json', 'tsconfig.json', 'scripts/setup.mjs']) {
    cpSync(join(ROOT, file), join(folder, file));
  }
  mkdirSync(join(folder, 'node_modules'));
  for (const name of ['typescript', '@typescript', '@types', 'undici-types', 'assemblyscript', 'binaryen', 'long']) {
    symlinkSync(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name));
  }
  // The stamp of the packages, which this test doesn't fetch again.
  cpSync(join(ROOT, 'node_modules/.blockd-installed'), join(folder, 'node_modules/.blockd-installed'));
  source('greeting.ts', "export const greeting: string = 'hello';\n");
  source('store/add.lua', 'return 1\n');
  source('filter/scanner/scan.ts', 'export function answer(): i32 {\n  return 42;\n}\n');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('the first run compiles and copies the scripts; the second does nothing and says nothing', async () => {
  expect(await setup()).toEqual({ code: 0, said: 'blockd set-up: compiling\n' });
  expect(readFileSync(join(folder, 'dist/greeting.js'), 'utf8')).toContain("greeting = 'hello'");
  expect(readFileSync(join(folder, 'dist/store/add.lua'), 'utf8')).toBe('return 1\n');
  expect(answer('dist')).toBe(42);
  expect(answer('src')).toBe(42);
  rmSync(join(folder, 'dist/greeting.js'));
  expect(await setup()).toEqual({ code: 0, said: '' });
  expect(existsSync(join(folder, 'dist/greeting.js'))).toBe(false);
});

test.each([
  ['a changed source', 'greeting.ts', "export const greeting = 'good day';\n"],
  ['a new source', 'farewell.ts', "export const farewell = 'good day';\n"],
  ['a changed Redis script', 'store/add.lua', 'return "good day"\n'],
])('%s is taken into the programs', async (_, file, text) => {
  await setup();
  source(file, text);
  expect(await setup()).toEqual({ code: 0, said: 'blockd set-up: compiling\n' });
  expect(readFileSync(join(folder, 'dist', file.replace(/ts$/, 'js')), 'utf8')).toContain('good day');
});

test(
  'the inner loop is compiled anew when its source changes, and when it is gone',
  async () => {
    await setup();
    source('filter/scanner/scan.ts', 'export function answer(): i32 {\n  return 43;\n}\n');
    expect(await setup()).toEqual({ code: 0, said: 'blockd set-up: compiling\n' });
    expect(answer('dist')).toBe(43);
    for (const name of ['scanner.wasm', 'scanner-simd.wasm']) {
      rmSync(join(folder, 'src/filter', name));
      expect(await setup()).toEqual({ code: 0, said: 'blockd set-up: compiling\n' });
      expect(answer('src', name)).toBe(43);
    }
  },
  MANY_COMPILATIONS_MS,
);

test('the inner loop is compiled with and without vector instructions', async () => {
  source(
    'filter/scanner/scan.ts',
    'export function answer(): i32 {\n  if (ASC_FEATURE_SIMD) return i32x4.extract_lane(i32x4.splat(44), 0);\n  return 43;\n}\n',
  );
  await setup();
  expect([answer('dist'), answer('dist', 'scanner-simd.wasm')]).toEqual([43, 44]);
});

test('a source that does not compile ends it with what the compiler says, again and again', async () => {
  source('greeting.ts', 'export const greeting: string = 5;\n');
  for (let run = 0; run < 2; run++) {
    const { code, said } = await setup();
    expect(code).toBe(1);
    expect(said).toMatch(/greeting\.ts.*Type 'number' is not assignable to type 'string'/);
  }
});

test('of two runs at once one does the work and the other waits for it', async () => {
  const [one, other] = await Promise.all([setup(), setup()]);
  expect([one.code, other.code]).toEqual([0, 0]);
  expect([one.said, other.said].sort()).toEqual(['', 'blockd set-up: compiling\n']);
  expect(existsSync(join(folder, 'dist/.setup.lock'))).toBe(false);
});

test('a run that was killed does not hold up the next one', async () => {
  const killed = start();
  killed.kill('SIGKILL');
  await once(killed, 'close');
  mkdirSync(join(folder, 'dist'), { recursive: true });
  writeFileSync(join(folder, 'dist/.setup.lock'), String(killed.pid));
  expect(await setup()).toEqual({ code: 0, said: 'blockd set-up: compiling\n' });
});

function start(): ChildProcess {
  return spawn(process.execPath, ['scripts/setup.mjs'], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function setup(): Promise<{ code: number; said: string }> {
  const child = start();
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (data) => {
      said += data;
    });
  }
  const [code] = (await once(child, 'close')) as [number];
  return { code, said };
}

/** What the compiled inner loop says. */
function answer(tree: 'src' | 'dist', name = 'scanner.wasm'): number {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const module = new WebAssembly.Module(readFileSync(join(folder, tree, 'filter', name)));
  return (new WebAssembly.Instance(module, { env: { memory } }).exports as { answer: () => number }).answer();
}

function source(file: string, text: string): void {
  const path = join(folder, 'src', file);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text);
}
