import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { daemonNoteName } from '../../src/store/daemon-note.js';
import { Terminal } from '../support/terminal.js';
import { Bench, BLOCKCTL, execute, offenses } from './support.js';

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

let bench: Bench;
beforeEach(() => {
  bench = new Bench('mode = "dry-run"\n');
});
afterEach(() => bench.remove());

describe('blockctl', () => {
  it('tells its version, and shows help with examples for each command', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(await execute([BLOCKCTL, '--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
    const { code, stdout } = await execute([BLOCKCTL, '--help']);
    expect(code).toBe(0);
    const commands = [...stdout.matchAll(/^ {2}([a-z]+) .*\S$/gm)]
      .map(([, name]) => name)
      .filter((name) => name !== 'help' && name !== 'blockctl');
    expect(commands).toEqual([
      'list',
      'ban',
      'unban',
      'allow',
      'disallow',
      'allowed',
      'explain',
      'status',
      'top',
      'setup',
      'doctor',
      'check',
      'test',
      'report',
      'tune',
      'sync',
      'sweep',
      'import',
      'export',
      'completion',
    ]);
    for (const command of commands) {
      const help = await bench.run(String(command), '--help');
      expect(help.code, command).toBe(0);
      expect(help.stdout, command).toMatch(/Examples:\n {2}blockctl/);
      expect(help.stdout, command).toContain('--store');
    }
  });

  it.each([
    [['frobnicate'], /unknown command/],
    [['list', '--al'], /unknown option '--al'.*\n?.*--all/],
    [['ban'], /missing required argument 'subject'/],
    [['list', 'x', 'y'], /too many arguments/],
    [['unban'], /wants an address or network/],
    [['unban', '203.0.113.9', '--all'], /not both/],
    [['explain', '999.1.1.1'], /its parts go from 0 to 255/],
    [['ban', '203.0.113.9', '--for', 'ever'], /--for "ever" is no duration/],
    [['ban', '203.0.113.9', '--for', '366d'], /at most 365d/],
    [['ban', '203.0.113.9', '--reason', 'a\x1b[2Jb'], /--reason wants one line of text/],
    [['ban', '0.0.0.0/0'], /too wide to ban/],
    [['allow', 'fe80::1%eth0'], /zone/],
    [['list', '--set', 'score.treshold=3'], /--set unknown key score\.treshold; did you mean score\.threshold\?/],
    [[], /Usage: blockctl/],
  ])('%j is a usage error: exit code 2, and nothing on stdout', async (args, message) => {
    const { code, stdout, stderr } = await bench.run(...args);
    expect(stderr).toMatch(message);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });

  it('says what is wrong with the config, exit code 2', async () => {
    bench.configure('[score]\ntreshold = 3\n');
    const { code, stdout, stderr } = await bench.run('list', '--json');
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toBe(`blockctl: ${bench.config}: unknown key score.treshold; did you mean score.threshold?\n`);
  });

  it('says that the disk is full where its answer goes, exit code 3', async () => {
    const args = ['--config', bench.config, '--store', bench.store, 'check'];
    const full = openSync('/dev/full', 'w');
    const { status, stderr } = spawnSync(process.execPath, [BLOCKCTL, ...args], {
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    closeSync(full);
    expect([status, stderr]).toEqual([3, "blockctl: The answer can't be written: no space left on the device\n"]);
  });

  it('takes its options before and after the command', async () => {
    await bench.inStore(async () => undefined);
    expect(await bench.run('--json', 'list')).toEqual({ code: 0, stdout: '[]\n', stderr: '' });
    expect(await execute([BLOCKCTL, 'list', '--config', bench.config, '--json', '--store', bench.store])).toEqual({
      code: 0,
      stdout: '[]\n',
      stderr: '',
    });
  });

  it('ends quietly when nobody reads on', async () => {
    const log = bench.file('log', 'x\n'.repeat(200_000));
    const shell = `"${process.execPath}" "${BLOCKCTL}" test --json "${log}" --config "${bench.config}" | head -1`;
    const { code, stdout, stderr } = await execute([
      '-e',
      `process.exitCode = require('node:child_process').spawnSync('sh', ['-c', ${JSON.stringify(shell)}], { stdio: 'inherit' }).status`,
    ]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '{"n":1,"rule":null}\n', stderr: '' });
  });

  it('says that the store can not be opened, exit code 3', async () => {
    const { code, stdout, stderr } = await execute([
      BLOCKCTL,
      'list',
      '--config',
      bench.config,
      '--store',
      'redis://127.0.0.1:1',
    ]);
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
    expect(stderr).toMatch(/^blockctl: .*redis.*127\.0\.0\.1:1/s);
  });

  it('leaves no empty store behind when it only looks', async () => {
    const { code, stdout, stderr } = await bench.run('list');
    expect(code).toBe(0);
    expect(stdout).toMatch(/No active bans\.\n$/);
    expect(stderr).toMatch(/there is no store at .* yet/);
    expect(existsSync(join(bench.dir, 'store'))).toBe(false);
  });

  it.runIf(process.getuid?.() === 0)('leaves no files of root in the folder of the daemon’s user', async () => {
    chownSync(bench.dir, 65_534, 65_534);
    expect((await bench.execute({}, 'ban', '203.0.113.9')).code).toBe(0);
    const files = readdirSync(join(bench.dir, 'store')).map((name) => join(bench.dir, 'store', name));
    expect(files.length).toBeGreaterThan(0);
    for (const file of [join(bench.dir, 'store'), ...files]) expect(statSync(file).uid, file).toBe(65_534);
  });
});

describe('blockctl list', () => {
  it('shows active bans in a table, newest first, and says that it is a dry run', async () => {
    await bench.judge([
      ...offenses('203.0.113.9', 5, 12 * 60_000, { host: 'dyn-9.dialin.example' }),
      ...offenses('2001:db8:1:2::5', 5, 60_000, { rule: 'dovecot/auth-failed' }),
    ]);
    const { code, stdout, stderr } = await bench.run('list');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.replace(/\d+ (min|s)\b/g, 'N $1')).toBe(
      [
        'DRY-RUN: nobody is refused; bans are recorded only.',
        'SUBJECT            HOST                  SINCE       ENDS       STRIKES  REFUSED  BY     REASON',
        '2001:db8:1:2::/64  -                     N s ago    in N min        0        0  score  dovecot/auth-failed',
        '203.0.113.9        dyn-9.dialin.example  N min ago  in N min        0        0  score  postfix/user-unknown',
        '',
      ].join('\n'),
    );
  });

  it('prints the JSON that others rely on', async () => {
    await bench.judge(offenses('203.0.113.9', 5, 60_000, { host: 'mail.example' }));
    const bans = await bench.json('list');
    expect(bans).toEqual([
      {
        subject: '203.0.113.9',
        since: expect.stringMatching(ISO),
        until: expect.stringMatching(ISO),
        reason: 'postfix/user-unknown',
        strikes: 0,
        host: 'mail.example',
        by: 'score',
        refused: 0,
      },
    ]);
  });

  it('with --all shows released ones too, with how and when, also those that no daemon has settled', async () => {
    await bench.judge([
      ...offenses('203.0.113.9', 5, 60_000),
      ...offenses('203.0.113.10', 5, 60_000),
      ...offenses('198.51.100.1', 5, 2 * 3_600_000),
    ]);
    expect((await bench.run('unban', '203.0.113.10')).code).toBe(0);
    const all = (await bench.json('list', '--all')) as {
      subject: string;
      released: { at: string; how: string } | null;
    }[];
    expect(all.map(({ subject, released }) => [subject, released?.how ?? null])).toEqual([
      ['203.0.113.9', null],
      ['203.0.113.10', 'unbanned'],
      ['198.51.100.1', 'expired'],
    ]);
    for (const { released } of all) if (released !== null) expect(released.at).toMatch(ISO);
    const { stdout } = await bench.run('list', '--all');
    expect(stdout).toMatch(/203\.0\.113\.10 .* unbanned /);
  });

  it('is coloured only when asked for', async () => {
    await bench.judge(offenses('203.0.113.9', 5, 60_000));
    expect((await bench.run('list')).stdout).not.toContain('\x1b');
    expect((await bench.execute({ env: { FORCE_COLOR: '1' } }, 'list')).stdout).toContain(
      '\x1b[36m203.0.113.9\x1b[39m',
    );
  });
});

describe('blockctl ban', () => {
  it('bans for ban.first, or as long as it is told, and for a reason', async () => {
    const first = await bench.run('ban', '203.0.113.9');
    expect(first.code).toBe(0);
    expect(first.stdout).toMatch(
      /^DRY-RUN: recorded, not enforced; would be banned: 203\.0\.113\.9 until .* \(for 1 h\)\n$/,
    );
    await bench.run('ban', '2001:db8:1:2::7', '--for', '2d', '--reason', 'ticket 4711');
    const bans = (await bench.json('list')) as {
      subject: string;
      since: string;
      until: string;
      by: string;
      reason: string;
    }[];
    expect(bans.map(({ subject, by, reason }) => [subject, by, reason]).sort()).toEqual([
      ['2001:db8:1:2::/64', 'person', 'ticket 4711'],
      ['203.0.113.9', 'person', 'banned by a person'],
    ]);
    const long = bans.find(({ reason }) => reason === 'ticket 4711');
    expect(Date.parse(long?.until ?? '') - Date.parse(long?.since ?? '')).toBeCloseTo(2 * 86_400_000, -4);
  });

  it('refuses who is never banned, says why, exit code 1', async () => {
    bench.configure('[allow]\naddresses = ["198.51.100.0/24"]\nmynetworks = false\n');
    await bench.run('allow', '203.0.113.9');
    const loopback = await bench.run('ban', '127.0.0.1');
    expect(loopback).toMatchObject({ code: 1, stdout: '' });
    expect(loopback.stderr).toMatch(/127\.0\.0\.1 is never banned: loopback/);
    expect((await bench.run('ban', '198.51.100.7')).stderr).toMatch(
      /never banned: allow\.addresses in the config\. Take it out of \[allow\]/,
    );
    expect((await bench.run('ban', '203.0.113.0/24')).stderr).toMatch(
      /never banned: blockctl allow\. .*blockctl disallow/,
    );
    expect(await bench.json('list')).toEqual([]);
  });

  it('asks Postfix for its own networks', async () => {
    const postconf = bench.file('postconf', '#!/bin/sh\necho 192.0.2.0/24 10.1.0.0/16\n');
    chmodSync(postconf, 0o755);
    bench.configure(`[allow]\nmynetworks = true\n[postfix]\npostconf = "${postconf}"\n`);
    const { code, stderr } = await bench.run('ban', '10.1.2.3');
    expect(stderr).toMatch(/10\.1\.2\.3 is never banned: .*mynetworks/);
    expect(code).toBe(1);
  });
});

describe('blockctl unban', () => {
  it('ends a ban and clears the score', async () => {
    await bench.judge([
      ...offenses('203.0.113.9', 5, 60_000),
      ...offenses('203.0.113.9', 3, 30_000, { kind: 'refused' }),
    ]);
    const { code, stdout } = await bench.run('unban', '203.0.113.9');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Unbanned 203\.0\.113\.9; its score of .* is cleared\n$/);
    expect(await bench.json('list')).toEqual([]);
    expect(await bench.json('explain', '203.0.113.9')).toMatchObject({
      score: 0,
      ban: null,
      releases: [{ how: 'unbanned' }],
    });
  });

  it('does all that it is told, and exits with 1 when one of them was not banned', async () => {
    await bench.judge([...offenses('203.0.113.9', 5, 60_000), ...offenses('203.0.113.11', 2, 60_000)]);
    const { code, stdout, stderr } = await bench.run('unban', '203.0.113.77', '203.0.113.9', '203.0.113.11');
    expect(code).toBe(1);
    expect(stdout).toBe('Unbanned 203.0.113.9\n');
    expect(stderr).toMatch(
      /203\.0\.113\.77 is not banned\n.*203\.0\.113\.11 is not banned; its score of 2 is cleared\n$/s,
    );
  });

  it('names the ban of the network when that is what held the address', async () => {
    await bench.run('ban', '203.0.113.0/24');
    expect((await bench.run('unban', '203.0.113.9')).stdout).toBe(
      'Unbanned 203.0.113.0/24, the network whose ban held 203.0.113.9\n',
    );
    await bench.run('ban', '203.0.0.0/16');
    expect((await bench.run('unban', '203.0.113.9')).stderr).toMatch(
      /not banned, but 203\.0\.0\.0\/16 around it: unban that/,
    );
    await bench.run('ban', '203.0.113.9');
    expect((await bench.run('unban', '203.0.113.9')).stdout).toBe(
      'Unbanned 203.0.113.9; it is still in 203.0.0.0/16, which is banned: unban that as well\n',
    );
    await bench.run('ban', '198.51.100.7');
    expect((await bench.run('unban', '198.51.100.0/24')).stderr).toMatch(
      /not banned, but 1 subject in it \(198\.51\.100\.7\): unban those/,
    );
  });

  it('ends all bans with --all', async () => {
    await bench.judge(Array.from({ length: 20 }, (_, i) => offenses(`198.51.100.${i}`, 5, 60_000)).flat());
    // The eighth bans its whole network, which holds the others.
    expect((await bench.run('unban', '--all')).stdout).toBe('Unbanned 9 subjects, all that were\n');
    expect(await bench.run('unban', '--all')).toMatchObject({ code: 0, stdout: 'Nobody is banned.\n' });
  });

  it('without a daemon, says what the front line still holds, and how to take it out', async () => {
    const sets = [
      '--set',
      'mode=enforce',
      '--set',
      'frontline.nftables=true',
      '--map',
      `cidr:${join(bench.dir, 'front')}`,
    ];
    for (const subject of ['203.0.113.9', '2001:db8:5::/64', '203.0.113.10']) {
      expect((await bench.run(...sets, 'ban', subject)).code).toBe(0);
    }
    expect((await bench.run(...sets, 'unban', '2001:db8:5::/64')).stderr).toContain(
      "no daemon runs, so the nftables sets still hold 2001:db8:5::/64: start it, or as root: nft 'delete element inet blockd banned6 { 2001:db8:5::/64 }'",
    );
    expect((await bench.run(...sets, 'allow', '203.0.113.10')).stderr).toContain('banned4 { 203.0.113.10 }');
    expect((await bench.run(...sets, 'unban', '--all')).stderr).toContain('banned4 { 203.0.113.9 }');
    expect((await bench.run(...sets, 'unban', '--all')).stderr).toBe('');
  });
});

describe('blockctl allow', () => {
  it('never bans an entry again, and releases whom it holds', async () => {
    await bench.judge([
      ...offenses('203.0.113.9', 5, 60_000, { host: 'mail.customer.example' }),
      ...offenses('203.0.113.10', 5, 60_000),
    ]);
    const { code, stdout } = await bench.run('allow', 'Customer.Example');
    expect(code).toBe(0);
    expect(stdout).toBe(
      'customer.example is never banned from now on, nor are hosts whose confirmed name ends in .customer.example\nReleased 203.0.113.9\n',
    );
    expect(((await bench.json('list')) as { subject: string }[]).map(({ subject }) => subject)).toEqual([
      '203.0.113.10',
    ]);
    expect(await bench.json('explain', '203.0.113.9')).toMatchObject({
      protected: 'blockctl allow',
      releases: [{ how: 'allowed' }],
    });
    expect(await bench.inStore(async (store) => (await store.history(10)).map(({ type }) => type))).toContain('allow');
  });

  it('is taken back by disallow; what was not allowed is told, exit code 1', async () => {
    await bench.run('allow', '203.0.113.0/24');
    expect(await bench.run('disallow', '203.0.113.0/24')).toEqual({
      code: 0,
      stdout: '203.0.113.0/24 can be banned again\n',
      stderr: '',
    });
    const again = await bench.run('disallow', '203.0.113.0/24');
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toMatch(/is not in the list of "blockctl allow"/);
    expect((await bench.run('ban', '203.0.113.9')).code).toBe(0);
  });

  it('is shown by allowed, with all others that are never banned and why', async () => {
    bench.configure('[allow]\nhostnames = ["partner.example"]\nmynetworks = false\n');
    await bench.run('allow', '203.0.113.9');
    const entries = (await bench.json('allowed')) as { entry: string; why: string; at: string | null }[];
    expect(entries).toContainEqual({ entry: '203.0.113.9', why: 'blockctl allow', at: expect.stringMatching(ISO) });
    expect(entries).toContainEqual({ entry: 'partner.example', why: 'allow.hostnames in the config', at: null });
    expect(entries).toContainEqual({ entry: '::1', why: expect.stringMatching(/loopback|this host/), at: null });
    expect((await bench.run('allowed')).stdout).toMatch(/203\.0\.113\.9 +blockctl allow/);
  });
});

describe('blockctl explain', () => {
  it('shows all that led to a ban, and text of attackers only as text', async () => {
    const line = 'Nov 25 01:12:15 mx postfix/smtpd[1]: NOQUEUE: … <m\xc3\xbcller@example>: helo=<\x1b[31m\x9b2J\u202e>';
    await bench.judge(offenses('203.0.113.9', 6, 60_000, { line, host: 'dyn-9.example' }));
    const { code, stdout } = await bench.run('explain', '203.0.113.9');
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^DRY-RUN: .*\n203\.0\.113\.9 {2}dyn-9\.example\n {2}ban +would be banned until .*\n {2}since +.* by its score: postfix\/user-unknown/,
    );
    expect(stdout).toMatch(/ score +0\.1 now, banned at 5; halves every 6 h/);
    expect(stdout).toMatch(/ strikes +1, halve every 14 d; its next ban would last 2 h|1 h 59 min/);
    expect(stdout).toContain('helo=<\\x1b[31m\\x9b2J\\u202e>');
    expect(stdout).not.toMatch(/[^\n\P{C}]/u);
  });

  it('prints JSON with the lines as text, and zeros for an unknown subject, exit code 1', async () => {
    await bench.judge(offenses('203.0.113.9', 2, 60_000, { line: 'm\xc3\xbcller' }));
    expect(await bench.json('explain', '203.0.113.9')).toMatchObject({
      subject: '203.0.113.9',
      score: expect.closeTo(1.99, 1),
      threshold: 5,
      offenses: 2,
      strikes: 0,
      protected: null,
      ban: null,
      evidence: [
        { at: expect.stringMatching(ISO), rule: 'postfix/user-unknown', points: 1, line: 'müller' },
        { at: expect.stringMatching(ISO), rule: 'postfix/user-unknown', points: 1, line: 'müller' },
      ],
      releases: [],
    });
    const unknown = await bench.run('explain', '203.0.113.77', '--json');
    expect(unknown.code).toBe(1);
    expect(JSON.parse(unknown.stdout)).toMatchObject({
      score: 0,
      threshold: 5,
      offenses: 0,
      ban: null,
      evidence: [],
      releases: [],
    });
    expect(await bench.run('explain', '203.0.113.77')).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^Nothing is known about 203\.0\.113\.77/),
    });
  });

  it('names the ban of a network that holds the address', async () => {
    await bench.run('ban', '203.0.112.0/22', '--reason', 'dictionary attack');
    expect(await bench.json('explain', '203.0.113.9')).toMatchObject({
      ban: { subject: '203.0.112.0/22', by: 'person' },
    });
    expect((await bench.run('explain', '203.0.113.9')).stdout).toMatch(
      /would be banned with its network 203\.0\.112\.0\/22 until/,
    );
  });
});

