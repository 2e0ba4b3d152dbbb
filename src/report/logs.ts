/**
 * The logs that a report reads: any number, plain or compressed, in the order of their first time stamp, as whole
 * lines. Compression is told by a file's first bytes, since standard input has no name.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createReadStream, statSync } from 'node:fs';
import { Readable } from 'node:stream';
import zlib from 'node:zlib';
import { reasonOf, UsageError } from '../domain/errors.js';
import { LineClock } from '../filter/clock.js';
import { LineHeader } from '../filter/header.js';
import { viewOf } from '../filter/words.js';
import { wholeLines } from './whole-lines.js';

export interface ReportLog {
  /** As the person named it; `-` is standard input. */
  readonly name: string;
  /** Bytes on disk, or null where nobody can know them. */
  readonly size: number | null;
  /** Bytes of `size` read so far. */
  readonly bytesRead: number;
  /** Reference for time stamps without a year, milliseconds. */
  readonly writtenAt: number;
  /** Whole lines, each ended by a newline, bytes as latin-1, some hundred KiB at a time. */
  texts(): AsyncIterable<string>;
}

/**
 * Opens the logs and puts them in order of their first time stamp; one without any comes last.
 * @throws UsageError naming the log that can't be read.
 */
export async function openLogs(names: readonly string[]): Promise<ReportLog[]> {
  const logs = [...new Set(names)].map((name) => (name === '-' ? new StandardInput() : new FileLog(name)));
  const dated: { readonly log: Input; readonly firstAt: number }[] = [];
  for (const log of logs) dated.push({ log, firstAt: firstStamp(await log.firstText(), log.writtenAt) });
  return dated.sort((a, b) => a.firstAt - b.firstAt).map(({ log }) => log);
}

/** Instant of the first line that has one; infinite for none. */
function firstStamp(text: string, writtenAt: number): number {
  const clock = new LineClock(writtenAt);
  const header = new LineHeader();
  for (const line of text.split('\n', 1_000)) {
    const bytes = Buffer.from(line, 'latin1');
    if (!header.read(bytes, 0, bytes.length)) continue;
    const at = clock.read(viewOf(bytes), header.stampStart, header.stampEnd);
    if (!Number.isNaN(at)) return at;
  }
  return Number.POSITIVE_INFINITY;
}

abstract class Input implements ReportLog {
  abstract readonly name: string;
  abstract readonly size: number | null;
  abstract readonly writtenAt: number;
  bytesRead = 0;

  abstract texts(): AsyncIterable<string>;
  abstract firstText(): Promise<string>;

  protected async *read(stream: Readable): AsyncGenerator<string> {
    try {
      yield* wholeLines(unpacked(this.name, this.#counted(stream)));
    } catch (error) {
      if (error instanceof UsageError) throw error;
      throw new UsageError(`The log ${this.name} can't be read to its end: ${reasonOf(error)}`, { cause: error });
    }
  }

  async *#counted(stream: Readable): AsyncGenerator<Buffer> {
    for await (const block of stream as AsyncIterable<Buffer>) {
      this.bytesRead += block.length;
      yield block;
    }
  }
}

class FileLog extends Input {
  readonly name: string;
  readonly size: number | null;
  readonly writtenAt: number;

  constructor(name: string) {
    super();
    const stat = statOf(name);
    if (stat.isDirectory()) throw new UsageError(`${name} is a directory; name a log in it`);
    if (!stat.isFile()) throw new UsageError(`${name} is no file; pipe it in instead: blockctl report - < ${name}`);
    this.name = name;
    this.size = stat.size;
    this.writtenAt = stat.mtimeMs;
  }

  texts(): AsyncIterable<string> {
    this.bytesRead = 0;
    return this.read(createReadStream(this.name, { highWaterMark: READ_BYTES }));
  }

