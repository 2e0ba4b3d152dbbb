/** Following log files on the real file system, over all that happens to them. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { UnavailableError, UsageError } from '../../src/domain/errors.js';
import { followFiles } from '../../src/source/follow.js';
import { positionsAfter, Reading, readOnce, temporaryFolder, until } from './reading.js';

let folder: string;
let log: string;

beforeEach(() => {
  folder = temporaryFolder();
  log = join(folder, 'mail.log');
});

let counter = 0;
/** As long as a short line of Postfix, and unlike any other. */
function line(): string {
  return `2026-11-25T01:15:02.${String(counter++).padStart(6, '0')}+00:00 mx postfix/smtpd[17]: connect from unknown[203.0.113.9]`;
}
function append(...lines: string[]): string[] {
  appendFileSync(log, lines.map((text) => `${text}\n`).join(''));
  return lines;
}
const write = (count: number): string[] => append(...Array.from({ length: count }, line));

/** logrotate with `create`: numbers go up, the log is renamed, a new one made. */
function rotate({ create = true, keep = 9 } = {}): void {
  for (let n = keep; n > 0; n--) {
    for (const suffix of ['', '.gz']) {
      const from = `${log}.${n}${suffix}`;
      if (!existsSync(from)) continue;
      if (n === keep) unlinkSync(from);
      else renameSync(from, `${log}.${n + 1}${suffix}`);
    }
  }
  renameSync(log, `${log}.1`);
  if (create) writeFileSync(log, '');
}

/** gzip(1) keeps the time of the last change, as logrotate does. */
function compress(path: string): void {
  execFileSync('gzip', ['-f', path]);
}

function copyTruncate({ beforeTruncate = () => {} } = {}): void {
  for (let n = 8; n > 0; n--) {
    for (const suffix of ['', '.gz'])
      if (existsSync(`${log}.${n}${suffix}`)) renameSync(`${log}.${n}${suffix}`, `${log}.${n + 1}${suffix}`);
  }
  copyFileSync(log, `${log}.1`);
  beforeTruncate();
  truncateSync(log, 0);
}

