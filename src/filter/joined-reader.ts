/** Many rules read at once by one automaton; by their regular expressions, one after the other, where it can't. */
import { Automaton, type Image, layOut } from './automaton.js';
import type { Client, Clients } from './clients.js';
import type { Finding, Reader, Weighed } from './finding.js';
import type { Line } from './line.js';
import type { Opening } from './opening.js';
import { bytesByFirst } from './required.js';
import * as layout from './scanner/layout.js';
import type { Found, Scanner } from './scanner.js';
import { ADDRESS, BEHIND, HOST, type Step, Steps, TooIntricateError } from './steps.js';

/** A rule that the automaton finds. */
export interface Joinable {
  readonly weighed: Weighed;
  /** Is the address found by what precedes it alone? */
  readonly isPlain: boolean;
  readonly hasHost: boolean;
  /** How many misdeeds a message counts, of which it is known that the rule matches it; null when that is always one. */
  readonly timesIn: ((line: Line, start: number, end: number) => number) | null;
}

interface Parts {
  readonly rules: readonly Joinable[];
  /** What says the same one after the other. */
  readonly openings: () => readonly Opening[];
  /** Null when it was worked out before, or when there is none. */
  readonly automaton: Automaton | null;
  /** Of the automaton's tables, or 0. */
  readonly address: number;
}

type KnownParts = Pick<Parts, 'rules' | 'openings'> & { readonly image: Image };

export class JoinedReader implements Reader {
  /** Of the automaton's tables, or 0. */
  readonly address: number;
  readonly #openings: () => readonly Opening[];
  readonly #clients: Clients;
  readonly #scanner: Scanner;
  readonly #rules: readonly Joinable[];
  readonly #automaton: Automaton | null;
  /** Added to the numbers of its rules wherever lines are scanned. */
  #firstRule = 0;
  /** Reused, so that finding allocates nothing. */
  readonly #finding: { weighed: Weighed; isPlain: boolean; client: Client; times: number };

  private constructor({ rules, openings, automaton, address }: Parts, clients: Clients, scanner: Scanner) {
    this.#openings = openings;
    this.#clients = clients;
    this.#scanner = scanner;
    this.#rules = rules;
    this.#automaton = automaton;
    this.address = address;
    const [first] = rules;
    if (first === undefined) throw new RangeError('nothing to read for');
    this.#finding = { weighed: first.weighed, isPlain: true, client: { ip: null, host: null }, times: 1 };
  }

  /** @param openings At least one. */
  static of(openings: readonly Opening[], clients: Clients, scanner: Scanner): JoinedReader {
    const rules = openings.flatMap((opening) =>
      opening.joined.map((joined) => ({
        weighed: joined.weighed,
        isPlain: opening.isPlain,
        hasHost: joined.pattern.hasHost,
        timesIn:
          joined.timesGroup === 0
            ? null
            : (line: Line, start: number, end: number) => opening.timesIn(line, start, end, joined),
      })),
    );
    const automaton = automatonOf(openings, scanner);
    const parts = { rules, openings: () => openings, automaton, address: automaton?.address ?? 0 };
    return new JoinedReader(parts, clients, scanner);
  }

  /** @param known `image` is the automaton of `rules`, as `toKnown` has it; `openings` says the same. */
  static known({ rules, image, openings }: KnownParts, clients: Clients, scanner: Scanner): JoinedReader {
    return new JoinedReader({ rules, openings, automaton: null, address: layOut(scanner, image) }, clients, scanner);
  }

  /** Are lines read by the automaton? */
  get isSwift(): boolean {
    return this.address !== 0 && this.#automaton?.gaveUp !== true;
  }

  /** The rules, and their automaton worked out to its end, for `known`; null for one that is known already. */
  toKnown(): { readonly rules: readonly Joinable[]; readonly image: Image } | null {
    return this.#automaton === null ? null : { rules: this.#rules, image: this.#automaton.toImage() };
  }

  /** Its rules are told by these numbers from now on; the number behind them. */
  number(first: number): number {
    if (this.address !== 0) this.#scanner.words[(this.address + layout.FIRST_RULE) >> 2] = first;
    this.#firstRule = first;
    return first + this.#rules.length;
  }

  find(line: Line, start: number, end: number): Finding | null {
    const found = this.address === 0 ? 'gave up' : this.#scanner.find(this.address, start, end);
    if (found === 'gave up') return this.#findOneByOne(line, start, end);
    return found === null ? null : this.#tell(line, found, found.rule, start, end);
  }

  /** What was found in `line` when it was scanned, by a rule with one of this reader's numbers. */
  tell(line: Line, found: Found): Finding | null {
    return this.#tell(line, found, found.rule - this.#firstRule, found.messageStart, found.to);
  }

  #tell(line: Line, found: Found, number: number, start: number, end: number): Finding | null {
    const rule = this.#rules[number];
    if (rule === undefined) return null;
    const { weighed, isPlain, hasHost, timesIn } = rule;
    const finding = this.#finding;
    const { hostStart, addressStart, behind } = found;
    finding.weighed = weighed;
    finding.isPlain = isPlain;
    finding.client = this.#clients.at(line, hostStart, addressStart, hasHost ? behind - 1 : behind);
    finding.times = timesIn === null ? 1 : timesIn(line, start, end);
    return finding;
  }

  #findOneByOne(line: Line, start: number, end: number): Finding | null {
    for (const opening of this.#openings()) {
      const finding = opening.find(line, start, end, this.#clients);
      if (finding !== null) return finding;
    }
    return null;
  }
}

/** Null when the rules are too intricate for one. */
function automatonOf(openings: readonly Opening[], scanner: Scanner): Automaton | null {
  const patterns = openings.flatMap(({ joined }) => joined.map(({ pattern }) => pattern));
  try {
    const steps = new Steps();
    let number = 0;
    const ways: Step[] = [];
    for (const opening of openings) {
      ways.push(wayOf(steps, opening, number));
      number += opening.joined.length;
    }
    return new Automaton(scanner, steps.fork(ways), steps.sets, bytesByFirst(patterns));
  } catch (error) {
    if (error instanceof TooIntricateError) return null;
    throw error;
  }
}

/** As the opening's expression has it: the words, the address, one end after the other. */
function wayOf(steps: Steps, { joined }: Opening, number: number): Step {
  const ends = joined.map(({ pattern }, i) => steps.of(pattern.tail.node, steps.found(number + i)));
  const [first] = joined;
  if (first === undefined) throw new RangeError('an opening without rules');
  const { head, place } = first.pattern;
  const behind = steps.mark(BEHIND, steps.of(place.behind, steps.fork(ends)));
  const address = steps.mark(ADDRESS, steps.of(place.ip, behind));
  return steps.of(head.node, steps.mark(HOST, steps.of(place.host, address)));
}
