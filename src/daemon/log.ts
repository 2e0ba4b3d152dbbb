/** blockd's own log: readable on a terminal, JSON in a pipe, with journald's priorities under systemd. Always stderr. */
import pino, { type DestinationStream, type Logger } from 'pino';
import type { Config } from '../config/schema.js';
import { safe, safeJson } from '../domain/safe.js';

export type { Logger };

/** sd-daemon(3): a line that begins with `<N>` gets that syslog priority. */
const JOURNAL_PRIORITY: Record<number, string> = { 10: '<7>', 20: '<7>', 30: '<6>', 40: '<4>', 50: '<3>', 60: '<2>' };

/** What waits for a reader that stands still; later lines are dropped. */
const MOST_WAITING_BYTES = 16 << 20;

export async function createLogger(output: Config['log_output']): Promise<Logger> {
  const format = output.format === 'auto' ? automaticFormat() : output.format;
  return pino({ level: output.level, base: null, hooks: { streamWrite: safeJson } }, await destination(format));
}

function automaticFormat(): 'pretty' | 'json' | 'journal' {
  if (process.env['JOURNAL_STREAM'] !== undefined && !process.stderr.isTTY) return 'journal';
  return process.stderr.isTTY ? 'pretty' : 'json';
}

async function destination(format: 'pretty' | 'json' | 'journal'): Promise<DestinationStream> {
  // Whoever reads it may be slow, or stand still: writing would then keep the event loop (a pipe that is full, for 100 ms
  // a try). What is left is written at the end.
  const stderr = pino.destination({ dest: 2, sync: false, maxLength: MOST_WAITING_BYTES });
  if (format === 'json') return stderr;
  const journal = format === 'journal';
  const { default: pretty } = await import('pino-pretty');
  return pretty({
    destination: stderr,
    colorize: !journal && process.stderr.isTTY && process.env['NO_COLOR'] === undefined,
    translateTime: 'SYS:HH:MM:ss',
    ignore: journal ? 'time,level,pid,hostname' : 'pid,hostname',
    hideObject: true,
    // One entry is one line, and only we say its priority: messages hold host names and the words of other programs.
    messageFormat: (entry: Record<string, unknown>, key: string) =>
      `${journal ? (JOURNAL_PRIORITY[Number(entry['level'])] ?? '<6>') : ''}${safe(String(entry[key] ?? ''))}`,
  });
}
