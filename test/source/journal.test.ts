/** Reading real journal files with the real journalctl. Needs the Debian package systemd-journal-remote, which writes them. */
import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../src/domain/errors.js';
import { followJournal } from '../../src/source/journal.js';
import { openSource } from '../../src/source/open.js';
import { positionsAfter, Reading, type ReadingOptions, temporaryFolder, until } from './reading.js';

const WRITER = '/lib/systemd/systemd-journal-remote';
const FIRST_US = 1_795_569_302_105_618;

let directory: string;
let files: number;

beforeEach(() => {
  directory = temporaryFolder();
  files = 0;
});

interface Entry {
  readonly message?: string | Buffer;
  readonly identifier?: string;
  readonly facility?: number;
  readonly pid?: number | null;
  readonly extra?: Record<string, string>;
}

let clock = 0;

/** A journal file of its own, in the export format: https://systemd.io/JOURNAL_EXPORT_FORMATS */
function addJournal(...entries: Entry[]): string {
  const parts: Buffer[] = [];
  for (const { message, identifier = 'postfix/smtpd', facility = 2, pid = 17, extra = {} } of entries) {
    const number = clock++;
    const fields: Record<string, string | Buffer> = {
      __REALTIME_TIMESTAMP: String(FIRST_US + number * 1_000_001),
      __MONOTONIC_TIMESTAMP: String(1_000_000 + number * 1_000_001),
      _BOOT_ID: '0123456789abcdef0123456789abcdef',
      _HOSTNAME: 'mx',
      SYSLOG_FACILITY: String(facility),
      SYSLOG_IDENTIFIER: identifier,
      ...(pid !== null && { SYSLOG_PID: String(pid) }),
      ...(message !== undefined && { MESSAGE: message }),
      ...extra,
    };
    for (const [name, value] of Object.entries(fields)) {
      if (typeof value === 'string') {
        parts.push(Buffer.from(`${name}=${value}\n`));
        continue;
      }
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(value.length));
      parts.push(Buffer.from(`${name}\n`), size, value, Buffer.from('\n'));
    }
    parts.push(Buffer.from('\n'));
  }
  const file = join(directory, `${++files}.journal`);
  execFileSync(WRITER, ['-o', file, '-'], { input: Buffer.concat(parts), stdio: ['pipe', 'ignore', 'pipe'] });
  return file;
}

const read = (options: ReadingOptions = {}): Reading =>
  new Reading((source) => followJournal({ ...source, directory }), options);
async function readOnce(options: ReadingOptions = {}): Promise<Reading> {
  const reading = read({ once: true, ...options });
  await reading.done;
  return reading;
}
const messages = ({ lines }: Reading): string[] => lines.map((line) => line.replace(/^.*?\]: /, ''));
const numbered = (from: number, to: number): Entry[] =>
  Array.from({ length: to - from }, (_, i) => ({ message: `message ${from + i}` }));
const texts = (entries: readonly Entry[]): string[] => entries.map(({ message }) => String(message));

