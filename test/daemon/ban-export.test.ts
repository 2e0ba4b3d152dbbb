/** Bans in a file for others, and another host that takes it as a list. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { parseList } from '../../src/lists/list-text.js';
import { exportText } from '../../src/postfix/ban-text.js';
import { banOf } from '../store/samples.js';
import { blockctl, RunningDaemon } from '../support/programs.js';

const dir = mkdtempSync(join(tmpdir(), 'blockd-export-'));
const running = new Set<RunningDaemon>();
let counter = 0;
afterEach(async () => {
  await Promise.all([...running].map((daemon) => daemon.stop('SIGKILL')));
  running.clear();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const NOW = Date.UTC(2026, 4, 11);
const RENDERING = { now: NOW, reply: 'Blocked until {until}: {reason}' };

describe('what others get', () => {
  const bans = [
    { ...banOf('203.0.113.9', NOW + 3_600_000), reason: 'postfix/user-unknown', host: 'mail.customer.example' },
    { ...banOf('2001:db8:1:2::/64', NOW + 7_200_000), reason: 'Mrs. Example complained', by: 'person' as const },
    {
      ...banOf('198.51.100.0/24', NOW + 7_200_000),
      reason: '8 banned addresses in this network',
      by: 'network' as const,
    },
  ];

  it.each(['plain', 'json', 'nft', 'cidr'] as const)('names no people, hosts or mail (%s)', async (format) => {
    const text = await exportText(bans, format, RENDERING);
    expect(text).not.toMatch(/customer|Mrs|complained/);
    for (const { subject } of bans) expect(text).toContain(subject);
  });

  it('is, as JSON, the address, the times, the strikes, and the rule or who ordered it', async () => {
    const rows = JSON.parse(await exportText(bans, 'json', RENDERING)) as Record<string, unknown>[];
    expect(rows.map(({ subject, reason }) => [subject, reason])).toEqual([
      ['198.51.100.0/24', 'network'],
      ['203.0.113.9', 'postfix/user-unknown'],
      ['2001:db8:1:2::/64', 'person'],
    ]);
    for (const row of rows) expect(Object.keys(row)).toEqual(['subject', 'since', 'until', 'strikes', 'reason']);
  });

  it('is a list that blockd takes, also when nobody is banned', async () => {
    const { networks, entries, bogus } = await parseList(await exportText(bans, 'plain', RENDERING), 64);
    expect([entries, bogus]).toEqual([3, 0]);
    for (const { subject } of bans) expect(networks.holds(subject)).toBe(true);
    expect(await parseList(await exportText([], 'plain', RENDERING), 64)).toMatchObject({ entries: 0 });
    expect(JSON.parse(await exportText([], 'json', RENDERING))).toEqual([]);
  });
});

/** A host with a log, and what stands in its config. */
function host(config: string) {
  const at = join(dir, String(counter++));
  const [log, file] = [`${at}.log`, `${at}.toml`];
  writeFileSync(log, '');
  writeFileSync(
    file,
    `store.url = "lmdb:${at}-store"\npostfix.map = "lmdb:${at}-map/client_access"\npostfix.reload = []\nallow.mynetworks = false\nhandover.enabled = false\n${config}`,
  );
  const start = async (...args: string[]) => {
    const daemon = await RunningDaemon.start(['--config', file, '--log', log, '--from-start', ...args]);
    running.add(daemon);
    return daemon;
  };
  return { log, start, ask: (...args: string[]) => blockctl(['--config', file, ...args]) };
}

let pid = 100;
const reject = (ip: string, count: number) => {
  pid++;
  return `${new Date().toISOString()} mx postfix/smtpd[${pid}]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x@lab.example> proto=ESMTP helo=<c.example>\n`.repeat(
    count,
  );
};
const banned = (ip: string) => (entry: Readonly<Record<string, unknown>>) =>
  entry['event'] === 'ban' && entry['subject'] === ip;

