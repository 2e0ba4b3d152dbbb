/** Lines lost while the log is rotated under its reader: our follower beside two packages that do the same job. */
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import TailFile from '@logdna/tail-file';
import { Tail } from 'tail';
import { followFiles } from '../../src/source/follow.js';
import type { Figure, Part } from './figures.js';

const ROTATIONS = 6;
const LINES = 1_000;
/** logrotate's `postrotate` makes the writer reopen about so soon. */
const BETWEEN_MS = 150;
const SETTLE_MS = 3_000;

/** Calls `onLines` with the number of lines that came; resolves with what ends the reading. */
type Reader = (log: string, onLines: (count: number) => void) => Promise<() => Promise<void>>;

export const rotation: Part = {
  name: 'rotation',
  title: `Lines lost over ${ROTATIONS} rotations by rename, ${LINES.toLocaleString('en')} lines each`,
  run: async () => [
    { ...(await lostBy('blockd', follower)), goal: { most: 0 } },
    await lostBy('tail', tail),
    await lostBy('@logdna/tail-file', tailFile),
  ],
};

async function lostBy(name: string, read: Reader): Promise<Figure> {
  const folder = mkdtempSync(join(tmpdir(), 'blockd-bench-'));
  const log = join(folder, 'mail.log');
  writeFileSync(log, '');
  let seen = 0;
  const stop = await read(log, (count) => {
    seen += count;
  });
  await sleep(500);
  for (let round = 0; round < ROTATIONS; round++) {
    for (let line = 0; line < LINES; line++) {
      appendFileSync(log, `round ${round} line ${line}\n`);
      // The readers live in this process too.
      if (line % 20 === 0) await sleep(1);
    }
    renameSync(log, `${log}.${ROTATIONS - round}`);
    writeFileSync(log, '');
    await sleep(BETWEEN_MS);
  }
  await sleep(SETTLE_MS);
  await stop();
  rmSync(folder, { recursive: true, force: true });
  return { what: name, value: ROTATIONS * LINES - seen, unit: 'lines lost' };
}

const follower: Reader = async (log, onLines) => {
  const source = followFiles([log], {
    positions: new Map(),
    start: 'beginning',
    once: false,
    onNotice: () => undefined,
  });
  const reading = (async () => {
    for await (const { lines } of source.chunks()) onLines(lines.toString('latin1').split('\n').length - 1);
  })();
  return async () => {
    source.stop();
    await reading;
  };
};

const tail: Reader = async (log, onLines) => {
  const reader = new Tail(log, { fromBeginning: true, follow: true });
  reader.on('line', () => onLines(1));
  reader.on('error', () => undefined);
  return async () => reader.unwatch();
};

const tailFile: Reader = async (log, onLines) => {
  const reader = new TailFile(log, { startPos: 0, encoding: 'latin1' });
  reader.on('data', (data: string) => onLines(data.split('\n').length - 1));
  reader.on('tail_error', () => undefined);
  await reader.start();
  return () => reader.quit();
};
