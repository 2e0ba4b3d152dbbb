/** The bans in the kernel, met by real connections in network namespaces of their own. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, expect, it } from 'vitest';
import { BanBook } from '../../src/daemon/ban-book.js';
import { KernelSets } from '../../src/daemon/kernel-sets.js';
import { openStore } from '../../src/store/open.js';
import { banOf, stateOf } from '../store/samples.js';
import { blockctl, RunningDaemon } from '../support/programs.js';

const SERVER = `blockd-s${process.pid}`;
const CLIENT = `blockd-c${process.pid}`;
const ip = (...args: string[]) => spawnSync('ip', args, { encoding: 'utf8' });
const canMake = ip('netns', 'add', SERVER).status === 0;
if (!canMake && process.env['CI'] !== 'true') console.warn('skipped: no right to make network namespaces (root)');
const dir = mkdtempSync(join(tmpdir(), 'blockd-nft-'));
afterAll(() => {
  for (const one of [SERVER, CLIENT]) ip('netns', 'del', one);
  rmSync(dir, { recursive: true, force: true });
});

const CONNECT = `const s = require('net').connect({ host: '198.51.100.1', port: 25, localAddress: process.argv[1] });
setTimeout(() => process.exit(7), 700); s.on('connect', () => process.exit(0)).on('error', (e) => process.exit(e.code === 'ECONNREFUSED' ? 0 : 8));`;
/** A refusal by the server's kernel proves that the packet came through; a dropped one is answered by nothing. */
const reaches = (from: string) => {
  const { status } = spawnSync('ip', ['netns', 'exec', CLIENT, process.execPath, '-e', CONNECT, from]);
  if (status !== 0 && status !== 7) throw new Error(`the connection from ${from} could not be tried: ${status}`);
  return status === 0;
};

it.runIf(canMake || process.env['CI'] === 'true')(
  'a banned address can not connect, others can, an unban and the end of the ban without a daemon let it in again',
  { timeout: 60_000 },
  async () => {
    for (const args of [
      `netns add ${CLIENT}`,
      `-n ${SERVER} link add v0 type veth peer name v1 netns ${CLIENT}`,
      `-n ${SERVER} addr add 198.51.100.1/24 dev v0`,
      `-n ${SERVER} link set v0 up`,
      `-n ${CLIENT} link set v1 up`,
      ...[7, 8, 9].map((n) => `-n ${CLIENT} addr add 198.51.100.${n}/24 dev v1`),
    ])
      expect(ip(...args.split(' ')).stderr).toBe('');
    const nft = join(dir, 'nft');
    writeFileSync(nft, `#!/bin/sh\nexec ip netns exec ${SERVER} nft "$@"\n`);
    chmodSync(nft, 0o755);
    const store = await openStore('memory:', { prefix: 'test' });
    const until = Math.ceil(Date.now() / 1_000) * 1_000 + 12_000;
    const bans = ['198.51.100.7', '198.51.100.8', '198.51.100.9', '203.0.113.0/24', '203.0.113.5', '2001:db8:1:2::/64'];
    for (const subject of bans) {
      const ban = banOf(subject, until);
      await store.commit([subject], () => ({
        put: new Map([[subject, { ...stateOf(1), ban }]]),
        changes: [{ type: 'ban', at: Date.now(), ban }],
      }));
    }
    const logger = pino({ level: 'silent' });
    const isAllowed = (subject: string) => subject === '198.51.100.9';
    const book = new BanBook(store);
    const picture = () => book.update(Date.now());
    const sets = new KernelSets({
      picture,
      soonestEnd: () => book.soonestEnd,
      logger,
      nft,
      table: 'blockd',
      drop: true,
      isAllowed,
    });
    sets.request(0);
    await expect.poll(() => reaches('198.51.100.8'), { timeout: 6_000 }).toBe(false);
    expect([reaches('198.51.100.7'), reaches('198.51.100.9')]).toEqual([false, true]);
    await store.commit(['198.51.100.8'], (states) => {
      const state = states.get('198.51.100.8');
      if (!state?.ban) return {};
      const release = { at: Date.now(), how: 'unbanned' as const, ban: state.ban };
      return {
        put: new Map([['198.51.100.8', { ...state, ban: null }]]),
        changes: [{ type: 'release', at: release.at, release }],
      };
    });
    sets.request(0);
    await expect.poll(() => reaches('198.51.100.8'), { timeout: 6_000 }).toBe(true);
    await sets.stop();
    expect(reaches('198.51.100.7')).toBe(false);
    await sleep(Math.max(0, until - Date.now()) + 500);
    expect(reaches('198.51.100.7')).toBe(true);
    await store.close();
  },
);

