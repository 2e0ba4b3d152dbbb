/** One log, read on demand; what file.ts and journal.ts implement and open.ts joins. */
import type { Chunk } from './source.js';

export interface Reader {
  readonly log: string;
  /** Nothing will ever come again: the end of a log that is read once. */
  readonly ended: boolean;
  /** The next whole lines, or null when there are none now. */
  next(): Promise<Chunk | null>;
  close(): void;
}
