/** The rules of one program, in the order in which they are tried. */
import type { Watch } from './brake.js';
import type { Clients } from './clients.js';
import type { Finding, Reader, Weighed } from './finding.js';
import { JoinedReader } from './joined-reader.js';
import type { Line } from './line.js';
import { Opening } from './opening.js';
import { queueIdEnd } from './queue-id.js';
import type { Pattern } from './rule.js';

export class Program implements Reader {
  readonly #clients: Clients;
  readonly #plain: Opening[] = [];
  /** Those that begin with a queue id, by what follows it. */
  readonly #queued: Opening[] = [];
  #plainReaders: readonly Reader[] | null = null;
  #queuedReaders: readonly Reader[] | null = null;

  constructor(clients: Clients) {
    this.#clients = clients;
  }

  add(pattern: Pattern, weighed: Weighed, watch: Watch | null): void {
    if (pattern.queueId !== 'always') addTo(this.#plain, pattern, weighed, watch);
    if (pattern.queueId !== 'never') addTo(this.#queued, pattern, weighed, watch);
    this.#plainReaders = this.#queuedReaders = null;
  }

  /** The regular expressions that say what the rules mean, each with the rules that it joins. */
  get expressions() {
    return [...this.#plain, ...this.#queued].map(({ rules, expression }) => ({ rules, expression }));
  }

  find(line: Line, start: number, end: number): Finding | null {
    this.#plainReaders ??= readersOf(this.#plain, this.#clients);
    for (const reader of this.#plainReaders) {
      const finding = reader.find(line, start, end);
      if (finding !== null) return finding;
    }
    const queued = queueIdEnd(line.bytes, start, end);
    if (queued < 0) return null;
    this.#queuedReaders ??= readersOf(this.#queued, this.#clients);
    for (const reader of this.#queuedReaders) {
      const finding = reader.find(line, queued, end);
      if (finding !== null) return finding;
    }
    return null;
  }
}

/** Neighbours with the same opening words are joined. */
function addTo(openings: Opening[], pattern: Pattern, weighed: Weighed, watch: Watch | null): void {
  if (watch === null && openings.at(-1)?.take(pattern, weighed)) return;
  openings.push(new Opening(pattern, weighed, watch));
}

/** The admin's own rules are read one by one, since each may have to be switched off; all others at once. */
function readersOf(openings: readonly Opening[], clients: Clients): Reader[] {
  const readers: Reader[] = [];
  for (let next = 0; next < openings.length; ) {
    const own = openings.findIndex((opening, i) => i >= next && opening.isWatched);
    const joined = openings.slice(next, own < 0 ? undefined : own);
    if (joined.length > 0) readers.push(new JoinedReader(joined, clients));
    next += joined.length;
    const single = openings[next++];
    if (single !== undefined) readers.push({ find: (line, start, end) => single.find(line, start, end, clients) });
  }
  return readers;
}
