/**
 * The events of one batch, as they wait for their commit: in columns, and their lines as bytes, side by side. A backlog
 * makes thousands of them at a time, and as objects each would outlive a collection of garbage or two.
 */
import type { EventKind, EventList, LogEvent } from '../domain/event.js';
import type { Client } from '../filter/clients.js';
import type { Hit } from '../filter/hit.js';
import { latin1 } from '../filter/words.js';

const FIRST_ROOM = 64;
const FIRST_LINES_BYTES = 16_384;

/** What `at` answers, each time. */
class Row implements LogEvent {
  kind: EventKind = 'offense';
  rule = '';
  ip = '';
  at = Number.NaN;
  host: string | null = null;
  points = Number.NaN;
  number = 0;
  readonly #events: PendingEvents;

  constructor(events: PendingEvents) {
    this.#events = events;
  }

  get line(): string {
    return this.#events.lineOf(this.number);
  }
}

export class PendingEvents implements EventList {
  #length = 0;
  /** Offenses that score, and refusals. */
  offenses = 0;
  refused = 0;
  /** The addresses that they are about, each once. */
  readonly addresses = new Set<string>();
  #lastIp = '';
  readonly #kinds: EventKind[] = [];
  readonly #rules: string[] = [];
  readonly #clients: Client[] = [];
  #at = new Float64Array(FIRST_ROOM);
  #points = new Float64Array(FIRST_ROOM);
  /** Where its line begins among all of them, and ends. */
  #lines = new Int32Array(2 * FIRST_ROOM);
  #bytes = Buffer.alloc(0);
  #size = 0;
  readonly #row = new Row(this);

  get length(): number {
    return this.#length;
  }

  /** Takes a hit down, with the points that it is worth. Its line comes with `keep`, before anybody asks for it. */
  add(hit: Hit, points: number): void {
    if (hit.kind === 'closed') return;
    const from = this.#size + hit.keptAt;
    this.#put(hit.kind, hit.rule, hit.client, hit.at, points, from, from + hit.keptLength);
  }

  /** The lines of the hits since the last call, as the filter has `kept` them: none when nobody is to look at them. */
  keep(lines: Uint8Array): void {
    const size = this.#size + lines.length;
    if (size > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(FIRST_LINES_BYTES, 2 * size));
      larger.set(this.#bytes.subarray(0, this.#size));
      this.#bytes = larger;
    }
    this.#bytes.set(lines, this.#size);
    this.#size = size;
  }

  at(index: number): Row | undefined {
    const client = this.#clients[index];
    if (index >= this.#length || client === undefined) return undefined;
    const row = this.#row;
    row.kind = this.#kinds[index] ?? 'offense';
    row.rule = this.#rules[index] ?? '';
    row.ip = client.ip ?? '';
    row.at = this.#at[index] ?? Number.NaN;
    row.host = client.host;
    row.points = this.#points[index] ?? Number.NaN;
    row.number = index;
    return row;
  }

  forEach(tell: (event: LogEvent) => void): void {
    for (let i = 0; i < this.#length; i++) {
      const event = this.at(i);
      if (event !== undefined) tell(event);
    }
  }

  /** As latin-1; empty when none are kept. */
  lineOf(number: number): string {
    const to = this.#lines[2 * number + 1] ?? 0;
    return to > this.#size ? '' : latin1(this.#bytes, this.#lines[2 * number] ?? 0, to);
  }

  /** Takes on those of another batch, behind its own. */
  append(others: PendingEvents): void {
    for (let i = 0; i < others.length; i++) {
      const client = others.#clients[i];
      const row = others.at(i);
      if (client === undefined || row === undefined) continue;
      const [from = 0, to = 0] = others.#lines.subarray(2 * i);
      this.#put(row.kind, row.rule, client, row.at, row.points, this.#size + from, this.#size + to);
    }
    this.keep(others.#bytes.subarray(0, others.#size));
  }

  /** Nothing is left of what it had but the room: from now on it is another batch's. */
  clear(): void {
    this.#length = 0;
    this.offenses = 0;
    this.refused = 0;
    this.addresses.clear();
    this.#lastIp = '';
    this.#size = 0;
  }

  #put(kind: EventKind, rule: string, client: Client, at: number, points: number, from: number, to: number): void {
    if (kind === 'offense') {
      if (points > 0) this.offenses++;
    } else if (kind === 'refused') this.refused++;
    const { ip } = client;
    // Lines of one client come in runs.
    if (ip !== this.#lastIp && ip !== null) {
      this.#lastIp = ip;
      this.addresses.add(ip);
    }
    const number = this.#length;
    if (number === this.#at.length) this.#grow();
    this.#kinds[number] = kind;
    this.#rules[number] = rule;
    this.#clients[number] = client;
    this.#at[number] = at;
    this.#points[number] = points;
    this.#lines[2 * number] = from;
    this.#lines[2 * number + 1] = to;
    this.#length = number + 1;
  }

  #grow(): void {
    const room = 2 * this.#at.length;
    this.#at = grown(this.#at, new Float64Array(room));
    this.#points = grown(this.#points, new Float64Array(room));
    this.#lines = grown(this.#lines, new Int32Array(2 * room));
  }
}

function grown<T extends Float64Array | Int32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
