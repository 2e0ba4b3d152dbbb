/** `blockctl top` on a real terminal, with a real store. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStore } from '../../src/store/open.js';
import { SCHEMA, SCHEMA_VERSION } from '../../src/store/schema.js';
import { RunningDaemon } from '../support/programs.js';
import { startRedis } from '../support/redis.js';
import { Terminal } from '../support/terminal.js';
import { Bench, BLOCKCTL, offenses } from './support.js';

let bench: Bench;
let terminal: Terminal | null = null;
let daemon: RunningDaemon | null = null;

beforeEach(() => {
  bench = new Bench();
});
afterEach(async () => {
  terminal?.close();
  terminal = null;
  await daemon?.stop('SIGKILL');
  daemon = null;
  bench.remove();
});

const command = (store: string, before = '') =>
  `${before} ${process.execPath} ${BLOCKCTL} --config ${bench.config} --store ${store} top`;

function open(options: { columns?: number; rows?: number; env?: Record<string, string>; before?: string } = {}) {
  const { columns = 80, rows = 24, env, before } = options;
  terminal = new Terminal(command(bench.store, before), { columns, rows, ...(env && { env }) });
  return terminal;
}

function untilShown(one: Terminal, text: string | RegExp, timeout = 15_000) {
  return expect.poll(() => one.text, { timeout, interval: 150 }).toMatch(text);
}

const STYLES = /\x1b\[[\d;]*m/g;

describe('top', () => {
  it('shows new bans and the highest scores, each with its bar, in 80 columns and 24 rows', async () => {
    await bench.judge(offenses('203.0.113.9', 6, 5_000));
    await bench.judge(offenses('203.0.113.77', 4, 5_000, { host: 'host-77.dialup.example' }));
    const one = open();
    await untilShown(one, 'HIGHEST SCORES');
    const lines = one.screen();
    expect(lines.length).toBeLessThanOrEqual(25);
    expect(lines[0]).toMatch(/^blockd on .*DRY-RUN: nobody is refused.* \d\d:\d\d:\d\d$/);
    expect(one.text).toContain('NEW BANS (1 active ban)');
    expect(one.text).toMatch(/^203\.0\.113\.9 .* in \d+ min +postfix\/user-unknown$/m);
    expect(one.text).toMatch(/^203\.0\.113\.77 +host-77\.dialup\S+ +█{9,10}░{2,3} +(?:4|3\.9) +5/m);
    expect(one.state).toEqual({ alternate: true, cursor: false });
  }, 30_000);

  it('shows of a subject that was banned anew only the last ban as active', async () => {
    await bench.judge(offenses('203.0.113.9', 6, 5_000));
    await bench.run('ban', '203.0.113.9', '--for', '2d');
    const { bans } = (await bench.json('top')) as { bans: { by: string; active: boolean }[] };
    expect(bans.map(({ by, active }) => [by, active])).toEqual([
      ['person', true],
      ['score', false],
    ]);
    await bench.run('unban', '203.0.113.9');
    expect(await bench.json('top')).toMatchObject({ banned: 0, bans: [{ active: false }, { active: false }] });
  });

  it('is live: a ban that is made now comes by itself, with the rejects that led to it', async () => {
    const log = bench.file('mail.log', '');
    const args = ['--config', bench.config, '--store', bench.store, '--log', log, '--from-start'];
    daemon = await RunningDaemon.start(args);
    const one = open({ columns: 120, rows: 40 });
    await untilShown(one, /daemon +up /);
    expect(one.text).toContain(`log      ${log}: `);
    const reject = `${new Date().toISOString()} mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[203.0.113.9]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>\n`;
    appendFileSync(log, reject.repeat(12));
    await untilShown(one, /NEW BANS \(1 active ban\)\n.*\n203\.0\.113\.9 /);
    await untilShown(one, /rejects +\d.*[▂▃▄▅▆▇█].* most 1[0-3](?:\.\d)?\/s/);
  }, 40_000);

  it('follows the size of the terminal', async () => {
    await bench.judge(Array.from({ length: 40 }, (_, i) => offenses(`203.0.113.${i + 1}`, 2, 5_000)).flat());
    const one = open();
    await untilShown(one, 'HIGHEST SCORES');
    const rows = () => one.screen().filter((line) => /^203\./.test(line)).length;
    expect(rows()).toBeLessThan(20);
    one.resize(120, 40);
    await expect.poll(rows, { timeout: 15_000 }).toBeGreaterThan(20);
    one.resize(30, 8);
    await expect.poll(() => one.screen().length, { timeout: 15_000 }).toBeLessThanOrEqual(9);
    await untilShown(one, /^blockd on/);
    one.resize(80, 24);
    await untilShown(one, 'HIGHEST SCORES');
  }, 30_000);

  it.each(['q', 'Escape', 'C-c'])(
    'ends with the key %s, and leaves the terminal as it was',
    async (key) => {
      const one = open();
      await untilShown(one, 'NEW BANS');
      expect(one.isCooked).toBe(false);
      one.press('Up');
      one.press('x');
      one.press(key);
      await untilShown(one, /^BEFORE\nAFTER 0\n/);
      expect(one.state).toEqual({ alternate: false, cursor: true });
      expect(one.isCooked).toBe(true);
    },
    30_000,
  );

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'ends at %s, and leaves the terminal as it was',
    async (signal) => {
      const one = open();
      await untilShown(one, 'NEW BANS');
      process.kill(one.child, signal);
      await untilShown(one, /^BEFORE\nAFTER 0\n/);
      expect(one.state).toEqual({ alternate: false, cursor: true });
      expect(one.isCooked).toBe(true);
    },
    30_000,
  );

  it('leaves the terminal as it was when it crashes, and what is said of that can be read', async () => {
    const crash = bench.file('crash.mjs', "setTimeout(() => { throw new Error('out of order'); }, 2500);");
    const one = open({ before: `NODE_OPTIONS='--import=${crash}'` });
    await untilShown(one, 'NEW BANS');
    await untilShown(one, /^BEFORE\n[\s\S]*out of order[\s\S]*AFTER [1-9]/);
    expect(one.state).toEqual({ alternate: false, cursor: true });
    expect(one.isCooked).toBe(true);
  }, 30_000);

  it('lets no text of others steer the terminal', async () => {
    const evil = '\x1b]0;owned\x07\x1b[2J\x1b[?1049l\r\nFAKE\u202e\x9b31m';
    await bench.judge(offenses('203.0.113.9', 6, 5_000, { host: evil, rule: `rule${evil}` }));
    await bench.judge(offenses('203.0.113.77', 3, 5_000, { host: evil }));
    const one = open({ columns: 200, rows: 40 });
    await untilShown(one, /^203\.0\.113\.77 +\\x1b\]0;owned\\x07\\x1b\[2J/m);
    expect(one.state.alternate).toBe(true);
    expect(one.text).not.toMatch(/^FAKE/m);
    // The bytes themselves, as they go to a terminal.
    const script = spawn('script', ['-qefc', command(bench.store), '/dev/null'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, TERM: 'xterm', LC_ALL: 'C.UTF-8' },
    });
    let bytes = '';
    script.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      bytes += chunk;
    });
    const ended = once(script, 'close');
    await expect.poll(() => bytes, { timeout: 15_000, interval: 150 }).toContain('\\x1b]0;owned');
    script.stdin.write('q');
    await ended;
    const ours = /\x1b\[(?:[\d;]*m|H|J|2J|K|\?25[hl]|\?1049[hl])/g;
    expect(bytes.replace(ours, '')).not.toMatch(/[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]/);
    expect(bytes.match(/\x1b\[\?1049l/g)?.length).toBe(1);
  }, 40_000);

  it('has colours, and none where NO_COLOR says so', async () => {
    await bench.judge(offenses('203.0.113.9', 6, 5_000));
    const one = open();
    await untilShown(one, '203.0.113.9');
    expect(one.screen(true).join('\n')).toMatch(STYLES);
    one.close();
    const two = open({ env: { NO_COLOR: '1' } });
    await untilShown(two, '203.0.113.9');
    expect(two.screen(true).join('\n')).not.toMatch(/\x1b\[(?:\d+;)*3\dm/);
  }, 30_000);

  it('says so when the store is away, and goes on when it is back', async () => {
    const redis = await startRedis({ args: ['--appendonly', 'yes'] });
    try {
      terminal = new Terminal(command(redis.url), { columns: 100, rows: 30 });
      const one = terminal;
      await untilShown(one, 'HIGHEST SCORES');
      await redis.kill();
      await untilShown(one, /(?:redis:\/\/127\.0\.0\.1.*trying again|the store does not answer)/, 30_000);
      await redis.start();
      await expect.poll(() => one.text, { timeout: 30_000 }).not.toMatch(/trying again|does not answer/);
      redis.signal('SIGSTOP');
      await untilShown(one, /trying again/, 30_000);
      const clock = () => one.screen()[0]?.slice(-8);
      const before = clock();
      await expect.poll(clock, { timeout: 15_000 }).not.toBe(before);
      one.press('q');
      await untilShown(one, 'AFTER 0', 5_000);
    } finally {
      redis.signal('SIGCONT');
      await redis.stop();
    }
  }, 120_000);

  it('shows nothing more of a store that a newer blockd has come upon, and says what to do', async () => {
    await bench.judge(offenses('203.0.113.9', 6, 5_000));
    const one = open({ columns: 200 });
    await untilShown(one, 'HIGHEST SCORES');
    const store = await openStore(bench.store, { prefix: 'blockd' });
    await store.setNote(SCHEMA, SCHEMA_VERSION + 1);
    await store.close();
    await untilShown(one, /newer blockd.*upgrade/s);
    one.press('q');
    await untilShown(one, 'AFTER 0', 5_000);
  }, 30_000);

  it('waits for a store that is not there yet or was removed, and makes none', async () => {
    const one = open();
    await untilShown(one, 'there is no store yet');
    await bench.judge(offenses('203.0.113.9', 6, 5_000));
    await untilShown(one, /^203\.0\.113\.9 /m);
    rmSync(bench.store.slice('lmdb:'.length), { recursive: true });
    await untilShown(one, 'there is no store yet');
    expect(existsSync(bench.store.slice('lmdb:'.length))).toBe(false);
    await bench.judge(offenses('203.0.113.10', 6, 5_000));
    await untilShown(one, /^203\.0\.113\.10 /m);
    expect(one.text).not.toContain('203.0.113.9 ');
  }, 40_000);

  it('is one plain picture where there is no screen: in a pipe, on a dumb terminal, as JSON', async () => {
    await bench.judge(offenses('203.0.113.9', 6, 5_000));
    const piped = await bench.execute({}, 'top');
    expect([piped.code, piped.stderr]).toEqual([0, '']);
    expect(piped.stdout).toMatch(/^203\.0\.113\.9 /m);
    expect(piped.stdout).not.toContain('\x1b');
    const dumb = open({ env: { TERM: 'dumb' }, before: 'TERM=dumb' });
    await untilShown(dumb, /^BEFORE\nblockd on [\s\S]*203\.0\.113\.9 [\s\S]*AFTER 0/);
    expect(dumb.state.alternate).toBe(false);
    const answer = JSON.parse((await bench.execute({}, '--json', 'top')).stdout) as Record<string, unknown>;
    expect(answer).toMatchObject({
      mode: 'dry-run',
      banned: 1,
      bans: [{ subject: '203.0.113.9', active: true }],
      store: { ok: true },
      rejectsPerSecond: 0,
    });
  }, 30_000);
});
