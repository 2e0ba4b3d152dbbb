/** Many rules read at once by one automaton; by their regular expressions, one after the other, where it can't. */
import { Automaton } from './automaton.js';
import type { Client, Clients } from './clients.js';
import type { Finding, Reader, Weighed } from './finding.js';
import type { Line } from './line.js';
import type { Joined, Opening } from './opening.js';
import { bytesByFirst } from './required.js';
import type { Found, Scanner } from './scanner.js';
import { ADDRESS, BEHIND, HOST, type Step, Steps, TooIntricateError } from './steps.js';

/** By what the automaton finds. */
interface Rule {
  readonly opening: Opening;
  readonly joined: Joined;
}

export class JoinedReader implements Reader {
  readonly #openings: readonly Opening[];
  readonly #clients: Clients;
  readonly #rules: readonly Rule[];
  readonly #automaton: Automaton | null;
  /** Added to the numbers of its rules wherever lines are scanned. */
  #firstRule = 0;
  /** Reused, so that finding allocates nothing. */
  readonly #finding: { weighed: Weighed; isPlain: boolean; client: Client; times: number };

  /** @param openings At least one. */
  constructor(openings: readonly Opening[], clients: Clients, scanner: Scanner) {
    this.#openings = openings;
    this.#clients = clients;
    this.#rules = openings.flatMap((opening) => opening.joined.map((joined) => ({ opening, joined })));
    this.#automaton = automatonOf(openings, scanner);
    const [first] = this.#rules;
    if (first === undefined) throw new RangeError('nothing to read for');
    this.#finding = { weighed: first.joined.weighed, isPlain: true, client: { ip: null, host: null }, times: 1 };
  }

  /** Are lines read by the automaton? */
  get isSwift(): boolean {
    return this.#automaton !== null && !this.#automaton.gaveUp;
  }

  /** Of the automaton's tables, or 0. */
  get address(): number {
    return this.#automaton?.address ?? 0;
  }

  /** Its rules are told by these numbers from now on; the number behind them. */
  number(first: number): number {
    if (this.#automaton !== null) this.#automaton.firstRule = first;
    this.#firstRule = first;
    return first + this.#rules.length;
  }

  find(line: Line, start: number, end: number): Finding | null {
    const found = this.#automaton === null ? 'gave up' : this.#automaton.find(start, end);
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
    const { opening, joined } = rule;
    const finding = this.#finding;
    const { hostStart, addressStart, behind } = found;
    finding.weighed = joined.weighed;
    finding.isPlain = opening.isPlain;
    finding.client = this.#clients.at(line, hostStart, addressStart, joined.pattern.hasHost ? behind - 1 : behind);
    finding.times = joined.timesGroup === 0 ? 1 : opening.timesIn(line, start, end, joined);
    return finding;
  }

  #findOneByOne(line: Line, start: number, end: number): Finding | null {
    for (const opening of this.#openings) {
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
