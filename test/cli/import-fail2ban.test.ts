import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fail2banFolder } from '../fail2ban/folder.js';
import { Bench } from './support.js';

let bench: Bench;
let target: string;
beforeEach(() => {
  bench = new Bench();
  target = join(bench.dir, 'out');
});
afterEach(() => bench.remove());

function folder(files: Readonly<Record<string, string>>): string {
  return fail2banFolder(join(bench.dir, 'fail2ban'), files);
}

/** A jail of the admin's own, with these patterns. */
function mine(patterns: readonly string[], more: { filter?: string; jail?: string } = {}): string {
  return folder({
    'jail.local': `[mine]\nenabled = true\nlogpath = /var/log/mail.log\nfilter = mine\n${more.jail ?? ''}`,
    'filter.d/mine.conf': `[INCLUDES]\nbefore = common.conf\n[Definition]\n_daemon = postfix/smtpd\nfailregex = ${patterns.join('\n  ')}\n${more.filter ?? ''}`,
  });
}

/** What the rules that were written see in these lines. */
async function seen(...lines: string[]): Promise<(string | null)[]> {
  const log = bench.file('log', `${lines.join('\n')}\n`);
  const { stdout } = await bench.run('--config', join(target, 'blockd.toml'), 'test', '--json', log);
  return stdout
    .trim()
    .split('\n')
    .map((line) => {
      const { rule, ip, points } = JSON.parse(line);
      return rule === null ? null : `${rule} ${ip} ${points}`;
    });
}

const NEWS =
  'Nov 25 01:12:16 mx postfix/smtpd[27]: NOQUEUE: hold: RCPT from a.example.net[203.0.113.9]: 250 Odd one; from=<a@b.example>';

