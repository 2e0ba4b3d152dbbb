/** How long people and systemd wait. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { filledStore } from './bans.js';
import { type Form, median, type Part } from './figures.js';
import { blockctl, blockd, ended, inTurn, started, timed } from './processes.js';

const DAY_MS = 86_400_000;
const LISTED = 10_000;
const READY_WITH = 100_000;

export const starting: Part = {
  name: 'starting',
  title: 'Starting',
  run: async ({ rounds }: Form) => {
    const root = mkdtempSync(join(tmpdir(), 'blockd-bench-'));
    try {
      // As bans end: on a whole second.
      const until = Math.ceil(Date.now() / 1_000) * 1_000 + DAY_MS;
      await filledStore(join(root, 'listed'), LISTED, until);
      await filledStore(join(root, 'ready'), READY_WITH, until);
      const [list = 0, node = 0] = await inTurn(
        2 * rounds + 1,
        () => timed(blockctl('--store', `lmdb:${root}/listed`, 'list')),
        () => timed([process.execPath, '-e', '0']),
      );
      const waits: number[] = [];
      for (let round = 0; round < rounds; round++) waits.push(await readyAfter(root, round));
      return [
        {
          what: `blockctl list, ${LISTED.toLocaleString('en')} bans`,
          value: list,
          unit: 'ms',
          goal: { most: 150 },
          note: `node -e 0: ${Math.round(node)} ms`,
        },
        {
          what: `daemon ready, ${READY_WITH.toLocaleString('en')} bans in store and map`,
          value: median(waits),
          unit: 'ms',
          goal: { most: 1_000 },
        },
      ];
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  },
};

/** The first start has to build the map; the later ones find it. */
async function readyAfter(root: string, round: number): Promise<number> {
  const log = join(root, 'mail.log');
  if (round === 0) writeFileSync(log, '');
  const options = ['--store', `lmdb:${root}/ready`, '--map', `hash:${root}/map/client_access`, '--mode', 'enforce'];
  const at = performance.now();
  const daemon = await started(blockd('--log', log, ...options), 'started');
  const wait = performance.now() - at;
  await ended(daemon);
  return wait;
}
