/** Lists of others in the running daemon, from a real web server: a head start in judging, and what holds while it is away. */
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { blockctl, RunningDaemon } from '../support/programs.js';
import { startRedis } from '../support/redis.js';

const folder = mkdtempSync(join(tmpdir(), 'blockd-lists-'));
const running = new Set<RunningDaemon>();
const servers = new Set<Server>();
let counter = 0;
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

interface Site {
  readonly url: string;
  /** What it answers from now on. */
  body: string;
  etag: string;
  asked: number;
  unchanged: number;
  close(): void;
}

async function site(body: string): Promise<Site> {
  const server = createServer((request, response) => {
    one.asked++;
    if (request.headers['if-none-match'] === one.etag) {
      one.unchanged++;
      response.writeHead(304).end();
    } else response.writeHead(200, { ETag: one.etag }).end(one.body);
  }).listen(0, '127.0.0.1');
  servers.add(server);
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/drop.txt?key=secret`;
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  const one: Site = { url, body, etag: '"1"', asked: 0, unchanged: 0, close };
  return one;
}

/** A log, a store, and a config with these lines. */
function place(config: string) {
  const at = join(folder, String(counter++));
  const [log, file] = [`${at}.log`, `${at}.toml`];
  writeFileSync(log, '');
  writeFileSync(file, `store.url = "lmdb:${at}-store"\nallow.mynetworks = false\nhandover.enabled = false\n${config}`);
  const kept = (name: string) => readFileSync(`${at}-store/lists/${name}.list`, 'utf8');
  return { log, file, kept, ask: (...args: string[]) => blockctl(['--config', file, ...args]), folder: `${at}-store` };
}
const listAt = (url: string, more = '') => `[[lists]]\nname = "drop"\nurl = "${url}"\npoints = 2\n${more}`;
const EACH_SECOND = 'schedule = "* * * * * *"\n';

async function start({ log, file }: ReturnType<typeof place>): Promise<RunningDaemon> {
  const daemon = await RunningDaemon.start(['--config', file, '--log', log, '--from-start']);
  running.add(daemon);
  return daemon;
}

let pid = 100;
const reject = (ip: string, count: number) => {
  pid++;
  const line = `${new Date().toISOString()} mx postfix/smtpd[${pid}]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>\n`;
  return line.repeat(count);
};
const is = (event: string) => (entry: Readonly<Record<string, unknown>>) => entry['event'] === event;
const banOf = (ip: string) => (entry: Readonly<Record<string, unknown>>) =>
  entry['event'] === 'ban' && entry['subject'] === ip;

describe('a list from a web server', () => {
  it('bans sooner whom it names, says so everywhere, and does so after a restart without the server', {
    timeout: 60_000,
  }, async () => {
    const web = await site('203.0.113.0/24 ; SBL1\n198.51.100.0/24 ; SBL2\nnonsense\n0.0.0.0/0\n');
    const at = place(listAt(web.url));
    let daemon = await start(at);
    expect((await daemon.until(is('list'))).msg).toBe(
      'list drop refreshed: 2 networks; 1 lines that name none, such as "nonsense"; 1 too wide to be taken (IPv4 below /8, IPv6 below /19)',
    );
    appendFileSync(at.log, reject('203.0.113.9', 3) + reject('192.0.2.9', 3) + reject('198.51.100.7', 2));
    expect((await daemon.until(banOf('203.0.113.9'))).msg).toContain(
      'postfix/user-unknown, with 2 points by list drop',
    );
    const explained = await at.ask('explain', '203.0.113.9', '--json');
    const source = `http://127.0.0.1:${new URL(web.url).port}/drop.txt?***`;
    const listing = { list: 'drop', source, points: 2, refreshedAt: expect.stringMatching(/^20/) };
    expect(JSON.parse(explained.stdout)).toMatchObject({
      ban: { reason: 'postfix/user-unknown', listed: listing },
      listed: [{ ...listing, fresh: true, counts: true }],
    });
    const { stdout } = await at.ask('explain', '203.0.113.9');
    expect(stdout).toContain(`with 2 points by list drop (${source}, refreshed `);
    expect(stdout).toMatch(/listed +by list drop \(.*\): a head start of 2 points/);
    expect((await at.ask('list')).stdout).toContain('postfix/user-unknown, with 2 points by list drop');
    const others = JSON.parse((await at.ask('list', '--json')).stdout) as { subject: string }[];
    expect(others.map(({ subject }) => subject)).toEqual(['203.0.113.9']);
    expect(at.kept('drop')).toContain('203.0.113.0/24 ; SBL1\n');

    await daemon.stop();
    web.close();
    daemon = await start(at);
    expect((await daemon.until(is('list'))).msg).toContain('list drop read: 2 networks');
    appendFileSync(at.log, reject('203.0.113.10', 3));
    await daemon.until(banOf('203.0.113.10'));
    await daemon.stop();
    const status = JSON.parse((await at.ask('status', '--json')).stdout) as { lists: unknown };
    expect(status.lists).toMatchObject([{ name: 'drop', source, points: 2, entries: 2, fresh: true, problem: null }]);
    expect((await at.ask('status')).stdout).toMatch(
      /^list +drop: 2 networks, 2 points, refreshed .*; http:.*\/drop\.txt\?\*\*\*$/m,
    );
    expect((await at.ask('doctor')).stdout).toMatch(/^ok +list +drop: 2 networks/m);
    expect((await at.ask('check')).stdout).toContain('list     drop: 2 networks, 1 line not understood, 1 too wide\n');
    // Whom no list names is as ever.
    expect((await at.ask('explain', '192.0.2.9')).stdout).not.toContain('listed');
  });

  it('stays as it was while the server answers nonsense, which is said once, and follows when it is back', {
    timeout: 60_000,
  }, async () => {
    const web = await site('203.0.113.0/24\n');
    const at = place(listAt(web.url, EACH_SECOND));
    const daemon = await start(at);
    await daemon.until(is('list'));
    for (const [tag, body] of [
      ['"2"', '<html>203.0.113.9</html>'],
      ['"3"', ''],
    ] as const) {
      const before = web.asked;
      [web.etag, web.body] = [tag, body];
      await expect.poll(() => web.asked, { timeout: 8_000 }).toBeGreaterThan(before + 1);
    }
    const said = daemon.log.filter(is('list-failed'));
    expect(said.map(({ msg }) => msg)).toEqual([
      'list drop is a web page, not a list; the last good copy holds until max_age; further failures are not logged until it works',
    ]);
    appendFileSync(at.log, reject('203.0.113.9', 3));
    await daemon.until(banOf('203.0.113.9'));
    [web.etag, web.body] = ['"4"', '198.51.100.0/24\n192.0.2.0/24\n'];
    await daemon.until(is('list-works'));
    appendFileSync(at.log, reject('198.51.100.9', 3) + reject('203.0.113.10', 4));
    await daemon.until(banOf('198.51.100.9'));
    await expect.poll(() => web.unchanged, { timeout: 8_000 }).toBeGreaterThan(0);
    expect(daemon.log.some(banOf('203.0.113.10'))).toBe(false);
    await expect.poll(() => at.kept('drop')).toContain('192.0.2.0/24');
  });

  it('gives no points when it could not be refreshed for longer than max_age, and that is said', {
    timeout: 60_000,
  }, async () => {
    const web = await site('203.0.113.0/24\n');
    const at = place(listAt(web.url, 'max_age = "60s"\n'));
    let daemon = await start(at);
    await daemon.until(is('list'));
    await daemon.stop();
    web.close();
    const kept = `${at.folder}/lists/drop.list`;
    utimesSync(kept, Date.now() / 1_000 - 61, Date.now() / 1_000 - 61);
    daemon = await start(at);
    appendFileSync(at.log, reject('203.0.113.9', 4));
    expect((await daemon.until(is('list-old'))).msg).toContain(
      'not refreshed for longer than 1 min (max_age): it gives no points',
    );
    await sleep(500);
    expect(daemon.log.some(banOf('203.0.113.9'))).toBe(false);
    expect((await at.ask('status')).stdout).toMatch(/^list +drop: 1 network, no points: older than 1 min/m);
    expect((await at.ask('doctor')).stdout).toMatch(/^warn +list/m);
    appendFileSync(at.log, reject('203.0.113.9', 1));
    await daemon.until(banOf('203.0.113.9'));
  });
});

