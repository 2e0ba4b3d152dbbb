/** The daemon as a user of its own, what strangers may see, and where passwords are not to be found. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { blockctl, blockdOnce, RunningDaemon } from '../support/programs.js';
import { freePort, startRedis } from '../support/redis.js';

/** Users without an account. */
const DAEMON = 54_321;
const STRANGER = 54_399;
const SECRET = 'correct-horse-4711';

const folder = mkdtempSync(join(tmpdir(), 'blockd-privilege-'));
chmodSync(folder, 0o755);
const ends: (() => Promise<unknown>)[] = [];
let counter = 0;

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A log that the daemon may read, and folders that it may write. */
function place(owner = DAEMON) {
  const at = join(folder, String(counter++));
  mkdirSync(at, { mode: 0o755 });
  const log = join(at, 'mail.log');
  writeFileSync(log, '');
  chmodSync(log, 0o640);
  chownSync(log, 0, owner);
  const [state, maps] = [join(at, 'state'), join(at, 'maps')];
  for (const [one, mode] of [
    [state, 0o750],
    [maps, 0o755],
  ] as const) {
    mkdirSync(one);
    chmodSync(one, mode);
    chownSync(one, owner, owner);
  }
  const map = join(maps, 'client_access');
  const where = ['--store', `lmdb:${state}`, '--map', `hash:${map}`];
  const args = ['--log', log, '--from-start', '--set', 'allow.mynetworks=false', '--mode', 'enforce'];
  return { at, log, state, maps, map, where, args };
}

async function start(args: readonly string[], options: { uid?: number; env?: NodeJS.ProcessEnv } = {}) {
  const daemon = await RunningDaemon.start(args, { timeoutMs: 60_000, ...options });
  ends.push(() => daemon.stop('SIGKILL'));
  return daemon;
}

const reject = (ip: string) =>
  `${new Date().toISOString()} mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>\n`;

describe.runIf(process.getuid?.() === 0)('a daemon without any right but its own', () => {
  it('reads a log of its group, and writes only its own folders, nothing of it for everybody', async () => {
    const { log, state, maps, map, where, args } = place();
    const daemon = await start([...where, ...args], { uid: DAEMON });
    appendFileSync(log, reject('203.0.113.9').repeat(8));
    await daemon.until((entry) => entry['event'] === 'ban');
    await expect.poll(() => readFileSync(map, 'utf8'), { timeout: 10_000 }).toContain('203.0.113.9\t');
    const unban = await blockctl([...where, 'unban', '203.0.113.9']);
    expect(unban.code, unban.stderr).toBe(0);
    expect(readFileSync(map, 'utf8')).not.toContain('203.0.113.9\t');
    expect(await daemon.stop()).toBe(0);
    const modes = readdirSync(state).map((name) => [name, (statSync(join(state, name)).mode & 0o777).toString(8)]);
    expect(Object.fromEntries(modes)).toEqual({
      closed: '640',
      'daemon.lock': '600',
      'data.mdb': '640',
      'lock.mdb': '640',
      'positions.json': '640',
    });
    for (const one of [state, maps]) {
      for (const name of readdirSync(one)) {
        const { uid, gid, mode } = statSync(join(one, name));
        expect([name, uid, gid, mode & 0o022]).toEqual([name, DAEMON, DAEMON, 0]);
      }
    }
  }, 90_000);

  it('says so when it may not read the log or write its folders, and leaves no trace', async () => {
    const { log, state, where, args, at } = place(STRANGER);
    const refused = await blockdOnce([...where, ...args, '--once'], { uid: DAEMON });
    expect(refused.code).toBe(3);
    expect(refused.stderr).toContain(state);
    expect(refused.stderr).toContain('permission denied');
    expect(readdirSync(state)).toEqual([]);
    expect(existsSync(log)).toBe(true);
    expect(readdirSync(at).sort()).toEqual(['mail.log', 'maps', 'state']);
  }, 60_000);
});

