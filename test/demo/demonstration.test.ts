/** The demonstration, run as `npm start` runs it: as a process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';

const MODULE = new URL('../../dist/demo/demonstration.js', import.meta.url).href;
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

test('bans appear and end by themselves, no decent client is turned away, and nothing stays behind', async () => {
  const { child, folder, said } = start();
  const [code] = await once(child, 'close');
  const text = said();
  expect(code, text).toBe(0);
  expect(text).toMatch(/^This machine has none\.\n/);
  const [, bans, expired] = /\n {2}bans +(\d+); ended: (\d+) expired\n/.exec(text) ?? [];
  expect(Number(bans), text).toBeGreaterThan(5);
  expect(expired).toBe(bans);
  expect(text).toMatch(/\n {2}attempts stopped by a ban +[1-9]\d+\n/);
  expect(text).toMatch(/\n {2}decent clients turned away +0 of [23]\d\n/);
  expect(text).toContain('npm start -- --log /var/log/mail.log');
  expect(text.split('\n').filter((line) => line.length > 80)).toEqual([]);
  // No colours in a pipe.
  expect(text).not.toContain('\u001b');
  expectNothingLeft(folder);
}, 120_000);

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s ends it at once, with the summary, and nothing stays behind',
  async (signal) => {
    const { child, folder, said } = start();
    for (let tries = 0; tries < 600 && !/ s ban /.test(said()); tries++) await sleep(50);
    child.kill(signal);
    const [code] = await once(child, 'close');
    expect(code, said()).toBe(0);
    expect(said()).toMatch(/log lines written/);
    expectNothingLeft(folder);
  },
  60_000,
);

test('a reader that goes away ends it, and nothing stays behind', async () => {
  const { child, folder, said } = start();
  for (let tries = 0; tries < 600 && !/ s ban /.test(said()); tries++) await sleep(50);
  child.stdout?.destroy();
  await once(child, 'exit');
  expectNothingLeft(folder);
}, 60_000);

function start(): { child: ChildProcess; folder: string; said: () => string } {
  const folder = mkdtempSync(join(tmpdir(), 'blockd-demo-test-'));
  folders.push(folder);
  const run = `import(${JSON.stringify(MODULE)}).then(({ demonstrate }) => demonstrate('This machine has none.'))`;
  const child = spawn(process.execPath, ['-e', run], {
    cwd: ROOT,
    env: { ...process.env, TMPDIR: folder, FORCE_COLOR: undefined },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      said += data;
    });
  }
  return { child, folder, said: () => said };
}

function expectNothingLeft(folder: string): void {
  expect(readdirSync(folder)).toEqual([]);
  const running = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(folder));
  expect(running).toEqual([]);
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
