/** What one more ban costs to publish, by how many there are. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AccessMap } from '../../src/postfix/access-map.js';
import { mapEntries } from './bans.js';
import { type Figure, type Form, median, type Part } from './figures.js';

const UNTIL = Date.parse('2035-01-01T00:00:00Z');
const TIMES = 5;
/** A hash map of a million entries takes Postfix's tools minutes on some machines; nobody is advised to have one. */
const LARGEST: Record<string, number> = { hash: 100_000, lmdb: 1_000_000 };

export const publishing: Part = {
  name: 'publishing',
  title: 'Publishing one more ban',
  run: async (form) => [...(await costs('lmdb', form)), ...(await costs('hash', form))],
};

async function costs(type: string, { bans }: Form): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const count of bans.filter((one) => one <= (LARGEST[type] ?? 0))) {
    const value = await costOf(type, count);
    figures.push({ what: `${type}, beside ${count.toLocaleString('en')}`, value, unit: 'ms' });
  }
  const [first, last] = [figures[0], figures.at(-1)];
  if (first !== undefined && last !== undefined && figures.length > 1) {
    figures.push({ what: `${type}, largest beside smallest`, value: last.value / first.value, unit: '×' });
  }
  return figures;
}

async function costOf(type: string, count: number): Promise<number> {
  const root = mkdtempSync(join(tmpdir(), 'blockd-bench-'));
  try {
    const map = new AccessMap({
      type,
      path: join(root, 'client_access'),
      reply: 'Blocked until {until} after repeated rejects',
      action: 'reject',
      postmap: 'postmap',
      reload: [],
    });
    const entries = mapEntries(count, UNTIL);
    await map.publish(async () => entries);
    const walls: number[] = [];
    for (let i = 1; i <= TIMES; i++) {
      const one = { subject: `198.51.100.${i}`, until: UNTIL, reason: 'postfix/user-unknown' };
      entries.push(one);
      const startedAt = performance.now();
      await map.publishPicture(async () => ({ changes: { put: [one], gone: [] }, all: () => entries }));
      walls.push(performance.now() - startedAt);
    }
    return median(walls);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