describe('reading a log', () => {
  it('reads whole lines with the position behind them, exact in bytes', async () => {
    const lines = write(24_000);
    const { chunks, lines: seen } = await readOnce([log], new Map());
    expect(seen).toEqual(lines);
    let offset = 0;
    for (const { text, position, lagBytes, writtenAt, log: name } of chunks) {
      offset += text.length;
      expect(text.length).toBeLessThanOrEqual(524_288);
      expect(position).toMatchObject({ kind: 'file', offset });
      expect(lagBytes).toBeLessThanOrEqual(statSync(log).size - offset);
      expect(writtenAt).toBe(statSync(log).mtimeMs);
      expect(name).toBe(log);
    }
    expect(chunks.at(-1)?.lagBytes).toBe(0);
    expect(chunks.length).toBeGreaterThan(3);
  });

  it('starts at the present end of a log never seen before, and says where that is', async () => {
    write(3);
    appendFileSync(log, 'half a li');
    const first = Reading.files([log], { start: 'end' });
    await until(() => first.chunks.length > 0);
    await first.stop();
    expect(first.chunks.map(({ text }) => text)).toEqual(['']);
    appendFileSync(log, 'ne\n');
    const whileDown = write(2);
    const second = await readOnce([log], first.positions);
    expect(second.lines).toEqual(['half a line', ...whileDown]);
  });

  it('goes on from a stored position, also when told to start at the end', async () => {
    const before = write(5);
    const first = await readOnce([log], new Map());
    expect(first.lines).toEqual(before);
    const after = write(5);
    const second = Reading.files([log], { positions: first.positions, start: 'end', once: true });
    await second.done;
    expect(second.lines).toEqual(after);
  });

  it('yields a line only when its newline has come, and with once leaves an unfinished one uncounted', async () => {
    append('whole');
    appendFileSync(log, 'unfini');
    const first = await readOnce([log], new Map());
    expect(first.text).toBe('whole\n');
    appendFileSync(log, 'shed\n');
    expect((await readOnce([log], first.positions)).text).toBe('unfinished\n');
  });

  it('passes carriage returns, NUL bytes and bytes that are no UTF-8 as they are', async () => {
    const bytes = Buffer.concat([
      Buffer.from('a\r\n\0b\0\n'),
      Buffer.from([0xff, 0xfe, 0xc3, 0x28, 0x0a]),
      Buffer.from('ü\n'),
    ]);
    writeFileSync(log, bytes);
    const { chunks } = await readOnce([log], new Map());
    expect(Buffer.from(chunks.map(({ text }) => text).join(''), 'latin1')).toEqual(bytes);
  });

  it('gives lines up to 1 MiB whole and the first 8 KiB of longer ones', async () => {
    const longest = 'x'.repeat(1_048_576);
    const longer = `${'y'.repeat(3_000_000)}`;
    append('first', longest, 'between', longer, 'last');
    const { lines, positions } = await readOnce([log], new Map());
    expect(lines.map(({ length }) => length)).toEqual([5, 1_048_576, 7, 8_192, 4]);
    expect(lines[1]).toBe(longest);
    expect(positions.get(log)).toMatchObject({ offset: statSync(log).size });
  });

  it('joins a long line that comes in pieces', async () => {
    const reading = Reading.files([log]);
    const pieces = Array.from({ length: 6 }, (_, i) => String(i).repeat(50_000));
    writeFileSync(log, '');
    for (const piece of pieces) {
      appendFileSync(log, piece);
      await sleep(15);
    }
    appendFileSync(log, '\nnext\n');
    expect(await reading.untilLines(2)).toEqual([pieces.join(''), 'next']);
    await reading.stop();
  });

  it('skips the hole that a writer leaves which does not append', async () => {
    const fd = openSync(log, 'w');
    writeSync(fd, 'line\n', 3_000_000);
    closeSync(fd);
    const { lines } = await readOnce([log], new Map());
    expect(lines.map((text) => text.replaceAll('\0', ''))).toEqual(['line']);
  });

  it('tells new lines within 50 ms', async () => {
    write(1);
    const reading = Reading.files([log]);
    await reading.untilLines(1);
    const delays: number[] = [];
    for (let i = 2; i <= 11; i++) {
      await sleep(30);
      const at = performance.now();
      write(1);
      await reading.untilLines(i);
      delays.push(performance.now() - at);
    }
    await reading.stop();
    expect(delays.toSorted((a, b) => a - b)[5]).toBeLessThan(50);
  });
});