describe("fail2ban's config", () => {
  it('becomes rules and a config that pass the check, and the rules see what the jail saw', async () => {
    const directory = mine(['^%(__prefix_line)sNOQUEUE: hold: RCPT from \\S+\\[<HOST>\\]: 250 (?:Odd|Queer) one']);
    const { code, stdout, stderr } = await bench.run('import', 'fail2ban', directory, '--write', target);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain(`wrote ${target}/blockd.toml\nwrote ${target}/filters/fail2ban-mine.toml\n`);
    expect(stdout).toContain('1 jail about mail: 1 rule carried over');
    const check = await bench.run('--config', join(target, 'blockd.toml'), 'check');
    expect(check).toMatchObject({ code: 0, stderr: '' });
    expect(check.stdout).toMatch(/1 of them from .*out\/filters; .*\nAll is well/);
    const later = NEWS.replace('250 Odd', '250 Odd or').replace('27', '28');
    expect(await seen(NEWS, later)).toEqual(['fail2ban/mine-1 203.0.113.9 1', null]);
  });

  it('says file, line and reason of each pattern that is not carried over', async () => {
    const directory = mine([
      '^%(__prefix_line)sNOQUEUE: hold: .* from \\S+\\[<HOST>\\]: helo',
      'helo=<.*> \\[<HOST>\\]',
      '^%(__prefix_line)sconnect from <DNS>',
      '^%(__prefix_line)s(?:a+)+ <HOST>',
    ]);
    const { code, stdout, stderr } = await bench.run('import', 'fail2ban', directory, '--write', target);
    expect(code).toBe(0);
    expect(stdout).toContain('0 rules carried over, 4 remarks');
    const file = `${directory}/filter.d/mine.conf`;
    const said = stderr.trim().split('\n');
    expect(said).toHaveLength(4);
    const reasons = [
      /variable part before the address match .*attacker/,
      /anywhere in a line/,
      /host name/,
      /two ways|repetition/,
    ];
    for (const [i, reason] of reasons.entries()) {
      expect(said[i]).toContain(`blockctl: ${file}, line ${i + 5}: jail mine: not carried over: `);
      expect(said[i]).toMatch(reason);
    }
    expect((await bench.run('--config', join(target, 'blockd.toml'), 'check')).code).toBe(0);
  });

  it('leaves out what packaged rules see already, by name', async () => {
    const directory = folder({
      'jail.local':
        '[postfix]\nenabled = true\n[postfix-rbl]\nenabled = true\n[dovecot]\nenabled = true\n[sshd]\nenabled = yes\n',
    });
    const { stdout, stderr } = await bench.run('import', 'fail2ban', directory, '--write', target);
    expect(readdirSync(target)).toContain('blockd.toml');
    expect(stderr).toMatch(
      /postfix\.conf, line 10: jail postfix: left out, since postfix\/relay-denied, postfix\/user-unknown see such lines already/,
    );
    expect(stderr).toMatch(
      /postfix\.conf, line 13: jail postfix-rbl: left out, since postfix\/rbl sees such lines already/,
    );
    expect(stderr).toMatch(/dovecot\.conf, line 6: jail dovecot: left out, since dovecot\/auth-failed sees/);
    expect(stderr).toMatch(/jail\.local, line 8: jail sshd is left out: it is not about mail/);
    expect(stdout).toContain('3 jails about mail: 1 rule carried over');
    const known =
      'Nov 25 01:12:16 mx postfix/smtpd[27]: NOQUEUE: reject: RCPT from x.example.net[203.0.113.9]: 454 4.7.1 Our own words, and';
    expect(await seen(known)).toEqual(['fail2ban/postfix-1 203.0.113.9 1']);
  });

  it("leaves out a pattern of the admin's own only when packaged rules count all of it, and as much", async () => {
    const pattern = ['^%(__prefix_line)sNOQUEUE: reject: RCPT from \\S+\\[<HOST>\\]: 554 5\\.7\\.1 .*Go away'];
    const some = await bench.run('import', 'fail2ban', mine(pattern));
    expect(some.stderr).toMatch(/left out, since postfix\/rejected sees such lines already/);
    const partly = ['^%(__prefix_line)sNOQUEUE: (?:hold|reject): RCPT from \\S+\\[<HOST>\\]: 554 5\\.7\\.1 .*Go away'];
    expect((await bench.run('import', 'fail2ban', mine(partly))).stdout).toContain('[[rule]]');
    const strict = mine(pattern, { jail: 'maxretry = 1\n[postfix]\nenabled = true\n' });
    expect((await bench.run('import', 'fail2ban', strict)).stdout).toMatch(
      /name = "fail2ban\/mine-1"\nkind = "offense"\npoints = 4\.5\n/,
    );
  });

  it('leaves out what would take lines from packaged rules, our own refusals above all, and names the weight', async () => {
    const directory = mine(
      [
        '^%(__prefix_line)sNOQUEUE: reject: RCPT from \\S+\\[<HOST>\\]: 55',
        'improper command pipelining after \\S+ from [^[]*\\[<HOST>\\]',
      ],
      {
        jail: 'maxretry = 1\n[postfix]\nenabled = true\n',
        filter: 'ignoreregex = ^%(__prefix_line)sNOQUEUE: reject: RCPT from \\S+\\[<HOST>\\]: 450\n',
      },
    );
    const { stdout, stderr } = await bench.run('import', 'fail2ban', directory, '--write', target);
    expect(stderr).toMatch(
      /mine\.conf, line 5: jail mine: left out, since postfix\/relay-denied, .* see such lines already/,
    );
    expect(stderr).toMatch(/line 6: jail mine: left out, since postfix\/pipelining sees such lines already/);
    expect(stderr).toMatch(/line 7: jail mine: not carried over: it would hide lines that .*postfix\/helo-unresolved/);
    expect(stdout).not.toContain('fail2ban-mine');
    expect(readFileSync(join(target, 'blockd.toml'), 'utf8')).toContain('# "postfix/pipelining" = 4.5\n');
    expect((await bench.run('--config', join(target, 'blockd.toml'), 'check')).code).toBe(0);
  });

  it('with jails that share lines passes the check all the same', async () => {
    const rule = '^%(__prefix_line)sNOQUEUE: hold: RCPT from \\S+\\[<HOST>\\]: 250 ';
    const directory = folder({
      'jail.local': ['a', 'b', 'c']
        .map(
          (name, i) =>
            `[${name}]\nenabled = true\nmaxretry = ${i + 2}\nlogpath = /var/log/mail.log\nfilter = ${name}\n`,
        )
        .join(''),
      ...Object.fromEntries(
        [
          ['a', '(?:Odd|Even) one'],
          ['b', ''],
          ['c', 'Odd'],
        ].map(([name, more]) => [
          `filter.d/${name}.conf`,
          `[Definition]\n_daemon = postfix/smtpd\nfailregex = ${rule}${more}\n`,
        ]),
      ),
    });
    const { stdout } = await bench.run('import', 'fail2ban', directory, '--write', target);
    expect(stdout).toContain('3 rules carried over');
    expect(await bench.run('--config', join(target, 'blockd.toml'), 'check')).toMatchObject({ code: 0, stderr: '' });
    expect(await seen(NEWS)).toEqual([expect.stringContaining('fail2ban/a-1 203.0.113.9')]);
  });

  it('is read with its modes, parameters, .local files and additions of a jail', async () => {
    const directory = folder({
      'jail.local':
        '[own]\nenabled = true\nlogpath = /var/log/mail.log\nfilter = own[mode=loud, word="Queer one"]\nfailregex = %(known/failregex)s\n  ^%(__prefix_line)sNOQUEUE: hold: RCPT from \\S+\\[<HOST>\\]: 250 Added\n',
      'filter.d/own.conf':
        '[INCLUDES]\nbefore = common.conf\n[Definition]\n_daemon = postfix/smtpd\nquiet = ^%(__prefix_line)sNOQUEUE: hold: RCPT from \\S+\\[<HOST>\\]: 250 Quiet\nloud = ^%(__prefix_line)sNOQUEUE: hold: RCPT from \\S+\\[<HOST>\\]: 250 <word>\nfailregex = <<mode>>\nmode = quiet\n[Init]\nword = Odd one\n',
      'filter.d/own.local':
        '[Definition]\nfailregex = %(known/failregex)s\n  ^%(__prefix_line)sNOQUEUE: hold: RCPT from \\S+\\[<HOST>\\]: 250 Local\n',
    });
    await bench.run('import', 'fail2ban', directory, '--write', target);
    const lines = ['Queer one', 'Local', 'Added', 'Odd one', 'Quiet'].map((word) => NEWS.replace('Odd one', word));
    expect((await seen(...lines)).map((found) => found?.split(' ')[0] ?? null)).toEqual([
      'fail2ban/own-1',
      'fail2ban/own-2',
      'fail2ban/own-3',
      null,
      null,
    ]);
  });

  it('with an ignoreregex has a rule without points before the others', async () => {
    const rule = '^%(__prefix_line)sNOQUEUE: hold: RCPT from \\S+\\[<HOST>\\]: 250 ';
    const directory = mine([rule], { filter: `ignoreregex = ${rule}.*customer\n  customer\n` });
    const { stderr } = await bench.run('import', 'fail2ban', directory, '--write', target);
    expect(stderr).toMatch(/mine\.conf, line 7: jail mine: not carried over: it names no address/);
    expect(await seen(NEWS, `${NEWS} customer`)).toEqual(['fail2ban/mine-2 203.0.113.9 1', null]);
    expect((await bench.run('--config', join(target, 'blockd.toml'), 'check')).code).toBe(0);
  });

  it('has its numbers, exempted addresses and logs converted, each with a sentence', async () => {
    const directory = folder({
      'jail.local':
        '[DEFAULT]\nignoreip = 127.0.0.1/8 ::1 192.0.2.7/24, 2001:DB8::1\n  partner.example.net nobody\nbantime = 1h 30m\nbantime.increment = true\nbantime.maxtime = 5w\nfindtime = 1d\nmaxretry = 3\n[postfix]\nenabled = true\nlogpath = /var/log/mail.log\n  /var/log/mail.warn\n  /var/log/m*.log\naction = nftables[type=allports]\n  sendmail-report[dest=root]\nignorecommand = /bin/no\n[postfix-rbl]\nenabled = true\n',
    });
    const { stderr } = await bench.run('import', 'fail2ban', directory, '--write', target);
    const text = readFileSync(join(target, 'blockd.toml'), 'utf8');
    expect(parse(text)).toEqual({
      mode: 'dry-run',
      log: { files: ['/var/log/mail.log'], journal: false, filters: join(target, 'filters') },
      score: { threshold: 2.5, half_life: '108h' },
      ban: { first: '90m', factor: 2, max: '35d' },
      allow: { addresses: ['192.0.2.0/24', '2001:db8::1'], hostnames: ['partner.example.net'] },
      points: { 'postfix/rbl': 2.5 },
    });
    expect(text).toMatch(/maxretry = 3, findtime = 1 d\. .*\n.*half-life of 1.5 times maxretry times findtime/);
    expect(stderr).toMatch(/jail\.local, line 3: ignoreip nobody is not carried over/);
    expect(stderr).toMatch(/line 13: logpath \/var\/log\/m\*\.log is not carried over/);
    expect(stderr).toMatch(/line 15: action sendmail-report is not carried over/);
    expect(stderr).not.toContain('action nftables');
    expect(stderr).toMatch(/line 16: ignorecommand is not carried over/);
    expect((await bench.run('--config', join(target, 'blockd.toml'), 'check')).code).toBe(0);
  });

  it('that bans for ever bans for as long as blockd may', async () => {
    const { stdout } = await bench.run(
      'import',
      'fail2ban',
      folder({ 'jail.local': '[postfix]\nenabled = true\nbantime = -1\nbackend = systemd\n' }),
    );
    expect(stdout).toMatch(/bantime = -1, for ever: every ban of blockd's ends.*\nfirst = "7d"\n/);
    expect(stdout).toContain('journal = true\n');
  });

  it('is never written over what is there, unless that is asked for', async () => {
    const directory = mine(['^%(__prefix_line)sNOQUEUE: hold: RCPT from \\S+\\[<HOST>\\]: 250 Odd']);
    await bench.run('import', 'fail2ban', directory, '--write', target);
    const config = join(target, 'blockd.toml');
    const rules = join(target, 'filters', 'fail2ban-mine.toml');
    writeFileSync(config, 'mode = "enforce"\n');
    writeFileSync(rules, '');
    const again = await bench.run('import', 'fail2ban', directory, '--write', target);
    expect(again).toMatchObject({ code: 2, stdout: '' });
    expect(again.stderr).toContain(`${config}, ${rules}: there already, so nothing is written`);
    expect([config, rules].map((file) => readFileSync(file, 'utf8'))).toEqual(['mode = "enforce"\n', '']);
    expect((await bench.run('import', 'fail2ban', directory, '--write', target, '--force')).code).toBe(0);
    expect(readFileSync(rules, 'utf8')).toContain('fail2ban/mine-1');
  });

  it('is only printed otherwise, or told as JSON', async () => {
    const directory = mine(['^%(__prefix_line)sNOQUEUE: hold: RCPT from \\S+\\[<HOST>\\]: 250 Odd', 'x']);
    const { code, stdout } = await bench.run('import', 'fail2ban', directory);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^# ==> blockd\.toml\n[\s\S]*\n# ==> filters\/fail2ban-mine\.toml\n/);
    expect(existsSync(target)).toBe(false);
    expect(await bench.json('import', 'fail2ban', directory)).toMatchObject({
      jails: ['mine'],
      rules: 1,
      written: null,
      files: [{ name: 'blockd.toml' }, { name: 'filters/fail2ban-mine.toml' }],
      remarks: [
        { file: `${directory}/filter.d/mine.conf`, line: 6, sentence: expect.stringContaining('names no address') },
      ],
    });
  });

  it('without an enabled jail about mail gives nothing, exit code 1; without a folder, 2', async () => {
    const none = await bench.run(
      'import',
      'fail2ban',
      folder({ 'jail.local': '[sshd]\nenabled = true\n' }),
      '--write',
      target,
    );
    expect(none).toMatchObject({ code: 1, stdout: '' });
    expect(none.stderr).toMatch(/No enabled jail .* is about mail/);
    expect(existsSync(target)).toBe(false);
    expect((await bench.run('import', 'fail2ban', join(bench.dir, 'none'))).code).toBe(2);
    const missing = await bench.run(
      'import',
      'fail2ban',
      folder({ 'jail.local': '[postfix]\nenabled = true\nfilter = ../../x\n' }),
    );
    expect(missing.stderr).toMatch(/filter "\.\.\/\.\.\/x" is not in filter\.d/);
  });

  it('that holds control characters, quotes and odd names still gives files that are read', async () => {
    const directory = folder({
      'jail.local': `[Mail "é\u202e' x]\nenabled = true\nlogpath = /var/log/mail.log\nfilter = mine\n[mail  x]\nenabled = true\nlogpath = /var/log/mail.log\nfilter = mine[a='1']\n`,
      'filter.d/mine.conf': `[Definition]\n_daemon = postfix/smtpd\nfailregex = ^%(__prefix_line)sit's "odd" \x1b\\x7f <HOST>\n  ^%(__prefix_line)sa\u2028b <HOST>\n`,
    });
    const { code, stdout, stderr } = await bench.run('import', 'fail2ban', directory, '--write', target);
    expect(code).toBe(0);
    expect(stdout + stderr).not.toMatch(/[\x1b\u202e\u2028]/);
    expect(stderr).toMatch(/log lines are read as bytes/);
    expect((await bench.run('--config', join(target, 'blockd.toml'), 'check')).code).toBe(0);
    expect(readdirSync(join(target, 'filters'))).toHaveLength(1);
    expect(await seen('Nov 25 01:12:16 mx postfix/smtpd[27]: it\'s "odd" \x1b\x7f 203.0.113.9')).toEqual([
      expect.stringMatching(/^fail2ban\/mail-x-1 203\.0\.113\.9/),
    ]);
  });
});
