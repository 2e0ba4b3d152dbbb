/** What passes by leaves nothing: the memory of Redis is bounded by pruning, in whatever blockd keeps of an address. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { MAX_CHANGES } from '../../src/store/store.js';
import { blockdOnce, RunningDaemon } from '../support/programs.js';
import { startRedis } from '../support/redis.js';

const PASSING = 20_000;
/** Of them, so many come often enough to be banned. */
const BANNED = 2_000;
/** docs/redis.md and docs/scale.md say 1.5 kB for three lines of evidence. */
const MOST_BYTES_OF_ONE = 1_500;

/** Of the range for measuring (RFC 2544). */
const address = (i: number) => `198.${18 + (i >> 16)}.${i & 255}.${(i >> 8) & 255}`;

it('Redis is nearly empty again when 20,000 addresses have passed, each once or until it was banned', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'blockd-pruning-'));
  const redis = await startRedis();
  const client = new Redis(redis.port);
  try {
    const usedBytes = async () => Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1]);
    const atFirst = await usedBytes();
    const log = join(folder, 'mail.log');
    // Two hours ago: since then the scores have halved 24 times.
    const startedAt = Date.now() - 7_200_000;
    const lines = Array.from({ length: PASSING }, (_, i) => {
      const at = new Date(startedAt + i).toISOString();
      const line = `${at} mx postfix/smtpd[${i % 100}]: NOQUEUE: reject: RCPT from unknown[${address(i)}]: 550 5.1.1 <x${i}@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x${i}@lab.example> proto=ESMTP helo=<c.example>\n`;
      return line.repeat(i % (PASSING / BANNED) === 0 ? 8 : 1);
    });
    writeFileSync(log, lines.join(''));
    const args = ['--store', redis.url, '--log', log, '--from-start', '--set', 'allow.mynetworks=false'];
    const short = ['--set', 'score.half_life=5m', '--set', 'ban.strikes_half_life=5m', '--set', 'ban.first=1m'];
    const run = await blockdOnce(['--once', ...args, ...short]);
    expect(run.code, run.stderr).toBe(0);
    // And some networks.
    expect(await client.hlen('{blockd}:subjects')).toBeGreaterThanOrEqual(PASSING);
    expect(await client.hlen('{blockd}:evidence')).toBe(PASSING);
    expect(await client.zcard('{blockd}:scores')).toBeGreaterThan(PASSING - BANNED - 1);
    expect(await client.xlen('{blockd}:events')).toBeGreaterThan(BANNED);
    expect(await client.xlen('{blockd}:events')).toBeLessThan(MAX_CHANGES + 200);
    const ofOne = ((await usedBytes()) - atFirst) / PASSING;
    console.log(`memory: ${Math.round(ofOne)} bytes an address, with one line of evidence or eight`);
    expect(ofOne).toBeLessThan(MOST_BYTES_OF_ONE);

    const prune = ['--set', 'store.prune=* * * * * *', '--set', 'store.keep=60s'];
    const daemon = await RunningDaemon.start([...args, ...short, ...prune], { timeoutMs: 60_000 });
    try {
      await expect.poll(() => client.hlen('{blockd}:subjects'), { timeout: 60_000, interval: 200 }).toBe(0);
      await expect.poll(() => client.xlen('{blockd}:events'), { timeout: 30_000, interval: 200 }).toBeLessThan(2);
    } finally {
      expect(await daemon.stop()).toBe(0);
    }
    const lasting: string[] = [];
    const left = new Map<string, number>();
    for (const key of await client.keys('*')) {
      left.set(key, Number(await client.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)));
      // Names of the last orders, should their answer have been lost.
      const endsInMs = key.startsWith('{blockd}:commit:') ? await client.pttl(key) : -1;
      if (endsInMs < 0 || endsInMs > 600_000) lasting.push(key.slice('{blockd}:'.length));
    }
    expect(lasting.sort()).toEqual(['events', 'notes', 'positions', 'revision']);
    const bytesLeft = [...left.values()].reduce((sum, one) => sum + one, 0);
    expect(bytesLeft, JSON.stringify([...left])).toBeLessThan(50_000);
    // With the buffers of clients and the scripts.
    expect((await usedBytes()) - atFirst).toBeLessThan(2_000_000);
  } finally {
    client.disconnect();
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}, 180_000);