/** The daemon with a program in nft's place that keeps what it is told, and ends with `code`. */
async function daemonWith(name: string, mode: string, code: number) {
  const folder = join(dir, name);
  const [told, nft, log] = [`${folder}.told`, `${folder}.nft`, `${folder}.log`];
  writeFileSync(nft, `#!/bin/sh\ncat >> ${told}\necho "no right" >&2\nexit ${code}\n`, { mode: 0o755 });
  writeFileSync(log, '');
  const where = ['--store', `lmdb:${folder}/store`, '--map', `lmdb:${folder}/map/client_access`];
  const settings = [
    'frontline.nftables=true',
    `frontline.nft=${nft}`,
    'allow.mynetworks=false',
    'postfix.reload=["true"]',
  ];
  const daemon = await RunningDaemon.start([
    ...where,
    ...['--log', log, '--mode', mode],
    ...settings.flatMap((one) => ['--set', one]),
  ]);
  const ask = [...where, '--set', `mode=${mode}`, '--set', 'postfix.reload=["true"]'];
  return { daemon, ask, text: () => (existsSync(told) ? readFileSync(told, 'utf8') : '') };
}

it('the daemon hands every ban and its end to nft in enforce mode', async () => {
  const { daemon, ask, text } = await daemonWith('enforce', 'enforce', 0);
  await expect.poll(text, { timeout: 8_000 }).toContain('add set inet blockd banned4');
  await blockctl([...ask, 'ban', '203.0.113.9', '--for', '2h']);
  await expect
    .poll(text, { timeout: 8_000 })
    .toMatch(/add element inet blockd banned4 \{ 203\.0\.113\.9 timeout 7[12]\d\ds \}/);
  await blockctl([...ask, 'unban', '203.0.113.9']);
  await expect.poll(text, { timeout: 8_000 }).toContain('delete element inet blockd banned4 { 203.0.113.9 }');
  expect(await daemon.stop()).toBe(0);
}, 60_000);

it('nft is not called in dry-run and shadow', async () => {
  for (const mode of ['dry-run', 'shadow']) {
    const { daemon, ask, text } = await daemonWith(mode, mode, 0);
    await blockctl([...ask, 'ban', '203.0.113.9']);
    await sleep(2_500);
    expect(await daemon.stop()).toBe(0);
    expect(text(), mode).toBe('');
  }
}, 60_000);

it('an nft that fails is told of once, and the access map goes on', async () => {
  const { daemon, ask } = await daemonWith('failing', 'enforce', 1);
  await daemon.until(({ event }) => event === 'nft-failed');
  await blockctl([...ask, 'ban', '203.0.113.9']);
  await sleep(2_500);
  expect(daemon.log.filter(({ event }) => event === 'nft-failed').map(({ msg }) => msg)).toEqual([
    "the nftables sets can't follow the bans, the access map goes on: no right; tried again every 30 s",
  ]);
  const { stdout } = await blockctl([...ask, '--json', 'status']);
  expect(JSON.parse(stdout).map.entries).toBe(1);
  expect(await daemon.stop()).toBe(0);
}, 60_000);
