/**
 * Reads mail entries of the systemd journal through journalctl(1), as the lines that syslog would have written.
 * The position is journald's cursor of the last entry counted.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { reasonOf, UnavailableError } from '../domain/errors.js';
import type { Chunk, Source, SourceNotice, SourceOptions } from './source.js';

export const JOURNAL = 'journal';

export interface JournalOptions extends SourceOptions {
  /** Folder of journal files to read instead of the system's. */
  readonly directory?: string;
}

/** journalctl must be on the PATH; without it `chunks()` throws UnavailableError. */
export function followJournal(options: JournalOptions): Source {
  return new Journal(options);
}

const NEWLINE = 10;
const CHUNK_BYTES = 65_536;
const CUT_LINE_BYTES = 8_192;
const LONGEST_LINE_BYTES = 1_048_576;
const RESTART_MS = 1_000;
/** syslog(3): LOG_MAIL. */
const MAIL_FACILITY = '2';
/** Matches of journalctl know no wildcard, so that units catch what was logged under another facility. */
const MATCHES = [
  `SYSLOG_FACILITY=${MAIL_FACILITY}`,
  ...['postfix.service', 'postfix@-.service', 'dovecot.service'].map((unit) => `_SYSTEMD_UNIT=${unit}`),
  ...['dovecot', 'postfix/smtpd', 'postfix/postscreen'].map((identifier) => `SYSLOG_IDENTIFIER=${identifier}`),
];
const FIELDS = 'MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_FACILITY,SYSLOG_PID,_PID,_HOSTNAME,_SOURCE_REALTIME_TIMESTAMP';

type Journalctl = ChildProcessByStdio<null, Readable, Readable>;

interface Entry {
  readonly cursor: string;
  readonly writtenAt: number;
  /** Null for what is no mail line. */
  readonly line: string | null;
}

class Journal implements Source {
  readonly logs = [JOURNAL];
  readonly #options: JournalOptions;
  readonly #stopping = new AbortController();
  readonly #told = new Set<string>();
  #child: Journalctl | null = null;
  #cursor: string | null;
  /** Without a cursor: what stands in the journal now is not wanted. */
  #isAtEnd: boolean;
  /** The cursor's entry comes first again, to prove that it is still there. */
  #isProven = true;

  constructor(options: JournalOptions) {
    this.#options = options;
    const position = options.positions.get(JOURNAL);
    this.#cursor = position?.kind === 'journal' ? position.cursor : null;
    this.#isAtEnd = options.start === 'end';
  }

