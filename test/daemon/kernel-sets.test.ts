/** The bans in the kernel, met by real connections in network namespaces of their own. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, expect, it } from 'vitest';
import { KernelSets } from '../../src/daemon/kernel-sets.js';
import { openStore } from '../../src/store/open.js';
import { banOf, stateOf } from '../store/samples.js';

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
  { timeout: 30_000 },
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
    const until = Math.ceil(Date.now() / 1_000) * 1_000 + 9_000;
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
    const sets = new KernelSets({ store, logger, nft, table: 'blockd', drop: true, isAllowed });
    sets.request(0);
    await sleep(700);
    expect([reaches('198.51.100.7'), reaches('198.51.100.8'), reaches('198.51.100.9')]).toEqual([false, false, true]);
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
    await sleep(500);
    await sets.stop();
    expect([reaches('198.51.100.7'), reaches('198.51.100.8')]).toEqual([false, true]);
    await sleep(Math.max(0, until - Date.now()) + 500);
    expect(reaches('198.51.100.7')).toBe(true);
    await store.close();
  },
);
