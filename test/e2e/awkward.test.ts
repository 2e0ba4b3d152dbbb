/** Awkward inputs: each gets a clear sentence and the right exit code, and nothing is lost. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blockctl, blockdOnce, type Finished } from '../support/programs.js';
import { type LabRedis, startRedis } from '../support/redis.js';

const NOBODY = 65_534;
const folder = mkdtempSync(join(tmpdir(), 'blockd-awkward-'));
const at = (name: string) => join(folder, name);
const reject = (ip: string) =>
  `${new Date().toISOString()} mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>\n`;

interface Case {
  readonly name: string;
  readonly run: () => Promise<Finished>;
  readonly code: number;
  /** What the sentence must name; null where nothing has to be said. */
  readonly says: RegExp | null;
}

const cases: Case[] = [];
const add = (name: string, code: number, says: RegExp | null, run: () => Promise<Finished>) =>
  cases.push({ name, code, says, run });
const ctl = (name: string, code: number, says: RegExp | null, ...args: string[]) =>
  add(`blockctl ${name}`, code, says, () => blockctl(args));
const daemon = (name: string, code: number, says: RegExp | null, ...args: string[]) =>
  add(`blockd ${name}`, code, says, () =>
    blockdOnce(['--once', '--from-start', '--set', 'allow.mynetworks=false', ...args]),
  );

let counter = 0;
const fresh = () => ['--store', `lmdb:${at(`store-${counter++}`)}`];
const written = (content: string | Buffer) => {
  const file = at(`file-${counter++}`);
  writeFileSync(file, content);
  return file;
};
const toml = (text: string) => ['--config', written(text)];
const goodLog = written(reject('203.0.113.9').repeat(8));

// What people type for an address.
const NO_ADDRESS = [
  '999.1.1.1',
  '010.0.0.1',
  'fe80::1%eth0',
  '1.2.3',
  '1.2.3.4.5',
  '203.0.113.9/33',
  '203.0.113.9/-1',
  '203.0.113.9/x',
  '',
  ' ',
  '::g',
  '[2001:db8::1]',
  '203.0.113.9;id',
  '203.0.113.9\n',
  '2001:db8::/129',
];
for (const text of NO_ADDRESS) {
  for (const command of ['ban', 'unban', 'explain']) {
    ctl(`${command} ${JSON.stringify(text)}`, 2, /address|subject/i, ...fresh(), command, text);
  }
}
for (const text of [
  '999.1.1.1',
  '010.0.0.1',
  'fe80::1%eth0',
  '203.0.113.9/33',
  '',
  'name with blank.example',
  '-bad.example',
  '*.example.org',
  'unknown',
]) {
  ctl(`allow ${JSON.stringify(text)}`, 2, /address|host|name|option/i, ...fresh(), 'allow', text);
}
ctl('ban of the whole of IPv4', 2, /wide|\/\d|large/i, ...fresh(), 'ban', '0.0.0.0/0');
ctl('ban of loopback', 1, /loopback|never/i, ...fresh(), 'ban', '127.0.0.1');
for (const time of ['-1h', '1', 'for ever', '0s', '99999d', '1e9d', '']) {
  ctl(
    `ban --for ${JSON.stringify(time)}`,
    2,
    /for|duration|option/i,
    ...fresh(),
    'ban',
    '203.0.113.9',
    `--for=${time}`,
  );
}

// Arguments.
ctl('without a command', 2, /Usage|command/i);
ctl('with an unknown command', 2, /^blockctl: unknown command 'bann'\n/, 'bann');
ctl('with an unknown option', 2, /unknown option/i, 'list', '--everything');
ctl('ban without an address', 2, /missing|SUBJECT/i, ...fresh(), 'ban');
ctl('unban without an address', 2, /address|--all/i, ...fresh(), 'unban');
daemon('with an unknown option', 2, /^blockd: unknown option '--fast'\n/, '--fast');
daemon(
  'whose --filters are not there',
  0,
  /log\.filters: there is no folder \S+no-such-filters/,
  ...fresh(),
  '--log',
  goodLog,
  '--filters',
  at('no-such-filters'),
);
daemon('with an argument', 2, /unexpected argument "mail.log"/, 'mail.log');
daemon('--log without a file', 2, /argument missing|--log/i, '--log');

