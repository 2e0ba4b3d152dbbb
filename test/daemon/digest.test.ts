/** The daily digest: each day once, over restarts and failures; as a page and as a mail that a real Postfix takes. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { afterAll, expect, test } from 'vitest';
import { loadConfig, toPolicySettings } from '../../src/config/load.js';
import { Digest } from '../../src/daemon/digest.js';
import { History } from '../../src/daemon/history.js';
import { Allowlist } from '../../src/policy/allowlist.js';
import { Policy } from '../../src/policy/policy.js';
import { MemoryStore } from '../../src/store/memory.js';
import type { Store } from '../../src/store/store.js';
import { startPostfix } from '../support/postfix.js';
import { RunningDaemon } from '../support/programs.js';

const exec = promisify(execFile);
const HOSTILE = '"><script>alert(1)</script>\x1b[31m';
const folder = mkdtempSync(join(tmpdir(), 'blockd-digest-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function configWith(text: string) {
  const file = join(folder, `config-${Math.random()}.toml`);
  writeFileSync(file, `store.host = "mx1"\nallow.mynetworks = false\n[report]\nschedule = "0 6 * * *"\n${text}`);
  return loadConfig({ file }).config;
}

/** Counts, at that time, a prober who is banned. */
async function probe(store: Store, at: number, ip = '203.0.113.9'): Promise<void> {
  const policy = new Policy(
    toPolicySettings(configWith(`html_dir = "${folder}/x"`)),
    new Allowlist({ addresses: [], hostnames: [] }),
  );
  const history = new History(store, 'mx1');
  const line = `2026-05-03T00:00:00Z mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <${HOSTILE}@lab.example>: User unknown`;
  const events = Array.from({ length: 6 }, (_, i) => ({
    kind: 'offense' as const,
    rule: 'postfix/user-unknown',
    ip,
    at: at + i * 1_000,
    host: null,
    points: 1,
    line,
  }));
  await history.prepare(events, at);
  await store.commit(policy.subjectsOf(events.map(({ ip }) => ip)), (states) => {
    const verdict = policy.judge(events, states, Number.POSITIVE_INFINITY);
    return { ...verdict, notes: history.notes({ events, before: new Map(states), verdict, policy, enforced: false }) };
  });
}

const at = (day: number, hour: number) => new Date(2026, 4, day, hour).getTime();
const days = (dir: string) => readdirSync(dir).sort();
const silent = pino({ level: 'silent' });

test('each day that is over is reported once, also after a restart and after days of absence', async () => {
  const dir = join(folder, 'pages');
  const store = new MemoryStore();
  const digest = () => new Digest(configWith(`html_dir = "${dir}"`), store, silent);
  await probe(store, at(3, 23));
  await probe(store, at(4, 0), '203.0.113.10');
  await digest().run(at(4, 6));
  expect(days(dir)).toEqual(['2026-05-03.html', 'index.html']);
  const first = readFileSync(join(dir, '2026-05-03.html'), 'utf8');
  expect(first).toContain('203.0.113.9');
  expect(first).not.toContain('203.0.113.10');
  expect(first).not.toContain('<script>');

  rmSync(join(dir, '2026-05-03.html'));
  await digest().run(at(4, 6));
  await digest().run(at(4, 23));
  expect(days(dir)).toEqual(['index.html']);

  await digest().run(at(7, 6));
  expect(days(dir)).toEqual(['2026-05-04.html', '2026-05-05.html', '2026-05-06.html', 'index.html']);
  expect(readFileSync(join(dir, '2026-05-04.html'), 'utf8')).toContain('203.0.113.10');
  expect(readFileSync(join(dir, 'index.html'), 'utf8')).toMatch(
    /2026-05-06\.html[\s\S]*Nobody would have been banned[\s\S]*2026-05-05\.html[\s\S]*2026-05-04\.html[\s\S]*No mail was accepted/,
  );
});