describe('blockctl status', () => {
  const noteOf = (more: object) => ({
    version: '1.2.3',
    pid: process.pid,
    mode: 'enforce',
    map: null,
    logs: [],
    postfix: { reply: 'Blocked until {until}', postmap: 'postmap', reload: [], configDirectory: null },
    startedAt: Date.now() - 3_600_000,
    heartbeatAt: Date.now() - 1_000,
    stoppedAt: null,
    counters: { lines: 1_000, offenses: 12, bans: 3, releases: 1, refused: 7 },
    ...more,
  });
  const setNote = (more: object) => bench.inStore((store) => store.setNote(daemonNoteName('mx1'), noteOf(more)));

  it('tells how far each log is read, and what the daemon counted', async () => {
    const log = bench.file('mail.log', 'x'.repeat(5_000));
    bench.configure('store.host = "mx1"\n');
    const { dev, ino } = statSync(log);
    const progress = {
      host: 'mx1',
      log,
      position: { kind: 'file', file: { dev, ino, head: 0, fingerprint: '' }, offset: 1_000 },
      carry: null,
      commit: 'c',
      at: 0,
      after: null,
      lastLineAt: Date.UTC(2026, 4, 11),
    } as const;
    await bench.inStore((store) => store.commit([], () => ({ progress: [progress] })));
    await setNote({ logs: [log], map: { type: 'hash', path: join(bench.dir, 'map', 'client_access') } });
    const facts = await bench.json('status');
    expect(facts).toMatchObject({
      mode: 'enforce',
      daemon: { running: true, version: '1.2.3' },
      logs: [{ log, lagBytes: 4_000, lastLineAt: '2026-05-11T00:00:00.000Z' }],
      store: { url: bench.store, ok: true },
      map: { type: 'hash', path: join(bench.dir, 'map', 'client_access') },
      scored: 0,
      banned: 0,
      counters: { lines: 1_000 },
    });
    const { stdout } = await bench.run('status');
    expect(stdout).toMatch(/mode +enforce: banned clients are refused/);
    expect(stdout).toMatch(/daemon +running, version 1\.2\.3/);
    expect(stdout).toMatch(/mail\.log: 4 KiB still to read/);
    expect(stdout).toMatch(/counted +1000 lines, 12 offenses, 3 bans, 1 release, 7 refused, since its start 1 h ago/);
  });

  it('breaks no word at the edge of a narrow terminal', async () => {
    bench.configure('store.host = "mx1"\n');
    await setNote({});
    const command = `${process.execPath} ${BLOCKCTL} --config ${bench.config} --store ${bench.store} status`;
    const terminal = new Terminal(command, { columns: 60, rows: 24 });
    await expect.poll(() => terminal.text, { timeout: 15_000 }).toMatch(/AFTER 0/);
    expect(terminal.text).toMatch(/^counted .*\n {9}\S.* ago$/m);
    terminal.close();
  }, 20_000);

  it('tells a stopped daemon from one that died', async () => {
    bench.configure('store.host = "mx1"\n');
    await setNote({ stoppedAt: Date.now() - 180_000 });
    expect((await bench.run('status')).stdout).toMatch(/daemon +stopped 3 min ago/);
    await setNote({ heartbeatAt: Date.now() - 600_000 });
    expect((await bench.run('status')).stdout).toMatch(
      /daemon +not running: it died without a word, last seen 10 min ago/,
    );
  });

  it('goes by the running daemon’s mode rather than the file’s, and by the command line before both', async () => {
    bench.configure('store.host = "mx1"\nmode = "dry-run"\n');
    await setNote({});
    expect(await bench.json('status')).toMatchObject({ mode: 'enforce' });
    expect((await bench.run('status')).stdout).toContain('the config says dry-run: reload blockd to have that');
    expect(await bench.json('status', '--set', 'mode=shadow')).toMatchObject({ mode: 'shadow' });
    await setNote({ stoppedAt: Date.now() });
    expect(await bench.json('status')).toMatchObject({ mode: 'dry-run' });
    bench.configure('store.host = "mx1"\n');
    expect(await bench.json('status')).toMatchObject({ mode: 'enforce' });
  });

  it('without a store still answers in JSON, exit code 3', async () => {
    const { code, stdout } = await bench.run('status', '--json');
    expect(code).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({ store: { url: bench.store, ok: false } });
  });
});

