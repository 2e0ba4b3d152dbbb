/** Large mail logs, the same on every machine and in every run; made once, and kept in the temporary folder. */
import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Traffic } from '../../src/demo/traffic.js';

/** Changes whenever the traffic does: an old log would be measured under a new name. */
const EDITION = 1;
const FOLDER = join(tmpdir(), `blockd-bench-${process.getuid?.() ?? 0}`);

/** Path of a log of `lines` lines, `attackShare` of which attackers caused. */
export function mailLog(lines: number, attackShare: number): string {
  const path = join(FOLDER, `mail-${EDITION}-${lines}-${Math.round(attackShare * 100)}.log`);
  if (existsSync(path)) return path;
  mkdirSync(FOLDER, { recursive: true, mode: 0o700 });
  const traffic = new Traffic({ seed: 7, startAt: Date.UTC(2026, 0, 12), perSecond: 2, attackShare, scale: 20 });
  const file = openSync(`${path}.new`, 'w');
  let block = '';
  for (const { text } of traffic.lines(lines)) {
    block += `${text}\n`;
    if (block.length < 1 << 20) continue;
    writeSync(file, block);
    block = '';
  }
  writeSync(file, block);
  closeSync(file);
  renameSync(`${path}.new`, path);
  return path;
}

/** The eight literals with which grep finds most of what attackers leave in a log. */
export const LITERALS = [
  'reject: ',
  'authentication failed',
  'too many errors',
  'lost connection after',
  'non-SMTP command',
  'improper command pipelining',
  'PREGREET ',
  'DNSBL rank',
].join('|');
