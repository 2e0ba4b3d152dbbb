/** Shadow mode on a real Postfix: nobody is refused, Postfix says whom it would have, and the report what that would have cost. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type LabPostfix, startPostfix } from '../support/postfix.js';
import { blockctl, RunningDaemon } from '../support/programs.js';
import { smtpSession } from '../support/smtp.js';

const MIXED = '198.51.100.7';
const GOOD = '198.51.100.77';
let folder: string;
let postfix: LabPostfix;
let daemon: RunningDaemon;
let common: string[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blockd-shadow-'));
  postfix = await startPostfix({ mapType: 'hash' });
  common = [
    ...['--store', `lmdb:${folder}/store`, '--map', `hash:${postfix.mapPath}`],
    ...['--set', `postfix.config_directory=${postfix.configDirectory}`],
  ];
  daemon = await RunningDaemon.start([...common, '--log', postfix.logFile, '--mode', 'shadow', '--from-start']);
}, 120_000);

afterAll(async () => {
  await daemon?.stop();
  await postfix?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function deliver(address: string): Promise<string> {
  const session = await smtpSession({ port: postfix.port, address, name: 'mx.mixed.example' });
  try {
    expect(await session.rcpt('ok1@lab.example')).toMatch(/^250 /);
    return await session.deliver();
  } finally {
    await session.quit();
  }
}

async function until<T>(look: () => Promise<T>, fits: (found: T) => boolean): Promise<T> {
  for (let tries = 0; ; tries++) {
    const found = await look();
    if (fits(found)) return found;
    if (tries === 100) throw new Error(`it never came: ${JSON.stringify(found)}`);
    await sleep(200);
  }
}

test('what Postfix would have refused is counted as such, and mail taken from there as what enforcing would have cost', async () => {
  expect(await deliver(GOOD)).toMatch(/^250 /);
  const probe = await smtpSession({ port: postfix.port, address: MIXED });
  for (let i = 0; i < 8; i++) await probe.rcpt(`guess${i}@lab.example`);
  await probe.quit();
  await daemon.until((entry) => entry['event'] === 'ban' && entry['subject'] === MIXED);
  // In the second of the ban's begin nobody knows which came first, and the map has to be published.
  await until(
    () => readFile(postfix.mapPath, 'utf8'),
    (map) => map.includes(`${MIXED}\tWARN blockd: Blocked until `),
  );
  await sleep(1_100);
  expect(await deliver(MIXED)).toMatch(/^250 /);
  expect(await deliver(GOOD)).toMatch(/^250 /);

  const log = await until(
    () => readFile(postfix.logFile, 'utf8'),
    (text) => text.split(': removed').length === 4,
  );
  expect(log).toContain(`NOQUEUE: warn: RCPT from mx.mixed.example[${MIXED}]: blockd: Blocked until `);
  const listed = await until(
    async () =>
      JSON.parse((await blockctl([...common, '--json', 'list'])).stdout) as { subject: string; refused: number }[],
    (bans) => bans.some(({ refused }) => refused > 0),
  );
  expect(listed).toMatchObject([{ subject: MIXED, refused: 1 }]);

  const { stdout } = await blockctl([...common, '--json', 'report', postfix.logFile]);
  expect(JSON.parse(stdout)).toMatchObject({
    accepted: 3,
    shadow: {
      wouldRefuse: 1,
      losses: [{ subject: MIXED, host: 'mx.mixed.example', line: expect.stringContaining(`[${MIXED}]`) }],
    },
    policy: { bans: 1, hurt: 1 },
    collateral: [{ subject: MIXED, accepted: 1, refused: 1 }],
  });

  const own = await blockctl([...common, '--json', 'report']);
  expect(JSON.parse(own.stdout)).toMatchObject({
    logs: [],
    accepted: 3,
    shadow: { wouldRefuse: 1, losses: null },
    policy: { bans: 1 },
    collateral: [{ subject: MIXED, accepted: 1 }],
  });
}, 90_000);