describe('blockctl check', () => {
  it('finds the packaged rules sound', async () => {
    expect(await bench.json('check')).toMatchObject({ ok: true, config: bench.config, problems: [] });
    expect(await bench.run('check')).toMatchObject({ code: 0, stdout: expect.stringMatching(/All is well\.\n$/) });
  });

  it('lists rules that an attacker could use, samples that fail and points of no rule, exit code 1', async () => {
    mkdirSync(join(bench.dir, 'filters'));
    const rule = (pattern: string, more = '') =>
      `[[rule]]\nname = "mine/rule"\nkind = "offense"\npoints = 1\nprogram = "postfix/smtpd"\ndescription = "x"\npattern = '''${pattern}'''\n${more}`;
    bench.configure(`[log]\nfilters = "${join(bench.dir, 'filters')}"\n`);
    bench.file('filters/mine.toml', rule('.*from {client}'));
    const unsafe = await bench.run('check');
    expect(unsafe.code).toBe(1);
    expect(unsafe.stderr).toMatch(/mine\.toml.*mine\/rule/);
    expect(unsafe.stdout).toMatch(/^filters +not usable, see below$/m);

    const line = 'Nov 25 01:12:15 mx postfix/smtpd[1]: hello from unknown[203.0.113.9]';
    bench.file(
      'filters/mine.toml',
      rule('^goodbye from {client}', `matches = [{ line = "${line}", ip = "203.0.113.9" }]\n`),
    );
    const failing = await bench.run('check', '--json');
    expect(failing.code).toBe(1);
    expect(JSON.parse(failing.stdout)).toMatchObject({
      ok: false,
      problems: [expect.stringMatching(/mine\.toml.*mine\/rule.*no rule matches it/)],
    });

    bench.file(
      'filters/mine.toml',
      rule('^hello from {client}', `matches = [{ line = "${line}", ip = "203.0.113.9" }]\n`),
    );
    const sound = await bench.run('check');
    expect(sound.stderr).toBe('');
    expect(sound.stdout).toMatch(/1 of them from/);
    expect((await bench.run('check', '--set', 'points.mine/rool=3')).code).toBe(1);
  });
});