describe('a log rotated by renaming', () => {
  it('is followed into the new file', async () => {
    const lines = write(10);
    const reading = Reading.files([log]);
    await reading.untilLines(10);
    for (let i = 0; i < 3; i++) {
      rotate();
      lines.push(...write(10));
      await reading.untilLines(lines.length);
    }
    await reading.stop();
    expect(reading.lines).toEqual(lines);
    expect(reading.warnings).toEqual([]);
  });

  it('is read whole when it is rotated several times between two looks', async () => {
    const lines = write(10);
    const reading = Reading.files([log]);
    await reading.untilLines(10);
    for (let i = 0; i < 5; i++) {
      rotate();
      lines.push(...write(10));
    }
    expect(await reading.untilLines(60)).toEqual(lines);
    await reading.stop();
  });

  it('keeps reading the renamed file while its writer has not reopened the log', async () => {
    const lines = write(5);
    const writer = openSync(log, 'a');
    const reading = Reading.files([log]);
    await reading.untilLines(5);
    rotate();
    for (let i = 0; i < 5; i++) {
      const late = line();
      writeSync(writer, `${late}\n`);
      lines.push(late);
      await sleep(120);
    }
    closeSync(writer);
    lines.push(...write(5));
    expect(await reading.untilLines(15)).toEqual(lines);
    await reading.stop();
  });

  it('reads what a second writer still appends to the renamed file after the first has gone on', async () => {
    const lines = write(2);
    const writer = openSync(log, 'a');
    const reading = Reading.files([log]);
    await reading.untilLines(2);
    rotate();
    lines.push(...write(2));
    await reading.untilLines(4);
    const late = line();
    writeSync(writer, `${late}\n`);
    closeSync(writer);
    expect(await reading.untilLines(5)).toEqual([...lines, late]);
    await reading.stop();
    expect((await readOnce([log], reading.positions)).lines).toEqual([]);
  });

  describe('when a second writer appends to a file already left, and reading starts anew', () => {
    /** Reads two lines of the old file and two of the new one; the second writer still has the old one open. */
    async function leftBehind() {
      write(2);
      const writer = openSync(log, 'a');
      const reading = Reading.files([log]);
      await reading.untilLines(2);
      rotate();
      write(2);
      await reading.untilLines(4);
      const late = () => {
        const text = line();
        writeSync(writer, `${text}\n`);
        return text;
      };
      return { reading, late, writer };
    }

    it('reads what came while nobody read', async () => {
      const { reading, late, writer } = await leftBehind();
      await reading.stop();
      const lines = [late(), late()];
      closeSync(writer);
      const [newer] = write(1);
      const next = await readOnce([log], reading.positions);
      expect(next.lines.sort()).toEqual([...lines, newer].sort());
      expect((await readOnce([log], next.positions)).lines).toEqual([]);
      expect(next.warnings).toEqual([]);
    });

    it('reads it from a file renamed and compressed since', async () => {
      const { reading, late, writer } = await leftBehind();
      const seen = late();
      await reading.untilLines(5);
      await reading.stop();
      const lines = [late(), late()];
      closeSync(writer);
      rotate();
      compress(`${log}.2`);
      lines.push(...write(3));
      const next = await readOnce([log], reading.positions);
      expect(reading.lines).toContain(seen);
      expect(next.lines.sort()).toEqual(lines.sort());
      expect((await readOnce([log], next.positions)).lines).toEqual([]);
    });

    it('reads nothing twice that was taken from it, and goes on with it', async () => {
      const { reading, late, writer } = await leftBehind();
      late();
      await reading.untilLines(5);
      await reading.stop();
      const next = Reading.files([log], { positions: reading.positions });
      await sleep(200);
      const lines = [late(), ...write(1), late()];
      closeSync(writer);
      expect((await next.untilLines(3)).sort()).toEqual(lines.sort());
      await next.stop();
      expect((await readOnce([log], next.positions)).lines).toEqual([]);
    });
  });

  it('counts an unfinished last line once the file is left, since it grows no more', async () => {
    append('one');
    appendFileSync(log, 'cut by a crash');
    const reading = Reading.files([log]);
    await reading.untilLines(1);
    rotate();
    append('two');
    expect(await reading.untilLines(3)).toEqual(['one', 'cut by a crash', 'two']);
    await reading.stop();
  });

  it('loses nothing when the old file is compressed or deleted at once', async () => {
    const lines = write(5);
    const reading = Reading.files([log]);
    await reading.untilLines(5);
    lines.push(...write(5));
    rotate();
    compress(`${log}.1`);
    lines.push(...write(5));
    await reading.untilLines(15);
    lines.push(...write(5));
    rotate();
    unlinkSync(`${log}.1`);
    lines.push(...write(5));
    expect(await reading.untilLines(25)).toEqual(lines);
    await reading.stop();
    expect(reading.warnings).toEqual([]);
  });

  it.each([
    ['numbers', (n: number) => `mail.log.${6 - n}`],
    ['dates', (n: number) => `mail.log-2026112${n}`],
    ['dates and hours', (n: number) => `mail.log-20261125-0${n}`],
    ['dates before the extension', (n: number) => `mail-2026112${n}.log`],
  ])('is read on after a stop over several rotations named with %s, half of them compressed', async (_, nameOf) => {
    const counted = write(4_000);
    const first = Reading.files([log], { once: true });
    const lines = counted.slice();
    for (let n = 1; n <= 4; n++) {
      lines.push(...write(1_500));
      const old = join(folder, nameOf(n));
      renameSync(log, old);
      utimesSync(old, Date.now() / 1_000 - 600 + n * 60, Date.now() / 1_000 - 600 + n * 60);
      if (n <= 2) compress(old);
      await first.done;
    }
    lines.push(...write(10));
    expect(first.lines.length).toBeGreaterThanOrEqual(4_000);
    for (const [index] of first.chunks.entries()) {
      const upTo = first.chunks.slice(0, index + 1);
      const { lines: rest, warnings } = await readOnce([log], positionsAfter(upTo));
      const before = upTo
        .map(({ text }) => text)
        .join('')
        .split('\n')
        .slice(0, -1);
      expect([...before, ...rest]).toEqual(lines);
      expect(warnings).toEqual([]);
    }
  });

  it('is read on from any position in any of its files', async () => {
    const lines = write(700);
    rotate();
    lines.push(...write(700));
    rotate();
    compress(`${log}.2`);
    lines.push(...write(700));
    const all: string[] = [];
    const first = await readOnce([log], new Map());
    expect(first.lines).toEqual(lines.slice(1_400));
    // From the beginning of the oldest on, in small steps: each stop is a restart.
    const oldest = statSync(`${log}.2.gz`);
    let positions = new Map([
      [log, { kind: 'file' as const, file: { dev: oldest.dev, ino: oldest.ino, head: 0, fingerprint: '' }, offset: 0 }],
    ]);
    for (let steps = 0; steps < 30; steps++) {
      const source = followFiles([log], { positions, start: 'end', once: true, onNotice: () => undefined });
      let isEnd = true;
      for await (const { lines: read, position } of source.chunks()) {
        all.push(read.toString('latin1'));
        positions = new Map([[log, JSON.parse(JSON.stringify(position))]]);
        isEnd = false;
        break;
      }
      if (isEnd) break;
    }
    expect(all.join('').split('\n').slice(0, -1)).toEqual(lines);
  });

  it('is found again in the folder to which logrotate moves old logs', async () => {
    const lines = write(5);
    const { positions } = await readOnce([log], new Map());
    const old = join(folder, 'old');
    mkdirSync(old);
    for (let n = 2; n >= 1; n--) {
      lines.push(...write(5));
      renameSync(log, join(old, `mail.log.${n}`));
    }
    lines.push(...write(5));
    const { lines: seen, warnings } = await readOnce([log], positions);
    expect(seen).toEqual(lines.slice(5));
    expect(warnings).toEqual([]);
  });

  it('tells from when on lines may be lost when the file it was in is gone, and goes on with the oldest newer one', async () => {
    const past = (path: string, seconds: number) =>
      utimesSync(path, Date.now() / 1_000 - seconds, Date.now() / 1_000 - seconds);
    write(3);
    rotate();
    past(`${log}.1`, 400);
    write(3);
    past(log, 300);
    const { positions } = await readOnce([log], new Map());
    rotate();
    const newer = write(3);
    rotate();
    past(`${log}.1`, 200);
    newer.push(...write(3));
    unlinkSync(`${log}.2`);
    const { lines, warnings } = await readOnce([log], positions);
    expect(lines).toEqual(newer);
    expect(warnings).toEqual([
      expect.stringMatching(/mail\.log: .* gone.* lines written after 20\d\d-.*Z may be lost/),
    ]);
  });

  it('is not taken for another file that has got its inode', async () => {
    write(3);
    const { positions } = await readOnce([log], new Map());
    const stored = positions.get(log);
    unlinkSync(log);
    const lines = write(30);
    const { dev, ino } = statSync(log);
    if (stored?.kind !== 'file') throw new Error('no file position');
    const reused = new Map([[log, { ...stored, file: { ...stored.file, dev, ino } }]]);
    const { lines: seen, warnings } = await readOnce([log], reused);
    expect(seen).toEqual(lines);
    expect(warnings).toHaveLength(1);
  });

  it('says which compressed file it can not read', async () => {
    const lines = write(3);
    const { positions } = await readOnce([log], new Map());
    rotate();
    write(3);
    rotate();
    renameSync(`${log}.1`, `${log}.1.xz`);
    lines.push(...write(3));
    const { lines: seen, warnings } = await readOnce([log], positions);
    expect(seen).toEqual(lines.slice(3));
    expect(warnings).toEqual([expect.stringContaining('mail.log.1.xz: packed with xz')]);
  });

  it('reads a damaged compressed file as far as it goes, says so, and goes on', async () => {
    const lines = write(2_000);
    const { positions } = await readOnce([log], new Map());
    const more = write(4_000);
    rotate();
    const packed = gzipSync(readFileSync(`${log}.1`));
    unlinkSync(`${log}.1`);
    writeFileSync(`${log}.1.gz`, packed.subarray(0, packed.length - 5_000));
    const after = write(2);
    const { lines: seen, warnings } = await readOnce([log], positions);
    expect(seen.slice(-2)).toEqual(after);
    expect(seen.length).toBeGreaterThan(100);
    expect(seen.slice(0, 100)).toEqual(more.slice(0, 100));
    expect(lines).toHaveLength(2_000);
    expect(warnings).toEqual([expect.stringMatching(/mail\.log\.1\.gz: damaged/)]);
  });
});

