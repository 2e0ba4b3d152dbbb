/** What a rule finds in a line. */
import type { MatchKind } from '../domain/event.js';
import type { Client } from './clients.js';
import type { Line } from './line.js';
import type { Rule } from './rule.js';

export interface Weighed {
  readonly rule: Rule;
  /** Null for a rule that is turned off: its lines are still its, and no other rule's. */
  readonly kind: MatchKind | null;
  readonly points: number;
}

export interface Finding {
  readonly weighed: Weighed;
  /** Is the address found by what precedes it alone? */
  readonly isPlain: boolean;
  readonly client: Client;
  /** Misdeeds that the line counts, within limits. */
  readonly times: number;
}

export interface Reader {
  /** The first of its rules that matches the message, `bytes[start, end)` of the line's. */
  find(line: Line, start: number, end: number): Finding | null;
}
