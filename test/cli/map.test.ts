import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DaemonNote, daemonNoteName } from '../../src/store/daemon-note.js';
import { Bench, offenses } from './support.js';

let bench: Bench;
let map: string;

beforeEach(() => {
  bench = new Bench();
  map = join(bench.dir, 'map', 'client_access');
  mode('enforce');
});
afterEach(() => bench.remove());

function mode(mode: string, more = ''): void {
  bench.configure(
    `mode = "${mode}"\nallow.mynetworks = false\n${more}[postfix]\nmap = "hash:${map}"\nreload = ["true"]\n`,
  );
}

/** What Postfix would find for the client, or null. */
function lookUp(key: string, table = `hash:${map}`): string | null {
  const { status, stdout, stderr } = spawnSync('postmap', ['-q', key, table], { encoding: 'utf8' });
  if (status !== 0 && stderr !== '') throw new Error(stderr);
  return status === 0 ? stdout.trimEnd() : null;
}

describe('orders', () => {
  it('are in the map at once, without a daemon', async () => {
    const { stdout } = await bench.run('ban', '203.0.113.9', '--for', '2h');
    expect(stdout).toMatch(/^Banned 203\.0\.113\.9 until .* \(for 2 h\)\n$/);
    expect(lookUp('203.0.113.9')).toMatch(/^554 5\.7\.1 Blocked until \d{4}-/);
    await bench.run('ban', '2001:db8:1:2::7');
    expect(lookUp('2001:db8:1:2::99', `cidr:${map}.cidr`)).toMatch(/Blocked until/);
    await bench.run('unban', '203.0.113.9');
    expect(lookUp('203.0.113.9')).toBeNull();
    await bench.run('allow', '2001:db8:1::/48');
    expect(lookUp('2001:db8:1:2::99', `cidr:${map}.cidr`)).toBeNull();
  });

  it('only warn in shadow mode', async () => {
    mode('shadow');
    const { stdout } = await bench.run('ban', '203.0.113.9');
    expect(stdout).toMatch(
      /^SHADOW: recorded, Postfix only logs whom it would refuse; would be banned: 203\.0\.113\.9/,
    );
    expect(lookUp('203.0.113.9')).toMatch(/^WARN .*Blocked until/);
    expect((await bench.run('list')).stdout).toMatch(/^SHADOW: nobody is refused/);
  });

  it('stay out of the map in dry-run', async () => {
    mode('dry-run');
    expect((await bench.run('ban', '203.0.113.9')).stdout).toMatch(/^DRY-RUN: recorded, not enforced/);
    expect(existsSync(map)).toBe(false);
  });

  it('that are stored but can not be published say so, exit code 3', async () => {
    const { code, stdout, stderr } = await bench.run('ban', '203.0.113.9', '--set', 'postfix.postmap=/nowhere/postmap');
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
    expect(stderr).toMatch(
      /The change is stored, but not yet in the access map \(run "blockctl sync" when that is mended\): .*postmap/,
    );
    expect(await bench.json('list')).toMatchObject([{ subject: '203.0.113.9' }]);
  });

  it('find mode and map by the daemon’s note when no config names them', async () => {
    bench.configure('store.host = "mx1"\n');
    const note: DaemonNote = {
      version: '1.2.3',
      pid: process.pid,
      mode: 'enforce',
      map: { type: 'hash', path: map },
      logs: [],
      postfix: {
        reply: 'Blocked until {until} or call us',
        postmap: 'postmap',
        reload: ['true'],
        configDirectory: null,
      },
      startedAt: Date.now(),
      heartbeatAt: Date.now(),
      stoppedAt: null,
      counters: { lines: 0, offenses: 0, bans: 0, releases: 0, refused: 0 },
    };
    await bench.inStore((store) => store.setNote(daemonNoteName('mx1'), note));
    expect((await bench.run('ban', '203.0.113.9')).stdout).toMatch(/^Banned/);
    expect(lookUp('203.0.113.9')).toMatch(/ or call us$/);
    expect(await bench.json('status')).toMatchObject({
      map: { type: 'hash', path: map, entries: 1, publishedAt: expect.stringMatching(/Z$/) },
    });
  });
});

describe('blockctl sync', () => {
  it('publishes the bans of the store, and says what changed', async () => {
    await bench.judge([...offenses('203.0.113.9', 5, 60_000), ...offenses('203.0.113.10', 5, 60_000)]);
    expect(await bench.run('sync')).toEqual({
      code: 0,
      stdout: `hash:${map}: 2 entries (2 added, 0 removed)\n`,
      stderr: '',
    });
    expect(lookUp('203.0.113.10')).not.toBeNull();
    expect(await bench.json('sync')).toEqual({
      mode: 'enforce',
      map: { type: 'hash', path: map },
      entries: 2,
      added: 0,
      removed: 0,
    });
  });

  it('empties the map in dry-run, and makes none', async () => {
    await bench.run('ban', '203.0.113.9');
    mode('dry-run');
    expect((await bench.run('sync')).stdout).toBe(
      `DRY-RUN: nobody is refused; hash:${map}: 0 entries (0 added, 1 removed)\n`,
    );
    expect(lookUp('203.0.113.9')).toBeNull();
    rmSync(join(bench.dir, 'map'), { recursive: true });
    expect((await bench.run('sync')).stdout).toBe(`DRY-RUN: nobody is refused; hash:${map} has no entries\n`);
    expect(existsSync(map)).toBe(false);
    bench.configure('');
    expect(await bench.run('sync')).toMatchObject({
      code: 0,
      stdout: '',
      stderr: expect.stringMatching(/no access map is configured/),
    });
  });

  it.runIf(process.getuid?.() === 0)('writes the map as the owner of its folder', async () => {
    mkdirSync(join(bench.dir, 'map'));
    for (const path of [bench.dir, join(bench.dir, 'map')]) chownSync(path, 65_534, 65_534);
    expect((await bench.execute({}, 'ban', '203.0.113.9')).code).toBe(0);
    const files = readdirSync(join(bench.dir, 'map'));
    expect(files).toContain('client_access.db');
    for (const file of files) expect(statSync(join(bench.dir, 'map', file)).uid, file).toBe(65_534);
  });
});

describe('blockctl sweep', () => {
  it('drops ended entries without the store', async () => {
    await bench.run('ban', '203.0.113.9', '--for', '1s');
    await bench.run('ban', '203.0.113.10');
    expect(lookUp('203.0.113.10')).not.toBeNull();
    rmSync(join(bench.dir, 'store'), { recursive: true });
    await new Promise((resolve) => setTimeout(resolve, 2_200));
    const { code } = await bench.run('sweep');
    expect(code).toBe(0);
    expect(lookUp('203.0.113.9')).toBeNull();
    expect(lookUp('203.0.113.10')).not.toBeNull();
    expect(existsSync(join(bench.dir, 'store'))).toBe(false);
  });

  it('has nothing to do where there is no map', async () => {
    expect(await bench.run('sweep')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await bench.json('sweep')).toEqual({ dropped: 0 });
  });
});

it('without a map configured, sweep takes Postfix’s default type', async () => {
  bench.configure('');
  expect(execFileSync('postconf', ['-hx', 'default_database_type'], { encoding: 'utf8' })).toMatch(/^[a-z]+\n$/);
  expect((await bench.run('sweep')).code).toBe(0);
});
