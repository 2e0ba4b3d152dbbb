import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Ban } from '../../src/domain/ban.js';
import { Bench, BLOCKCTL, execute, offenses } from './support.js';

const NFT_ENV = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

let bench: Bench;
beforeEach(() => {
  bench = new Bench('mode = "dry-run"\nallow.addresses = ["198.51.100.7"]\n');
});
afterEach(() => bench.remove());

async function banned(): Promise<Pick<Ban, 'subject' | 'until' | 'reason' | 'by'>[]> {
  if (!existsSync(join(bench.dir, 'store'))) return [];
  const bans = await bench.inStore((store) => store.bans(Date.now()));
  return bans
    .map(({ subject, until, reason, by }) => ({ subject, until, reason, by }))
    .sort((a, b) => (a.subject < b.subject ? -1 : 1));
}

describe('a list of addresses', () => {
  const LIST =
    '\ufeff# shared list\n203.0.113.9 ; a comment\r\n\n;203.0.113.10\n203.0.113.0/28\n2001:DB8:1:2::7 # v6\n203.0.113.9\n';

  it('becomes bans by a person, each subject once, with the reason and the length given', async () => {
    const before = Date.now();
    const { code, stdout, stderr } = await bench.run(
      'import',
      'list',
      bench.file('l', LIST),
      '--for',
      '7d',
      '--reason',
      'shared',
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe('DRY-RUN: recorded, not enforced; would be banned: 3 subjects for 7 d\n');
    const bans = await banned();
    expect(bans.map(({ subject }) => subject)).toEqual(['2001:db8:1:2::/64', '203.0.113.0/28', '203.0.113.9']);
    for (const { until, reason, by } of bans) {
      expect({ reason, by }).toEqual({ reason: 'shared', by: 'person' });
      expect(Math.abs(until - before - 7 * 86_400_000)).toBeLessThan(60_000);
    }
  });

  it('is taken from standard input, in one go for hundreds of lines', async () => {
    const lines = Array.from({ length: 450 }, (_, i) => `203.0.${i >> 8}.${i & 255}`).join('\n');
    const { code, stdout } = await bench.execute({ input: lines }, 'import', 'list', '-', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout).bans).toHaveLength(450);
    expect(await banned()).toHaveLength(450);
  });

  it('with a line that can not be banned bans nobody, and says each such line', async () => {
    const list = bench.file(
      'l',
      '203.0.113.9\n203.0.0.0/15\nmail.example.net\n010.0.0.1\n203.0.113.10 and more\n\x1b[2J\n',
    );
    const { code, stdout, stderr } = await bench.run('import', 'list', list);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/l, line 2: 203\.0\.0\.0\/15 is too wide/);
    for (const line of [3, 4, 5, 6]) expect(stderr).toContain(`${list}, line ${line}: `);
    expect(stderr).not.toContain('\x1b');
    expect(stderr).toMatch(/5 lines of .* nothing is/);
    expect(await banned()).toEqual([]);
  });

  it('that is no list at all is told by its first lines', async () => {
    const { code, stderr } = await bench.run('import', 'list', bench.file('l', 'no address\n'.repeat(1_000)));
    expect(code).toBe(2);
    expect(stderr).toMatch(/l, line 20: .*\nblockctl: … and 980 more lines like these\nblockctl: 1000 lines of /);
    expect(stderr.split('\n')).toHaveLength(23);
  });

  it('is taken without its bad lines when that is asked for', async () => {
    const list = bench.file('l', '203.0.113.9\nnonsense\n');
    const { code, stderr } = await bench.run('import', 'list', list, '--skip-bad');
    expect(code).toBe(0);
    expect(stderr).toMatch(/line 2: "nonsense"/);
    expect((await banned()).map(({ subject }) => subject)).toEqual(['203.0.113.9']);
  });

  it('bans nobody who is never banned, and shortens no ban', async () => {
    await bench.run('ban', '203.0.113.10', '--for', '9d', '--reason', 'mine');
    const list = bench.file('l', '198.51.100.7\n127.0.0.1\n198.51.100.0/24\n203.0.113.9\n203.0.113.10\n');
    const { code, stderr } = await bench.run('import', 'list', list, '--for', '1d');
    expect(code).toBe(0);
    expect(stderr).toContain('not taken: 198.51.100.7 is never banned: allow.addresses in the config\n');
    expect(stderr).toContain('not taken: 198.51.100.0/24 is never banned: ');
    expect(stderr).toContain('not taken: 127.0.0.1 is never banned: loopback\n');
    expect(stderr).toContain('not taken: 203.0.113.10 is banned for longer\n');
    expect((await banned()).map(({ subject, reason }) => [subject, reason])).toEqual([
      ['203.0.113.10', 'mine'],
      ['203.0.113.9', 'from an imported list'],
    ]);
    expect((await bench.run('import', 'list', bench.file('m', '127.0.0.1\n'))).code).toBe(1);
  });

  it('is only looked through in a dry run: no store is made', async () => {
    const { code, stdout } = await bench.run('import', 'list', bench.file('l', '203.0.113.9\n'), '--dry-run');
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^would ban 203\.0\.113\.9 until .*: from an imported list\nNothing is changed; 1 subject would be banned\n$/,
    );
    expect(existsSync(join(bench.dir, 'store'))).toBe(false);
  });

  it.each([
    [['--for', 'ever'], /no duration/],
    [['--for', '366d'], /at most 365d/],
    [['--reason', ' '], /--reason wants one line/],
  ])('with %j is a usage error', async (options, reason) => {
    const { code, stderr } = await bench.run('import', 'list', bench.file('l', '203.0.113.9\n'), ...options);
    expect(code).toBe(2);
    expect(stderr).toMatch(reason);
    expect((await bench.run('import', 'list', join(bench.dir, 'none'))).stderr).toMatch(/can't be read: no such file/);
  });

  it('reaches the access map when bans are enforced', async () => {
    const map = join(bench.dir, 'map', 'client_access');
    bench.configure(`mode = "enforce"\n[postfix]\nmap = "hash:${map}"\nreload = ["true"]\n`);
    const { code, stdout } = await bench.run('import', 'list', bench.file('l', '203.0.113.9\n2001:db8::1\n'));
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'Banned 2 subjects for 1 h\n' });
    expect(spawnSync('postmap', ['-q', '203.0.113.9', `hash:${map}`], { encoding: 'utf8' }).stdout).toMatch(
      /^554 5\.7\.1 Blocked until/,
    );
    expect(readFileSync(`${map}.cidr`, 'utf8')).toContain('2001:db8::/64\t554');
  });
});

