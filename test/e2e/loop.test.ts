/** The whole loop on a real Postfix: from a reject line to a refusal that ends by itself. */
import { rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LabPostfix, startPostfix } from '../support/postfix.js';
import { blockctl, RunningDaemon } from '../support/programs.js';
import { type LabRedis, startRedis } from '../support/redis.js';
import { smtpSession } from '../support/smtp.js';

const LEGITIMATE = '198.51.100.77';
const USER = 'ok1@lab.example';

describe.each(['lmdb', 'redis'] as const)('the whole loop, kept in %s', (kind) => {
  let folder: string;
  let postfix: LabPostfix;
  let redis: LabRedis | null = null;
  let daemon: RunningDaemon;
  let common: string[];
  let legitimate: Bystander;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'blockd-e2e-'));
    postfix = await startPostfix({ mapType: 'hash' });
    redis = kind === 'redis' ? await startRedis() : null;
    common = [
      ...['--store', redis === null ? `lmdb:${folder}/store` : redis.url],
      ...['--map', `hash:${postfix.mapPath}`],
      ...['--set', `postfix.config_directory=${postfix.configDirectory}`],
    ];
    const policy = ['--set', 'ban.first=6s', '--set', 'ban.networks=0', '--set', 'score.standing=false'];
    daemon = await RunningDaemon.start([
      ...common,
      ...policy,
      '--log',
      postfix.logFile,
      '--mode',
      'enforce',
      '--from-start',
    ]);
    legitimate = new Bystander(postfix.port);
  }, 120_000);

  afterAll(async () => {
    await legitimate?.stop();
    await daemon?.stop();
    await redis?.stop();
    await postfix?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const rcpt = async (address: string, recipient = USER): Promise<string> => {
    const session = await smtpSession({ port: postfix.port, address });
    try {
      return await session.rcpt(recipient);
    } finally {
      await session.quit();
    }
  };
  const probe = async (address: string, count = 6): Promise<void> => {
    const session = await smtpSession({ port: postfix.port, address });
    for (let i = 0; i < count; i++) expect(await session.rcpt(`guess${i}@lab.example`)).toMatch(/^550 5\.1\.1 /);
    await session.quit();
  };
  /** Milliseconds until a new session of `address` gets a reply that fits. */
  const untilReply = async (address: string, fits: RegExp, withinMs: number, everyMs = 20): Promise<number> => {
    const startedAt = Date.now();
    let reply = '';
    while (Date.now() - startedAt < withinMs) {
      reply = await rcpt(address);
      if (fits.test(reply)) return Date.now() - startedAt;
      await sleep(everyMs);
    }
    throw new Error(`no reply like ${fits} within ${withinMs} ms; the last was: ${reply}`);
  };
  const listed = async () => {
    const { stdout } = await blockctl([...common, '--json', 'list']);
    return (JSON.parse(stdout) as { subject: string; until: string; by: string }[]).map(({ subject }) => subject);
  };

  it('refuses a prober within a second, tells it until when, and lets it in again when the ban ends', async () => {
    const address = '203.0.113.9';
    expect(await rcpt(address)).toMatch(/^250 /);
    const tookMs: number[] = [];
    const refusal = /^554 5\.7\.1 .*Client host rejected: Blocked until \d{4}-\d\d-\d\dT[\d:]+Z after repeated rejects/;
    await probe(address);
    tookMs.push(await untilReply(address, refusal, 5_000));
    expect(await listed()).toContain(address);
    // A machine that is busy with something else may be late once, but not again and again.
    for (const other of ['192.0.2.109', '192.0.2.110', '192.0.2.111']) {
      if (Math.min(...tookMs) < 1_000) break;
      await probe(other);
      tookMs.push(await untilReply(other, refusal, 5_000));
    }
    console.log(`${kind}: from the offending line to the refusal ${tookMs.join(', ')} ms`);
    expect(Math.min(...tookMs)).toBeLessThan(1_000);
    // One who knocks without pause is banned again: this one is patient.
    const endedMs = await untilReply(address, /^250 /, 15_000, 700);
    expect(endedMs).toBeGreaterThan(1_000);
    expect(await listed()).not.toContain(address);
  }, 40_000);

  it('counts its own refusals as such, and explains all of it', async () => {
    const { stdout } = await blockctl([...common, '--json', 'explain', '203.0.113.9']);
    const explained = JSON.parse(stdout) as {
      evidence: { rule: string; line: string }[];
      releases: { how: string }[];
      strikes: number;
    };
    expect(explained.evidence.map(({ rule }) => rule)).toContain('postfix/user-unknown');
    expect(explained.evidence.some(({ line }) => line.includes('User unknown in local recipient table'))).toBe(true);
    expect(explained.releases[0]?.how).toBe('expired');
    expect(explained.strikes).toBeGreaterThan(0.9);
  });

  it('unban takes effect in the very next session', async () => {
    const address = '203.0.113.10';
    await blockctl([...common, 'ban', address, '--for', '1h', '--reason', 'by hand']);
    expect(await rcpt(address)).toMatch(/^554 5\.7\.1 .*Blocked until /);
    const undone = await blockctl([...common, 'unban', address]);
    expect(undone).toMatchObject({ code: 0 });
    expect(undone.stdout).toContain(address);
    expect(await rcpt(address)).toMatch(/^250 /);
    const again = await blockctl([...common, 'unban', address]);
    expect(again.code).toBe(1);
    expect(again.stdout + again.stderr).toContain('not banned');
  }, 40_000);

  it('allow releases, and keeps from being banned again', async () => {
    const address = '203.0.113.11';
    await blockctl([...common, 'ban', address, '--for', '1h']);
    expect(await rcpt(address)).toMatch(/^554 /);
    expect((await blockctl([...common, 'allow', address])).code).toBe(0);
    expect(await rcpt(address)).toMatch(/^250 /);
    await sleep(1_000);
    await probe(address, 10);
    await sleep(1_500);
    expect(await rcpt(address)).toMatch(/^250 /);
    expect(await listed()).not.toContain(address);
    expect((await blockctl([...common, 'disallow', address])).code).toBe(0);
  }, 40_000);

  it('holds a whole IPv6 /64, and no other', async () => {
    await probe('2001:db8:1:2::5');
    await untilReply('2001:db8:1:2:aaaa::1', /^554 5\.7\.1 .*Blocked until /, 5_000);
    expect(await rcpt('2001:db8:1:3::5')).toMatch(/^250 /);
    expect(await listed()).toContain('2001:db8:1:2::/64');
    await untilReply('2001:db8:1:2::5', /^250 /, 15_000, 700);
  }, 40_000);

  it('rebuilds a map that was deleted, truncated or edited by hand', async () => {
    const address = '203.0.113.12';
    await blockctl([...common, 'ban', address, '--for', '1h']);
    const damages = [
      () => rmSync(`${postfix.mapPath}.db`),
      () => writeFileSync(`${postfix.mapPath}.db`, 'not a database'),
      () => writeFileSync(postfix.mapPath, '198.51.100.77 REJECT edited by hand\n'),
    ];
    await legitimate.pause();
    for (const damage of damages) {
      const before = daemon.log.filter((entry) => entry['event'] === 'published').length;
      damage();
      await expect
        .poll(() => daemon.log.filter((entry) => entry['event'] === 'published').length, { timeout: 10_000 })
        .toBeGreaterThan(before);
      await untilReply(address, /^554 5\.7\.1 .*Blocked until /, 10_000);
      expect(await rcpt(LEGITIMATE)).toMatch(/^250 /);
    }
    legitimate.resume();
    await blockctl([...common, 'unban', address]);
  }, 90_000);

  it('refused nobody else: the bystander was accepted throughout', async () => {
    await legitimate.stop();
    expect(legitimate.accepted).toBeGreaterThan(10);
    expect(legitimate.others).toEqual([]);
  });

  it('stops in good order on SIGTERM and leaves the map in place', async () => {
    const address = '203.0.113.13';
    await blockctl([...common, 'ban', address, '--for', '1h']);
    expect(await daemon.stop()).toBe(0);
    expect(await rcpt(address)).toMatch(/^554 /);
    const { code, stdout } = await blockctl([...common, 'unban', address]);
    expect({ code, stdout }).toMatchObject({ code: 0 });
    expect(await rcpt(address)).toMatch(/^250 /);
  }, 40_000);
});

/** A decent client that delivers all the while; whatever it is told but 250 is kept. */
class Bystander {
  accepted = 0;
  readonly others: string[] = [];
  readonly #port: number;
  #running = true;
  #paused = false;
  #loop: Promise<void>;

  constructor(port: number) {
    this.#port = port;
    this.#loop = this.#run();
  }

  async pause(): Promise<void> {
    this.#paused = true;
    await sleep(400);
  }

  resume(): void {
    this.#paused = false;
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#loop;
  }

  async #run(): Promise<void> {
    for (let rounds = 0; this.#running && rounds < 5_000; rounds++) {
      await sleep(150);
      if (this.#paused) continue;
      const session = await smtpSession({ port: this.#port, address: LEGITIMATE });
      const reply = await session.rcpt(USER);
      await session.quit();
      if (reply.startsWith('250 ')) this.accepted++;
      else this.others.push(reply);
    }
  }
}
