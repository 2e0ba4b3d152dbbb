/** A match as the filter hands it on while it reads: nothing is made for it that its taker may not want. */
import type { Match, MatchKind } from '../domain/event.js';
import type { Client } from './clients.js';
import type { Line } from './line.js';

/** The same object for each line: whoever wants to keep one asks for `toMatch`, or takes down what it says. */
export class Hit implements Match {
  kind: MatchKind = 'closed';
  rule = '';
  ip = '';
  /** Not a small integer from the first on: V8 would make all code anew when it no longer is one. */
  at = Number.NaN;
  host: string | null = null;
  points = Number.NaN;
  process = '';
  echo = false;
  closes = false;
  /** Whom `ip` and `host` name. */
  client: Client = NOBODY;
  /** Where the line, or as much as is kept of it, lies among those that the filter has `kept`, in bytes. */
  keptAt = 0;
  keptLength = 0;
  readonly #line: Line;

  /** @param line The line that is looked at. */
  constructor(line: Line) {
    this.#line = line;
  }

  get line(): string {
    return this.#line.text;
  }

  toMatch(): Match {
    const { kind, rule, ip, at, host, points, line, process, echo, closes } = this;
    return { kind, rule, ip, at, host, points, line, process, echo, closes };
  }

  /** The same as an object of its own, good as long as the bytes that were read. */
  copy(): Hit {
    const { kind, rule, ip, at, host, points, process, echo, closes, client, keptAt, keptLength } = this;
    const copied = new Hit(this.#line.copy());
    const said = { kind, rule, ip, at, host, points, process, echo, closes, client, keptAt, keptLength };
    return Object.assign(copied, said);
  }
}

const NOBODY: Client = { ip: null, host: null };