// Config: every kind of mistake names its key.
const DURATIONS = [
  'score.half_life',
  'ban.first',
  'ban.max',
  'ban.strikes_half_life',
  'allow.authenticated_for',
  'store.keep',
];
for (const key of DURATIONS) {
  for (const value of ['"soon"', '7', '"-1h"', '""', '"1h30m"']) {
    ctl(`--set ${key}=${value}`, 2, new RegExp(key.replace('.', '\\.')), '--set', `${key}=${value}`, 'check');
  }
}
const WRONG_VALUES: [string, string][] = [
  ['mode', '"kill"'],
  ['score.threshold', '0'],
  ['score.threshold', '"five"'],
  ['score.threshold', '-3'],
  ['ban.factor', '0.5'],
  ['ban.ipv6_prefix', '129'],
  ['ban.ipv6_prefix', '64.5'],
  ['ban.networks', '-1'],
  ['allow.addresses', '["300.1.1.1"]'],
  ['allow.addresses', '[7]'],
  ['allow.hostnames', '["com"]'],
  ['allow.mynetworks', '"yes"'],
  ['points', '3'],
  ['points."postfix/user-unknown"', '-1'],
  ['postfix.map', '"texthash:/tmp/x"'],
  ['postfix.map', '"mysql:/tmp/x"'],
  ['postfix.reply', '"Go away"'],
  ['postfix.reply', '"Blocked until {until} see {address}"'],
  ['postfix.reply', '"Blocked until {until}\\nX OK"'],
  ['log_output.level', '"loud"'],
  ['handover.every', '"often"'],
  ['store.prefix', '"a b"'],
  ['store.url', '"mysql://x"'],
];
for (const [key, value] of WRONG_VALUES) {
  ctl(`--set ${key}=${value}`, 2, new RegExp(key.split('.')[0] ?? ''), '--set', `${key}=${value}`, 'check');
}
for (const pair of [
  'score.treshold=3',
  'scores=1',
  'ban.fisrt="1h"',
  '=3',
  'mode',
  'score={half=1}',
  '__proto__.x=1',
  'constructor.prototype.x=1',
]) {
  ctl(`--set ${pair}`, 2, /--set/, '--set', pair, 'check');
}
const BAD_TOML = [
  'mode = ',
  '[score\nthreshold = 3',
  'mode = "dry-run"\nmode = "enforce"',
  'threshold 3',
  '[score]\nthreshold = 3x',
  '\u0000',
  '[[score]]\nthreshold = 3',
  'mode = "enforce',
  '[ban]\nfirst = 1h',
  '= 3',
];
for (const text of BAD_TOML) ctl(`config ${JSON.stringify(text)}`, 2, /file-\d+/, ...toml(text), 'check');
ctl('config that is a directory', 2, /directory/, '--config', folder, 'check');
ctl('config that is missing', 2, /no-such/, '--config', at('no-such.toml'), 'check');
ctl('config that is binary', 2, /file-\d+/, '--config', written(Buffer.from([0xff, 0xfe, 0x00, 0x80])), 'check');
daemon('with a misspelt key', 2, /score\.treshold.*score\.threshold/s, ...toml('[score]\ntreshold = 3'));
daemon(
  'with two mistakes',
  2,
  /^blockd: \S+ unknown key foo\nblockd: \S+ score.threshold wants .*\n$/,
  ...toml('foo = 1\n[score]\nthreshold = 0'),
);
daemon('with ban.first over ban.max', 2, /ban\.first|ban\.max/, '--log', goodLog, '--set', 'ban.first=8d');
daemon(
  'with points for a rule that is none',
  2,
  /postfix\/user-unknwon/,
  ...fresh(),
  '--log',
  goodLog,
  '--set',
  'points."postfix/user-unknwon"=1',
);

// Logs.
daemon('on an empty log', 0, null, ...fresh(), '--log', written(''));
daemon(
  'on a binary log',
  0,
  null,
  ...fresh(),
  '--log',
  written(Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7_919) % 256))),
);
daemon('on a log of NUL bytes', 0, null, ...fresh(), '--log', written(Buffer.alloc(200_000)));
daemon(
  'on a line of two megabytes',
  0,
  null,
  ...fresh(),
  '--log',
  written(`${'x'.repeat(2_000_000)}\n${reject('203.0.113.9')}`),
);
daemon('on a directory', 2, /directory/, ...fresh(), '--log', folder);
daemon('on a missing log', 2, /no such file/, ...fresh(), '--log', at('no-such.log'));
daemon('on a log in a missing folder', 2, /no such file/, ...fresh(), '--log', at('no/such/mail.log'));
daemon('on a log below a file', 2, /no such file|not a directory/, ...fresh(), '--log', join(goodLog, 'mail.log'));
ctl('test of a missing file', 2, /no-such/, 'test', at('no-such.log'));
ctl('test of a directory', 2, /directory/, 'test', folder);
ctl('test of an empty file', 0, null, 'test', written(''));
writeFileSync(at('cut.gz'), gzipSync(reject('203.0.113.9').repeat(500)).subarray(0, 60));
ctl('test of a .gz that was cut off', 2, /cut\.gz/, 'test', at('cut.gz'));

