/** What ends a test run that stands still, and says where. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'blockd-standstill-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(body: string): Promise<{ code: number; said: string }> {
  writeFileSync(join(folder, 'test', 'one.test.ts'), `import { it } from 'vitest';\n${body}\n`);
  const vitest = spawn(
    process.execPath,
    [
      join(ROOT, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--reporter=default',
      `--reporter=${join(ROOT, 'scripts/standstill.mjs')}`,
    ],
    { cwd: folder, env: { ...process.env, STANDSTILL_MS: '2500', NO_COLOR: '1' }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const [out, err, [code]] = await Promise.all([text(vitest.stdout), text(vitest.stderr), once(vitest, 'exit')]);
  return { code: Number(code), said: out + err };
}

it('a test that blocks its own process ends the run, which says where and what it had started', async () => {
  mkdirSync(join(folder, 'test'));
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'vitest.config.mjs'), "export default { test: { include: ['test/*.test.ts'] } };\n");
  const { code, said } = await run(
    "it('blocks', async () => { (await import('node:child_process')).spawnSync('sleep', ['77']); });",
  );
  expect(code, said).toBe(1);
  expect(said).toMatch(/nothing has moved for \d+ s: the test run is ended/);
  expect(said).toContain('one.test.ts');
  expect(said).toMatch(/\) sleep 77$/m);
});

it('a run in which things move is left alone, however long it takes', async () => {
  const tests = [1, 2, 3, 4].map((n) => `it('moves ${n}', () => new Promise((done) => setTimeout(done, 1_000)));`);
  const { code, said } = await run(tests.join('\n'));
  expect(code, said).toBe(0);
  expect(said).not.toContain('nothing has moved');
});
