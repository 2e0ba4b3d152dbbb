/** Where this Postfix logs: a file of its own (MAILLOG_README), one of syslog's, or the journal. */
import { readdirSync, readFileSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from './settings.js';

export interface MailLog {
  /** Absolute path, `journal`, or null when it can't be told. */
  readonly log: string | null;
  /** Does Postfix write it itself, so that it can be nowhere else? */
  readonly isOwn: boolean;
  /** How that is known, for the end of a sentence. */
  readonly why: string;
}

/** Where Debian and Red Hat keep the mail log. */
const USUAL_LOGS = ['/var/log/mail.log', '/var/log/maillog'];
const DAY_MS = 86_400_000;

/** `root` stands in for `/` in tests. */
export function findMailLog({ values }: Settings, now: number, root = '/'): MailLog {
  const own = values.get('maillog_file') ?? '';
  if (own.startsWith('/') && !own.startsWith('/dev/'))
    return { log: own, isOwn: true, why: 'main.cf says so: maillog_file' };
  const rule = syslogTarget(root);
  const usual = [...(rule === null ? [] : [rule.file]), ...USUAL_LOGS];
  const found = usual.find((file) => statOf(join(root, file)) !== null);
  const hasJournal = statOf(join(root, 'run/systemd/journal/socket')) !== null;
  const logged = found === undefined ? null : statOf(join(root, found));
  // A file that syslog left behind when it was removed must not be taken for the log.
  const isAlive = logged !== null && (now - logged.mtimeMs < DAY_MS || syslogRuns(root) || !hasJournal);
  if (found !== undefined && isAlive) {
    return { log: found, isOwn: false, why: rule?.file === found ? `${rule.where} says so` : "syslog's usual place" };
  }
  if (hasJournal) {
    const old = found === undefined ? 'there is no mail log as a file' : `${found} has not grown for a day`;
    return { log: 'journal', isOwn: false, why: `${old}, and the systemd journal runs` };
  }
  return {
    log: null,
    isOwn: false,
    why: `neither ${USUAL_LOGS.join(' nor ')} exists, no rule of rsyslog names one, no journal runs`,
  };
}

/** The file to which rsyslog's own rules send mail. */
function syslogTarget(root: string): { file: string; where: string } | null {
  const folder = 'etc/rsyslog.d';
  const files = ['etc/rsyslog.conf', ...namesIn(join(root, folder)).map((name) => join(folder, name))];
  for (const file of files) {
    const found = /^[ \t]*mail\.(?:\*|info|notice)[ \t]+-?(\/[^\s;]+)/m.exec(textOf(join(root, file)))?.[1];
    if (found !== undefined) return { file: found, where: `/${file}` };
  }
  return null;
}

function syslogRuns(root: string): boolean {
  return ['run/rsyslogd.pid', 'run/syslog-ng.pid', 'run/syslogd.pid'].some((file) => statOf(join(root, file)) !== null);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.conf'))
      .sort();
  } catch {
    return [];
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function statOf(file: string): Stats | null {
  try {
    return statSync(file);
  } catch {
    return null;
  }
}
