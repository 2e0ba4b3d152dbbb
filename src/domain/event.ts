/** What one log line says, in the words that every room shares. */

/**
 * - `offense`: the client did something that scores.
 * - `accepted`: a message was taken from the client.
 * - `authenticated`: a user logged in.
 * - `refused`: our own ban turned the client away.
 */
export type EventKind = 'offense' | 'accepted' | 'authenticated' | 'refused';

/** What a filter rule may say of a line; `closed` ends a session and is never an event of its own. */
export type MatchKind = EventKind | 'closed';

/** What the filter saw in one line, before anything about its session is considered. */
export interface Match {
  readonly kind: MatchKind;
  /** Name of the rule, such as `postfix/user-unknown`. */
  readonly rule: string;
  /** Canonical address text: dotted quad, or RFC 5952 for IPv6 (v4-mapped ones are dotted quads). */
  readonly ip: string;
  /** Milliseconds since the epoch, from the line's own time stamp. */
  readonly at: number;
  /** Forward-confirmed name that Postfix logged, lower case; null when it logged `unknown` or none. */
  readonly host: string | null;
  /** Points of the rule, times the line's repetitions (`message repeated N times`, `N attempts`). */
  readonly points: number;
  /** The line as logged, without its newline. It holds attacker-chosen text. */
  readonly line: string;
  /** Process that wrote the line, such as `postfix/smtpd[27409]`: it serves one client at a time. */
  readonly process: string;
  /** True for a line that only echoes a misdeed which the same session has usually logged already. */
  readonly echo: boolean;
  /** True when the line also ends the session of its process; always for kind `closed`. */
  readonly closes: boolean;
}

/** A match whose points have been weighed within its session; what the policy takes. */
export interface LogEvent {
  readonly kind: EventKind;
  readonly rule: string;
  readonly ip: string;
  readonly at: number;
  readonly host: string | null;
  readonly points: number;
  /** As logged; of a long one at least the first 1,000 characters. */
  readonly line: string;
}

/** Events in order. It may be one object that tells each of them in turn: nobody keeps what he is told. */
export interface EventList {
  readonly length: number;
  at(index: number): LogEvent | undefined;
  forEach(tell: (event: LogEvent) => void): void;
}

/** The match as an event of so many points; null when it only ended a session. */
export function toEvent({ kind, rule, ip, at, host, line }: Match, points: number): LogEvent | null {
  return kind === 'closed' ? null : { kind, rule, ip, at, host, points, line };
}
