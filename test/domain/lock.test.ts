import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { UnavailableError } from '../../src/domain/errors.js';
import { acquireLock } from '../../src/domain/lock.js';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'blockd-lock-'));
  file = join(folder, 'lock');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('a lock is held by one at a time, and free after its release', async () => {
  const first = await acquireLock(file, { waitMs: 0 });
  expect(first).not.toBeNull();
  expect(await acquireLock(file, { waitMs: 0 })).toBeNull();
  expect(await acquireLock(file, { waitMs: 50 })).toBeNull();
  await first?.release();
  await first?.release();
  const second = await acquireLock(file, { waitMs: 0 });
  expect(second).not.toBeNull();
  await second?.release();
});

it('whoever waits gets the lock when it is released', async () => {
  const first = await acquireLock(file, { waitMs: 0 });
  const waiting = acquireLock(file, { waitMs: 10_000 });
  setTimeout(() => void first?.release(), 100);
  const second = await waiting;
  expect(second).not.toBeNull();
  await second?.release();
});

it('a lock ends with its holder, killed or not', async () => {
  const holder = spawn('flock', [file, 'sh', '-c', 'echo held; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(holder.stdout, 'data');
  expect(await acquireLock(file, { waitMs: 0 })).toBeNull();
  const sleeper = Number(execFileSync('ps', ['--ppid', String(holder.pid), '-o', 'pid='], { encoding: 'utf8' }));
  process.kill(sleeper, 'SIGKILL');
  holder.kill('SIGKILL');
  const lock = await acquireLock(file, { waitMs: 5_000 });
  expect(lock).not.toBeNull();
  await lock?.release();
});

it('programs that the holder starts do not inherit it', async () => {
  const lock = await acquireLock(file, { waitMs: 0 });
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  await lock?.release();
  const again = await acquireLock(file, { waitMs: 0 });
  child.kill('SIGKILL');
  expect(again).not.toBeNull();
  await again?.release();
});

it('the file is made with its folder, for its owner alone', async () => {
  const deep = join(folder, 'a/b/lock');
  await (await acquireLock(deep, { waitMs: 0 }))?.release();
  expect(existsSync(deep)).toBe(true);
  expect(statSync(deep).mode & 0o777).toBe(0o600);
});

it('says why it can’t lock', async () => {
  writeFileSync(file, '');
  await expect(acquireLock(join(file, 'lock'), { waitMs: 0 })).rejects.toThrow(UnavailableError);
  const path = process.env.PATH;
  process.env.PATH = folder;
  try {
    await expect(acquireLock(file, { waitMs: 0 })).rejects.toThrow(/flock\(1\) of util-linux can't be run/);
  } finally {
    process.env.PATH = path;
  }
});