describe('the journal', () => {
  it('is told in the lines that syslog would have written', async () => {
    clock = 0;
    addJournal(
      { message: 'connect from unknown[203.0.113.9]' },
      { message: 'no process', identifier: 'postfix/master', pid: null },
    );
    const { lines, chunks } = await readOnce();
    expect(lines).toEqual([
      '2026-11-25T01:15:02.105618+00:00 mx postfix/smtpd[17]: connect from unknown[203.0.113.9]',
      '2026-11-25T01:15:03.105619+00:00 mx postfix/master: no process',
    ]);
    expect(chunks.at(-1)).toMatchObject({
      log: 'journal',
      lagBytes: 0,
      position: { kind: 'journal', cursor: expect.stringMatching(/^s=/) },
    });
  });

  it('prefers the time at which a message was sent over that of its arrival', async () => {
    addJournal({ message: 'late', extra: { _SOURCE_REALTIME_TIMESTAMP: '1795569300000007' } });
    expect((await readOnce()).lines).toEqual(['2026-11-25T01:15:00.000007+00:00 mx postfix/smtpd[17]: late']);
  });

  it('gives mail entries only, those of Postfix and Dovecot under another facility included', async () => {
    addJournal(
      { message: 'one' },
      { message: 'sshd', identifier: 'sshd', facility: 4 },
      { message: 'two', identifier: 'dovecot', facility: 3 },
      { message: 'unit', identifier: 'postfix-in/smtpd', facility: 5, extra: { _SYSTEMD_UNIT: 'postfix@-.service' } },
      { message: 'started', identifier: 'systemd', facility: 3, extra: { _SYSTEMD_UNIT: 'dovecot.service' } },
      { message: 'milter', identifier: 'opendkim' },
    );
    expect(messages(await readOnce())).toEqual(['one', 'two', 'unit', 'milter']);
  });

  it('keeps bytes that are no UTF-8, and lets nobody make a line of his own with a newline', async () => {
    addJournal(
      { message: Buffer.from([0x61, 0xff, 0xfe]) },
      { message: 'größe' },
      { message: Buffer.from('helo=<x>\nNov 25 01:15:02 mx postfix/smtpd[1]: forged\r\0\x1b[1m') },
      {},
      { message: 'last' },
    );
    const bytes = messages(await readOnce()).map((text) => Buffer.from(text, 'latin1'));
    expect(bytes).toEqual([
      Buffer.from([0x61, 0xff, 0xfe]),
      Buffer.from('größe'),
      Buffer.from('helo=<x>#012Nov 25 01:15:02 mx postfix/smtpd[1]: forged#015#000#033[1m'),
      Buffer.from('last'),
    ]);
  });

  it('goes on behind any position', async () => {
    const entries = numbered(0, 1_200);
    addJournal(...entries);
    const { chunks } = await readOnce();
    expect(chunks.length).toBeGreaterThan(2);
    for (const [index] of chunks.entries()) {
      const upTo = chunks.slice(0, index + 1);
      const rest = await readOnce({ positions: positionsAfter(upTo), start: 'end' });
      const seen =
        upTo
          .map(({ text }) => text)
          .join('')
          .split('\n').length - 1;
      expect(messages(rest)).toEqual(texts(entries.slice(seen)));
      expect(rest.notices).toEqual([]);
    }
  });

  it('starts at its present end, says where that is, and goes on there after a stop', async () => {
    addJournal(...numbered(0, 5));
    const first = await readOnce({ start: 'end' });
    expect(first.chunks.map(({ text }) => text)).toEqual(['']);
    const entries = numbered(5, 8);
    addJournal(...entries);
    expect(messages(await readOnce({ start: 'end', positions: first.positions }))).toEqual(texts(entries));
  });

  it('is followed', async () => {
    addJournal(...numbered(0, 5));
    const reading = read({ start: 'end' });
    await until(() => reading.chunks.length > 0);
    const entries = numbered(5, 9);
    addJournal(...entries);
    await reading.untilLines(4);
    expect(messages(reading)).toEqual(texts(entries));
    const at = performance.now();
    await reading.stop();
    expect(performance.now() - at).toBeLessThan(5_000);
    expect(reading.notices).toEqual([]);
  });

  it('says from when on entries may be lost when the one counted last is gone, and skips none that is there', async () => {
    const old = addJournal(...numbered(0, 5));
    const { positions } = await readOnce();
    execFileSync('rm', [old]);
    const entries = numbered(5, 8);
    addJournal(...entries);
    const reading = await readOnce({ positions });
    expect(messages(reading)).toEqual(texts(entries));
    expect(reading.warnings).toEqual([expect.stringMatching(/counted last is gone.* before 20\d\d-.*Z may be lost/)]);
  });

  it('starts anew when the stored position is none of a journal, and says so', async () => {
    const entries = numbered(0, 2);
    addJournal(...entries);
    const reading = await readOnce({ positions: new Map([['journal', { kind: 'journal', cursor: 'garbage' }]]) });
    expect(messages(reading)).toEqual(texts(entries));
    expect(reading.warnings).toEqual([expect.stringContaining('"garbage"')]);
  });

  it('ends with a sentence when it can not be read', async () => {
    directory = join(directory, 'missing');
    await expect(readOnce()).rejects.toThrow(
      /the journal can't be read: journalctl ended with status 1: .*No such file/,
    );
  });

  it('ends with a sentence when there is no journalctl', async () => {
    const path = process.env.PATH;
    process.env.PATH = directory;
    try {
      const reading = read();
      await expect(reading.done).rejects.toThrow(UnavailableError);
      await expect(read().done).rejects.toThrow(/journalctl can't be run: no such file or directory; .*log\.files/);
    } finally {
      process.env.PATH = path;
    }
  });

  it('is read on where it was when journalctl ends under us', async () => {
    const entries = numbered(0, 3);
    addJournal(...entries);
    const tools = temporaryFolder();
    const real = execFileSync('sh', ['-c', 'command -v journalctl'], { encoding: 'utf8' }).trim();
    // The first one is cut off after a moment, as by a restart of journald.
    writeFileSync(
      join(tools, 'journalctl'),
      `#!/bin/sh\nif mkdir ${tools}/once 2>/dev/null; then exec timeout 0.5 ${real} "$@"; fi\nexec ${real} "$@"\n`,
    );
    chmodSync(join(tools, 'journalctl'), 0o755);
    const path = process.env.PATH;
    process.env.PATH = `${tools}:${path}`;
    try {
      const reading = read();
      await reading.untilLines(3);
      await until(() => reading.notices.length > 0);
      const more = numbered(3, 5);
      addJournal(...more);
      await reading.untilLines(5);
      await reading.stop();
      expect(messages(reading)).toEqual(texts([...entries, ...more]));
      expect(reading.warnings).toEqual([
        expect.stringMatching(/journalctl ended with status 124; it is started again/),
      ]);
    } finally {
      process.env.PATH = path;
    }
  });

  it('is one source together with log files', async () => {
    const log = join(directory, 'mail.log');
    writeFileSync(log, 'of the file\n');
    const reading = new Reading((source) => openSource({ files: [log], journal: true }, source), { start: 'end' });
    expect(reading.source.logs).toEqual([log, 'journal']);
    await reading.stop();
    expect(readdirSync(directory)).toEqual(['mail.log']);
  });
});
