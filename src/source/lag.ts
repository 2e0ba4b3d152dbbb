/** How much of a log lies behind a position, without reading it. */
import { type Stats, statSync } from 'node:fs';
import type { Position } from '../domain/position.js';

/**
 * Bytes behind `position`, over a rotation as long as the renamed file lies beside the log; null when that can't be
 * told, as for the journal.
 */
export function lagOf(log: string, position: Position): number | null {
  if (position.kind !== 'file') return null;
  const { file, offset } = position;
  const isCounted = (stat: Stats | undefined) => stat !== undefined && stat.dev === file.dev && stat.ino === file.ino;
  const current = statIfAny(log);
  if (isCounted(current)) return Math.max(0, (current?.size ?? 0) - offset);
  const rotated = statIfAny(`${log}.1`);
  const unread = isCounted(rotated) ? Math.max(0, (rotated?.size ?? 0) - offset) : 0;
  return current === undefined ? null : current.size + unread;
}

function statIfAny(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