describe('a log rotated by copying and truncating', () => {
  it('is followed over the truncation', async () => {
    const lines = write(5);
    const reading = Reading.files([log]);
    await reading.untilLines(5);
    for (let i = 0; i < 3; i++) {
      copyTruncate();
      lines.push(...write(7));
      await reading.untilLines(lines.length);
    }
    await reading.stop();
    expect(reading.lines).toEqual(lines);
    expect(reading.warnings).toEqual([]);
  });

  it.each([['plain'], ['compressed']])(
    'is read on in the copy, %s, when not all was read before the truncation',
    async (form) => {
      const lines = write(3_000);
      const seen: string[] = [];
      const warnings: string[] = [];
      const source = followFiles([log], {
        positions: new Map(),
        start: 'beginning',
        once: false,
        onNotice: ({ message }) => warnings.push(message),
      });
      for await (const { lines: read } of source.chunks()) {
        if (seen.length === 0) {
          lines.push(...write(10));
          copyTruncate();
          if (form === 'compressed') compress(`${log}.1`);
          lines.push(...write(4_000));
          copyTruncate();
          lines.push(...write(10));
        }
        seen.push(...read.toString('latin1').split('\n').slice(0, -1));
        if (seen.length >= lines.length) source.stop();
      }
      expect(seen).toEqual(lines);
      expect(warnings).toEqual([]);
    },
  );

  it('is read on in the copy after a restart', async () => {
    const lines = write(2_000);
    const first = await readOnce([log], new Map());
    lines.push(...write(1_000));
    copyTruncate();
    lines.push(...write(1_000));
    copyTruncate();
    compress(`${log}.2`);
    lines.push(...write(3_000));
    for (let upTo = 1; upTo <= first.chunks.length; upTo++) {
      const chunks = first.chunks.slice(0, upTo);
      const { lines: rest, warnings } = await readOnce([log], positionsAfter(chunks));
      expect([
        ...chunks
          .map(({ text }) => text)
          .join('')
          .split('\n')
          .slice(0, -1),
        ...rest,
      ]).toEqual(lines);
      expect(warnings).toEqual([]);
    }
  });

  it('is noticed when the log has grown past its old length before anybody looked', async () => {
    const lines = write(5);
    const reading = Reading.files([log]);
    await reading.untilLines(5);
    lines.push(...write(1));
    copyTruncate();
    lines.push(...write(50));
    expect(await reading.untilLines(56)).toEqual(lines);
    await reading.stop();
  });

  it.each([
    ['short', 2, false],
    ['long', 40, false],
    ['packed', 2, true],
  ])('counts nothing of a %s copy again when more was read than it holds', async (_, count, isPacked) => {
    const lines = write(count);
    const reading = Reading.files([log]);
    await reading.untilLines(lines.length);
    copyFileSync(log, `${log}.1`);
    // Written before the log is emptied, and read at once: they are in no file any more.
    lines.push(...write(2));
    await reading.untilLines(lines.length);
    if (isPacked) compress(`${log}.1`);
    // A large copy comes to its end late.
    const late = Date.now() / 1_000 + 1;
    utimesSync(`${log}.1${isPacked ? '.gz' : ''}`, late, late);
    truncateSync(log, 0);
    lines.push(...write(3));
    await reading.untilLines(lines.length);
    copyTruncate();
    lines.push(...write(3));
    await reading.untilLines(lines.length);
    await sleep(400);
    await reading.stop();
    expect(reading.lines).toEqual(lines);
    expect(reading.notices).toEqual([]);
  });

  it('says so when the log was emptied without a copy, and goes on at its beginning', async () => {
    write(5);
    const reading = Reading.files([log]);
    await reading.untilLines(5);
    truncateSync(log, 0);
    const after = write(2);
    expect((await reading.untilLines(7)).slice(5)).toEqual(after);
    await reading.stop();
    expect(reading.notices).toEqual([
      expect.objectContaining({ level: 'info', message: expect.stringContaining('emptied') }),
    ]);
  });
});

