/** What `npm start` does with flags: the daemon, with a log and a store of its own unless the flags name them. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Traffic } from '../../src/demo/traffic.js';
import { blockctl } from '../support/programs.js';

const START = fileURLToPath(new URL('../../dist/start.js', import.meta.url));
const NOBODY = 65_534;
let folder = '';
let log = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'blockd-start-'));
  log = join(folder, 'mail.log');
  const traffic = new Traffic({ seed: 3, startAt: Date.now() - 600_000, perSecond: 5, attackShare: 0.5 });
  writeFileSync(log, [...traffic.lines(2_000)].map(({ text }) => `${text}\n`).join(''));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('flags reach the daemon, which counts the named log into the named store, in dry-run', async () => {
  const store = `lmdb:${join(folder, 'store')}`;
  const { code, said } = await start(['--log', log, '--store', store, '--once', '--from-start']).ended;
  expect(code, said()).toBe(0);
  expect(said()).toContain('DRY-RUN: would ban 203.0.113.');
  const { stdout } = await blockctl(['--store', store, '--json', 'list']);
  expect(JSON.parse(stdout).length).toBeGreaterThan(0);
});

test("the daemon's own words and exit code come through", async () => {
  const wrong = start(['--log', log, '--store', `lmdb:${folder}/store`, '--set', 'score.treshold=3']);
  const { code, said } = await wrong.ended;
  expect(code).toBe(2);
  expect(said()).toMatch(/score\.treshold.*score\.threshold/s);
});

test('asked for its version, it says no more than that', async () => {
  const { code, said } = await start(['--version']).ended;
  expect(code).toBe(0);
  expect(said()).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test('a signal ends the daemon too, in good order', async () => {
  const { child, ended, said } = start(['--log', log, '--store', `lmdb:${folder}/store`]);
  for (let tries = 0; tries < 400 && !said().includes('"started"'); tries++) await sleep(50);
  child.kill('SIGTERM');
  expect((await ended).code, said()).toBe(0);
  expect(said()).toContain('"event":"stopped"');
});

test('the daemon ends with the terminal that it was started in', async () => {
  const command = `${process.execPath} ${START} --log ${log} --store lmdb:${folder}/store`;
  const terminal = spawn('script', ['-qfec', command, join(folder, 'typescript')], { stdio: 'ignore' });
  for (let tries = 0; tries < 400 && !typed().includes('following'); tries++) await sleep(50);
  terminal.kill('SIGKILL');
  await once(terminal, 'close');
  expect(typed()).toContain('following');
  for (let tries = 0; tries < 400 && running().length > 0; tries++) await sleep(50);
  expect(running()).toEqual([]);

  function typed(): string {
    return existsSync(join(folder, 'typescript')) ? readFileSync(join(folder, 'typescript'), 'utf8') : '';
  }
  function running(): string[] {
    const { stdout } = spawnSync('ps', ['-eo', 'args'], { encoding: 'utf8' });
    return stdout.split('\n').filter((args) => args.includes(log));
  }
});

/** Only root can become somebody else, who must be able to read this folder and those above it. */
const canBeNobody =
  process.getuid?.() === 0 && spawnSync(process.execPath, ['--check', START], { uid: NOBODY }).status === 0;

test.runIf(canBeNobody)('without root the store goes where the user keeps state', async () => {
  chownSync(folder, NOBODY, NOBODY);
  chmodSync(log, 0o644);
  const { code, said } = await start(['--log', log, '--once'], NOBODY).ended;
  expect(code, said()).toBe(0);
  expect(existsSync(join(folder, 'state/blockd/store'))).toBe(true);
  const [, command = ''] = /^ {2}node (.*)$/m.exec(said()) ?? [];
  const [blockctlFile, ...args] = command.split(' ');
  expect(blockctlFile).toMatch(/\/dist\/blockctl\.js$/);
  expect((await blockctl([...args, '--json'])).stdout).toBe('[]\n');
});

function start(args: readonly string[], uid?: number) {
  const child = spawn(process.execPath, [START, ...args], {
    env: { ...process.env, XDG_STATE_HOME: join(folder, 'state') },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid !== undefined && { uid, gid: uid }),
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      text += data;
    });
  }
  const said = () => text;
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, said }));
  return { child, ended, said };
}