// Stores.
const noFolder = written('a file');
for (const url of [
  'mysql://h/db',
  'lmdb:',
  'redis://',
  'redis://h:99999',
  'redis://h:0',
  'redis://h/x',
  'sentinel://h',
  'sentinel://h:1/',
  'cluster://',
  'http://h',
  'redis://a,b',
  'unix:',
  '/var/lib/x',
  '',
]) {
  daemon(`--store ${JSON.stringify(url)}`, 2, /store/, '--log', goodLog, `--store=${url}`);
}
daemon('--store in a file', 2, /file|folder/, '--log', goodLog, '--store', `lmdb:${noFolder}`);
daemon('--store below a file', 3, /not a directory|folder/, '--log', goodLog, '--store', `lmdb:${noFolder}/store`);
daemon('--store on a closed port', 3, /refused/, '--log', goodLog, '--store', 'redis://127.0.0.1:1');
ctl('--store on a closed port', 3, /refused/, '--store', 'redis://127.0.0.1:1', 'list');
ctl('--store on a missing socket', 3, /socket|no such/i, '--store', `unix:${at('no.sock')}`, 'list');

// Maps.
for (const map of [
  'hash',
  'hash:',
  ':x',
  'texthash:/tmp/x',
  'mysql:/tmp/x',
  'hash:/',
  'hash:/tmp/',
  'hash:/tmp/a b',
  '',
]) {
  daemon(`--map ${JSON.stringify(map)}`, 2, /map/, ...fresh(), '--log', goodLog, '--mode', 'enforce', `--map=${map}`);
}
daemon(
  '--once with a map that can not be written',
  3,
  /^blockd: all is read and stored, but the access map is not published: .*postmap/m,
  ...fresh(),
  '--log',
  goodLog,
  '--mode',
  'enforce',
  '--map',
  `hash:${at('unwritten/access')}`,
  '--set',
  `postfix.postmap=${at('no-such-postmap')}`,
);
daemon('--mode kill', 2, /mode/, ...fresh(), '--log', goodLog, '--mode', 'kill');
ctl(
  'sync to a map that is a directory',
  2,
  /directory/,
  ...fresh(),
  '--set',
  'mode=enforce',
  '--map',
  `hash:${folder}`,
  'sync',
);
const script = (text: string) => {
  const file = written(`#!/bin/sh\n${text}\n`);
  chmodSync(file, 0o755);
  return file;
};
const withPostmap = (program: string) => [
  '--set',
  'mode=enforce',
  '--map',
  `hash:${at(`map-${counter++}/access`)}`,
  '--set',
  `postfix.postmap=${program}`,
];
ctl('sync without postmap', 3, /no-such-postmap/, ...fresh(), ...withPostmap(at('no-such-postmap')), 'sync');
ctl(
  'sync with a postmap that fails',
  3,
  /the disk is on strike/,
  ...fresh(),
  ...withPostmap(script('echo "postmap: fatal: the disk is on strike" >&2; exit 1')),
  'sync',
);
ctl('sync with a postmap that is no program', 3, /postmap|file-\d+/, ...fresh(), ...withPostmap(goodLog), 'sync');
ctl(
  'sync with a postmap that does nothing',
  3,
  /can't be written|no such file|lacks|failed/i,
  ...fresh(),
  ...withPostmap(script('exit 0')),
  'sync',
);