describe('the file', () => {
  it('of one host is a list for another, which then bans sooner; it follows the bans', {
    timeout: 60_000,
  }, async () => {
    const file = join(dir, 'public', 'export', 'bans.txt');
    const one = host(`mode = "enforce"\n[export]\nfile = "${file}"\nschedule = "* * * * * *"\n`);
    // As the service has it.
    const umask = process.umask(0o077);
    const daemon = await one.start().finally(() => process.umask(umask));
    expect(readFileSync(file, 'utf8')).toMatch(/^# 0 bans of blockd at 20/);
    const modes = [file, join(file, '..'), join(file, '../..')].map((path) => statSync(path).mode & 0o777);
    expect(modes).toEqual([0o644, 0o755, 0o755]);
    appendFileSync(one.log, reject('203.0.113.9', 5));
    await daemon.until(banned('203.0.113.9'));
    await expect
      .poll(() => readFileSync(file, 'utf8'), { timeout: 15_000 })
      .toMatch(/^# 1 ban of blockd at .*\n203\.0\.113\.9\n$/);
    expect(readdirSync(join(dir, 'public/export'))).toEqual(['bans.txt']);

    const web = createServer((_, response) => response.end(readFileSync(file))).listen(0, '127.0.0.1');
    try {
      await once(web, 'listening');
      const url = `http://127.0.0.1:${(web.address() as AddressInfo).port}/bans.txt`;
      const other = host(
        `mode = "enforce"\n[[lists]]\nname = "mx1"\nurl = "${url}"\npoints = 3\nschedule = "* * * * * *"\n`,
      );
      const theirs = await other.start();
      await theirs.until(({ event }) => event === 'list');
      appendFileSync(other.log, reject('203.0.113.9', 2) + reject('203.0.113.10', 2));
      await theirs.until(banned('203.0.113.9'));
      expect(theirs.log.some(banned('203.0.113.10'))).toBe(false);
    } finally {
      web.closeAllConnections();
      web.close();
    }
    await one.ask('unban', '203.0.113.9');
    await expect.poll(() => readFileSync(file, 'utf8'), { timeout: 15_000 }).toMatch(/^# 0 bans/);
  });

  it('may be signed, so that minisign finds whoever has changed it', { timeout: 60_000 }, async () => {
    const [file, key, pub] = ['signed.txt', 'secret.key', 'public.key'].map((name) => join(dir, name)) as [
      string,
      string,
      string,
    ];
    const minisign = (...args: string[]) => spawnSync('minisign', args, { encoding: 'utf8' });
    expect(minisign('-G', '-W', '-p', pub, '-s', key).status).toBe(0);
    const one = host(`mode = "enforce"\n[export]\nfile = "${file}"\nsign_key = "${key}"\n`);
    await (await one.start()).stop();
    const told = minisign('-Vm', file, '-p', pub);
    expect([told.status, told.stdout]).toEqual([
      0,
      expect.stringMatching(/verified\nTrusted comment: timestamp:\d+\tfile:signed\.txt/),
    ]);
    appendFileSync(file, '203.0.113.9\n');
    expect(minisign('-Vm', file, '-p', pub).status).not.toBe(0);

    writeFileSync(key, 'no key\n');
    const daemon = await one.start();
    const failed = await daemon.until(({ event }) => event === 'export-failed');
    expect(failed.msg).toContain('is no secret key of minisign; make one with "minisign -G -W');
    expect(readFileSync(file, 'utf8')).toContain('203.0.113.9');
  });

  it('names nobody in dry-run and shadow, where nobody is refused', { timeout: 60_000 }, async () => {
    const file = join(dir, 'tentative.json');
    writeFileSync(file, '[{"subject":"203.0.113.9"}]\n');
    const one = host(`[export]\nfile = "${file}"\nformat = "json"\nschedule = "* * * * * *"\n`);
    for (const mode of ['dry-run', 'shadow']) {
      const daemon = await one.start('--mode', mode);
      appendFileSync(one.log, reject(`203.0.113.${mode.length}`, 5));
      await daemon.until(banned(`203.0.113.${mode.length}`));
      await sleep(1_500);
      expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual([]);
      await daemon.stop();
    }
  });

  it('that can not be written is said once, and the daemon goes on', { timeout: 60_000 }, async () => {
    const folder = join(dir, 'taken');
    const file = join(folder, 'bans.txt');
    mkdirSync(file, { recursive: true });
    const one = host(`mode = "enforce"\n[export]\nfile = "${file}"\nschedule = "* * * * * *"\n`);
    const daemon = await one.start();
    appendFileSync(one.log, reject('203.0.113.9', 5));
    await daemon.until(banned('203.0.113.9'));
    await sleep(2_500);
    expect(daemon.log.filter(({ event }) => event === 'export-failed')).toHaveLength(1);
    expect(existsSync(`${file}.new`)).toBe(false);
    rmSync(file, { recursive: true });
    await daemon.until(({ event }) => event === 'export-works');
    expect(readFileSync(file, 'utf8')).toContain('203.0.113.9\n');
  });
});
