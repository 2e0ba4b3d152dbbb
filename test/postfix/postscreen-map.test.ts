/** postscreen's table: what stands in it, and what clients of a real postscreen meet. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { postscreenTable } from '../../src/postfix/advice-postscreen.js';
import { PostscreenMap } from '../../src/postfix/postscreen-map.js';
import { type LabPostfix, startPostfix } from '../support/postfix.js';
import { knock } from '../support/postscreen.js';
import { blockctl, RunningDaemon } from '../support/programs.js';
import { settingsOf } from './settings-of.js';

const dir = mkdtempSync(join(tmpdir(), 'blockd-postscreen-'));
let counter = 0;
const labs = new Set<LabPostfix>();
const running = new Set<RunningDaemon>();
afterEach(async () => {
  await Promise.all([...running].map((daemon) => daemon.stop('SIGKILL')));
  running.clear();
  for (const lab of labs) await lab.stop();
  labs.clear();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const NOW = Date.UTC(2026, 4, 11);
const MINUTE = 60_000;
const ban = (subject: string, minutes: number) => ({ subject, until: NOW + minutes * MINUTE, reason: 'x' });
const fresh = () => {
  const folder = join(dir, String(counter++));
  return { folder, path: join(folder, 'postscreen.cidr') };
};
const mapAt = (path: string, more = {}) => new PostscreenMap({ path, leadMs: MINUTE, reload: [], ...more });

describe("postscreen's table", () => {
  it('rejects the banned of both families, with the end of each above it, readable for all', async () => {
    const { folder, path } = fresh();
    const map = mapAt(path);
    const bans = [ban('203.0.113.9', 60), ban('198.51.100.0/24', 90), ban('2001:db8:1:2::/64', 60)];
    expect(await map.publish(async () => bans, NOW)).toEqual({
      changed: true,
      entries: 3,
      leavesAt: NOW + 59 * MINUTE,
      notReloaded: null,
    });
    expect(readFileSync(path, 'utf8').split('\n').slice(1)).toEqual([
      '# until 2026-05-11T01:30:00.000Z',
      '198.51.100.0/24\treject',
      '# until 2026-05-11T01:00:00.000Z',
      '2001:db8:1:2::/64\treject',
      '203.0.113.9/32\treject',
      '',
    ]);
    expect(statSync(path).mode & 0o777).toBe(0o644);
    const { ino } = statSync(path);
    expect(await map.publish(async () => bans.toReversed(), NOW)).toMatchObject({ changed: false });
    expect(statSync(path).ino).toBe(ino);
    expect(readdirSync(folder).sort()).toEqual(['postscreen.cidr', 'postscreen.cidr.lock']);
  });

  it('lets an entry go before its ban ends, from the bans or from itself alone', async () => {
    const { path } = fresh();
    const map = mapAt(path);
    await map.publish(async () => [ban('203.0.113.9', 60), ban('203.0.113.10', 70), ban('203.0.113.11', 1)], NOW);
    expect(readFileSync(path, 'utf8')).not.toContain('203.0.113.11');
    expect(await map.sweep(NOW + 58 * MINUTE)).toMatchObject({ changed: false, dropped: 0, entries: 2 });
    expect(await map.sweep(NOW + 59 * MINUTE)).toMatchObject({ changed: true, dropped: 1, entries: 1 });
    expect(readFileSync(path, 'utf8')).not.toContain('203.0.113.9/');
    expect(await map.sweep(NOW + 70 * MINUTE)).toMatchObject({
      dropped: 1,
      entries: 0,
      leavesAt: Number.POSITIVE_INFINITY,
    });
    expect(await mapAt(fresh().path).sweep(NOW)).toBeNull();
  });

  it('holds no more than it may, and neither nonsense nor an endless ban', async () => {
    const { path } = fresh();
    const bans = [
      ban('203.0.113.9', 60),
      ban('203.0.113.10', 70),
      ban('nonsense', 80),
      ban('203.0.113.11', 1e9),
      ban('192.0.2.1', Number.NaN),
    ];
    await mapAt(path, { maxEntries: 2 }).publish(async () => bans, NOW);
    const text = readFileSync(path, 'utf8');
    expect([
      text.includes('203.0.113.10/32'),
      text.includes('nonsense'),
      text.includes('203.0.113.11'),
      text.includes('192.0.2.1'),
    ]).toEqual([true, false, false, false]);
  });

  it('is never written over a file of somebody else', async () => {
    const path = join(dir, 'own.cidr');
    writeFileSync(path, '192.0.2.0/24 permit\n');
    const publishing = mapAt(path).publish(async () => [ban('203.0.113.9', 60)], NOW);
    await expect(publishing).rejects.toThrow('was not written by blockd, which would overwrite it');
    expect(readFileSync(path, 'utf8')).toBe('192.0.2.0/24 permit\n');
  });
});

async function mailHost(action: 'enforce' | 'drop', every = '1s') {
  const { folder, path: table } = fresh();
  await mapAt(table).publish(async () => [], Date.now());
  const lab = await startPostfix({
    mapType: 'lmdb',
    postscreen: true,
    main: {
      postscreen_access_list: `cidr:${table}`,
      postscreen_denylist_action: action,
      postscreen_greet_wait: '1s',
      postscreen_greet_action: 'enforce',
    },
  });
  labs.add(lab);
  const log = join(folder, 'mail.log');
  writeFileSync(log, '');
  const config = join(folder, 'blockd.toml');
  writeFileSync(
    config,
    `mode = "enforce"\nallow.mynetworks = false\nhandover.enabled = false\nstore.url = "lmdb:${folder}/store"\n[postfix]\n` +
      `map = "lmdb:${lab.mapPath}"\nconfig_directory = "${lab.configDirectory}"\npostscreen_map = "${table}"\npostscreen_every = "${every}"\n`,
  );
  const ask = async (...args: string[]) => {
    const { code, stderr, stdout } = await blockctl(['--config', config, ...args]);
    if (code !== 0) throw new Error(`${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  const start = async (...more: string[]) => {
    const daemon = await RunningDaemon.start(['--config', config, '--log', log, '--from-start', ...more]);
    running.add(daemon);
    return daemon;
  };
  return {
    lab,
    table,
    log,
    ask,
    start,
    knocks: (ip: string) => knock(lab.postscreenPort, ip),
    text: () => readFileSync(table, 'utf8'),
  };
}

let pid = 100;
const reject = (ip: string) =>
  `${new Date().toISOString()} mx postfix/smtpd[${pid++}]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>\n`;

describe('a client of postscreen', { timeout: 120_000 }, () => {
  it('is refused while it is banned, others are served; the end of the ban, unban, and sweep without a daemon let it in', async () => {
    const host = await mailHost('enforce');
    const daemon = await host.start();
    expect(await host.knocks('203.0.113.9')).toContain('250 2.1.5');
    writeFileSync(host.log, reject('203.0.113.9').repeat(5) + reject('2001:db8:1:2::9').repeat(5), { flag: 'a' });
    await expect.poll(() => host.knocks('203.0.113.9'), { timeout: 10_000 }).toContain('550 5.3.2');
    expect(await host.knocks('2001:db8:1:2::77')).toContain('550 5.3.2');
    expect(await host.knocks('198.51.100.9')).toContain('250 2.1.5');

    await host.ask('unban', '203.0.113.9');
    expect(await host.knocks('203.0.113.9')).toContain('250 2.1.5');

    const endsAt = Date.now() + 6_000;
    await host.ask('ban', '203.0.113.10', '--for', '6s');
    expect(await host.knocks('203.0.113.10')).toContain('550 5.3.2');
    await expect.poll(host.text, { timeout: 15_000 }).not.toContain('203.0.113.10');
    // About then; the daemon may share the machine.
    expect(Date.now()).toBeLessThan(endsAt + 5_000);
    await sleep(Math.max(0, endsAt + 1_500 - Date.now()));
    expect(await host.knocks('203.0.113.10')).toContain('250 2.1.5');

    await host.ask('ban', '203.0.113.11', '--for', '5s');
    await daemon.stop('SIGKILL');
    expect(await host.knocks('203.0.113.11')).toContain('550 5.3.2');
    await sleep(5_000);
    expect(host.text()).toContain('203.0.113.11');
    await host.ask('sweep');
    expect(await host.knocks('203.0.113.11')).toContain('250 2.1.5');
  });

  it('is told 521 and hung up on where postscreen is to drop it', async () => {
    const host = await mailHost('drop');
    await host.ask('ban', '203.0.113.9', '--for', '1h');
    expect(await host.knocks('203.0.113.9')).toContain('521 5.3.2');
    expect(await host.knocks('203.0.113.10')).toContain('250 2.1.5');
  });

  it.each(['dry-run', 'shadow'])('meets no reject in %s, also none that an earlier run left', async (mode) => {
    const host = await mailHost('enforce');
    await host.ask('ban', '203.0.113.9', '--for', '1h');
    expect(host.text()).toContain('203.0.113.9');
    const daemon = await host.start('--mode', mode);
    await daemon.until(({ event }) => event === 'postscreen');
    expect(host.text()).not.toContain('reject\n');
    await host.ask('ban', '203.0.113.10', '--for', '1h');
    await host.ask('sync');
    expect(host.text()).not.toContain('reject\n');
    expect(await host.knocks('203.0.113.9')).toContain('250 2.1.5');
  });

  it('costs one reload in postscreen_every, however many are banned meanwhile', async () => {
    const host = await mailHost('drop', '5s');
    const daemon = await host.start();
    const written = () => daemon.log.filter(({ event }) => event === 'postscreen').length;
    writeFileSync(host.log, reject('203.0.113.9').repeat(5), { flag: 'a' });
    await expect.poll(written, { timeout: 10_000 }).toBe(1);
    for (let i = 10; i < 14; i++) {
      writeFileSync(host.log, reject(`203.0.113.${i}`).repeat(5), { flag: 'a' });
      await sleep(500);
    }
    expect(written()).toBe(1);
    await expect.poll(() => host.text(), { timeout: 10_000 }).toContain('203.0.113.13/32');
    await expect.poll(written).toBe(2);
    const reloads = () => readFileSync(host.lab.logFile, 'utf8').match(/reload -- version/g)?.length;
    await expect.poll(reloads).toBe(2);
  });
});

describe('blockctl doctor', () => {
  const path = '/var/lib/blockd/postfix/postscreen.cidr';
  const master = ['smtp inet n - y - 1 postscreen', 'smtpd pass - - y - - smtpd'];
  const asked = { postscreen_access_list: `permit_mynetworks, cidr:${path}`, postscreen_denylist_action: 'enforce' };
  it.each([
    ['nothing without the key', undefined, {}, master, []],
    ['that all is well', path, asked, master, [['ok', /^postscreen asks cidr:/]]],
    ['that there is no postscreen', path, asked, master.slice(1), [['warn', /has no postscreen/]]],
    [
      'that it is not asked',
      path,
      { postscreen_access_list: 'permit_mynetworks' },
      master,
      [['warn', /does not name/]],
    ],
    [
      'that it only logs',
      path,
      { ...asked, postscreen_denylist_action: 'ignore' },
      master,
      [['warn', /only logs whom/]],
    ],
    [
      'that an older one only logs',
      path,
      { ...asked, mail_version: '3.5.6', postscreen_blacklist_action: 'ignore' },
      master,
      [['warn', /^postscreen_blacklist_action = ignore/]],
    ],
  ] as const)('says %s', (_, table, values, services, expected) => {
    const found = postscreenTable(settingsOf(values, { master: services }), table);
    expect(found.map(({ level, text }) => [level, text])).toEqual(
      expected.map(([level, text]) => [level, expect.stringMatching(text)]),
    );
  });
});