describe.runIf(process.getuid?.() === 0)('blockctl of a stranger', () => {
  it('is denied with the name of the folder and the way in, reads nothing and creates nothing', async () => {
    const { log, state, map, where, args } = place();
    writeFileSync(log, reject('203.0.113.9').repeat(8));
    expect((await blockdOnce([...where, ...args, '--once'], { uid: DAEMON })).code).toBe(0);
    const before = [readdirSync(state).sort(), statSync(join(state, 'data.mdb')).mtimeMs, readFileSync(map, 'utf8')];
    for (const command of [
      ['list'],
      ['status'],
      ['explain', '203.0.113.9'],
      ['ban', '198.51.100.1'],
      ['unban', '203.0.113.9'],
      ['allow', '198.51.100.1'],
      ['sync'],
    ]) {
      const answer = await blockctl([...where, ...command], { uid: STRANGER });
      expect([command[0], answer.code, answer.stdout]).toEqual([command[0], 3, '']);
      expect(answer.stderr).toContain(state);
      expect(answer.stderr).toContain('permission denied');
      expect(answer.stderr).toContain('sudo');
      expect(answer.stderr).not.toContain('203.0.113.9');
    }
    const json = await blockctl([...where, '--json', 'status'], { uid: STRANGER });
    expect(json.code).toBe(3);
    expect(JSON.parse(json.stdout)).toMatchObject({ store: { ok: false }, scored: null, banned: null });
    const sweep = await blockctl([...where, 'sweep'], { uid: STRANGER });
    expect(sweep.code).toBe(3);
    expect(sweep.stderr).toContain('permission denied');
    expect([readdirSync(state).sort(), statSync(join(state, 'data.mdb')).mtimeMs, readFileSync(map, 'utf8')]).toEqual(
      before,
    );
  }, 90_000);

  it('is told so too when the config is not for him', async () => {
    const { at } = place();
    const config = join(at, 'blockd.toml');
    writeFileSync(config, `[store]\nurl = "redis://:${SECRET}@127.0.0.1:1"\n`);
    chmodSync(config, 0o640);
    const answer = await blockctl(['--config', config, 'list'], { uid: STRANGER });
    expect(answer.code).toBe(3);
    expect(answer.stderr).toContain(`${config} can't be read: permission denied`);
    expect(answer.stderr).toContain('sudo');
  }, 60_000);
});

describe('the password of Redis', () => {
  it('comes from a file or from a credential, and stands nowhere else', async () => {
    const redis = await startRedis({ args: ['--requirepass', SECRET] });
    ends.push(() => redis.stop());
    const { at, log, map, args } = place();
    const file = join(at, 'redis-password');
    writeFileSync(file, `${SECRET}\n`);
    const store = ['--store', redis.url, '--map', `hash:${map}`];
    const withFile = [...store, '--set', `store.password_file=${file}`];
    const daemon = await start([...withFile, ...args]);
    appendFileSync(log, reject('203.0.113.9').repeat(8));
    await daemon.until((entry) => entry['event'] === 'ban');
    const said = [JSON.stringify(daemon.log), readFileSync(`/proc/${daemon.pid}/cmdline`, 'latin1')];
    for (const command of [['status'], ['--json', 'status'], ['list'], ['--json', 'explain', '203.0.113.9']]) {
      const { code, stdout, stderr } = await blockctl([...withFile, ...command]);
      expect(code, stderr).toBe(0);
      said.push(stdout, stderr);
    }
    expect(await daemon.stop()).toBe(0);
    said.push(JSON.stringify(daemon.log));
    const credentials = join(at, 'credentials');
    mkdirSync(credentials);
    writeFileSync(join(credentials, 'redis-password'), SECRET);
    const env = { ...process.env, CREDENTIALS_DIRECTORY: credentials };
    const byCredential = await blockctl([...store, '--json', 'status'], { env });
    expect(byCredential.code, byCredential.stderr).toBe(0);
    const without = await blockctl([...store, 'status']);
    expect(without.code).toBe(3);
    expect(without.stderr).toContain('store.password_file');
    writeFileSync(file, 'wrong');
    const wrong = await blockctl([...withFile, 'status']);
    expect(wrong.code).toBe(3);
    expect(wrong.stderr).toContain('wrong user name or password');
    said.push(byCredential.stdout, without.stderr, wrong.stderr);
    for (const text of said) expect(text).not.toContain(SECRET);
  }, 120_000);

  it('is masked where somebody wrote it into a URL, also into a wrong one', async () => {
    const { at } = place();
    const config = join(at, 'blockd.toml');
    for (const url of [
      `redis://:${SECRET}@127.0.0.1:1`,
      `redis://user:${SECRET}@127.0.0.1:1`,
      `rediss://user:p@${SECRET}@127.0.0.1:1`,
      `unix:/nowhere/redis.sock?password=${SECRET}`,
      `redis:/:${SECRET}@127.0.0.1`,
      `reddis://:${SECRET}@127.0.0.1`,
      `redis://:${SECRET}@127.0.0.1:nonsense`,
      `sentinel://:${SECRET}@127.0.0.1:1/lab`,
      `:${SECRET}@127.0.0.1`,
    ]) {
      const commands = [['--json', 'status'], ['check']];
      for (const answer of await Promise.all(commands.map((command) => blockctl(['--store', url, ...command])))) {
        expect(`${answer.stdout}${answer.stderr}`, url).not.toContain(SECRET);
      }
    }
    writeFileSync(config, `[store]\nurl = "redis://:${SECRET}@127.0.0.1:1\n`);
    const broken = await blockctl(['--config', config, 'status']);
    expect(broken.code).toBe(2);
    expect(broken.stderr).toContain('line 2');
    expect(broken.stderr).not.toContain(SECRET);
  }, 180_000);

  it('says what is wrong with its file', async () => {
    const { at } = place();
    const file = join(at, 'redis-password');
    const args = ['--store', 'redis://127.0.0.1:1', '--set', `store.password_file=${file}`, 'status'];
    const missing = await blockctl(args);
    expect([missing.code, missing.stderr]).toEqual([3, expect.stringContaining(file)]);
    writeFileSync(file, '\n');
    const empty = await blockctl(args);
    expect([empty.code, empty.stderr]).toEqual([2, expect.stringContaining('is empty')]);
  }, 60_000);
});