// The set-up installs both; a developer without them tests the rest.
const isMissing = (program: string, args: readonly string[], env = process.env) =>
  process.env['CI'] !== 'true' && spawnSync(program, args, { env }).status !== 0;

describe.skipIf(isMissing('sqlite3', ['-version']))("fail2ban's live bans", () => {
  const now = Math.floor(Date.now() / 1_000);

  function database(rows: readonly (readonly [string, string, number, number])[], table = 'bips'): string {
    const path = join(bench.dir, 'fail2ban.sqlite3');
    const values = rows.map(([jail, ip, at, length]) => `('${jail.replaceAll("'", "''")}', '${ip}', ${at}, ${length})`);
    const sql = `CREATE TABLE ${table}(jail TEXT, ip TEXT, timeofban INTEGER, bantime INTEGER, data JSON);
      INSERT INTO ${table}(jail, ip, timeofban, bantime) VALUES ${values.join(', ')};`;
    const { status, stderr } = spawnSync('sqlite3', [path], { input: sql, encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return path;
  }

  it('come over with their own ends and the jail as reason', async () => {
    const path = database([
      ['postfix', '203.0.113.9', now - 600, 3_600],
      ['postfix-sasl', '203.0.113.9', now - 60, 7_200],
      ['dovecot', '2001:db8:5::9', now - 600, 3_600],
      ['postfix', '203.0.113.10', now - 7_200, 3_600],
      ['postfix', '198.51.100.7', now, 3_600],
      ['sshd', '203.0.113.11', now, 3_600],
    ]);
    const before = readFileSync(path);
    const { code, stdout, stderr } = await bench.run('import', 'fail2ban', '--bans', path);
    expect(code).toBe(0);
    expect(stdout).toMatch(/would be banned: 2 subjects until the ends that fail2ban gave them/);
    expect(stderr).toContain(
      'left out: 1 ban of jail sshd, which is not about mail by its name (--jail sshd takes it)',
    );
    expect(stderr).toContain('not taken: 198.51.100.7 is never banned: allow.addresses in the config');
    expect(await banned()).toEqual([
      { subject: '2001:db8:5::/64', until: (now + 3_000) * 1_000, reason: 'fail2ban jail dovecot', by: 'person' },
      { subject: '203.0.113.9', until: (now + 7_140) * 1_000, reason: 'fail2ban jail postfix-sasl', by: 'person' },
    ]);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it('that have no end get the longest that the config has, and that is said', async () => {
    const path = database([
      ['postfix', '203.0.113.9', now - 600, -1],
      ['postfix', '203.0.113.10', now, 400 * 86_400],
    ]);
    const { stderr } = await bench.run('--set', 'ban.max=3d', 'import', 'fail2ban', '--bans', path);
    expect(stderr).toContain(
      '203.0.113.9, jail postfix: banned for ever there; here for ban.max, 3 d, since every ban ends',
    );
    expect(stderr).toContain('203.0.113.10, jail postfix: banned for more than 365 d there; here for that');
    const [long, ever] = await banned();
    expect(Math.abs((ever?.until ?? 0) - Date.now() - 3 * 86_400_000)).toBeLessThan(60_000);
    expect(Math.abs((long?.until ?? 0) - Date.now() - 365 * 86_400_000)).toBeLessThan(60_000);
  });

  it('are only shown in a dry run, of the jails that are named', async () => {
    const path = database([
      ['sshd', '203.0.113.11', now, 3_600],
      ['postfix', '203.0.113.9', now, 3_600],
    ]);
    const { code, stdout } = await bench.run('import', 'fail2ban', '--bans', path, '--jail', 'sshd', '--dry-run');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^would ban 203\.0\.113\.11 until .*: fail2ban jail sshd\nNothing is changed; 1 subject/);
    expect(await banned()).toEqual([]);
  });

  it('are read from versions before 0.11 too, whatever the names of the jails hold', async () => {
    const path = database(
      [
        ["postfix|'\x1b[2J\n", '203.0.113.9', now, 3_600],
        ['postfix', 'nonsense', now, 3_600],
      ],
      'bans',
    );
    const { code, stdout, stderr } = await bench.run('import', 'fail2ban', '--bans', path);
    expect(code).toBe(0);
    expect(stdout + stderr).not.toContain('\x1b');
    expect(stderr).toContain('not taken: jail postfix: "nonsense" is no address');
    expect((await banned()).map(({ reason }) => reason)).toEqual(["fail2ban jail postfix|'?[2J?"]);
  });

  it('in a file that is no such database are an error', async () => {
    const text = await bench.run('import', 'fail2ban', '--bans', bench.file('text', 'x'.repeat(2_000)));
    expect(text).toMatchObject({ code: 3, stdout: '' });
    expect(text.stderr).toMatch(/can't be read by sqlite3: .*not a database/);
    expect((await bench.run('import', 'fail2ban', '--bans', join(bench.dir, 'none'))).code).toBe(2);
    const other = await bench.run('import', 'fail2ban', '--bans', database([['a', 'b', 1, 1]], 'other'));
    expect(other.stderr).toMatch(/no database of fail2ban/);
  });
});

it("fail2ban's bans can not be read without sqlite3, which is said", async () => {
  const path = bench.file('fail2ban.sqlite3', 'x');
  const { code, stderr } = await execute([BLOCKCTL, '--config', bench.config, 'import', 'fail2ban', '--bans', path], {
    env: { PATH: bench.dir },
  });
  expect(code).toBe(3);
  expect(stderr).toMatch(/"sqlite3" that reads it is not installed/);
});

describe('blockctl export', () => {
  beforeEach(async () => {
    const entries = [
      '203.0.113.9',
      '203.0.113.0/24',
      '198.51.100.200',
      '198.51.100.30',
      '2001:db8:1::7',
      '2001:db8:2::/48',
    ];
    for (const entry of entries)
      await bench.run('ban', entry, '--for', entry === '203.0.113.9' ? '3h' : '2h', '--reason', 'secret');
    await bench.judge(offenses('192.0.2.9', 5, 60_000, { host: 'host.example.net' }));
  });
  const SORTED = [
    '192.0.2.9',
    '198.51.100.30',
    '198.51.100.200',
    '203.0.113.0/24',
    '203.0.113.9',
    '2001:db8:1::/64',
    '2001:db8:2::/48',
  ];

  it('prints one subject a line, in the order of addresses, and says when none is refused yet', async () => {
    const { code, stdout, stderr } = await bench.run('export');
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${SORTED.join('\n')}\n` });
    expect(stderr).toMatch(/DRY-RUN: 7 bans, recorded only/);
  });

  it('prints JSON as "list --json" does', async () => {
    const bySubject = (list: unknown) => (list as Ban[]).toSorted((a, b) => (a.subject < b.subject ? -1 : 1));
    const list = await bench.json('list');
    expect(bySubject(await bench.json('export'))).toEqual(bySubject(list));
    expect(JSON.parse((await bench.run('export', '--format', 'json')).stdout)).toEqual(await bench.json('export'));
  });

  it.each(['plain', 'nft', 'cidr'])('tells neither names nor lines nor what people wrote as %s', async (format) => {
    const { code, stdout } = await bench.run('export', '--format', format);
    expect(code).toBe(0);
    expect(stdout).not.toMatch(/secret|example\.net|reject:/);
    expect(stdout).toContain('198.51.100.30');
  });

  it('prints a table that Postfix answers from', async () => {
    const { stdout } = await bench.run('export', '--format', 'cidr');
    const table = `cidr:${bench.file('banned.cidr', stdout)}`;
    for (const [address, is] of [
      ['203.0.113.77', true],
      ['2001:db8:2:9::1', true],
      ['2001:db8:3::1', false],
    ] as const) {
      const { stdout: answer } = spawnSync('postmap', ['-q', address, table], { encoding: 'utf8' });
      expect(answer.startsWith('554 5.7.1 Blocked until '), address).toBe(is);
    }
  });

  it('prints sets with timeouts for nftables, of which none lies in another', async () => {
    const { stdout } = await bench.run('export', '--format', 'nft');
    expect(stdout).toMatch(/^# 7 bans of blockd at /);
    expect(stdout).toMatch(/1 ban inside of a banned network would last longer/);
    const [v4 = '', v6 = ''] = [
      ...stdout.matchAll(/\{ type (ipv[46]_addr); flags interval, timeout; \}[\s\S]*?\n\}/g),
    ].map(([set]) => set);
    const elements = (set: string) => [...set.matchAll(/^\t(\S+) timeout (\d+)s,?$/gm)].map(([, subject]) => subject);
    expect(elements(v4)).toEqual(['192.0.2.9', '198.51.100.30', '198.51.100.200', '203.0.113.0/24']);
    expect(elements(v6)).toEqual(['2001:db8:1::/64', '2001:db8:2::/48']);
    for (const [, seconds] of v6.matchAll(/timeout (\d+)s/g)) {
      expect(Number(seconds)).toBeGreaterThan(7_000);
      expect(Number(seconds)).toBeLessThanOrEqual(7_201);
    }
  });

  it.skipIf(isMissing('nft', ['-c', '-f', '/dev/null'], NFT_ENV))('prints what nft takes', async () => {
    for (const prepare of [null, 'unban']) {
      if (prepare !== null) await bench.run('unban', '--all');
      const { stdout } = await bench.run('export', '--format', 'nft');
      const { status, stderr } = spawnSync('nft', ['-c', '-f', '-'], {
        input: stdout,
        env: NFT_ENV,
        encoding: 'utf8',
      });
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    }
  });

  it('refuses a format that there is not', async () => {
    expect(await bench.run('export', '--format', 'xml')).toMatchObject({ code: 2, stdout: '' });
    expect((await bench.run('--json', 'export', '--format', 'nft')).code).toBe(2);
  });
});