  async *chunks(): AsyncGenerator<Chunk> {
    while (!this.#isStopped) {
      if (this.#cursor === null && this.#isAtEnd) {
        const last = await this.#lastEntry();
        if (this.#isStopped) return;
        this.#isAtEnd = false;
        // Says where counting starts, so that a restart before the first entry does not start at a later end.
        if (last !== null) yield this.#chunk('', last, 0);
      }
      const isDone = yield* this.#run();
      if (isDone || this.#isStopped) return;
      // journalctl in follow mode does not end by itself: journald was restarted, or somebody killed it.
      await sleep(RESTART_MS, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    }
  }

  stop(): void {
    this.#stopping.abort();
    this.#child?.kill();
  }

  get #isStopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  /** What one journalctl has to tell, behind the cursor; true when that was all. */
  async *#run(): AsyncGenerator<Chunk, boolean> {
    const { once } = this.#options;
    // Not --after-cursor: it skips an entry unread when the cursor's own is gone.
    const from = this.#cursor === null ? [] : [`--cursor=${this.#cursor}`];
    const child = this.#spawn([...from, ...(once ? [] : ['--follow']), '--no-tail']);
    const ended = endOf(child);
    this.#isProven = this.#cursor === null;
    try {
      let unfinished: Buffer = Buffer.alloc(0);
      for await (const data of child.stdout as AsyncIterable<Buffer>) {
        const bytes = unfinished.length === 0 ? data : Buffer.concat([unfinished, data]);
        const end = bytes.lastIndexOf(NEWLINE) + 1;
        unfinished = bytes.subarray(end);
        yield* this.#read(bytes.toString('utf8', 0, end), child.stdout);
        if (this.#isStopped) return true;
      }
      const { code, reason } = await ended;
      return this.#isStopped || this.#isEndOfAll(code, reason);
    } finally {
      child.kill();
      this.#child = null;
      await ended.catch(() => undefined);
    }
  }

  *#read(json: string, stdout: Readable): Generator<Chunk> {
    const lines: string[] = [];
    let bytes = 0;
    let last: Entry | null = null;
    for (let from = 0, to = json.indexOf('\n'); to !== -1; from = to + 1, to = json.indexOf('\n', from)) {
      const entry = entryOf(json.slice(from, to));
      if (entry === null || this.#isCounted(entry)) continue;
      last = entry;
      if (entry.line === null) continue;
      lines.push(entry.line);
      bytes += entry.line.length;
      if (bytes < CHUNK_BYTES) continue;
      yield this.#chunk(lines.join(''), entry, json.length - to - 1 + stdout.readableLength);
      last = null;
      lines.length = 0;
      bytes = 0;
    }
    if (last !== null) yield this.#chunk(lines.join(''), last, stdout.readableLength);
  }

  #chunk(text: string, { cursor, writtenAt }: Entry, lagBytes: number): Chunk {
    this.#cursor = cursor;
    this.#told.clear();
    const lines = Buffer.from(text, 'latin1');
    return { log: JOURNAL, lines, position: { kind: 'journal', cursor }, writtenAt, lagBytes };
  }

  /** True for the entry that the cursor names. When another one comes first, that one is gone. */
  #isCounted({ cursor, writtenAt }: Entry): boolean {
    if (this.#isProven) return false;
    this.#isProven = true;
    if (cursor === this.#cursor) return true;
    this.#tell(
      'warn',
      `the journal entry counted last is gone (rotated away, or another journal), so entries before ${new Date(writtenAt).toISOString()} may be lost; reading goes on there`,
    );
    return false;
  }

  async #lastEntry(): Promise<Entry | null> {
    const child = this.#spawn(['--lines=1']);
    const ended = endOf(child);
    let json = '';
    for await (const data of child.stdout as AsyncIterable<Buffer>) json += data.toString('utf8');
    const { code, reason } = await ended;
    if (code !== 0 && !this.#isStopped) this.#complain(code, reason);
    return entryOf(json.trim());
  }

  #spawn(args: readonly string[]): Journalctl {
    const { directory } = this.#options;
    const where = directory === undefined ? [] : [`--directory=${directory}`];
    const how = ['--output=json', `--output-fields=${FIELDS}`, '--all', '--no-pager'];
    const matches = MATCHES.flatMap((match, index) => (index === 0 ? [match] : ['+', match]));
    const child = spawn('journalctl', [...where, ...how, ...args, ...matches], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stderr.on('data', (data: Buffer) => {
      if (String(data).includes('not seeing messages')) {
        this.#tell(
          'warn',
          'blockd may not read the system journal: add its user to the group systemd-journal (usermod -aG systemd-journal blockd)',
        );
      }
    });
    this.#child = child;
    return child;
  }

  #isEndOfAll(code: number | null, reason: string): boolean {
    if (code === 0 && this.#options.once) return true;
    if (this.#cursor !== null && /seek to cursor/.test(reason)) {
      const { start } = this.#options;
      this.#tell(
        'warn',
        `the stored position "${this.#cursor}" is no journal's; the journal is read from its ${start}`,
      );
      this.#cursor = null;
      this.#isAtEnd = start === 'end';
    } else {
      this.#complain(code, reason);
    }
    return false;
  }

