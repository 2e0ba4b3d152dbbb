/** The rules of one program, in the order in which they are tried. */
import type { Watch } from './brake.js';
import type { Clients } from './clients.js';
import type { Finding, Reader, Weighed } from './finding.js';
import { type Joinable, JoinedReader } from './joined-reader.js';
import { type KnownProgram, type KnownReader, type KnownRule, knownProgram } from './known-automata.js';
import type { Line } from './line.js';
import { Opening } from './opening.js';
import { queueIdEnd } from './queue-id.js';
import type { Pattern } from './rule.js';
import * as layout from './scanner/layout.js';
import type { Scanner } from './scanner.js';

/** One of a program's rules. */
export interface Entry {
  /** All that its pattern depends on. */
  readonly written: string;
  readonly pattern: () => Pattern;
  readonly weighed: Weighed;
  /** Of a rule of the admin's own. */
  readonly watch: Watch | null;
}

export class Program implements Reader {
  readonly #entries: readonly Entry[];
  readonly #clients: Clients;
  readonly #scanner: Scanner;
  /** All readers of the filter that tell what was scanned, by the numbers of their rules. */
  readonly #tellers: JoinedReader[];
  #opened: Opened | null = null;
  #readers: Readers | null = null;
  /** In the scanner's memory. */
  #address = 0;

  constructor(entries: readonly Entry[], clients: Clients, scanner: Scanner, tellers: JoinedReader[]) {
    this.#entries = entries;
    this.#clients = clients;
    this.#scanner = scanner;
    this.#tellers = tellers;
  }

  /** The regular expressions that say what the rules mean, each with the rules that it joins. */
  get expressions() {
    const { plain, queued } = this.#open();
    return [...plain, ...queued].map(({ rules, expression }) => ({ rules, expression }));
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

  /** What its automata depend on, and all that can be known of them; null where that is known, or they don't read all. */
  toKnown(): readonly [patterns: readonly string[], known: KnownProgram] | null {
    const { plain, queued } = this.#read();
    const known = [plain, queued].map(([first, ...others]) => {
      if (first === undefined) return null;
      return others.length === 0 && first instanceof JoinedReader && first.isSwift ? this.#toKnown(first) : 'other';
    });
    const [forPlain = null, forQueued = null] = known;
    return forPlain === 'other' || forQueued === 'other'
      ? null
      : [this.#written, { plain: forPlain, queued: forQueued }];
  }

  #toKnown(reader: JoinedReader): KnownReader | 'other' {
    const known = reader.toKnown();
    if (known === null) return 'other';
    const rules = known.rules.map(({ weighed, isPlain, hasHost, timesIn }) => ({
      rule: this.#entries.findIndex((entry) => entry.weighed === weighed),
      isPlain,
      hasHost,
      isCounting: timesIn !== null,
    }));
    return { rules, image: known.image };
  }

  get #written(): string[] {
    return this.#entries.map(({ written }) => written);
  }

  #open(): Opened {
    if (this.#opened !== null) return this.#opened;
    const opened: Opened = { plain: [], queued: [] };
    for (const entry of this.#entries) {
      const pattern = entry.pattern();
      if (pattern.queueId !== 'always') addTo(opened.plain, pattern, entry);
      if (pattern.queueId !== 'never') addTo(opened.queued, pattern, entry);
    }
    this.#opened = opened;
    return opened;
  }

  #read(): Readers {
    this.#readers ??= this.#known() ?? {
      plain: this.#readersOf(this.#open().plain),
      queued: this.#readersOf(this.#open().queued),
    };
    return this.#readers;
  }

  #known(): Readers | null {
    const known = this.#entries.some(({ watch }) => watch !== null) ? null : knownProgram(this.#written);
    if (known === null) return null;
    return {
      plain: this.#knownReaders(known.plain, () => this.#open().plain),
      queued: this.#knownReaders(known.queued, () => this.#open().queued),
    };
  }

  #knownReaders(known: KnownReader | null, openings: () => readonly Opening[]): Reader[] {
    if (known === null) return [];
    const rules = known.rules.map((rule) => this.#joinable(rule));
    return [JoinedReader.known({ rules, image: known.image, openings }, this.#clients, this.#scanner)];
  }

  #joinable({ rule, isPlain, hasHost, isCounting }: KnownRule): Joinable {
    const entry = this.#entries[rule];
    if (entry === undefined) throw new RangeError('no such rule');
    const { weighed } = entry;
    let alone: Opening | null = null;
    const timesIn = (line: Line, start: number, end: number) => {
      // What all of them find first by this rule, it finds by itself.
      alone ??= new Opening(entry.pattern(), weighed, null);
      return alone.timesIn(line, start, end);
    };
    return { weighed, isPlain, hasHost, timesIn: isCounting ? timesIn : null };
  }

  /** The admin's own rules are read one by one, since each may have to be switched off; all others at once. */
  #readersOf(openings: readonly Opening[]): Reader[] {
    const readers: Reader[] = [];
    for (let next = 0; next < openings.length; ) {
      const own = openings.findIndex((opening, i) => i >= next && opening.isWatched);
      const joined = openings.slice(next, own < 0 ? undefined : own);
      if (joined.length > 0) readers.push(JoinedReader.of(joined, this.#clients, this.#scanner));
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

interface Opened {
  readonly plain: Opening[];
  /** Those that begin with a queue id, by what follows it. */
  readonly queued: Opening[];
}

/** Neighbours with the same opening words are joined. */
function addTo(openings: Opening[], pattern: Pattern, { weighed, watch }: Entry): void {
  if (watch === null && openings.at(-1)?.take(pattern, weighed)) return;
  openings.push(new Opening(pattern, weighed, watch));
}
