/** Is the log that blockd reads the one that Postfix writes, can it be read, does it grow, is its clock ours? */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { formatDuration } from '../domain/duration.js';
import { reasonOf } from '../domain/errors.js';
import { LineClock } from '../filter/clock.js';
import { LineHeader } from '../filter/header.js';
import { viewOf } from '../filter/words.js';
import { type Finding, fail, ok, warn } from '../postfix/finding.js';
import type { MailLog } from '../postfix/mail-log.js';
import type { Desk } from './desk.js';
import { relative } from './format.js';

const USUAL_LOGS = ['/var/log/mail.log', '/var/log/maillog'];
/** Even a quiet server has a bot every few hours. */
const SILENT_MS = 24 * 3_600_000;
/** How far the newest stamp may be ahead of the clock, and away from when the file was written. */
const AHEAD_MS = 60_000;
const APART_MS = 10 * 60_000;
const TAIL_BYTES = 64 * 1024;

/** `mailLog` is where Postfix seems to log; null when Postfix could not be asked. */
export async function logFindings(desk: Desk, mailLog: MailLog | null): Promise<Finding[]> {
  const logs = logsOf(desk);
  if (logs.length === 0) {
    return [
      fail(
        'log',
        `no mail log: neither ${USUAL_LOGS.join(' nor ')} exists, and the config names none`,
        'Set log.files, or log.journal = true.',
      ),
    ];
  }
  const findings = logs.filter((log) => log !== 'journal').flatMap((log) => fileFindings(log, desk.now));
  if (logs.includes('journal')) findings.push(ok('log', 'the systemd journal is read'));
  if (mailLog !== null) findings.push(...otherLog(logs, mailLog));
  return findings;
}

/** Syslog's lines may be in several files, and in the journal too; Postfix's own file is the only one. */
function otherLog(logs: readonly string[], { log, isOwn, why }: MailLog): Finding[] {
  if (log === null || logs.includes(log) || (!isOwn && logs.includes('journal'))) return [];
  const text = `blockd reads ${logs.join(', ')}, but Postfix seems to log to ${log} (${why})`;
  const fix = log === 'journal' ? 'Set log.journal = true and log.files = [].' : `Set log.files = ["${log}"].`;
  return [isOwn ? fail('log', text, fix) : warn('log', text, fix)];
}

/** What the running daemon reads, else what it would. */
function logsOf({ running, note, config }: Desk): readonly string[] {
  if (running && note !== null) return note.logs;
  const { files, journal } = config.log;
  const own = journal ? [...files, 'journal'] : files;
  return own.length > 0 ? own : USUAL_LOGS.filter((file) => existsSync(file)).slice(0, 1);
}

function fileFindings(log: string, now: number): Finding[] {
  let tail: { readonly bytes: Buffer; readonly writtenAt: number };
  try {
    tail = tailOf(log);
  } catch (error) {
    const denied = ['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');
    const fix = denied
      ? "Put blockd's user into the log's group (adm on Debian)."
      : 'Set log.files to the log that Postfix writes.';
    return [fail('log', `${log} can't be read: ${reasonOf(error)}`, fix)];
  }
  const { bytes, writtenAt } = tail;
  const silentMs = now - writtenAt;
  if (silentMs > SILENT_MS) {
    return [
      fail(
        'log',
        `${log} has not grown for ${formatDuration(Math.floor(silentMs / 3_600_000) * 3_600_000)}`,
        'Does Postfix run, and does it log there? See "postconf maillog_file" and the rules of syslog.',
      ),
    ];
  }
  const stamp = newestStamp(bytes, writtenAt);
  if (stamp === null) {
    return [
      bytes.length === 0
        ? warn('log', `${log} is empty`, 'Right after a rotation that is as it should be.')
        : fail(
            'log',
            `${log} has no line in which blockd can read a time stamp`,
            'Is it the mail log? "blockctl test" shows what the rules see in it.',
          ),
    ];
  }
  const grown = ok('log', `${log} can be read, and grew ${relative(writtenAt, now)}`);
  if (stamp > now + AHEAD_MS) {
    return [
      grown,
      fail(
        'clock',
        `the newest line of ${log} is ${formatDuration(wholeMinutes(stamp - now))} ahead of this host's clock`,
        "Set the clock (NTP), or the logger's time zone; until then lines count as of now.",
      ),
    ];
  }
  if (Math.abs(writtenAt - stamp) > APART_MS) {
    return [
      grown,
      warn(
        'clock',
        `${log} was written ${formatDuration(wholeMinutes(Math.abs(writtenAt - stamp)))} ${writtenAt > stamp ? 'after' : 'before'} the time that its newest line says`,
        "Has the logger another time zone than this host? Stamps without a year are read in this host's.",
      ),
    ];
  }
  return [grown, ok('clock', "the log's clock is this host's")];
}

function wholeMinutes(ms: number): number {
  return Math.max(1, Math.round(ms / 60_000)) * 60_000;
}

/** The end of the file, and when it was last written. */
function tailOf(file: string): { readonly bytes: Buffer; readonly writtenAt: number } {
  const handle = openSync(file, 'r');
  try {
    const { size, mtimeMs } = fstatSync(handle);
    const bytes = Buffer.alloc(Math.min(size, TAIL_BYTES));
    const read = readSync(handle, bytes, 0, bytes.length, size - bytes.length);
    return { bytes: bytes.subarray(0, read), writtenAt: mtimeMs };
  } finally {
    closeSync(handle);
  }
}

/** Of the last line that has one, milliseconds. */
function newestStamp(bytes: Buffer, writtenAt: number): number | null {
  const clock = new LineClock(writtenAt);
  const header = new LineHeader();
  const lines = bytes.toString('latin1').split('\n').reverse();
  for (const line of lines) {
    const text = Buffer.from(line, 'latin1');
    if (!header.read(text, 0, text.length)) continue;
    const at = clock.read(viewOf(text), header.stampStart, header.stampEnd);
    if (!Number.isNaN(at)) return at;
  }
  return null;
}
