/** blockd's own log: readable on a terminal, JSON in a pipe, with journald's priorities under systemd. Always stderr. */
import pino, { type DestinationStream, type Logger } from 'pino';
import pretty from 'pino-pretty';
import type { Config } from '../config/schema.js';

export type { Logger };

/** sd-daemon(3): a line that begins with `<N>` gets that syslog priority. */
const JOURNAL_PRIORITY: Record<number, string> = { 10: '<7>', 20: '<7>', 30: '<6>', 40: '<4>', 50: '<3>', 60: '<2>' };

export function createLogger(output: Config['log_output']): Logger {
  const format = output.format === 'auto' ? automaticFormat() : output.format;
  return pino({ level: output.level, base: null }, destination(format));
}

function automaticFormat(): 'pretty' | 'json' | 'journal' {
  if (process.env['JOURNAL_STREAM'] !== undefined && !process.stderr.isTTY) return 'journal';
  return process.stderr.isTTY ? 'pretty' : 'json';
}

function destination(format: 'pretty' | 'json' | 'journal'): DestinationStream {
  if (format === 'json') return pino.destination({ dest: 2, sync: true });
  const journal = format === 'journal';
  return pretty({
    destination: 2,
    sync: true,
    colorize: !journal && process.stderr.isTTY && process.env['NO_COLOR'] === undefined,
    translateTime: 'SYS:HH:MM:ss',
    ignore: journal ? 'time,level,pid,hostname' : 'pid,hostname',
    hideObject: true,
    ...(journal && {
      messageFormat: (entry: Record<string, unknown>, key: string) =>
        `${JOURNAL_PRIORITY[Number(entry['level'])] ?? '<6>'}${String(entry[key] ?? '')}`,
    }),
  });
}