  /** Read apart, so that a hundred rotated logs are not all open at once. */
  async firstText(): Promise<string> {
    for await (const text of this.read(createReadStream(this.name))) return text;
    return '';
  }
}

const READ_BYTES = 262_144;

class StandardInput extends Input {
  readonly name = '-';
  readonly size = null;
  readonly writtenAt = Date.now();
  readonly #texts = this.read(process.stdin);
  #first: string | null = null;

  async firstText(): Promise<string> {
    const { value, done } = await this.#texts.next();
    this.#first = done === true ? '' : value;
    return this.#first;
  }

  async *texts(): AsyncGenerator<string> {
    if (this.#first !== null && this.#first !== '') yield this.#first;
    yield* this.#texts;
  }
}

function statOf(name: string) {
  try {
    return statSync(name);
  } catch (error) {
    throw new UsageError(`The log ${name} can't be read: ${reasonOf(error)}`, { cause: error });
  }
}

/** What a packed file begins with, and the program that unpacks what this Node can't. */
const PACKED = [
  { kind: 'gz', magic: [0x1f, 0x8b], program: 'gzip' },
  { kind: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], program: 'xz' },
  { kind: 'zst', magic: [0x28, 0xb5, 0x2f, 0xfd], program: 'zstd' },
  { kind: 'bz2', magic: [0x42, 0x5a, 0x68], program: 'bzip2' },
] as const;

const LONGEST_MAGIC = 6;

async function* unpacked(name: string, blocks: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  let head = Buffer.alloc(0);
  while (head.length < LONGEST_MAGIC) {
    const { value, done } = await blocks.next();
    if (done === true) break;
    head = Buffer.concat([head, value]);
  }
  async function* all(): AsyncGenerator<Buffer> {
    if (head.length > 0) yield head;
    yield* blocks;
  }
  const packed = PACKED.find(({ magic }) => magic.every((byte, i) => head[i] === byte));
  if (packed === undefined) yield* all();
  else if (packed.kind === 'gz') yield* through(all(), zlib.createGunzip({ chunkSize: READ_BYTES }));
  else if (packed.kind === 'zst' && NODE_ZSTD !== undefined) yield* through(all(), NODE_ZSTD());
  else yield* throughProgram(name, packed.kind, packed.program, all());
}

/** Node has it from 22.15 on. */
const NODE_ZSTD = (zlib as { createZstdDecompress?: () => NodeJS.ReadWriteStream }).createZstdDecompress;

async function* through(blocks: AsyncGenerator<Buffer>, unpack: NodeJS.ReadWriteStream): AsyncGenerator<Buffer> {
  const packed = Readable.from(blocks);
  packed.on('error', (error) => unpack.emit('error', error));
  try {
    yield* packed.pipe(unpack) as unknown as AsyncIterable<Buffer>;
  } finally {
    packed.destroy();
  }
}

async function* throughProgram(
  name: string,
  kind: string,
  program: string,
  blocks: AsyncGenerator<Buffer>,
): AsyncGenerator<Buffer> {
  const child = spawn(program, ['-dc'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (data: Buffer) => {
    complaint = (complaint + data.toString('latin1')).slice(0, 1_000);
  });
  const ended = endOf(child);
  const packed = Readable.from(blocks);
  // A program that ends before it has taken all is judged by its exit status.
  child.stdin.on('error', () => undefined);
  packed.on('error', () => child.kill());
  packed.pipe(child.stdin);
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    const result = await ended;
    if (result instanceof Error) {
      const version = process.versions.node;
      throw new UsageError(
        `The log ${name} can't be read: Node.js ${version} can't unpack .${kind}, and ${program} is not installed; install it, or: ${program} -dc ${name} | blockctl report -`,
      );
    }
    if (result !== 0)
      throw new UsageError(`The log ${name} can't be read to its end: ${complaint.trim() || `${program} failed`}`);
  } finally {
    packed.destroy();
    child.kill();
  }
}

/** Its exit status, or why it could not be started. */
function endOf(child: ChildProcess): Promise<number | Error> {
  return new Promise((resolve) => {
    child.once('error', resolve);
    child.once('close', (code) => resolve(code ?? 1));
  });
}