describe('TLS to Redis', () => {
  it('is trusted by the CA that the config names, and refused with a clear sentence by any other', async () => {
    const { at, log, map, args } = place();
    const own = authority(at, 'own');
    const other = authority(at, 'other');
    const certificate = certify(at, own);
    const port = await freePort();
    const tls = ['--tls-port', String(port), '--tls-auth-clients', 'no', '--tls-ca-cert-file', own.certificate];
    const redis = await startRedis({
      args: [...tls, '--tls-cert-file', certificate.certificate, '--tls-key-file', certificate.key],
    });
    ends.push(() => redis.stop());
    const store = ['--store', `rediss://127.0.0.1:${port}`, '--map', `hash:${map}`];
    const daemon = await start([...store, '--set', `store.ca_file=${own.certificate}`, ...args]);
    appendFileSync(log, reject('203.0.113.9').repeat(8));
    await daemon.until((entry) => entry['event'] === 'ban');
    expect(await daemon.stop()).toBe(0);
    for (const ca of [[], ['--set', `store.ca_file=${other.certificate}`]]) {
      const refused = await blockctl([...store, ...ca, 'status']);
      expect(refused.code).toBe(3);
      expect(refused.stderr).toMatch(
        /its certificate is not trusted \(.+\): name the CA that signed it in store\.ca_file/,
      );
    }
    const named = await blockctl([
      '--store',
      `rediss://localhost:${port}`,
      '--set',
      `store.ca_file=${own.certificate}`,
      'status',
    ]);
    expect(named.code).toBe(3);
    expect(named.stderr).toContain('its certificate is refused');
    const plain = await blockctl(['--store', redis.url, '--set', `store.ca_file=${own.certificate}`, 'status']);
    expect([plain.code, plain.stderr]).toEqual([2, expect.stringContaining('rediss://')]);
  }, 120_000);
});

interface Pair {
  readonly certificate: string;
  readonly key: string;
}

function authority(at: string, name: string): Pair {
  const pair = { certificate: join(at, `${name}-ca.pem`), key: join(at, `${name}-ca.key`) };
  const subject = ['-subj', `/CN=${name} authority`, '-days', '2', '-nodes'];
  openssl(['req', '-x509', '-newkey', 'rsa:2048', ...subject, '-keyout', pair.key, '-out', pair.certificate]);
  return pair;
}

/** For 127.0.0.1 alone. */
function certify(at: string, ca: Pair): Pair {
  const pair = { certificate: join(at, 'redis.pem'), key: join(at, 'redis.key') };
  const [request, names] = [join(at, 'redis.csr'), join(at, 'redis.ext')];
  writeFileSync(names, 'subjectAltName=IP:127.0.0.1\n');
  openssl(['req', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=redis', '-keyout', pair.key, '-out', request]);
  const signer = ['-CA', ca.certificate, '-CAkey', ca.key, '-CAcreateserial', '-days', '2', '-extfile', names];
  openssl(['x509', '-req', '-in', request, ...signer, '-out', pair.certificate]);
  return pair;
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'ignore' });
}
