/** What a daemon at rest takes: memory by how many addresses it knows, and processor time. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { filledStore } from './bans.js';
import type { Figure, Form, Part } from './figures.js';
import { blockd, cpuOf, ended, residentOf, started } from './processes.js';

/** V8 collects what the start has left when it has had nothing to do for some seconds. */
const SETTLE_MS = 15_000;

export const memory: Part = {
  name: 'memory',
  title: 'Memory and processor time at rest',
  run: async (form) => {
    const figures: Figure[] = [];
    for (const scored of [0, ...form.scored]) figures.push(...(await atRest(scored, form)));
    return figures;
  },
};

async function atRest(scored: number, { idleSeconds }: Form): Promise<Figure[]> {
  const root = mkdtempSync(join(tmpdir(), 'blockd-bench-'));
  const log = join(root, 'mail.log');
  writeFileSync(log, '');
  await filledStore(join(root, 'store'), scored, null);
  const daemon = await started(blockd('--log', log, '--store', `lmdb:${root}/store`), 'started');
  try {
    await sleep(SETTLE_MS);
    const pid = daemon.pid ?? 0;
    const { all, own } = residentOf(pid);
    const name = scored === 0 ? 'nobody scored' : `${scored.toLocaleString('en')} scored`;
    const figures: Figure[] = [
      {
        what: `resident, ${name}`,
        value: all,
        unit: 'MiB',
        goal: { most: scored === 0 ? 90 : 250 },
        note: `${Math.round(own)} MiB without the pages of files`,
      },
    ];
    if (scored > 0) return figures;
    const [cpu, since] = [cpuOf(pid), performance.now()];
    await sleep(idleSeconds * 1_000);
    const percent = ((cpuOf(pid) - cpu) / (performance.now() - since)) * 100;
    return [...figures, { what: 'processor time at rest', value: percent, unit: '% of a core', goal: { most: 0.3 } }];
  } finally {
    await ended(daemon);
    rmSync(root, { recursive: true, force: true });
  }
}