describe('blockctl check of a folder of rules', () => {
  it('counts each mistake of a rule file', async () => {
    mkdirSync(join(bench.dir, 'filters'));
    bench.configure(`[log]\nfilters = "${join(bench.dir, 'filters')}"\n`);
    bench.file('filters/mine.toml', '[[rule]]\nname = "mine/rule"\nkind = "x"\npionts = 1\n');
    const { problems } = JSON.parse((await bench.run('check', '--json')).stdout) as { problems: string[] };
    expect(problems).toHaveLength(5);
    expect(problems.filter((one) => /mine\.toml, rule "mine\/rule": \w/.test(one))).toEqual(problems);
  });

  it('says that the one that the config names is not there, but not that nobody made the default one', async () => {
    bench.configure(`[log]\nfilters = "${join(bench.dir, 'absent')}"\n`);
    const { code, stderr } = await bench.run('check');
    expect(code).toBe(1);
    expect(stderr).toMatch(/log\.filters: there is no folder \S+absent, so no rule of yours is in force: make it/);
  });
});

describe('blockctl test', () => {
  const reject =
    'Nov 25 01:12:15 mx postfix/smtpd[27409]: NOQUEUE: reject: RCPT from unknown[203.0.113.9]: 550 5.1.1 <nobody@example.org>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<nobody@example.org> proto=ESMTP helo=<x>';
  const other = 'Nov 25 01:12:16 mx postfix/qmgr[1]: 645A323E361: removed \x1b[2J';

  it('prints one JSON object a line', async () => {
    const log = bench.file('mail.log', `${other}\n${reject}\n`);
    const { code, stdout } = await bench.run('test', '--json', log);
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toBe('{"n":1,"rule":null}');
    expect(JSON.parse(lines[1] ?? '')).toEqual({
      n: 2,
      rule: 'postfix/user-unknown',
      kind: 'offense',
      ip: '203.0.113.9',
      points: 1,
      at: expect.stringMatching(/^20\d\d-11-25T01:12:15\.000Z$/),
    });
    expect(lines.length).toBe(2);
  });

  it('reads standard input, gzip and several logs', async () => {
    const gz = bench.file('mail.log.2.gz', gzipSync(`${reject}\n`));
    const plain = bench.file('mail.log', `${other}\n${reject}\n`);
    expect((await bench.execute({ input: `${reject}\n` }, 'test', '--json')).stdout).toMatch(
      /^\{"n":1,"rule":"postfix\/user-unknown"/,
    );
    expect((await bench.execute({ input: `${other}\n` }, 'test', '--json', '-')).stdout).toBe('{"n":1,"rule":null}\n');
    const { stdout } = await bench.run('test', '--json', gz, plain);
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
        .map(({ log, n, ip }) => [log, n, ip]),
    ).toEqual([
      [gz, 1, '203.0.113.9'],
      [plain, 1, undefined],
      [plain, 2, '203.0.113.9'],
    ]);
  });

  it('shows people which rule saw what, and counts the rest', async () => {
    const log = bench.file('mail.log', `${other}\n${reject}\n`);
    const { stdout } = await bench.run('test', log);
    expect(stdout).toMatch(/^ {6}2 {2}postfix\/user-unknown +\+1 {2}203\.0\.113\.9\n/);
    expect(stdout).toMatch(/2 lines: 1 seen by a rule, 1 by none\n$/);
    expect((await bench.run('test', '--all', log)).stdout).toContain('removed \\x1b[2J');
  });

  it('says which log is not there, exit code 2', async () => {
    expect(await bench.run('test', '/nowhere/mail.log')).toEqual({
      code: 2,
      stdout: '',
      stderr: "blockctl: The log /nowhere/mail.log can't be read: no such file or directory\n",
    });
  });
});
