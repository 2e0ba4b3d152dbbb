/** Any schedule of writing, rotating, stopping and starting again: each line comes exactly once, in order. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Position } from '../../src/domain/position.js';
import { followFiles } from '../../src/source/follow.js';
import { Reading, temporaryFolder, until } from './reading.js';

type Step =
  | { readonly do: 'write'; readonly lines: number; readonly length: number }
  | { readonly do: 'write half a line' }
  | { readonly do: 'rename'; readonly compress: boolean; readonly late: boolean }
  | { readonly do: 'copy and truncate'; readonly compress: boolean }
  | { readonly do: 'read'; readonly chunks: number }
  | { readonly do: 'restart' }
  | { readonly do: 'wait' };

const written: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('write' as const),
  lines: fc.integer({ min: 1, max: 60 }),
  length: fc.constantFrom(1, 40, 100, 1_000, 5_000),
});
const rotated: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('rename' as const), compress: fc.boolean(), late: fc.boolean() }),
  fc.record({ do: fc.constant('copy and truncate' as const), compress: fc.boolean() }),
);
const half: fc.Arbitrary<Step> = fc.constant({ do: 'write half a line' });

/** A mail server's log, its writer and its logrotate. */
class LoggedHost {
  readonly folder = mkdtempSync(join(tmpdir(), 'blockd-schedule-'));
  readonly log = join(this.folder, 'mail.log');
  readonly lines: string[] = [];
  #writer: number;
  #half: string | null = null;
  #isLate = false;
  #rotations = 0;

  constructor() {
    this.#writer = openSync(this.log, 'a');
    this.write(1, 1);
  }

