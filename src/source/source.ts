/**
 * Where lines come from, and the position that says how far they were counted.
 * Knows nothing of what a line means. Adapters: follow.ts (files over rotation), journal.ts.
 */
import type { Position } from '../domain/position.js';

/** Complete lines of one log, and the position behind them. */
export interface Chunk {
  /** The log as configured: an absolute path, or `journal`. */
  readonly log: string;
  /**
   * Whole lines as bytes, each ended by `\n`, at most about 512 KiB, or one longer line; overwritten once the next chunk
   * is asked for. NUL bytes and `\r` before `\n` are still in it. Lines over 1 MiB are cut to their first 8 KiB.
   * Empty when only the position is told: where the counting of a log never seen before starts.
   */
  readonly lines: Buffer;
  /** Everything up to here is in this chunk or an earlier one of the same log. */
  readonly position: Position;
  /** Reference for time stamps without a year: the file's last change, milliseconds. */
  readonly writtenAt: number;
  /** Bytes of the log known to lie behind this chunk, unread. */
  readonly lagBytes: number;
}

export interface Source {
  /** The logs it reads, as named in `Chunk.log`. */
  readonly logs: readonly string[];
  /**
   * Chunks of all logs as they come, each log's in order. Ends after `stop()`, or, with `once`, at the end of all logs.
   * Nothing is read ahead while the consumer is busy with a chunk beyond a small bounded buffer.
   */
  chunks(): AsyncIterable<Chunk>;
  /** Ends `chunks()` soon; what was not yielded has not been counted. */
  stop(): void;
}

export interface SourceOptions {
  /** Where each log was counted up to; logs without one start at `start`. */
  readonly positions: ReadonlyMap<string, Position>;
  readonly start: 'beginning' | 'end';
  /** Read to the present end of every log, then finish. */
  readonly once: boolean;
  /** Said to a person: a log that is missing, unreadable, lost lines, came back. */
  readonly onNotice: (notice: SourceNotice) => void;
}

export interface SourceNotice {
  readonly level: 'info' | 'warn' | 'error';
  readonly log: string;
  readonly message: string;
}
