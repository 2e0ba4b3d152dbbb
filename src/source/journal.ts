/** The systemd journal, by journalctl(1): for hosts without a mail log file. The cursor is the position. */
import { type ChildProcess, spawn } from 'node:child_process';
import { reasonOf } from '../domain/errors.js';
import type { Reader } from './reader.js';
import type { Chunk, SourceOptions } from './source.js';

export const JOURNAL = 'journal';
/** Entries told at once, and entries held before journalctl has to wait. */
const MAX_CHUNK = 1_000;
const MAX_HELD = 10_000;
const RESTART_MS = 1_000;
/** syslog(3): LOG_MAIL. */
const MAIL_FACILITY = 'SYSLOG_FACILITY=2';

interface Entry {
  readonly cursor: string;
  readonly line: string;
}

export interface JournalOptions extends SourceOptions {
  /** Folder of journal files instead of the system's. */
  readonly directory?: string;
}

export class JournalReader implements Reader {
  readonly log = JOURNAL;
  readonly #options: JournalOptions;
  readonly #onEntry: () => void;
  #held: Entry[] = [];
  #child: ChildProcess | null = null;
  #cursor: string | null;
  #rest = '';
  #ended = false;
  #closed = false;
  #restartAt = 0;
  #complained = '';

  constructor(options: JournalOptions, onEntry: () => void) {
    this.#options = options;
    this.#onEntry = onEntry;
    const position = options.positions.get(JOURNAL);
    this.#cursor = position?.kind === 'journal' ? position.cursor : null;
  }

  get ended(): boolean {
    return this.#ended && this.#held.length === 0;
  }

  async next(): Promise<Chunk | null> {
    if (this.#child === null && !this.#ended && Date.now() >= this.#restartAt) this.#start();
    if (this.#held.length === 0) return null;
    const entries = this.#held.splice(0, MAX_CHUNK);
    this.#child?.stdout?.resume();
    const last = entries.at(-1);
    if (last === undefined) return null;
    return {
      log: JOURNAL,
      text: `${entries.map(({ line }) => line).join('\n')}\n`,
      position: { kind: 'journal', cursor: last.cursor },
      writtenAt: Date.now(),
      lagBytes: this.#held.length,
    };
  }

  close(): void {
    this.#closed = true;
    this.#child?.kill();
  }

  #start(): void {
    const { directory, once, start } = this.#options;
    const where = directory === undefined ? [] : ['--directory', directory];
    const from = this.#cursor !== null ? ['--after-cursor', this.#cursor] : start === 'end' ? ['--lines=0'] : ['--no-tail'];
    const args = [...where, '--output=json', '--quiet', '--all', ...(once ? [] : ['--follow']), ...from, MAIL_FACILITY];
    const child = spawn('journalctl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#rest = '';
    let complaint = '';
    child.stderr.on('data', (data) => {
      complaint = String(data).trim();
    });
    child.stdout.on('data', (data: Buffer) => this.#take(data));
    child.once('error', (error) => this.#onEnd(child, `journalctl can't be run: ${reasonOf(error)}`));
    child.once('close', (code) => this.#onEnd(child, code === 0 ? null : `journalctl ended with status ${code}: ${complaint}`));
  }

  #take(data: Buffer): void {
    const lines = (this.#rest + data.toString('latin1')).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const entry = entryOf(line);
      if (entry === null) continue;
      this.#held.push(entry);
      this.#cursor = entry.cursor;
    }
    if (this.#held.length > MAX_HELD) this.#child?.stdout?.pause();
    this.#onEntry();
  }

  #onEnd(child: ChildProcess, problem: string | null): void {
    if (this.#child !== child) return;
    this.#child = null;
    if (this.#closed) return;
    if (this.#options.once) this.#ended = true;
    this.#restartAt = Date.now() + RESTART_MS;
    if (problem !== null && problem !== this.#complained) {
      this.#complained = problem;
      this.#options.onNotice({ level: 'error', log: JOURNAL, message: problem });
    }
    this.#onEntry();
  }
}

/** One JSON object of journalctl as the syslog line that a file would hold; null for what is no message. */
function entryOf(json: string): Entry | null {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(json) as Record<string, unknown>;
  } catch {
    return null;
  }
  const cursor = fields['__CURSOR'];
  const at = Number(fields['__REALTIME_TIMESTAMP']) / 1_000;
  const message = textOf(fields['MESSAGE']);
  const identifier = textOf(fields['SYSLOG_IDENTIFIER']);
  if (typeof cursor !== 'string' || !Number.isFinite(at) || message === null || identifier === null) return null;
  const pid = textOf(fields['SYSLOG_PID']) ?? textOf(fields['_PID']);
  const host = textOf(fields['_HOSTNAME']) ?? 'localhost';
  const tag = pid === null ? identifier : `${identifier}[${pid}]`;
  const line = `${new Date(at).toISOString()} ${host} ${tag}: ${message}`;
  return { cursor, line: line.replace(/[\r\n]/g, ' ') };
}

/** A field is text, or an array of bytes when it is not printable UTF-8; the pipe was read as latin-1. */
function textOf(field: unknown): string | null {
  if (typeof field === 'string') return field;
  if (Array.isArray(field) && field.every((byte) => typeof byte === 'number')) return Buffer.from(field).toString('latin1');
  return null;
}
