/** Notifications of a daemon at work, as a program and a web server get them. */
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { type LogEntry, RunningDaemon } from '../support/programs.js';
import { startRedis } from '../support/redis.js';

const folder = mkdtempSync(join(tmpdir(), 'blockd-notify-'));
let counter = 0;
const running = new Set<RunningDaemon>();
const servers = new Set<Server>();

afterEach(async () => {
  await Promise.all([...running].map((daemon) => daemon.stop('SIGKILL')));
  running.clear();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  servers.clear();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Told {
  readonly event: string;
  readonly text: string;
  readonly suppressed: number;
  readonly [detail: string]: unknown;
}

/** A log and a store of its own, and a program that keeps what it is told. */
function place() {
  const at = join(folder, String(counter++));
  const log = `${at}.log`;
  writeFileSync(log, '');
  const inbox = `${at}.inbox`;
  const program = script(
    `${at}.sh`,
    `cat >> "${inbox}"; printf '%s|%s\\n' "$*" "$(env | sort | tr '\\n' ' ')" >> "${at}.env"`,
  );
  const args = ['--log', log, '--from-start', '--set', 'allow.mynetworks=false', '--set', 'store.host=mx1'];
  const told = (): Told[] =>
    existsSync(inbox)
      ? readFileSync(inbox, 'utf8')
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => JSON.parse(line) as Told)
      : [];
  const embedded = ['--store', `lmdb:${at}-store`, '--map', `hash:${at}-map/client_access`, ...args];
  const notify = ['--set', `notify.command=["${program}", "a b", "$(id) *"]`];
  return { at, log, args, embedded, notify, told };
}

function script(path: string, body: string): string {
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}

async function start(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<RunningDaemon> {
  const daemon = await RunningDaemon.start(args, env === undefined ? {} : { env });
  running.add(daemon);
  return daemon;
}

const line = (says: string) => `${new Date().toISOString()} mx postfix/smtpd[7]: ${says}\n`;
const reject = (ip: string, host = 'unknown') =>
  line(
    `NOQUEUE: reject: RCPT from ${host}[${ip}]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>`,
  );
const clients = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => reject(`203.0.113.${from + i}`).repeat(6)).join('');

function untilTold(told: () => Told[], count: number, timeout = 15_000) {
  return expect.poll(() => told().length, { timeout }).toBe(count);
}

describe('a notification', () => {
  it('of an attack wave comes once, to a program without a shell and with little of our surroundings', async () => {
    const { at, log, embedded, notify, told } = place();
    const set = ['--set', 'notify.wave=3', '--mode', 'enforce', '--set', 'ban.networks=0'];
    const daemon = await start([...embedded, ...notify, ...set], { ...process.env, SECRET_OF_OURS: 's3cret' });
    appendFileSync(log, clients(1, 3));
    await daemon.until(({ event, subject }) => event === 'ban' && subject === '203.0.113.2');
    await sleep(500);
    expect(told()).toEqual([]);
    appendFileSync(log, clients(3, 30));
    await untilTold(told, 1);
    await sleep(1_000);
    expect(told()).toMatchObject([{ event: 'attack-wave', host: 'mx1', mode: 'enforce', bans: 3, suppressed: 0 }]);
    expect(told()[0]?.text).toMatch(/^attack wave on mx1: 3 bans within \d+ s$/);
    const [argv, env = ''] = readFileSync(`${at}.env`, 'utf8').split('|');
    expect(argv).toBe('a b $(id) *');
    expect(env).toContain(
      'BLOCKD_EVENT=attack-wave BLOCKD_HOST=mx1 BLOCKD_MODE=enforce BLOCKD_TEXT=attack wave on mx1',
    );
    expect(env).not.toContain('s3cret');
  }, 40_000);

  it('of the same kind waits for its time, and says how many there were beside it', async () => {
    const { log, embedded, notify, told } = place();
    const set = ['--set', 'notify.wave=2', '--set', 'notify.every=3s', '--set', 'ban.networks=0'];
    await start([...embedded, ...notify, ...set]);
    appendFileSync(log, clients(1, 9));
    await untilTold(told, 2);
    expect(told().map(({ event, suppressed }) => [event, suppressed])).toEqual([
      ['attack-wave', 0],
      ['attack-wave', 2],
    ]);
    expect(told()[1]?.text).toContain('would have been banned');
    expect(told()[1]?.text).toContain('(and 2 more of this kind since the last notification)');
  }, 40_000);

  it('tells of clients that would have been banned were they not allowed, or a user of theirs not logged in', async () => {
    const { log, embedded, notify, told } = place();
    const set = ['--set', 'allow.addresses=203.0.113.9', '--set', 'notify.every=1s'];
    const daemon = await start([...embedded, ...notify, ...set]);
    appendFileSync(log, reject('203.0.113.9', 'evil.example').repeat(20) + reject('203.0.113.10').repeat(6));
    await daemon.until(({ event, subject }) => event === 'ban' && subject === '203.0.113.10');
    await untilTold(told, 1);
    appendFileSync(
      log,
      line('3F2A91C0DE: client=unknown[198.51.100.7], sasl_method=PLAIN, sasl_username=user@lab.example') +
        reject('198.51.100.7').repeat(9),
    );
    await untilTold(told, 2);
    expect(told()).toMatchObject([
      { event: 'spared', subject: '203.0.113.9', rule: 'postfix/user-unknown', client: 'evil.example' },
      { event: 'spared', subject: '198.51.100.7', why: 'a user logged in from here', suppressed: 0 },
    ]);
    expect(
      told()
        .map(({ text }) => text)
        .join(),
    ).not.toContain('evil');
    expect(daemon.log.filter(({ event }) => event === 'ban').length).toBe(1);
  }, 40_000);

  it('tells that the store is away, and that it is back', async () => {
    const redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    try {
      const { log, args, notify, told } = place();
      await start(['--store', redis.url, ...args, ...notify]);
      await redis.kill();
      appendFileSync(log, reject('203.0.113.9'));
      await untilTold(told, 1, 40_000);
      await redis.start();
      await untilTold(told, 2, 40_000);
      expect(told().map(({ event }) => event)).toEqual(['store-down', 'store-back']);
      expect(told()[0]?.text).toMatch(/^the store of mx1 is away; .*redis:\/\/127\.0\.0\.1/);
      expect(told()[1]?.text).toMatch(/^the store of mx1 is back after /);
    } finally {
      await Promise.all([...running].map((daemon) => daemon.stop('SIGKILL')));
      await redis.stop();
    }
  }, 100_000);

  it('tells that the access map can not be published, and that it can again', async () => {
    const { at, log, embedded, notify, told } = place();
    const broken = `${at}.broken`;
    const postmap = script(
      `${at}.postmap`,
      `[ -e "${broken}" ] && { echo "postmap: fatal: no luck" >&2; exit 1; }; exec postmap "$@"`,
    );
    await start([...embedded, ...notify, '--mode', 'enforce', '--set', `postfix.postmap=${postmap}`]);
    writeFileSync(broken, '');
    appendFileSync(log, reject('203.0.113.9').repeat(6));
    await untilTold(told, 1);
    rmSync(broken);
    await untilTold(told, 2);
    expect(told().map(({ event }) => event)).toEqual(['map-stuck', 'map-works']);
    expect(told()[0]?.text).toContain('no luck');
  }, 60_000);

  it('comes only of what the config names', async () => {
    const { log, embedded, notify, told } = place();
    const set = [
      '--set',
      'notify.wave=1',
      '--set',
      'notify.on=["spared", "map"]',
      '--set',
      'allow.addresses=203.0.113.9',
    ];
    await start([...embedded, ...notify, ...set]);
    appendFileSync(log, clients(1, 9) + reject('203.0.113.9').repeat(6));
    await untilTold(told, 1);
    expect(told()[0]?.event).toBe('spared');
  }, 30_000);

  it('does not come of what a backlog tells of long ago', async () => {
    const { log, embedded, notify, told } = place();
    const old = (text: string) => text.replace(/^\S+/gm, new Date(Date.now() - 6 * 3_600_000).toISOString());
    appendFileSync(log, old(clients(1, 9) + reject('198.51.100.9').repeat(8)));
    const set = ['--set', 'notify.wave=1', '--set', 'allow.addresses=198.51.100.9'];
    const daemon = await start([...embedded, ...notify, ...set]);
    await daemon.until(({ event, subject }) => event === 'ban' && subject === '203.0.113.8');
    await sleep(500);
    expect(told()).toEqual([]);
    appendFileSync(log, clients(20, 21));
    await untilTold(told, 1);
  }, 30_000);
});

describe('a program that is told', () => {
  it('is killed with all that it started when it hangs, and nothing waits for it', async () => {
    const { at, log, embedded } = place();
    const pids = `${at}.pids`;
    const program = script(`${at}.hang`, `sleep 300 & echo $! $$ >> "${pids}"; cat > /dev/null; sleep 300`);
    const set = ['--set', `notify.command=${program}`, '--set', 'notify.timeout=2s', '--set', 'notify.wave=1'];
    const daemon = await start([...embedded, ...set, '--set', 'notify.every=1s', '--set', 'ban.networks=0']);
    appendFileSync(log, clients(1, 2));
    await expect.poll(() => existsSync(pids), { timeout: 10_000 }).toBe(true);
    appendFileSync(log, clients(2, 3));
    const isSecondBan = ({ event, subject }: LogEntry) => event === 'ban' && subject === '203.0.113.2';
    await daemon.until(isSecondBan);
    const failed = await daemon.until(({ event }) => event === 'notify-failed');
    expect(daemon.log.findIndex(isSecondBan)).toBeLessThan(daemon.log.indexOf(failed));
    expect(failed.msg).toContain(`notify.command ${program} did not take a notification`);
    expect(failed.msg).toContain('it did not end within 2 s and was killed');
    const first = readFileSync(pids, 'utf8').split('\n')[0]?.split(' ') ?? [];
    expect(first.length).toBe(2);
    await expect.poll(() => first.filter((pid) => isAlive(pid)), { timeout: 15_000 }).toEqual([]);
    const stoppedAt = performance.now();
    expect(await daemon.stop()).toBe(0);
    expect(performance.now() - stoppedAt).toBeLessThan(8_000);
  }, 60_000);

  it('may fail again and again: the log says it once, and once that it works again', async () => {
    const { at, log, embedded } = place();
    const program = script(
      `${at}.fail`,
      `echo run >> "${at}.runs"; [ -e "${at}.works" ] || { echo "no pager here" >&2; exit 7; }`,
    );
    const set = ['--set', `notify.command=${program}`, '--set', 'notify.wave=1', '--set', 'notify.every=1s'];
    const daemon = await start([...embedded, ...set, '--set', 'ban.networks=0']);
    const runs = () => (existsSync(`${at}.runs`) ? readFileSync(`${at}.runs`, 'utf8').length / 4 : 0);
    for (let i = 1; i <= 3; i++) {
      appendFileSync(log, clients(i, i + 1));
      await expect.poll(runs, { timeout: 10_000 }).toBe(i);
    }
    writeFileSync(`${at}.works`, '');
    appendFileSync(log, clients(9, 10));
    await daemon.until(({ event }) => event === 'notify-works');
    const failed = daemon.log.filter(({ event }) => event === 'notify-failed');
    expect(failed.length).toBe(1);
    expect(failed[0]?.msg).toContain('it ended with 7: no pager here');
  }, 40_000);

  it('may be missing', async () => {
    const { log, embedded } = place();
    const set = ['--set', `notify.command=${folder}/missing`, '--set', 'notify.wave=1'];
    const daemon = await start([...embedded, ...set]);
    appendFileSync(log, clients(1, 2));
    const failed = await daemon.until(({ event }) => event === 'notify-failed');
    expect(failed.msg).toContain("it can't be run: no such file or directory");
    expect(await daemon.stop()).toBe(0);
  }, 30_000);
});

describe('a webhook', () => {
  /** Answers with these statuses in turn, the last one for ever; keeps what came. */
  async function hook(...statuses: (number | 'silence')[]) {
    const got: { readonly url: string; readonly body: string; readonly headers: IncomingHttpHeaders }[] = [];
    const server = createServer(async (request, response) => {
      const status = statuses[Math.min(got.length, statuses.length - 1)] ?? 200;
      got.push({ url: request.url ?? '', body: await text(request), headers: request.headers });
      if (status === 'silence') return;
      response.writeHead(status, status === 302 ? { Location: '/elsewhere' } : {});
      response.end('thank you');
    }).listen(0, '127.0.0.1');
    servers.add(server);
    await new Promise((resolve) => server.once('listening', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks/s3cret-token?key=s3cret-key`;
    return { got, url };
  }

  async function told(url: string, ...more: string[]) {
    const { log, embedded } = place();
    const set = ['--set', `notify.webhook=${url}`, '--set', 'notify.wave=1', '--set', 'ban.networks=0'];
    const daemon = await start([...embedded, ...set, ...more]);
    appendFileSync(log, clients(1, 2));
    return daemon;
  }

  it('gets JSON, and is asked again when it was out of order', async () => {
    const { got, url } = await hook(503, 200);
    const daemon = await told(url);
    await expect.poll(() => got.length, { timeout: 10_000 }).toBe(2);
    expect(got[1]?.url).toBe('/hooks/s3cret-token?key=s3cret-key');
    expect(got[1]?.headers['content-type']).toBe('application/json');
    expect(JSON.parse(got[1]?.body ?? '')).toMatchObject({ event: 'attack-wave', host: 'mx1', mode: 'dry-run' });
    expect(await daemon.stop()).toBe(0);
    expect(daemon.log.some(({ event }) => event === 'notify-failed')).toBe(false);
  }, 30_000);

  it.each([
    [302, 'it answered 302, a redirect, which is not followed', 1],
    [404, 'it answered 404', 1],
    [500, 'it answered 500', 3],
    ['silence', 'no answer within 1 s', 3],
  ] as const)(
    'that answers with %s is given up in the end, and the log holds nothing of its secret',
    async (status, why, tries) => {
      const { got, url } = await hook(status);
      const daemon = await told(url, '--set', 'notify.timeout=1s');
      const failed = await daemon.until(({ event }) => event === 'notify-failed', 20_000);
      expect(failed.msg).toContain(why);
      expect(failed.msg).toContain(`notify.webhook ${new URL(url).origin}/*** did not take`);
      expect(got.length).toBe(tries);
      expect(got.every(({ url: asked }) => asked.startsWith('/hooks/'))).toBe(true);
      expect(JSON.stringify(daemon.log)).not.toContain('s3cret');
    },
    40_000,
  );
});

function isAlive(pid: string): boolean {
  // A zombie that nobody has waited for is as good as gone.
  return readdirSync('/proc').includes(pid) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}
