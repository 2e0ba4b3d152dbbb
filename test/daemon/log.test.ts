/** The daemon's own log, in each of its formats. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { blockdOnce } from '../support/programs.js';

const folder = mkdtempSync(join(tmpdir(), 'blockd-log-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const log = join(folder, 'mail.log');
const reject = (ip: string) =>
  `${new Date().toISOString()} mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[${ip}]: 554 5.7.1 <x@far.example>: Relay access denied; from=<a@b.example> to=<x@far.example> proto=ESMTP helo=<c.example>\n`;
writeFileSync(log, ['198.51.100.3', '198.51.100.4'].map((ip) => reject(ip).repeat(4)).join(''));

async function said(format: string, env: NodeJS.ProcessEnv = {}): Promise<string[]> {
  const args = ['--once', '--from-start', '--log', log, '--store', 'memory:', '--set', `log_output.format=${format}`];
  const { code, stderr } = await blockdOnce(args, { env: { ...process.env, ...env } });
  expect(code).toBe(0);
  expect(stderr.endsWith('\n')).toBe(true);
  return stderr.trimEnd().split('\n');
}

describe('an entry of the log', () => {
  it('is a line for people to read', async () => {
    const lines = await said('pretty');
    expect(lines.filter((line) => !/^\[\d\d:\d\d:\d\d\] [A-Z]+: [^[]+$/.test(line))).toEqual([]);
    expect(lines.filter((line) => line.includes('would ban 198.51.100.'))).toHaveLength(2);
  });

  it('is a line with its priority in the journal', async () => {
    const lines = await said('auto', { JOURNAL_STREAM: '8:1' });
    expect(lines.filter((line) => !/^<[2-7]>[^<]+$/.test(line))).toEqual([]);
    expect(lines.filter((line) => line.startsWith('<6>DRY-RUN: would ban 198.51.100.'))).toHaveLength(2);
  });

  it('is a line of JSON in a pipe', async () => {
    const entries = (await said('auto', { JOURNAL_STREAM: undefined })).map((line) => JSON.parse(line));
    expect(entries.filter(({ event }) => event === 'ban').map(({ subject }) => subject)).toEqual([
      '198.51.100.3',
      '198.51.100.4',
    ]);
  });
});
