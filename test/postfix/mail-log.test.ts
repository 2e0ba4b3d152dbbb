import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { findMailLog } from '../../src/postfix/mail-log.js';
import { settingsOf } from './settings-of.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'blockd-root-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const find = (values: Record<string, string> = {}) => findMailLog(settingsOf(values), Date.now(), root).log;

function file(path: string, text = '', ageDays = 0): void {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, text);
  const at = Date.now() / 1_000 - ageDays * 86_400;
  utimesSync(full, at, at);
}

it('the mail log is the file that main.cf names', () => {
  file('var/log/mail.log');
  expect(find({ maillog_file: '/var/log/postfix.log' })).toBe('/var/log/postfix.log');
  expect(find({ maillog_file: '/dev/stdout' })).toBe('/var/log/mail.log');
});

it('the mail log is where a rule of rsyslog sends mail, else in the usual place', () => {
  file('var/log/maillog');
  expect(find()).toBe('/var/log/maillog');
  file('etc/rsyslog.d/mail.conf', '# mail.* /var/log/other\nmail.*\t\t\t-/var/log/mail/all.log\n');
  expect(find()).toBe('/var/log/maillog');
  file('var/log/mail/all.log');
  expect(find()).toBe('/var/log/mail/all.log');
});

it('the mail log is the journal where no syslog writes a file any more', () => {
  expect(find()).toBeNull();
  file('run/systemd/journal/socket');
  expect(find()).toBe('journal');
  file('var/log/mail.log', 'old', 3);
  expect(find()).toBe('journal');
  file('run/rsyslogd.pid', '1');
  expect(find()).toBe('/var/log/mail.log');
});
