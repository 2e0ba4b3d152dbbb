/** `blockctl doctor` on a real Postfix with a real daemon: all well, then one thing after the other broken. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sweepFindings } from '../../src/cli/doctor-sweep.js';
import { AccessMap } from '../../src/postfix/access-map.js';
import type { Finding } from '../../src/postfix/finding.js';
import { type LabPostfix, startPostfix } from '../support/postfix.js';
import { RunningDaemon } from '../support/programs.js';
import { startRedis } from '../support/redis.js';
import { smtpSession } from '../support/smtp.js';
import { Bench } from './support.js';

const BANNED = '203.0.113.9';

let bench: Bench;
let postfix: LabPostfix;
let daemon: RunningDaemon;
let main: string;
let config: string;

beforeAll(async () => {
  bench = new Bench();
  postfix = await startPostfix({
    mapType: 'hash',
    main: { smtpd_helo_required: 'yes', disable_vrfy_command: 'yes', smtpd_error_sleep_time: '1s' },
    submission: ['-o smtpd_sasl_auth_enable=yes', '-o smtpd_client_restrictions=permit_sasl_authenticated,reject'],
  });
  main = join(postfix.configDirectory, 'main.cf');
  config = [
    'mode = "enforce"',
    'allow.mynetworks = false',
    `log.files = ["${postfix.logFile}"]`,
    '[postfix]',
    `map = "hash:${postfix.mapPath}"`,
    `config_directory = "${postfix.configDirectory}"\n`,
  ].join('\n');
  bench.configure(config);
  daemon = await RunningDaemon.start(['--config', bench.config, '--store', bench.store]);
  await bench.run('ban', BANNED);
  await bench.run('ban', '2001:db8:1:2::7');
  const session = await smtpSession({ port: postfix.port, address: '198.51.100.7' });
  await session.quit();
}, 60_000);

afterAll(async () => {
  await daemon?.stop();
  await postfix?.stop();
  bench.remove();
}, 60_000);

interface Answer {
  readonly code: number | null;
  readonly findings: readonly Finding[];
}

async function doctor(...args: readonly string[]): Promise<Answer> {
  const { code, stdout } = await bench.run('--json', ...args, 'doctor');
  const { ok, findings } = JSON.parse(stdout) as { ok: boolean; findings: Finding[] };
  expect(ok).toBe(code === 0);
  return { code, findings };
}

function saying(level: string, check: string, text: RegExp) {
  return expect.arrayContaining([expect.objectContaining({ level, check, text: expect.stringMatching(text) })]);
}

/** With `file` changed for a while. */
async function whenChanged(file: string, change: (text: string) => string, work: () => Promise<void>): Promise<void> {
  const before = readFileSync(file, 'latin1');
  writeFileSync(file, change(before), 'latin1');
  try {
    await work();
  } finally {
    writeFileSync(file, before, 'latin1');
  }
}