test('a digest that can not be sent is told, and made at the next time', async () => {
  const store = new MemoryStore();
  await probe(store, at(3, 12));
  const said: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => said.push(line) });
  const dir = join(folder, 'failed');
  const broken = configWith(`mail_to = "ok1@lab.example"\n[postfix]\nconfig_directory = "${folder}/none"`);
  await new Digest(broken, store, logger).run(at(4, 6));
  expect(said.join('')).toMatch(
    /the digest of 2026-05-03 could not be made, and will be tried again at the next time: sendmail refused it: /,
  );
  await new Digest(configWith(`html_dir = "${dir}"`), store, silent).run(at(4, 7));
  expect(days(dir)).toEqual(['2026-05-03.html', 'index.html']);
});

test('a real Postfix takes the mail: multipart, text and page, harmless', async () => {
  const postfix = await startPostfix({ mapType: 'hash' });
  try {
    const checks = join(postfix.configDirectory, 'header_checks');
    writeFileSync(checks, '/^Auto-Submitted:/ HOLD\n');
    await exec('postconf', ['-c', postfix.configDirectory, '-e', `header_checks = regexp:${checks}`]);
    await postfix.reload();
    const store = new MemoryStore();
    await probe(store, at(3, 12));
    const config = configWith(
      `mail_to = "ok1@lab.example"\n[postfix]\nconfig_directory = "${postfix.configDirectory}"`,
    );
    await new Digest(config, store, silent).run(at(4, 6));
    let id: string | undefined;
    for (let tries = 0; tries < 100 && id === undefined; tries++) {
      await sleep(100);
      id = /cleanup\[\d+\]: (\w+): hold: header/.exec(readFileSync(postfix.logFile, 'utf8'))?.[1];
    }
    if (id === undefined) throw new Error(readFileSync(postfix.logFile, 'utf8'));
    const { stdout: mail } = await exec('postcat', ['-c', postfix.configDirectory, '-q', '-bh', id]);
    expect(mail).toMatch(/^To: ok1@lab\.example$/m);
    expect(mail).toMatch(
      /^Subject: blockd mx1, 2026-05-03: No mail was accepted, and none would have been refused\.$/m,
    );
    expect(mail).toMatch(/^From: blockd on mx1 </m);
    const [text = '', html = ''] = [
      ...mail.matchAll(/Content-Transfer-Encoding: base64\n\n([A-Za-z0-9+/=\n]+)\n/g),
    ].map(([, body = '']) => Buffer.from(body, 'base64').toString());
    expect(text).toMatch(/^blockd on mx1, 2026-05-03\n\nNo mail was accepted, and none would have been refused\.\n/);
    expect(text).toContain('203.0.113.0/24');
    expect(html).toMatch(/^<!doctype html>/);
    expect(text + html).not.toMatch(/<script>|\x1b/);
  } finally {
    await postfix.stop();
  }
});

test('the daemon makes it by its schedule, and not again after a restart', async () => {
  const dir = join(folder, 'daemon');
  const log = join(folder, 'mail.log');
  writeFileSync(log, '');
  const args = [
    ...['--store', `lmdb:${folder}/store`, '--log', log, '--set', 'allow.mynetworks=false'],
    ...['--set', 'report.schedule=* * * * * *', '--set', `report.html_dir=${dir}`],
  ];
  const first = await RunningDaemon.start(args);
  await first.until((entry) => entry['event'] === 'digest');
  await sleep(2_500);
  expect(await first.stop()).toBe(0);
  expect(first.log.filter((entry) => entry['event'] === 'digest')).toHaveLength(1);
  const second = await RunningDaemon.start(args);
  await sleep(2_500);
  expect(await second.stop()).toBe(0);
  expect(second.log.filter((entry) => entry['event'] === 'digest')).toEqual([]);
  expect(days(dir)).toHaveLength(2);
}, 60_000);
