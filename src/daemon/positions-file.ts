/**
 * A second note of how far the logs were counted, beside an embedded store: when that is damaged and begun anew, the
 * lines that came while nobody ran are not lost with it. It may be some seconds old.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Progress } from '../store/store.js';

/** How far a log was counted, with the open sessions that judging its next line needs. */
export type Place = Pick<Progress, 'position' | 'carry'>;

/** Empty when there is no such file, or none that can be read. */
export function readPlaces(file: string | null): Map<string, Place> {
  if (file === null) return new Map();
  try {
    const kept = Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, Partial<Place> | null>);
    return new Map(kept.flatMap(([log, one]) => (isPlace(one) ? [[log, one] as const] : [])));
  } catch {
    return new Map();
  }
}

/** A full disk, or a folder that takes no more files, is told of by the store itself. */
export function writePlaces(file: string | null, places: ReadonlyMap<string, Place>): void {
  if (file === null || places.size === 0) return;
  try {
    writeFileSync(`${file}.new`, JSON.stringify(Object.fromEntries(places)), { mode: 0o640 });
    renameSync(`${file}.new`, file);
  } catch {
    return;
  }
}

function isPlace(one: Partial<Place> | null): one is Place {
  const kind: unknown = one?.position?.kind;
  const sessions: unknown = (one?.carry as { readonly sessions?: unknown } | null | undefined)?.sessions;
  return (kind === 'file' || kind === 'journal') && Array.isArray(sessions);
}