describe('a log that comes and goes', () => {
  it('is read from its beginning when it appears after the start', async () => {
    const reading = Reading.files([log], { start: 'end' });
    await until(() => reading.notices.length > 0);
    await sleep(300);
    expect(reading.warnings).toEqual([expect.stringContaining('no such file')]);
    const lines = write(3);
    expect(await reading.untilLines(3)).toEqual(lines);
    await reading.stop();
    expect(reading.notices.at(-1)).toMatchObject({ level: 'info' });
  });

  it('is asked for again and again while it may not be read, and nothing of it is skipped', async () => {
    const lines = write(3);
    const { positions } = await readOnce([log], new Map());
    lines.push(...write(3));
    chmodSync(folder, 0o755);
    chmodSync(log, 0o000);
    await asNobody(async () => {
      const once = Reading.files([log], { positions, once: true });
      await expect(once.done).rejects.toThrow(UnavailableError);
      const reading = Reading.files([log], { positions });
      await until(() => reading.notices.length > 0);
      await sleep(600);
      expect(reading.notices).toEqual([
        {
          level: 'error',
          log,
          message: expect.stringMatching(/permission denied; let blockd read it: .*usermod -aG adm blockd/),
        },
      ]);
      asOwner(() => chmodSync(log, 0o644));
      expect(await reading.untilLines(3)).toEqual(lines.slice(3));
      await reading.stop();
    });
  });

  it('is awaited together with its folder', async () => {
    const deep = join(folder, 'a', 'mail.log');
    const reading = Reading.files([deep]);
    await until(() => reading.notices.length > 0);
    mkdirSync(join(folder, 'a'));
    writeFileSync(deep, 'one\n');
    expect(await reading.untilLines(1)).toEqual(['one']);
    rmSync(join(folder, 'a'), { recursive: true });
    mkdirSync(join(folder, 'a'));
    writeFileSync(deep, 'two\n');
    expect(await reading.untilLines(2)).toEqual(['one', 'two']);
    await sleep(600);
    const tookMs: number[] = [];
    for (const count of [3, 4, 5]) {
      const at = performance.now();
      appendFileSync(deep, `${count}\n`);
      await reading.untilLines(count);
      tookMs.push(performance.now() - at);
    }
    expect(reading.lines).toEqual(['one', 'two', '3', '4', '5']);
    // It is told, not found by looking again and again; a machine that is busy may be late once.
    expect(Math.min(...tookMs)).toBeLessThan(150);
    await reading.stop();
  });

  it('is read from the beginning when it was deleted and made anew', async () => {
    const lines = write(3);
    const reading = Reading.files([log]);
    await reading.untilLines(3);
    unlinkSync(log);
    await sleep(50);
    lines.push(...write(3));
    expect(await reading.untilLines(6)).toEqual(lines);
    await reading.stop();
  });

  it('goes on where it was in a copy of itself that an editor puts in its place', async () => {
    const lines = write(30);
    const reading = Reading.files([log]);
    await reading.untilLines(30);
    copyFileSync(log, `${log}~new`);
    renameSync(`${log}~new`, log);
    lines.push(...write(3));
    expect(await reading.untilLines(33)).toEqual(lines);
    await reading.stop();
    lines.push(...write(3));
    copyFileSync(log, `${log}~new`);
    renameSync(`${log}~new`, log);
    const { lines: rest, warnings } = await readOnce([log], reading.positions);
    expect(rest).toEqual(lines.slice(33));
    expect(warnings).toEqual([]);
  });

  it('is read to its end when the symbolic link was switched to another folder while nobody read', async () => {
    const months = ['2026-10', '2026-11'].map((name) => join(folder, name, 'mail.log'));
    for (const path of months) mkdirSync(join(path, '..'));
    const [before = '', after = ''] = months;
    symlinkSync(before, log);
    write(3);
    const first = await readOnce([log], new Map());
    const lines = write(2);
    symlinkSync(after, `${log}.new`);
    renameSync(`${log}.new`, log);
    lines.push(...write(2));
    const next = await readOnce([log], first.positions);
    expect(next.lines).toEqual(lines);
    expect(next.warnings).toEqual([]);
    expect((await readOnce([log], next.positions)).lines).toEqual([]);
  });

  it('is followed through a symbolic link, rotated behind it or switched to another file', async () => {
    mkdirSync(join(folder, 'real'));
    const target = (name: string) => join(folder, 'real', name);
    writeFileSync(target('a.log'), '');
    symlinkSync(target('a.log'), log);
    const reading = Reading.files([log]);
    const lines = write(3);
    await reading.untilLines(3);
    lines.push(...write(1));
    renameSync(target('a.log'), target('a.log.1'));
    writeFileSync(target('a.log'), '');
    lines.push(...write(3));
    await reading.untilLines(7);
    writeFileSync(target('b.log'), '');
    lines.push(...write(1));
    symlinkSync(target('b.log'), `${log}.new`);
    renameSync(`${log}.new`, log);
    expect(readlinkSync(log)).toBe(target('b.log'));
    lines.push(...write(3));
    expect(await reading.untilLines(11)).toEqual(lines);
    await reading.stop();
    expect(reading.warnings).toEqual([]);
  });

  it('refuses a folder, and what is no regular file, in a sentence', () => {
    const open = (path: string) => () =>
      followFiles([path], { positions: new Map(), start: 'end', once: false, onNotice: () => undefined });
    expect(open(folder)).toThrow(UsageError);
    expect(open(folder)).toThrow(/this is a directory; name the mail log itself/);
    expect(open('/dev/null')).toThrow(/no regular file/);
  });
});

