/** The rules of one program, in the order in which they are tried. */
import type { Watch } from './brake.js';
import type { Clients } from './clients.js';
import type { Finding, Reader, Weighed } from './finding.js';
import { JoinedReader } from './joined-reader.js';
import type { Line } from './line.js';
import { Opening } from './opening.js';
import { queueIdEnd } from './queue-id.js';
import type { Pattern } from './rule.js';
import * as layout from './scanner/layout.js';
import type { Scanner } from './scanner.js';

export class Program implements Reader {
  readonly #clients: Clients;
  readonly #scanner: Scanner;
  /** All readers of the filter that tell what was scanned, by the numbers of their rules. */
  readonly #tellers: JoinedReader[];
  readonly #plain: Opening[] = [];
  /** Those that begin with a queue id, by what follows it. */
  readonly #queued: Opening[] = [];
  #readers: Readers | null = null;
  /** In the scanner's memory. */
  #address = 0;

  constructor(clients: Clients, scanner: Scanner, tellers: JoinedReader[]) {
    this.#clients = clients;
    this.#scanner = scanner;
    this.#tellers = tellers;
  }

  add(pattern: Pattern, weighed: Weighed, watch: Watch | null): void {
    if (pattern.queueId !== 'always') addTo(this.#plain, pattern, weighed, watch);
    if (pattern.queueId !== 'never') addTo(this.#queued, pattern, weighed, watch);
    this.#readers = null;
    this.#address = 0;
  }

  /** The regular expressions that say what the rules mean, each with the rules that it joins. */
  get expressions() {
    return [...this.#plain, ...this.#queued].map(({ rules, expression }) => ({ rules, expression }));
  }

  /** The address of what the scanner is told of it: whose automata it runs, and whether others read the lines too. */
  layOut(): number {
    if (this.#address !== 0) return this.#address;
    const { plain, queued } = this.#read();
    const forPlain = this.#addressOf(plain[0]);
    const isPlainWhole = plain.length === (forPlain === 0 ? 0 : 1);
    const forQueued = isPlainWhole ? this.#addressOf(queued[0]) : 0;
    const isWhole = isPlainWhole && queued.length === (forQueued === 0 ? 0 : 1);
    const address = this.#scanner.allocate(layout.PROGRAM_SIZE);
    const { words } = this.#scanner;
    words[(address + layout.PLAIN) >> 2] = forPlain;
    words[(address + layout.QUEUED) >> 2] = forQueued;
    words[(address + layout.HAS_MORE) >> 2] = isWhole ? 0 : 1;
    this.#address = address;
    return address;
  }

  find(line: Line, start: number, end: number): Finding | null {
    const { plain, queued } = this.#read();
    for (const reader of plain) {
      const finding = reader.find(line, start, end);
      if (finding !== null) return finding;
    }
    const behind = queued.length === 0 ? -1 : queueIdEnd(line.bytes, start, end);
    if (behind < 0) return null;
    for (const reader of queued) {
      const finding = reader.find(line, behind, end);
      if (finding !== null) return finding;
    }
    return null;
  }

  #read(): Readers {
    this.#readers ??= { plain: this.#readersOf(this.#plain), queued: this.#readersOf(this.#queued) };
    return this.#readers;
  }

  /** The admin's own rules are read one by one, since each may have to be switched off; all others at once. */
  #readersOf(openings: readonly Opening[]): Reader[] {
    const readers: Reader[] = [];
    for (let next = 0; next < openings.length; ) {
      const own = openings.findIndex((opening, i) => i >= next && opening.isWatched);
      const joined = openings.slice(next, own < 0 ? undefined : own);
      if (joined.length > 0) readers.push(new JoinedReader(joined, this.#clients, this.#scanner));
      next += joined.length;
      const single = openings[next++];
      if (single !== undefined)
        readers.push({ find: (line, start, end) => single.find(line, start, end, this.#clients) });
    }
    return readers;
  }

  /** Of the tables that the scanner reads for it, or 0; what is found in them is told by the reader. */
  #addressOf(reader: Reader | undefined): number {
    if (!(reader instanceof JoinedReader) || reader.address === 0) return 0;
    const tellers = this.#tellers;
    const behind = reader.number(tellers.length);
    while (tellers.length < behind) tellers.push(reader);
    return reader.address;
  }
}

interface Readers {
  readonly plain: readonly Reader[];
  /** Of what stands behind a queue id. */
  readonly queued: readonly Reader[];
}

/** Neighbours with the same opening words are joined. */
function addTo(openings: Opening[], pattern: Pattern, weighed: Weighed, watch: Watch | null): void {
  if (watch === null && openings.at(-1)?.take(pattern, weighed)) return;
  openings.push(new Opening(pattern, weighed, watch));
}
