/** The metrics of a daemon at work, as Prometheus and node_exporter get them. */
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { type Metric, parseExposition, sampleOf } from '../support/exposition.js';
import { blockctl, blockdOnce, RunningDaemon } from '../support/programs.js';
import { startRedis } from '../support/redis.js';

const folder = mkdtempSync(join(tmpdir(), 'blockd-metrics-'));
const contrib = new URL('../../contrib/', import.meta.url).pathname;
let counter = 0;
const running = new Set<RunningDaemon>();

afterEach(async () => {
  await Promise.all([...running].map((daemon) => daemon.stop('SIGKILL')));
  running.clear();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function place() {
  const at = join(folder, String(counter++));
  const log = `${at}.log`;
  writeFileSync(log, '');
  const where = ['--store', `lmdb:${at}-store`, '--map', `hash:${at}-map/client_access`];
  const args = [...where, '--log', log, '--from-start', '--set', 'allow.mynetworks=false'];
  return { at, log, where, args };
}

async function start(args: readonly string[]): Promise<{ daemon: RunningDaemon; address: string }> {
  const daemon = await RunningDaemon.start(args);
  running.add(daemon);
  const said = daemon.log.find(({ event }) => event === 'metrics');
  return { daemon, address: String(said?.['address'] ?? '') };
}

const LISTEN = ['--set', 'metrics.listen=127.0.0.1:0'];

const reject = (ip: string, at = Date.now()) =>
  `${new Date(at).toISOString()} mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>\n`;

async function scrape(address: string): Promise<Map<string, Metric>> {
  const response = await fetch(`http://${address}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  return parseExposition(await response.text());
}

/** Polls, since an answer is kept for a second or two. */
function expectValue(address: string, name: string, labels: Record<string, string> = {}) {
  return expect.poll(async () => sampleOf(await scrape(address), name, labels), { timeout: 10_000, interval: 300 });
}

function promtool(...args: readonly string[]) {
  return (input: string) => {
    const { error, status, stderr, stdout } = spawnSync('promtool', args, { input, encoding: 'utf8' });
    // Where it is not installed our own reading has to do.
    if (error === undefined) expect(`${status} ${stdout}${stderr}`).toMatch(/^0 /);
  };
}

describe('metrics', () => {
  it('tell what was counted, banned and published, also by people', async () => {
    const { log, where, args } = place();
    const { daemon, address } = await start([...args, ...LISTEN, '--mode', 'enforce']);
    appendFileSync(log, reject('203.0.113.9').repeat(6) + reject('198.51.100.7'));
    await expectValue(address, 'blockd_offenses_total', { rule: 'postfix/user-unknown' }).toBe(7);
    await blockctl([...where, 'ban', '192.0.2.66']);
    await blockctl([...where, 'unban', '192.0.2.66']);
    await expectValue(address, 'blockd_releases_total', { how: 'unbanned' }).toBe(1);
    // What blockctl published itself the daemon's next look at the map tells.
    await expectValue(address, 'blockd_map_entries').toBe(1);
    const metrics = await scrape(address);
    const expected: [string, Record<string, string>, number][] = [
      ['blockd_lines_total', {}, 7],
      ['blockd_bans_total', { by: 'score' }, 1],
      ['blockd_bans_total', { by: 'person' }, 1],
      ['blockd_active_bans', {}, 1],
      ['blockd_scored_subjects', {}, 4],
      ['blockd_log_lag_bytes', { log }, 0],
      ['blockd_map_entries', {}, 1],
      ['blockd_map_up', {}, 1],
      ['blockd_store_up', {}, 1],
      ['blockd_mode', { mode: 'enforce' }, 1],
      ['blockd_mode', { mode: 'dry-run' }, 0],
      ['blockd_build_info', {}, 1],
      ['blockd_refused_total', {}, 0],
    ];
    expect(expected.map(([name, labels]) => [name, labels, sampleOf(metrics, name, labels)])).toEqual(expected);
    const published = sampleOf(metrics, 'blockd_map_published_timestamp_seconds') ?? 0;
    expect(Math.abs(Date.now() / 1_000 - published)).toBeLessThan(30);
    const timings = metrics.get('blockd_publish_duration_seconds');
    expect(timings?.samples.find(({ name }) => name.endsWith('_count'))?.value).toBeGreaterThan(0);
    expect(await daemon.stop()).toBe(0);
  }, 40_000);

  it('never have an address, a host name or other text of a client as a label', async () => {
    const { log, args } = place();
    const { address } = await start([...args, ...LISTEN]);
    appendFileSync(log, reject('203.0.113.9').replace('unknown[', 'evil"}\\n.example[').repeat(6));
    appendFileSync(log, reject('203.0.113.10').replaceAll('c.example', 'evil"} 1\\n').repeat(6));
    await expectValue(address, 'blockd_bans_total', { by: 'score' }).toBeGreaterThan(0);
    const values = [...(await scrape(address)).values()].flatMap(({ samples }) =>
      samples.flatMap(({ labels }) => Object.values(labels)),
    );
    expect(values.filter((value) => /203\.0|evil|example/.test(value) && value !== log)).toEqual([]);
  }, 30_000);

  it('work in dry-run, are served at one path alone, and only to be read', async () => {
    const { args } = place();
    const { address } = await start([...args, ...LISTEN]);
    const answers = [];
    for (const [method, path] of [
      ['GET', '/'],
      ['GET', '/metrics?x=1'],
      ['HEAD', '/metrics'],
      ['POST', '/metrics'],
      ['DELETE', '/'],
      ['GET', '/x'],
      ['GET', '/metrics/../x'],
    ] as const) {
      const response = await fetch(`http://${address}${path}`, { method });
      await response.text();
      answers.push(`${method} ${path} ${response.status}`);
    }
    expect(answers).toEqual([
      'GET / 200',
      'GET /metrics?x=1 200',
      'HEAD /metrics 200',
      'POST /metrics 405',
      'DELETE / 405',
      'GET /x 404',
      'GET /metrics/../x 404',
    ]);
    promtool('check', 'metrics')(await (await fetch(`http://${address}/metrics`)).text());
    expect(sampleOf(await scrape(address), 'blockd_mode', { mode: 'dry-run' })).toBe(1);
  }, 30_000);

  it('are refused at the start when somebody else listens there', async () => {
    const { args } = place();
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as { port: number };
    const daemon = RunningDaemon.launch([...args, '--set', `metrics.listen=${port}`]);
    running.add(daemon);
    await expect.poll(() => daemon.hasEnded, { timeout: 15_000 }).toBe(true);
    other.close();
    expect(await daemon.stop()).toBe(2);
    expect(daemon.log.at(-1)?.msg).toContain(
      `metrics.listen: can't listen on 127.0.0.1:${port}: somebody else listens there already`,
    );
  }, 30_000);

  it('are served on a socket, over one that a killed daemon left', async () => {
    const { at, args } = place();
    const socket = `${at}.sock`;
    const listen = ['--set', `metrics.listen=unix:${socket}`];
    const first = await start([...args, ...listen]);
    await first.daemon.stop('SIGKILL');
    const { daemon } = await start([...args, ...listen]);
    const body = await new Promise<string>((resolve, reject) => {
      const asked = request({ socketPath: socket, path: '/metrics' }, (response) => resolve(text(response)));
      asked.once('error', reject);
      asked.end();
    });
    expect(parseExposition(body).has('blockd_build_info')).toBe(true);
    expect(await daemon.stop()).toBe(0);
  }, 30_000);

  it('answer while the store is away, and tell it', async () => {
    const redis = await startRedis();
    try {
      const { log } = place();
      const args = ['--store', redis.url, '--log', log, '--from-start', '--set', 'allow.mynetworks=false'];
      const { daemon, address } = await start([...args, ...LISTEN]);
      appendFileSync(log, reject('203.0.113.9'));
      await expectValue(address, 'blockd_offenses_total').toBe(1);
      expect(sampleOf(await scrape(address), 'blockd_scored_subjects')).toBe(1);
      redis.signal('SIGSTOP');
      await daemon.until(({ event }) => event === 'store-away' || event === 'store', 30_000).catch(() => undefined);
      await expectValue(address, 'blockd_store_up').toBe(0);
      appendFileSync(log, reject('203.0.113.9'));
      const askedAt = performance.now();
      const metrics = await scrape(address);
      expect(performance.now() - askedAt).toBeLessThan(3_000);
      expect(metrics.has('blockd_active_bans')).toBe(false);
      await expectValue(address, 'blockd_log_lag_bytes').toBeGreaterThan(0);
      redis.signal('SIGCONT');
      await expectValue(address, 'blockd_store_up').toBe(1);
      await expectValue(address, 'blockd_offenses_total').toBe(2);
    } finally {
      redis.signal('SIGCONT');
      await Promise.all([...running].map((daemon) => daemon.stop('SIGKILL')));
      await redis.stop();
    }
  }, 90_000);

  it('follow a reload: to another address, and counters go on', async () => {
    const { at, log, args } = place();
    const config = `${at}.toml`;
    writeFileSync(config, '[metrics]\nlisten = "127.0.0.1:0"\n');
    const { daemon, address } = await start(['--config', config, ...args]);
    appendFileSync(log, reject('203.0.113.9'));
    await expectValue(address, 'blockd_lines_total').toBe(1);
    writeFileSync(config, '[metrics]\nlisten = "localhost:0"\n');
    daemon.signal('SIGHUP');
    await daemon.until(({ event }) => event === 'reloaded');
    const second = String(daemon.log.filter(({ event }) => event === 'metrics').at(-1)?.['address']);
    expect(second).not.toBe(address);
    await expect(fetch(`http://${address}/metrics`)).rejects.toThrow();
    appendFileSync(log, reject('203.0.113.9'));
    await expectValue(second, 'blockd_lines_total').toBe(2);
  }, 40_000);
});

