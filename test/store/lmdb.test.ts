/** The embedded store among other processes, and when they die. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DamagedError, UnavailableError, UsageError } from '../../src/domain/errors.js';
import { requireWhole } from '../../src/store/lmdb-file.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';

const COMMITTER = fileURLToPath(new URL('committer.mjs', import.meta.url));
/** Commits as often as it can for two seconds, each time more than there was, without a wait for the disk. */
const GROWS = `
  const store = require('lmdb').open({ path: process.argv[1], maxDbs: 16, noSubdir: false, noSync: true });
  const table = store.openDB({ name: 'growth', encoding: 'string' });
  const until = Date.now() + 2_000;
  for (let i = 0; Date.now() < until; i++) table.putSync(i, 'x'.repeat(1_000));
  store.close();
`;

let folder: string;
const opened: Store[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blockd-lmdb-'));
});
afterEach(async () => {
  for (const store of opened.splice(0)) await store.close();
  await rm(folder, { recursive: true });
});

async function open(path: string): Promise<Store> {
  const store = await openStore(`lmdb:${path}`, { prefix: 'test' });
  opened.push(store);
  return store;
}

/** Runs the committer, and kills it `killAfterMs` after its first commit; resolves with the last commit it printed. */
async function commitUntilKilled(path: string, killAfterMs: number, how: string): Promise<number> {
  const child = spawn(process.execPath, [COMMITTER, `lmdb:${path}`, '1000000', how], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (data) => {
    said += data;
  });
  const closed = once(child, 'close');
  await once(child.stdout, 'data');
  await sleep(killAfterMs);
  child.kill('SIGKILL');
  await closed;
  return Number(said.slice(0, said.lastIndexOf('\n')).split('\n').at(-1));
}

describe('an lmdb store', () => {
  it.each(['here', 'thread'])(
    'holds every commit that returned (%s), whole, after each of 20 kills',
    async (how) => {
      const path = join(folder, 'store');
      for (let kill = 0; kill < 20; kill++) {
        const acknowledged = await commitUntilKilled(path, Math.random() * 30, how);
        const store = await open(path);
        const stored = Number((await store.progress('mx1')).get('/var/log/mail.log')?.commit);
        // The one commit that was under way may have been stored, and not yet told.
        expect([acknowledged, acknowledged + 1]).toContain(stored);
        expect((await store.states(['203.0.113.1'])).get('203.0.113.1')?.offenses).toBe(stored);
        expect((await store.history(1))[0]?.at).toBe(stored);
        await opened.pop()?.close();
      }
    },
    90_000,
  );

  it('shows and announces what another process commits, while it grows', async () => {
    const path = join(folder, 'store');
    const store = await open(path);
    let calls = 0;
    const stop = store.watch(() => calls++);
    const child = spawn(process.execPath, [COMMITTER, `lmdb:${path}`, '300'], { stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.resume();
    await once(child, 'close');
    expect((await store.states(['203.0.113.1'])).get('203.0.113.1')?.offenses).toBe(300);
    expect((await store.history(1_000)).length).toBe(300);
    await expect.poll(() => calls, { timeout: 10_000 }).toBeGreaterThan(0);
    await stop();
  }, 30_000);

  it('makes its folder for its owner and group alone', async () => {
    const path = join(folder, 'a.b', 'store');
    await open(path);
    expect((await stat(path)).mode & 0o777).toBe(0o750);
    expect((await stat(join(path, 'data.mdb'))).mode & 0o007).toBe(0);
  });

  it('tells what is wrong with a path that can hold no store', async () => {
    const file = join(folder, 'file');
    await writeFile(file, 'text');
    await expect(open(file)).rejects.toThrow(UsageError);
    await expect(open(file)).rejects.toThrow(/this is a file; name a folder/);
    await expect(open(join(file, 'store'))).rejects.toThrow(UnavailableError);
    await expect(open('/proc/store')).rejects.toThrow(UnavailableError);
  });

  it('refuses a damaged file instead of dying of it', async () => {
    const path = join(folder, 'store');
    const data = join(path, 'data.mdb');
    const store = await open(path);
    for (let i = 0; i < 5; i++) await store.setNote(`note ${i}`, 'x'.repeat(20_000));
    await opened.pop()?.close();
    const sound = await readFile(data);
    for (const damaged of [
      Buffer.alloc(65_536, 'x'),
      Buffer.from('hello'),
      sound.subarray(0, 5_000),
      sound.subarray(0, 12_288),
    ]) {
      await writeFile(data, damaged);
      await expect(open(path)).rejects.toThrow(DamagedError);
      await expect(open(path)).rejects.toThrow(/data\.mdb is damaged; restart blockd, which sets it aside/);
    }
    await writeFile(data, sound);
    expect(await (await open(path)).note('note 4')).toBe('x'.repeat(20_000));
  });

  it('does not take a file that another process makes longer for a damaged one', async () => {
    const path = join(folder, 'store');
    await open(path);
    const grower = spawn(process.execPath, ['-e', GROWS, path], { cwd: import.meta.dirname, stdio: 'inherit' });
    const closed = once(grower, 'close');
    let looks = 0;
    while (grower.exitCode === null && grower.signalCode === null) {
      for (let i = 0; i < 100; i++) requireWhole(path);
      looks += 100;
      await nextTurn();
    }
    await closed;
    expect(grower.exitCode).toBe(0);
    expect(looks).toBeGreaterThan(1_000);
  }, 60_000);

  it.skipIf(process.getuid?.() !== 0)('is left to the owner of its folder when root opens it first', async () => {
    const path = join(folder, 'store');
    await mkdir(path);
    await chown(path, 65_534, 65_534);
    await chmod(path, 0o750);
    await open(path);
    expect((await stat(join(path, 'data.mdb'))).uid).toBe(65_534);
    expect((await stat(join(path, 'lock.mdb'))).uid).toBe(65_534);
  });
});
