/** A source read in the background, as the daemon reads it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import type { Position } from '../../src/domain/position.js';
import { followFiles } from '../../src/source/follow.js';
import type { Chunk, Source, SourceNotice, SourceOptions } from '../../src/source/source.js';

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'blockd-source-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface ReadingOptions {
  readonly positions?: ReadonlyMap<string, Position>;
  readonly start?: SourceOptions['start'];
  readonly once?: boolean;
}

/** A chunk with its lines as latin-1 text, which outlives the reading of the next one. */
export type KeptChunk = Omit<Chunk, 'lines'> & { readonly text: string };

export class Reading {
  readonly chunks: KeptChunk[] = [];
  readonly notices: SourceNotice[] = [];
  readonly source: Source;
  readonly done: Promise<void>;
  lineCount = 0;

  constructor(
    open: (options: SourceOptions) => Source,
    { positions = new Map(), start = 'beginning', once = false }: ReadingOptions = {},
  ) {
    this.source = open({ positions, start, once, onNotice: (notice) => this.notices.push(notice) });
    this.done = this.#read();
  }

  static files(paths: readonly string[], options?: ReadingOptions): Reading {
    return new Reading((source) => followFiles(paths, source), options);
  }

  get text(): string {
    return this.chunks.map(({ text }) => text).join('');
  }

  get lines(): string[] {
    return this.text.split('\n').slice(0, -1);
  }

  /** Where each log was counted up to, as a store would have it: through JSON. */
  get positions(): Map<string, Position> {
    return positionsAfter(this.chunks);
  }

  get warnings(): string[] {
    return this.notices.filter(({ level }) => level !== 'info').map(({ message }) => message);
  }

  /** Waits for that many lines, and returns what came. */
  async untilLines(count: number, withinMs = 8_000): Promise<string[]> {
    await until(() => this.lineCount >= count, withinMs);
    return this.lines;
  }

  async stop(): Promise<void> {
    this.source.stop();
    await this.done;
  }

  async #read(): Promise<void> {
    for await (const { lines, ...chunk } of this.source.chunks()) {
      const text = lines.toString('latin1');
      this.chunks.push({ ...chunk, text });
      this.lineCount += text.split('\n').length - 1;
    }
  }
}

export function positionsAfter(chunks: readonly KeptChunk[]): Map<string, Position> {
  return new Map(chunks.map(({ log, position }) => [log, JSON.parse(JSON.stringify(position)) as Position]));
}

export async function until(isTrue: () => boolean, withinMs = 8_000): Promise<void> {
  for (const endAt = Date.now() + withinMs; !isTrue() && Date.now() < endAt; ) await sleep(5);
}

/** Everything there is behind `positions`. */
export async function readOnce(paths: readonly string[], positions: ReadonlyMap<string, Position>): Promise<Reading> {
  const reading = Reading.files(paths, { positions, once: true });
  await reading.done;
  return reading;
}
