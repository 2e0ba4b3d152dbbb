/** The live path catching up with what was written while it was away: every batch is committed with its position. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRedis } from '../support/redis.js';
import { type Figure, median, type Part } from './figures.js';
import { mailLog } from './logs.js';
import { blockd, timed } from './processes.js';

const LEAST_PER_SECOND = 300_000;

export const backlog: Part = {
  name: 'backlog',
  title: 'Catching up with a backlog, exactly-once commits included',
  run: async ({ lines, rounds }) => {
    const log = mailLog(lines, 0.4);
    const catchUp = async (store: string) =>
      (await timed(blockd('--once', '--from-start', '--log', log, '--store', store))).wallMs;
    const embedded: number[] = [];
    const shared: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const folder = mkdtempSync(join(tmpdir(), 'blockd-bench-'));
      embedded.push(await catchUp(`lmdb:${folder}/store`));
      rmSync(folder, { recursive: true, force: true });
      const redis = await startRedis();
      shared.push(await catchUp(redis.url));
      await redis.stop();
    }
    return [figure('LMDB', lines, median(embedded)), figure('Redis', lines, median(shared))];
  },
};

function figure(store: string, lines: number, ms: number): Figure {
  return {
    what: `40 % attack, into ${store}`,
    value: (lines / ms) * 1_000,
    unit: 'lines/s',
    goal: { least: LEAST_PER_SECOND },
  };
}