  #complain(code: number | null, reason: string): void {
    const how = [code === null ? 'journalctl ended' : `journalctl ended with status ${code}`, reason]
      .filter(Boolean)
      .join(': ');
    if (this.#options.once) throw new UnavailableError(`the journal can't be read: ${how}`);
    this.#tell('error', `${how}; it is started again until it stays`);
  }

  #tell(level: SourceNotice['level'], message: string): void {
    if (this.#told.has(message)) return;
    this.#told.add(message);
    this.#options.onNotice({ level, log: JOURNAL, message });
  }
}

/** Resolves when the process has ended; rejects with UnavailableError when there is no such program. */
function endOf(child: Journalctl): Promise<{ readonly code: number | null; readonly reason: string }> {
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => {
    stderr = (stderr + data.toString('utf8')).slice(-2_000);
  });
  const ended = new Promise<{ code: number | null; reason: string }>((resolve, reject) => {
    child.once('error', (error) =>
      reject(
        new UnavailableError(
          `the journal can't be read: journalctl can't be run: ${reasonOf(error)}; on a host without systemd name the mail log with log.files`,
        ),
      ),
    );
    child.once('close', (code) => resolve({ code, reason: stderr.trim().split('\n').at(-1) ?? '' }));
  });
  // Whoever awaits it gets the error; until then it is no unhandled one.
  ended.catch(() => undefined);
  return ended;
}

/** One JSON object of journalctl; null when it is none. Field names: systemd.journal-fields(7). */
function entryOf(json: string): Entry | null {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(json) as Record<string, unknown>;
  } catch {
    return null;
  }
  const cursor = bytesOf(fields.__CURSOR);
  const receivedUs = bytesOf(fields.__REALTIME_TIMESTAMP);
  if (cursor === null || receivedUs === null) return null;
  return { cursor, writtenAt: Math.floor(Number(receivedUs) / 1_000), line: lineOf(fields, receivedUs) };
}

function lineOf(fields: Record<string, unknown>, receivedUs: string): string | null {
  const identifier = bytesOf(fields.SYSLOG_IDENTIFIER);
  const message = bytesOf(fields.MESSAGE);
  if (identifier === null || message === null) return null;
  if (bytesOf(fields.SYSLOG_FACILITY) !== MAIL_FACILITY && !/^(?:postfix|dovecot)/.test(identifier)) return null;
  const pid = bytesOf(fields.SYSLOG_PID) ?? bytesOf(fields._PID);
  const tag = pid === null ? identifier : `${identifier}[${pid}]`;
  const at = rfc3339(bytesOf(fields._SOURCE_REALTIME_TIMESTAMP) ?? receivedUs);
  const line = oneLine(`${at} ${bytesOf(fields._HOSTNAME) ?? 'localhost'} ${tag}: ${message}`);
  return `${line.length > LONGEST_LINE_BYTES ? line.slice(0, CUT_LINE_BYTES) : line}\n`;
}

/** Bytes of a field as latin-1: a string, an array of bytes when it is no UTF-8 or not printable; of several, the first. */
function bytesOf(field: unknown): string | null {
  if (typeof field === 'string')
    return /^[\0-\x7f]*$/.test(field) ? field : Buffer.from(field, 'utf8').toString('latin1');
  if (!Array.isArray(field)) return null;
  return typeof field[0] === 'number' ? Buffer.from(field as number[]).toString('latin1') : bytesOf(field[0] ?? null);
}

/** Microseconds since the epoch, in UTC. */
function rfc3339(microseconds: string): string {
  const us = Number(microseconds);
  const seconds = new Date(Math.floor(us / 1e6) * 1_000).toISOString().slice(0, 19);
  return `${seconds}.${String(us % 1e6).padStart(6, '0')}+00:00`;
}

/** A journal message may hold newlines: written as rsyslog does, so that nobody makes a line of his own with one. */
function oneLine(text: string): string {
  return text.replace(/[\0-\x08\x0a-\x1f]/g, (char) => `#${char.charCodeAt(0).toString(8).padStart(3, '0')}`);
}