describe('blockctl doctor', () => {
  it('finds nothing red where all is well, exit code 0', async () => {
    const { code, findings } = await doctor();
    expect(findings.filter(({ level }) => level === 'fail')).toEqual([]);
    expect(code).toBe(0);
    expect(findings).toEqual(saying('ok', 'wiring', /main\.cf asks hash:/));
    expect(findings).toEqual(saying('ok', 'lookup', /hash:.* refuses 203\.0\.113\.9: 554 5\.7\.1 Blocked until/));
    expect(findings).toEqual(saying('ok', 'lookup', /cidr:.* refuses 2001:db8:1:2::: 554 5\.7\.1 Blocked until/));
    expect(findings).toEqual(saying('ok', 'log', /can be read, and grew/));
    expect(findings).toEqual(saying('ok', 'clock', /is this host's/));
    expect(findings).toEqual(saying('ok', 'mode', /^enforce/));
  });

  it('has a line a check, words without colour, and what to do', async () => {
    const { stdout } = await bench.run('doctor');
    expect(stdout).not.toContain('\x1b');
    expect(stdout).toMatch(/^ok {4}wiring {6}main\.cf asks hash:/m);
    expect(stdout).toMatch(/^warn {2}logins .*\n {6}-> In master\.cf/m);
    expect(stdout).toMatch(/\n\n\d+ ok, \d+ warnings?, 0 failures\n$/);
  });

  it('tells of a map that is not named, not reached, or only half named', async () => {
    const [table, sibling] = [`hash:${postfix.mapPath}`, `cidr:${postfix.mapPath}.cidr`];
    const cases: [change: (text: string) => string, text: RegExp][] = [
      [(text) => text.replace(`check_client_access ${table},`, ''), /does not name hash:/],
      [
        (text) => text.replace(`check_client_access ${table}`, `permit, check_client_access ${table}`),
        /"permit" in smtpd_client_restrictions decides/,
      ],
      [(text) => text.replace(`, check_client_access ${sibling}`, ''), /does not name cidr:/],
    ];
    for (const [change, text] of cases) {
      await whenChanged(main, change, async () => {
        const { code, findings } = await doctor();
        expect(code).toBe(1);
        expect(findings).toEqual(saying('fail', 'wiring', text));
      });
    }
  });

  it('tells of advice on main.cf', async () => {
    const change = (text: string) =>
      `${text}smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = check_sender_access hash:/x, reject_unauth_destination\nsmtpd_helo_restrictions = reject_invalid_hostname\n`;
    await whenChanged(main, change, async () => {
      const { code, findings } = await doctor();
      expect(code).toBe(1);
      expect(findings).toEqual(saying('fail', 'relay', /check_sender_access hash:\/x stands before/));
      expect(findings).toEqual(saying('warn', 'names', /reject_invalid_hostname in smtpd_helo_restrictions/));
      expect(findings).toEqual(saying('warn', 'names', /postconf warns: .*overriding earlier entry/));
    });
  });

  it('writes for master.cf what turns a banned client away in the greeting', async () => {
    const { findings } = await doctor();
    const advice = findings.find(({ check, level }) => check === 'logins' && level === 'warn');
    const options = advice?.fix?.split('\n').slice(1) ?? [];
    const master = join(postfix.configDirectory, 'master.cf');
    const change = (text: string) =>
      text.replace('  -o smtpd_client_restrictions=permit_sasl_authenticated,reject', options.join('\n'));
    await whenChanged(master, change, async () => {
      await postfix.reload();
      const greeted = smtpSession({ port: postfix.submissionPort, address: '198.51.100.7' });
      await (await greeted).quit();
      const refused = await smtpSession({ port: postfix.submissionPort, address: BANNED }).then(
        (session) => session.command('AUTH PLAIN AHgAeA=='),
        (error: Error) => error.message,
      );
      expect(refused).toMatch(/^(?:XCLIENT was refused: )?(?:554|503) /);
      expect((await doctor()).findings).toEqual(
        saying('ok', 'logins', /1 of 1 services with logins refuse in the greeting/),
      );
    });
    await postfix.reload();
  }, 30_000);

  it('tells of a log that is wrong, gone, silent, without stamps, or of another clock', async () => {
    const other = bench.file('other.log', 'no stamp here\n');
    expect((await doctor('--set', `log.files=["${other}"]`)).findings).toEqual(saying('ok', 'log', /can be read/));
    await daemon.stop();
    try {
      const read = async (file: string) => (await doctor('--set', `log.files=["${file}"]`)).findings;
      expect(await read(other)).toEqual(saying('fail', 'log', /no line in which blockd can read a time stamp/));
      expect(await read(other)).toEqual(
        saying('fail', 'log', /but Postfix seems to log to .*mail\.log \(main\.cf says so/),
      );
      expect(await read('/nowhere/mail.log')).toEqual(saying('fail', 'log', /can't be read: no such file/));
      const stamp = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString();
      writeFileSync(other, `${stamp(2)} mx postfix/smtpd[1]: connect from unknown[192.0.2.7]\n`);
      expect(await read(other)).toEqual(saying('fail', 'clock', /is 2 h ahead of this host's clock/));
      writeFileSync(other, `${stamp(-3)} mx postfix/smtpd[1]: connect from unknown[192.0.2.7]\n`);
      expect(await read(other)).toEqual(saying('warn', 'clock', /was written 3 h after the time/));
      const old = Date.now() / 1_000 - 2 * 86_400;
      utimesSync(other, old, old);
      expect(await read(other)).toEqual(saying('fail', 'log', /has not grown for 2 d/));
      truncateSync(other);
      expect(await read(other)).toEqual(saying('warn', 'log', /is empty/));
    } finally {
      daemon = await RunningDaemon.start(['--config', bench.config, '--store', bench.store]);
    }
  }, 60_000);

  it('tells of a daemon that was stopped, of another mode in the config, and of dry-run', async () => {
    expect((await doctor('--set', 'mode=shadow')).findings).toEqual(saying('warn', 'mode', /^shadow/));
    await whenChanged(
      bench.config,
      (text) => text.replace('"enforce"', '"shadow"'),
      async () => {
        expect((await doctor()).findings).toEqual(saying('warn', 'mode', /runs in enforce, the config says shadow/));
      },
    );
    await daemon.stop();
    try {
      const { code, findings } = await doctor();
      expect(code).toBe(1);
      expect(findings).toEqual(saying('fail', 'daemon', /was stopped .* no new bans/));
    } finally {
      daemon = await RunningDaemon.start(['--config', bench.config, '--store', bench.store]);
    }
  }, 60_000);

  it('tells of a store or a Postfix that can’t be asked at all, exit code 3, with all else', async () => {
    const away = await doctor('--set', 'postfix.postconf=/nowhere/postconf');
    expect(away.code).toBe(3);
    expect(away.findings).toEqual(saying('fail', 'postfix', /can't run \/nowhere\/postconf/));
    expect(away.findings).toEqual(saying('warn', 'daemon', /runs as version 0\.1\.0, blockctl is 0\.0\.0/));
    const { code, findings } = await doctor('--store', 'redis://127.0.0.1:1');
    expect(code).toBe(3);
    expect(findings).toEqual(saying('fail', 'store', /127\.0\.0\.1:1/));
    expect(findings).toEqual(saying('ok', 'relay', /can't relay/));
  }, 60_000);

  it('warns of a Redis that throws away what blockd stores when it is full', async () => {
    const redis = await startRedis({ args: ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'] });
    const user = ['--user', ...'look on >x %R~{blockd}:* +@read +info'.split(' ')];
    const other = await startRedis({ args: [...user, '--user', ...'blind on >x %R~{blockd}:* +@read'.split(' ')] });
    try {
      const { findings } = await doctor('--store', redis.url);
      expect(findings).toEqual(saying('warn', 'store', /forgets all scores or all bans .*allkeys-lru/));
      for (const url of [
        other.url,
        `redis://look:x@127.0.0.1:${other.port}`,
        `redis://blind:x@127.0.0.1:${other.port}`,
      ])
        expect((await doctor('--store', url)).findings).toEqual(saying('ok', 'store', /answers/));
    } finally {
      await Promise.all([redis.stop(), other.stop()]);
    }
  }, 60_000);

  describe('of a map that no daemon looks after', () => {
    let path: string;
    let mine: string[];

    beforeAll(async () => {
      await daemon.stop();
      path = join(bench.dir, 'map/client_access');
      mine = ['--map', `hash:${path}`];
    });

    it('tells that it is missing, and that it lacks a ban', async () => {
      expect((await doctor(...mine)).findings).toEqual(
        saying('fail', 'map', /client_access and .* missing or not to be seen/),
      );
      await publish([]);
      expect((await doctor(...mine)).findings).toEqual(saying('fail', 'map', /lacks 2 bans of the store/));
      await bench.run(...mine, 'sync');
      expect((await doctor(...mine)).findings).toEqual(saying('ok', 'map', /: 2 entries/));
    });

    it('tells of bans that should have ended', async () => {
      await publish([{ subject: '198.51.100.9', until: Date.now() - 3_600_000, reason: 'test' }]);
      expect((await doctor(...mine)).findings).toEqual(
        saying('fail', 'map', /1 ban in .* should have ended, the first one (?:59 min|1 h) ago/),
      );
      await bench.run(...mine, 'sync');
    });

    it('tells that it was changed by hand, and that it does not give our reply', async () => {
      writeFileSync(`${path}.empty`, '');
      execFileSync('postmap', [`hash:${path}.empty`]);
      writeFileSync(`${path}.db`, readFileSync(`${path}.empty.db`));
      const { findings } = await doctor(...mine);
      expect(findings).toEqual(saying('warn', 'map', /is not what blockd published last/));
      expect(findings).toEqual(saying('fail', 'lookup', /says nothing of 203\.0\.113\.9, which is banned/));
      for (const name of ['.empty', '.empty.db']) rmSync(path + name);
      await bench.run(...mine, 'sync');
      expect((await doctor(...mine)).findings).toEqual(saying('ok', 'lookup', /refuses 203\.0\.113\.9/));
    });

    it('tells who may write it', async () => {
      chmodSync(dirname(path), 0o777);
      expect((await doctor(...mine)).findings).toEqual(saying('fail', 'map', /anybody on this host may write/));
      chmodSync(dirname(path), 0o755);
      chownSync(`${path}.lock`, 65_534, 65_534);
      expect((await doctor(...mine)).findings).toEqual(saying('warn', 'map', /client_access\.lock: not the owner of/));
      chownSync(`${path}.lock`, 0, 0);
    });

    async function publish(entries: Parameters<AccessMap['publish']>[0] extends () => Promise<infer E> ? E : never) {
      const options = { reply: 'Blocked until {until}', action: 'reject', postmap: 'postmap', reload: [] } as const;
      await new AccessMap({ type: 'hash', path, ...options }).publish(async () => entries);
    }
  });
});

describe('the sweep', () => {
  const root = mkdtempSync(join(tmpdir(), 'blockd-root-'));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  const file = (path: string, content: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    appendFileSync(join(root, path), content);
  };

  it('is missed, found disabled, found as a timer, found in cron', () => {
    file('etc/cron.d/blockd', '# */5 * * * * root blockctl sweep\n');
    expect(sweepFindings(root)).toMatchObject([{ level: 'warn', text: expect.stringMatching(/nothing runs/) }]);
    file('usr/lib/systemd/system/blockd-sweep.service', '[Service]\nExecStart=/usr/bin/blockctl sweep\n');
    expect(sweepFindings(root)).toMatchObject([{ level: 'warn', fix: 'systemctl enable --now blockd-sweep.timer' }]);
    mkdirSync(join(root, 'etc/systemd/system/timers.target.wants'), { recursive: true });
    file('usr/lib/systemd/system/blockd-sweep.timer', '[Timer]\n');
    symlinkSync(
      join(root, 'usr/lib/systemd/system/blockd-sweep.timer'),
      join(root, 'etc/systemd/system/timers.target.wants/blockd-sweep.timer'),
    );
    expect(sweepFindings(root)).toMatchObject([{ level: 'ok', text: expect.stringMatching(/blockd-sweep\.timer/) }]);
    file('etc/cron.d/blockd', '*/5 * * * * root /usr/bin/blockctl sweep\n');
    expect(sweepFindings(root)).toMatchObject([{ level: 'ok', text: expect.stringMatching(/\/etc\/cron\.d\/blockd/) }]);
  });
});