describe('the textfile', () => {
  it('is whole, readable for all, and nothing lies beside it', async () => {
    const { log, args } = place();
    const textfile = join(folder, `${counter}-textfile`, 'blockd.prom');
    mkdirSync(join(textfile, '..'));
    writeFileSync(log, reject('203.0.113.9').repeat(6));
    const umask = process.umask(0o077);
    const { code, stderr } = await blockdOnce(['--once', ...args, '--set', `metrics.textfile=${textfile}`]);
    process.umask(umask);
    expect([code, stderr.includes('error')], stderr).toEqual([0, false]);
    const metrics = parseExposition(readFileSync(textfile, 'utf8'));
    expect(sampleOf(metrics, 'blockd_bans_total', { by: 'score' })).toBe(1);
    expect(statSync(textfile).mode & 0o777).toBe(0o644);
    expect(readdirSync(join(textfile, '..'))).toEqual(['blockd.prom']);
  }, 30_000);

  it('that can not be written is told once, and stops nothing', async () => {
    const { log, args } = place();
    const { daemon } = await start([...args, '--set', `metrics.textfile=${folder}/nowhere/blockd.prom`]);
    appendFileSync(log, reject('203.0.113.9').repeat(6));
    await daemon.until(({ event }) => event === 'ban');
    expect(await daemon.stop()).toBe(0);
    const told = daemon.log.filter(({ event }) => event === 'metrics-file');
    expect(told.map(({ msg }) => msg)).toEqual([
      `metrics.textfile: ${folder}/nowhere/blockd.prom can't be written: no such file or directory`,
    ]);
  }, 30_000);
});

describe('contrib', () => {
  it('asks for no metric that is not there', async () => {
    const { log, args } = place();
    const { address } = await start([...args, ...LISTEN, '--mode', 'enforce']);
    appendFileSync(log, reject('203.0.113.9').repeat(6));
    await expectValue(address, 'blockd_map_entries').toBe(1);
    const metrics = await scrape(address);
    const known = new Set([...metrics.values()].flatMap(({ samples }) => samples.map(({ name }) => name)));
    for (const file of ['grafana-dashboard.json', 'alerts.yml']) {
      const used = new Set(readFileSync(join(contrib, file), 'utf8').match(/\bblockd_\w+/g));
      expect(used.size).toBeGreaterThan(5);
      expect(
        [...used].filter((name) => !known.has(name)),
        file,
      ).toEqual([]);
    }
  }, 30_000);

  it('holds rules that Prometheus takes, and a dashboard whose panels do not overlap', () => {
    promtool('check', 'rules', join(contrib, 'alerts.yml'))('');
    const { panels } = JSON.parse(readFileSync(join(contrib, 'grafana-dashboard.json'), 'utf8')) as {
      panels: { id: number; gridPos: { x: number; y: number; w: number; h: number } }[];
    };
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  });
});
