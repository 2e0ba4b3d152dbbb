/** Whether a log is read up to what it holds now. */
import { accessSync, constants, statSync } from 'node:fs';
import type { Counting } from './counting.js';

/** Where a file can't tell, as with the journal, this long without anything to catch up with does. */
const QUIET_MS = 15_000;

export function isReadToItsEnd(log: string, counting: Counting): boolean {
  if (Date.now() - counting.behindAt > QUIET_MS) return true;
  const position = counting.positions.get(log);
  if (position === undefined || position.kind !== 'file') return false;
  const stat = statSync(log, { throwIfNoEntry: false });
  return stat !== undefined && stat.ino === position.file.ino && position.offset >= stat.size;
}

/** Nothing is left of a first backlog: a log that is empty, isn't there, or may not be read, has none. */
export function isCountedIn(log: string, counting: Counting): boolean {
  return isReadToItsEnd(log, counting) || (log !== 'journal' && !holdsAnything(log));
}

function holdsAnything(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return statSync(file).size > 0;
  } catch {
    return false;
  }
}
