/** A log's rotated files, as logrotate and its like name them, from the oldest to the live one. */
import { readdirSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

export interface Rotated {
  readonly path: string;
  readonly gzip: boolean;
}

/**
 * Oldest first; the live log itself is not among them. Known are `LOG.N`, `LOG-DATE`, `LOG.DATE`, each with or without
 * `.gz`. While a file is being compressed both of its forms exist: then only the plain one is told.
 */
export function rotatedFiles(log: string): Rotated[] {
  const found = new Map<string, Rotated & { readonly suffix: string }>();
  for (const live of new Set([log, resolved(log)])) {
    const base = basename(live);
    for (const name of namesIn(dirname(live))) {
      if (!name.startsWith(base) || name === base) continue;
      const gzip = name.endsWith('.gz');
      const suffix = name.slice(base.length, gzip ? -'.gz'.length : undefined);
      if (!/^(?:\.\d{1,4}|[-.]\d{6,}(?:[-T._]?\d+)*)$/.test(suffix)) continue;
      const key = join(dirname(live), base + suffix);
      if (gzip && found.has(key)) continue;
      found.set(key, { path: join(dirname(live), name), gzip, suffix });
    }
  }
  return [...found.values()].sort(older);
}

/** Numbers count up into the past, dates into the present; where both exist, numbered files are taken as older. */
function older(a: { readonly suffix: string }, b: { readonly suffix: string }): number {
  const [x, y] = [numberOf(a.suffix), numberOf(b.suffix)];
  if (x !== null && y !== null) return y - x;
  if (x !== null || y !== null) return x === null ? 1 : -1;
  return a.suffix < b.suffix ? -1 : 1;
}

function numberOf(suffix: string): number | null {
  return /^\.\d{1,4}$/.test(suffix) ? Number(suffix.slice(1)) : null;
}

function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function namesIn(folder: string): string[] {
  try {
    // Sorted, a plain file comes before its compressed form.
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