// Rules of one's own.
const RULE = 'name = "local/x"\nkind = "offense"\npoints = 1\nprogram = "postfix/smtpd"\ndescription = "a rule"\n';
const rules = (text: string) => {
  const own = at(`filters-${counter++}`);
  mkdirSync(own);
  writeFileSync(join(own, 'own.toml'), text);
  return ['--set', `log.filters=${own}`, 'check'];
};
const pattern = (text: string) => `[[rule]]\n${RULE}pattern = '${text}'\nmatches = []\nignores = []\n`;
const UNSAFE = [
  '.*{client}',
  'reject: .+ from {client}',
  'x [^ ]+ {client}',
  '\\S+ {client}',
  'a (?:b|.*) {client}',
  '(.)* {client}',
];
for (const text of UNSAFE) ctl(`rule ${text}`, 1, /local\/x/, ...rules(pattern(text)));
for (const text of [
  'no address',
  '{client} and {client}',
  '{client} (',
  '{client} (a+)+$',
  '{client} (a|a)*b',
  '{client} (\\w+\\s?)+x',
  '{nonsense} {client}',
]) {
  ctl(`rule ${text}`, 1, /local\/x/, ...rules(pattern(text)));
}
daemon(
  'with an unsafe rule',
  2,
  /local\/x.*attacker/s,
  ...fresh(),
  '--log',
  goodLog,
  ...rules(pattern('.*{client}')).slice(0, 2),
);
ctl('rule with an unknown key', 1, /colour/, ...rules(`${pattern('a {client}')}colour = "red"\n`));
ctl('rule without a name', 1, /name/, ...rules('[[rule]]\nkind = "offense"\n'));
ctl('rule of an unknown kind', 1, /kind/, ...rules(pattern('a {client}').replace('"offense"', '"crime"')));
ctl('rule file that is no TOML', 1, /own\.toml/, ...rules('[[rule'));
ctl(
  'rule whose sample is not matched',
  1,
  /local\/x/,
  ...rules(pattern('a {client}').replace('matches = []', 'matches = [{ line = "b", ip = "203.0.113.9" }]')),
);