  write(count: number, length: number): void {
    const lines = Array.from({ length: count }, (_, i) => `${this.lines.length + i} ${'x'.repeat(length)}`);
    if (this.#half !== null) {
      writeSync(this.#writer, '\n');
      this.#half = null;
    }
    for (const line of lines) writeSync(this.#writer, `${line}\n`);
    this.lines.push(...lines);
    this.#reopen();
  }

  writeHalf(): void {
    if (this.#half !== null) return;
    this.#half = `${this.lines.length} half`;
    writeSync(this.#writer, this.#half);
    this.lines.push(this.#half);
  }

  finish(): void {
    this.write(1, 1);
  }

  rename(compress: boolean, late: boolean): void {
    if (this.#half !== null) this.finish();
    this.#reopen();
    this.#makeRoom();
    renameSync(this.log, `${this.log}.1`);
    writeFileSync(this.log, '');
    this.#isLate = late;
    if (!late) {
      this.#isLate = true;
      this.#reopen();
      this.#settle(compress);
    }
  }

  copyAndTruncate(compress: boolean): void {
    if (this.#half !== null) this.finish();
    this.#reopen();
    this.#makeRoom();
    copyFileSync(this.log, `${this.log}.1`);
    truncateSync(this.log, 0);
    this.#settle(compress);
  }

  remove(): void {
    closeSync(this.#writer);
    rmSync(this.folder, { recursive: true });
  }

  /** After writing once to the renamed file. */
  #reopen(): void {
    if (!this.#isLate) return;
    this.#isLate = false;
    closeSync(this.#writer);
    this.#writer = openSync(this.log, 'a');
  }

  #makeRoom(): void {
    for (let n = this.#rotations; n >= 1; n--) {
      for (const suffix of ['', '.gz']) {
        if (existsSync(`${this.log}.${n}${suffix}`))
          renameSync(`${this.log}.${n}${suffix}`, `${this.log}.${n + 1}${suffix}`);
      }
    }
    this.#rotations++;
  }

  /** As if time had passed since: the follower need not wait for a late writer. */
  #settle(compress: boolean): void {
    const old = `${this.log}.1`;
    const { mtimeMs } = statSync(old);
    const path = compress ? `${old}.gz` : old;
    if (compress) {
      writeFileSync(path, gzipSync(readFileSync(old)));
      unlinkSync(old);
    }
    utimesSync(path, mtimeMs / 1_000 - 1, mtimeMs / 1_000 - 1);
  }
}

function perform(host: LoggedHost, step: Step): void {
  if (step.do === 'write') host.write(step.lines, step.length);
  else if (step.do === 'write half a line') host.writeHalf();
  else if (step.do === 'rename') host.rename(step.compress, step.late);
  else if (step.do === 'copy and truncate') host.copyAndTruncate(step.compress);
}

describe('each line comes exactly once and in order', () => {
  it('when reading stops after any chunk and goes on from its position later', async () => {
    const reads: fc.Arbitrary<Step> = fc.record({
      do: fc.constant('read' as const),
      chunks: fc.integer({ min: 1, max: 4 }),
    });
    const steps = fc.array(
      fc.oneof(
        { weight: 4, arbitrary: written },
        half,
        { weight: 3, arbitrary: rotated },
        { weight: 3, arbitrary: reads },
      ),
      { maxLength: 25 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (schedule) => {
        const host = new LoggedHost();
        const warnings: string[] = [];
        let text = '';
        let positions = new Map<string, Position>();
        const read = async (chunks: number) => {
          const source = followFiles([host.log], {
            positions,
            start: 'beginning',
            once: true,
            onNotice: ({ message }) => warnings.push(message),
          });
          let left = chunks;
          for await (const chunk of source.chunks()) {
            text += chunk.lines.toString('latin1');
            positions = new Map([[chunk.log, JSON.parse(JSON.stringify(chunk.position)) as Position]]);
            if (--left === 0) break;
          }
        };
        try {
          await read(1);
          for (const step of schedule) {
            if (step.do === 'read') await read(step.chunks);
            else perform(host, step);
          }
          host.finish();
          await read(Number.POSITIVE_INFINITY);
          expect(text.split('\n').slice(0, -1)).toEqual(host.lines);
          expect(warnings).toEqual([]);
        } finally {
          host.remove();
        }
      }),
      { numRuns: 40 },
    );
  }, 120_000);

  it('when the log is followed all the time, with restarts', async () => {
    const between: fc.Arbitrary<Step> = fc.constantFrom({ do: 'restart' as const }, { do: 'wait' as const });
    const steps = fc.array(
      fc.oneof(
        { weight: 4, arbitrary: written },
        half,
        { weight: 3, arbitrary: rotated },
        { weight: 3, arbitrary: between },
      ),
      { maxLength: 25 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (schedule) => {
        const host = new LoggedHost();
        const lives = [Reading.files([host.log])];
        const seen = () => lives.flatMap(({ lines }) => lines);
        try {
          await until(() => seen().length > 0);
          for (const step of schedule) {
            if (step.do === 'wait') await sleep(20);
            else if (step.do === 'restart') {
              await lives.at(-1)?.stop();
              const positions = new Map(lives.flatMap((life) => [...life.positions]));
              lives.push(Reading.files([host.log], { positions }));
            } else perform(host, step);
          }
          host.finish();
          await until(() => seen().length >= host.lines.length);
          await lives.at(-1)?.stop();
          expect(seen()).toEqual(host.lines);
          expect(lives.flatMap(({ warnings }) => warnings)).toEqual([]);
        } finally {
          await lives.at(-1)?.stop();
          host.remove();
        }
      }),
      { numRuns: 25 },
    );
  }, 120_000);
});

/** Writes numbered lines as fast as it is told, and opens its log anew on SIGHUP, a while later. */
const WRITER = `
  const fs = require('node:fs');
  const [log, count, reopenMs] = [process.argv[1], Number(process.argv[2]), Number(process.argv[3])];
  let fd = fs.openSync(log, 'a');
  process.on('SIGHUP', () => setTimeout(() => { fs.closeSync(fd); fd = fs.openSync(log, 'a'); }, reopenMs));
  let n = 0;
  const tick = () => {
    for (let i = 0; i < 25 && n < count; i++) fs.writeSync(fd, n++ + ' connect from unknown[203.0.113.9]\\n');
    if (n < count) setTimeout(tick, 2);
    else process.exit(0);
  };
  tick();
`;

describe('a log written by another process without a pause', () => {
  it('is read whole over eight rotations with a writer that reopens late, and two restarts', async () => {
    const folder = temporaryFolder();
    const log = join(folder, 'mail.log');
    writeFileSync(log, '');
    const count = 25_000;
    const lives = [Reading.files([log])];
    const writer: ChildProcess = spawn(process.execPath, ['-e', WRITER, log, String(count), '40'], {
      stdio: 'inherit',
    });
    const ended = once(writer, 'exit');
    const seenCount = () => lives.reduce((sum, { lineCount }) => sum + lineCount, 0);
    await until(() => seenCount() > 0);
    for (let rotation = 1; rotation <= 8; rotation++) {
      await sleep(200);
      for (let n = rotation; n >= 1; n--) {
        for (const suffix of ['', '.gz'])
          if (existsSync(`${log}.${n}${suffix}`)) renameSync(`${log}.${n}${suffix}`, `${log}.${n + 1}${suffix}`);
      }
      renameSync(log, `${log}.1`);
      writeFileSync(log, '');
      writer.kill('SIGHUP');
      // delaycompress
      const old = `${log}.2`;
      if (existsSync(old)) {
        const { mtime } = statSync(old);
        writeFileSync(`${old}.gz`, gzipSync(readFileSync(old)));
        utimesSync(`${old}.gz`, mtime, mtime);
        unlinkSync(old);
      }
      if (rotation % 3 === 0) {
        await lives.at(-1)?.stop();
        lives.push(Reading.files([log], { positions: new Map(lives.flatMap((life) => [...life.positions])) }));
      }
    }
    await ended;
    await until(() => seenCount() >= count);
    await lives.at(-1)?.stop();
    expect(lives.flatMap(({ lines }) => lines)).toEqual(
      Array.from({ length: count }, (_, n) => `${n} connect from unknown[203.0.113.9]`),
    );
    expect(lives.flatMap(({ warnings }) => warnings)).toEqual([]);
  }, 60_000);
});
