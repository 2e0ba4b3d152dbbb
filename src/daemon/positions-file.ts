/**
 * A second note of how far the logs were counted, beside an embedded store: when that is damaged and begun anew, the
 * lines that came while nobody ran are not lost with it. It may be some seconds old.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Position } from '../domain/position.js';

/** Empty when there is no such file, or none that can be read. */
export function readPositions(file: string | null): Map<string, Position> {
  if (file === null) return new Map();
  try {
    return new Map(Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, Position>));
  } catch {
    return new Map();
  }
}

/** A full disk, or a folder that takes no more files, is told of by the store itself. */
export function writePositions(file: string | null, positions: ReadonlyMap<string, Position>): void {
  if (file === null || positions.size === 0) return;
  try {
    writeFileSync(`${file}.new`, JSON.stringify(Object.fromEntries(positions)), { mode: 0o640 });
    renameSync(`${file}.new`, file);
  } catch {
    return;
  }
}
