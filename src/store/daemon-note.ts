/** What the daemon says of itself in the store, so that `blockctl` knows its mode and map. */
import type { Mode } from '../config/schema.js';

export interface DaemonNote {
  readonly version: string;
  readonly pid: number;
  readonly mode: Mode;
  readonly map: { readonly type: string; readonly path: string } | null;
  readonly logs: readonly string[];
  /** The `[postfix]` settings that publishing the map needs. */
  readonly postfix: {
    readonly reply: string;
    readonly postmap: string;
    readonly reload: readonly string[];
    readonly configDirectory: string | null;
    /** Absent in what an older version wrote. */
    readonly maxEntries?: number;
    readonly postscreenMap?: string | null;
    readonly postscreenEveryMs?: number;
  };
  readonly startedAt: number;
  /** Renewed every `HEARTBEAT_MS`; an older one means that the daemon is gone. */
  readonly heartbeatAt: number;
  /** When it ended in good order, else null. */
  readonly stoppedAt: number | null;
  readonly counters: DaemonCounters;
  /** Absent without lists, and in what an older version wrote. */
  readonly lists?: {
    /** Where the copies are; null: nowhere. */
    readonly folder: string | null;
    readonly all: readonly ListNote[];
  };
}

/** A list of others, as the daemon has it. */
export interface ListNote {
  readonly name: string;
  /** File or URL, safe to print. */
  readonly source: string;
  readonly points: number;
  readonly maxAgeMs: number;
  /** Null when there is nothing to go by. */
  readonly entries: number | null;
  readonly refreshedAt: number | null;
  /** Why it could not be refreshed, to go on after its name; null while that works. */
  readonly problem: string | null;
}

/** Since the daemon's start. */
export interface DaemonCounters {
  readonly lines: number;
  readonly offenses: number;
  readonly bans: number;
  readonly releases: number;
  readonly refused: number;
  /** Bans for which the full map had no room when it was published last. */
  readonly leftOut?: number;
  /** The longest that the event loop was kept from its work, milliseconds. */
  readonly loopDelayMaxMs?: number;
}

export const HEARTBEAT_MS = 10_000;

export function daemonNoteName(host: string): string {
  return `daemon:${host}`;
}

/** Is the daemon of this host that wrote `note` still at work? */
export function isRunning(note: DaemonNote, now: number): boolean {
  return note.stoppedAt === null && now - note.heartbeatAt < 6 * HEARTBEAT_MS && processExists(note.pid);
}

function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
