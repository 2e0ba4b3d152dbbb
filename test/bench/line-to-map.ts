/** From the write of the offending line to the finished publish of the map that refuses its client. */
import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { filledStore } from './bans.js';
import { type Figure, type Form, type Part, quantile } from './figures.js';
import { blockd, ended, started } from './processes.js';

/** Between two lines of a quiet log: the publisher batches what follows a publish more closely. */
const QUIET_MS = 2_500;
const GIVE_UP_MS = 20_000;
const BUSY_MS = 10_000;
const DAY_MS = 86_400_000;
/** Each line bans, and the map has room for all: by default a hundred thousand that last longer would leave no place. */
const SETTINGS = ['score.threshold=1', 'ban.networks=0', 'postfix.max_entries=1000000'].flatMap((one) => [
  '--set',
  one,
]);

export const lineToMap: Part = {
  name: 'line-to-map',
  title: 'From the offending line to the finished publish',
  run: (form) => each(form),
};

async function each(form: Form): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const type of ['hash', 'lmdb']) {
    for (const bans of form.bans.filter((count) => count <= 100_000))
      figures.push(...(await measure(type, bans, form)));
  }
  return figures;
}

async function measure(type: string, bans: number, { samples }: Form): Promise<Figure[]> {
  const root = mkdtempSync(join(tmpdir(), 'blockd-bench-'));
  const log = join(root, 'mail.log');
  const map = join(root, 'map/client_access');
  writeFileSync(log, '');
  await filledStore(join(root, 'store'), bans, Date.now() + DAY_MS);
  const options = ['--store', `lmdb:${root}/store`, '--map', `${type}:${map}`, '--mode', 'enforce'];
  const daemon = await started([...blockd('--log', log, ...options), ...SETTINGS], 'started');
  try {
    let client = 0;
    const offend = () => appendFileSync(log, offense(client++));
    const refused = async () => {
      await sleep(QUIET_MS);
      const before = publishedAt(map);
      const writtenAt = performance.now();
      offend();
      while (publishedAt(map) === before && performance.now() - writtenAt < GIVE_UP_MS) await sleep(1);
      return performance.now() - writtenAt;
    };
    // The first one may come while a large map is still compared with the store.
    await refused();
    const quiet: number[] = [];
    for (let sample = 0; sample < samples; sample++) quiet.push(await refused());
    await sleep(QUIET_MS);
    let publishes = 0;
    let seen = publishedAt(map);
    const busySince = performance.now();
    while (performance.now() - busySince < BUSY_MS) {
      offend();
      await sleep(20);
      const now = publishedAt(map);
      if (now !== seen) publishes++;
      seen = now;
    }
    const name = `${type}, ${bans.toLocaleString('en')} bans`;
    const large = bans >= 100_000;
    return [
      { what: `${name}: p50`, value: quantile(quiet, 0.5), unit: 'ms', ...(large && { goal: { most: 50 } }) },
      { what: `${name}: p99`, value: quantile(quiet, 0.99), unit: 'ms', ...(large && { goal: { most: 300 } }) },
      { what: `${name}: publishes under load`, value: (publishes / BUSY_MS) * 1_000, unit: '/s', goal: { most: 1.5 } },
    ];
  } finally {
    await ended(daemon);
    rmSync(root, { recursive: true, force: true });
  }
}

/** Identity of what was published last: the note about the map is replaced at the very end of each publish. */
function publishedAt(map: string): string {
  const stats = statSync(`${map}.state`, { throwIfNoEntry: false });
  return stats === undefined ? '' : `${stats.ino} ${stats.mtimeMs}`;
}

function offense(client: number): string {
  const ip = `198.51.${100 + (client >> 8)}.${client & 255}`;
  const stamp = new Date().toISOString().replace('Z', '+00:00');
  return `${stamp} mx postfix/smtpd[${5_000 + client}]: NOQUEUE: reject: RCPT from unknown[${ip}]: 554 5.7.1 <a@far.example>: Relay access denied; from=<x@y.example> to=<a@far.example> proto=ESMTP helo=<z>\n`;
}