describe('several logs', () => {
  it('are all read, and a log with much to tell does not keep another waiting', async () => {
    const other = join(folder, 'dovecot.log');
    writeFileSync(log, `${line()}\n`.repeat(20_000));
    writeFileSync(other, 'login\n');
    const reading = Reading.files([log, other], { once: true });
    await reading.done;
    expect(reading.chunks.findIndex((chunk) => chunk.log === other)).toBeLessThan(3);
    expect(reading.lines).toHaveLength(20_001);
    expect([...reading.positions.keys()].sort()).toEqual([other, log].sort());
  });

  it('end promptly when stopped, wherever they are, and leave no file open', async () => {
    const other = join(folder, 'missing.log');
    writeFileSync(log, `${line()}\n`.repeat(20_000));
    const openFiles = () => readdirSync('/proc/self/fd').filter((fd) => isIn(folder, fd)).length;
    const reading = Reading.files([log, other]);
    await reading.untilLines(20_000);
    expect(openFiles()).toBe(1);
    const at = performance.now();
    await reading.stop();
    expect(performance.now() - at).toBeLessThan(1_000);
    expect(openFiles()).toBe(0);
    const source = followFiles([log, other], {
      positions: new Map(),
      start: 'beginning',
      once: false,
      onNotice: () => undefined,
    });
    for await (const chunk of source.chunks()) {
      expect(chunk.lines.length).toBeGreaterThan(0);
      source.stop();
      break;
    }
    expect(openFiles()).toBe(0);
    const never = followFiles([log], {
      positions: new Map(),
      start: 'beginning',
      once: false,
      onNotice: () => undefined,
    });
    never.stop();
    for await (const chunk of never.chunks()) expect(chunk).toBeUndefined();
  });
});

const NOBODY = 65_534;

const isRoot = process.geteuid?.() === 0;

/** Root may read everything: permissions are tried as somebody else. */
async function asNobody(act: () => Promise<void>): Promise<void> {
  if (isRoot) process.seteuid?.(NOBODY);
  try {
    await act();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

function asOwner(act: () => void): void {
  if (isRoot) process.seteuid?.(0);
  act();
  if (isRoot) process.seteuid?.(NOBODY);
}

function isIn(parent: string, fd: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith(parent);
  } catch {
    return false;
  }
}