describe('a list in a file', () => {
  it('is read at the start and by a reload, which also takes a list away', { timeout: 60_000 }, async () => {
    const list = join(folder, 'mine.txt');
    writeFileSync(list, '203.0.113.9\n');
    const at = place(`[[lists]]\nname = "mine"\nfile = "${list}"\npoints = 3\n`);
    const daemon = await start(at);
    appendFileSync(at.log, reject('203.0.113.9', 2) + reject('203.0.113.10', 2));
    await daemon.until(banOf('203.0.113.9'));
    writeFileSync(list, '203.0.113.10\n203.0.113.11\n');
    daemon.signal('SIGHUP');
    await daemon.until(is('reloaded'));
    appendFileSync(at.log, reject('203.0.113.11', 2));
    await daemon.until(banOf('203.0.113.11'));
    expect(daemon.log.some(banOf('203.0.113.10'))).toBe(false);
    writeFileSync(at.file, readFileSync(at.file, 'utf8').replace(/\[\[lists[\s\S]*/, ''));
    const reloads = daemon.log.filter(is('reloaded')).length;
    daemon.signal('SIGHUP');
    await expect.poll(() => daemon.log.filter(is('reloaded')).length, { timeout: 8_000 }).toBe(reloads + 1);
    appendFileSync(at.log, reject('203.0.113.10', 2));
    await sleep(1_000);
    expect(daemon.log.some(banOf('203.0.113.10'))).toBe(false);
  });

  it('that is missing is said, and mail is judged without it', { timeout: 60_000 }, async () => {
    const at = place(`[[lists]]\nname = "mine"\nfile = "${folder}/missing.txt"\npoints = 3\n`);
    const daemon = await start(at);
    expect((await daemon.until(is('list-failed'))).msg).toContain('missing.txt: no such file or directory');
    appendFileSync(at.log, reject('203.0.113.9', 5));
    await daemon.until(banOf('203.0.113.9'));
    const { code, stdout, stderr } = await at.ask('check');
    expect([code, stderr]).toEqual([1, expect.stringContaining("list mine can't be read")]);
    // A file is fetched by nobody.
    expect(stdout).toContain("list     mine: can't be read, see below\n");
  });

  it('counts in a report on logs too', { timeout: 60_000 }, async () => {
    const list = join(folder, 'report.txt');
    writeFileSync(list, '203.0.113.9\n');
    const at = place(`[[lists]]\nname = "mine"\nfile = "${list}"\npoints = 2\n`);
    writeFileSync(at.log, reject('203.0.113.9', 3) + reject('203.0.113.10', 3));
    const { stdout } = await at.ask('report', at.log, '--json');
    expect(JSON.parse(stdout)).toMatchObject({ policy: { bans: 1, subjects: 1 } });
  });
});

describe('hosts that share a Redis', () => {
  it('count the points of a list once, each by its own lists, and keep their copies where the service keeps its state', {
    timeout: 60_000,
  }, async () => {
    const redis = await startRedis();
    try {
      const web = await site('203.0.113.0/24\n');
      const at = (name: string, config: string) => {
        const one = place(config);
        writeFileSync(
          one.file,
          readFileSync(one.file, 'utf8').replace(
            /store\.url = .*/,
            `store.url = "${redis.url}"\nstore.host = "${name}"`,
          ),
        );
        return one;
      };
      const [listing, plain, alike] = [at('mx1', listAt(web.url)), at('mx2', ''), at('mx3', listAt(web.url))];
      const state = join(folder, 'state');
      const env = { ...process.env, STATE_DIRECTORY: `${state}:${state}/postfix` };
      const daemons = [];
      for (const one of [listing, plain, alike]) {
        const daemon = await RunningDaemon.start(['--config', one.file, '--log', one.log, '--from-start'], { env });
        running.add(daemon);
        if (one !== plain) await daemon.until(is('list'));
        daemons.push(daemon);
      }
      await expect.poll(() => readFileSync(`${state}/lists/drop.list`, 'utf8')).toContain('203.0.113.0/24');
      const [mx1, mx2] = daemons;
      // One offense at each of the hosts with the list, and one without: 3 points, whoever would add 2 for each host has 7.
      for (const one of [listing, alike]) appendFileSync(one.log, reject('203.0.113.9', 1));
      const score = async () =>
        (JSON.parse((await plain.ask('explain', '203.0.113.9', '--json')).stdout) as { score: number }).score;
      await expect.poll(score, { timeout: 8_000 }).toBeCloseTo(2, 1);
      appendFileSync(plain.log, reject('203.0.113.9', 1));
      await expect.poll(score, { timeout: 8_000 }).toBeCloseTo(3, 1);
      expect(daemons.some(({ log }) => log.some(banOf('203.0.113.9')))).toBe(false);
      appendFileSync(listing.log, reject('203.0.113.9', 1));
      await mx1?.until(banOf('203.0.113.9'));
      expect(mx2?.log.some(banOf('203.0.113.9'))).toBe(false);
      const told = JSON.parse((await plain.ask('explain', '203.0.113.9', '--json')).stdout) as object;
      // Told by the host without the list, too.
      expect(told).toMatchObject({ ban: { listed: { list: 'drop', points: 2 } }, listed: [] });
    } finally {
      await redis.stop();
    }
  });
});
