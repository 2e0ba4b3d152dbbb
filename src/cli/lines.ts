/** Lines of a log given by name or on standard input, plain or gzip, read as they come and never held as a whole. */
import { createReadStream, statSync } from 'node:fs';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { reasonOf, UsageError } from '../domain/errors.js';

export interface Log {
  /** As the person named it; `-` is standard input. */
  readonly name: string;
  /** Reference for time stamps without a year, milliseconds. */
  readonly writtenAt: number;
  /** Lines without their newline, bytes as latin-1. */
  lines(): AsyncGenerator<string>;
}

/** Lines over a megabyte are no log lines: of those, the daemon too reads only the beginning. */
const LONGEST_LINE = 1024 * 1024;
const KEPT_OF_LONGER = 8 * 1024;

/** @throws UsageError when it does not exist or is no file. */
export function openLog(name: string): Log {
  if (name === '-') return { name, writtenAt: Date.now(), lines: () => linesOf(name, () => process.stdin) };
  const stat = statOf(name);
  if (stat.isDirectory()) throw new UsageError(`${name} is a directory; name a log in it`);
  return {
    name,
    writtenAt: stat.isFile() ? stat.mtimeMs : Date.now(),
    lines: () => linesOf(name, () => createReadStream(name)),
  };
}

function statOf(name: string) {
  try {
    return statSync(name);
  } catch (error) {
    throw new UsageError(`The log ${name} can't be read: ${reasonOf(error)}`, { cause: error });
  }
}

async function* linesOf(name: string, open: () => Readable): AsyncGenerator<string> {
  let rest = '';
  let cutting = false;
  try {
    for await (const chunk of unpacked(open())) {
      const lines = (rest + chunk.toString('latin1')).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (!cutting) yield line.length > LONGEST_LINE ? line.slice(0, KEPT_OF_LONGER) : line;
        cutting = false;
      }
      if (rest.length > LONGEST_LINE) {
        if (!cutting) yield rest.slice(0, KEPT_OF_LONGER);
        cutting = true;
        rest = '';
      }
    }
  } catch (error) {
    throw new UsageError(`The log ${name} can't be read to its end: ${reasonOf(error)}`, { cause: error });
  }
  if (rest !== '' && !cutting) yield rest;
}

/** By its first bytes, not by its name: standard input has none. */
async function* unpacked(stream: Readable): AsyncGenerator<Buffer> {
  const chunks: AsyncIterator<Buffer> = stream[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < 2) {
    const { value, done } = await chunks.next();
    if (done === true) break;
    head = Buffer.concat([head, value]);
  }
  async function* all(): AsyncGenerator<Buffer> {
    yield head;
    yield* { [Symbol.asyncIterator]: () => chunks };
  }
  if (head.length < 2 || head[0] !== 0x1f || head[1] !== 0x8b) {
    yield* all();
    return;
  }
  // What breaks in the pipeline breaks the iteration too, which tells of it.
  yield* pipeline(Readable.from(all()), createGunzip(), () => undefined) as AsyncIterable<Buffer>;
}