describe('an awkward input', () => {
  const results = new Map<Case, Finished>();
  let redis: LabRedis;
  let stranger: Server;

  beforeAll(async () => {
    redis = await startRedis({ args: ['--requirepass', 'secret'] });
    stranger = createServer((socket) => socket.end('220 mx.example ESMTP\r\n')).listen(0, '127.0.0.1');
    await new Promise((resolve) => stranger.once('listening', resolve));
    const { port } = stranger.address() as { port: number };
    ctl('Redis without a password', 3, /password/, '--store', redis.url, 'list');
    ctl('Redis with a wrong password', 3, /password/, '--store', `redis://:wrong@127.0.0.1:${redis.port}`, 'list');
    ctl('what is no Redis', 3, /Redis|answer|connection/i, '--store', `redis://127.0.0.1:${port}`, 'list');

    // Permissions, as somebody who is not root.
    const home = at('nobody');
    mkdirSync(home);
    chownSync(home, NOBODY, NOBODY);
    chmodSync(folder, 0o755);
    const secret = written(reject('203.0.113.9'));
    chmodSync(secret, 0o600);
    const locked = at('locked');
    mkdirSync(locked, { mode: 0o755 });
    const asNobody = (...args: string[]) =>
      blockdOnce(['--once', '--from-start', '--set', 'allow.mynetworks=false', ...args], { uid: NOBODY });
    add('blockd on a log that it may not read', 3, /permission denied.*adm|adm/s, () =>
      asNobody('--store', `lmdb:${home}/a`, '--log', secret),
    );
    add('blockd with a store where it may not write', 3, /permission denied/, () =>
      asNobody('--store', `lmdb:${locked}/a`, '--log', goodLog),
    );
    add('blockd with a map where it may not write, in dry-run', 0, null, () =>
      asNobody('--store', `lmdb:${home}/b`, '--log', goodLog, '--map', `hash:${locked}/m`),
    );
    add('blockctl sync where it may not write', 3, /permission denied/, () =>
      blockctl(['--store', `lmdb:${home}/c`, '--set', 'mode=enforce', '--map', `hash:${locked}/m`, 'sync'], {
        uid: NOBODY,
      }),
    );
    symlinkSync(at('loop-b'), at('loop-a'));
    symlinkSync(at('loop-a'), at('loop-b'));
    add('blockd on a symlink that points to itself', 2, /loop|no such file|symbolic/i, () =>
      blockdOnce(['--once', '--from-start', '--log', at('loop-a'), ...fresh()]),
    );

    const queue = [...cases];
    const worker = async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) results.set(next, await next.run());
    };
    await Promise.all([worker(), worker(), worker()]);
  }, 600_000);

  afterAll(async () => {
    await redis?.stop();
    stranger?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('comes in about two hundred kinds', () => {
    expect(cases.length).toBeGreaterThanOrEqual(200);
    expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
  });

  it('gets the right exit code, each of them', () => {
    const wrong = cases.filter((one) => results.get(one)?.code !== one.code);
    expect(
      wrong.map(
        (one) =>
          `${one.name}: exit ${results.get(one)?.code}, not ${one.code}: ${results.get(one)?.stderr.slice(0, 300)}`,
      ),
    ).toEqual([]);
  });

  it('gets a sentence that names what was wrong, and never a stack trace', () => {
    const said = (one: Case) => `${results.get(one)?.stderr}${results.get(one)?.stdout}`;
    const unclear = cases.filter(
      (one) => (one.says !== null && !one.says.test(said(one))) || /\n\s+at .*\(|node:internal|Error:/.test(said(one)),
    );
    expect(unclear.map((one) => `${one.name}: ${said(one).slice(0, 400)}`)).toEqual([]);
  });
});

describe('a full disk', () => {
  const mount = at('small');
  const points = () => readFileSync('/proc/mounts', 'utf8').includes(mount);

  beforeAll(() => {
    mkdirSync(mount, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]);
  });
  afterAll(() => {
    if (points()) execFileSync('umount', [mount]);
  });

  it('leaves the old map in place and says why', async () => {
    const map = ['--set', 'mode=enforce', '--map', `hash:${mount}/access`];
    const store = fresh();
    expect(await blockctl([...store, ...map, 'ban', '203.0.113.9'])).toMatchObject({ code: 0 });
    const before = statSync(`${mount}/access.db`);
    // All but a page or two is taken.
    execFileSync('sh', ['-c', `cat /dev/zero > ${mount}/filler || true`], { stdio: 'ignore' });
    const full = await blockctl([...store, ...map, 'ban', '203.0.113.10']);
    expect(full.code).toBe(3);
    expect(full.stderr).toMatch(/no space left|No space left/i);
    expect(statSync(`${mount}/access.db`).ino).toBe(before.ino);
    expect(execFileSync('postmap', ['-q', '203.0.113.9', `hash:${mount}/access`], { encoding: 'utf8' })).toContain(
      'Blocked until',
    );
    rmSync(`${mount}/filler`);
    expect(await blockctl([...store, ...map, 'sync'])).toMatchObject({ code: 0 });
    expect(execFileSync('postmap', ['-q', '203.0.113.10', `hash:${mount}/access`], { encoding: 'utf8' })).toContain(
      'Blocked until',
    );
  }, 60_000);

  it("leaves the report's page of last time, and nothing beside it", async () => {
    const page = `${mount}/pages/report.html`;
    const link = `${mount}/report.html`;
    mkdirSync(`${mount}/pages`);
    symlinkSync(page, link);
    const log = at('page.log');
    writeFileSync(log, reject('203.0.113.9').repeat(3));
    const write = () => blockctl([...fresh(), 'report', '--html', link, log]);
    writeFileSync(page, 'of last time');
    execFileSync('sh', ['-c', `cat /dev/zero > ${mount}/filler || true`], { stdio: 'ignore' });
    const full = await write();
    expect(full.code).toBe(2);
    expect(full.stderr).toMatch(/report\.html can't be written: no space left/i);
    expect(readFileSync(page, 'utf8')).toBe('of last time');
    expect(readdirSync(`${mount}/pages`)).toEqual(['report.html']);
    rmSync(`${mount}/filler`);
    expect(await write()).toMatchObject({ code: 0 });
    expect(readFileSync(page, 'utf8')).toMatch(/<\/html>\n$/);
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    rmSync(`${mount}/pages`, { recursive: true });
  }, 60_000);

  it('leaves the store as it was, and the log is read when there is room again', async () => {
    const store = ['--store', `lmdb:${mount}/store`];
    const log = at('full-disk.log');
    const read = () =>
      blockdOnce(['--once', '--from-start', '--log', log, '--set', 'allow.mynetworks=false', ...store]);
    const offensesOf = async (ip: string): Promise<number> =>
      JSON.parse((await blockctl([...store, '--json', 'explain', ip])).stdout).offenses;
    writeFileSync(log, reject('203.0.113.9').repeat(3));
    expect(await read()).toMatchObject({ code: 0 });

    execFileSync('sh', ['-c', `cat /dev/zero > ${mount}/filler || true`], { stdio: 'ignore' });
    const others = Array.from({ length: 40 }, (_, i) => `198.51.100.${i + 1}`);
    for (const ip of ['203.0.113.9', ...others]) appendFileSync(log, reject(ip).repeat(2));
    for (const full of [await read(), await blockctl([...store, 'ban', '203.0.113.10'])]) {
      expect(full.code).toBe(3);
      expect(full.stderr).toMatch(/no space left/i);
    }

    rmSync(`${mount}/filler`);
    expect(await read()).toMatchObject({ code: 0 });
    expect(await offensesOf('203.0.113.9')).toBe(5);
    for (const ip of [others[0], others.at(-1)]) expect([ip, await offensesOf(ip ?? '')]).toEqual([ip, 2]);
  }, 120_000);
});
