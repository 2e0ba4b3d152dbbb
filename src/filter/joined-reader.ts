/** Many rules read at once by one automaton; by their regular expressions, one after the other, where it can't. */
import { Automaton } from './automaton.js';
import type { Client, Clients } from './clients.js';
import type { Finding, Reader, Weighed } from './finding.js';
import type { Line } from './line.js';
import type { Joined, Opening } from './opening.js';
import { marksByFirst } from './required.js';
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
  /** By the first byte of a message, a rare one without which no rule matches, or 0. */
  readonly #marks: Uint8Array;
  #automaton: Automaton | null;
  /** Reused, so that finding allocates nothing. */
  readonly #finding: { weighed: Weighed; isPlain: boolean; client: Client; times: number };

  /** @param openings At least one. */
  constructor(openings: readonly Opening[], clients: Clients) {
    this.#openings = openings;
    this.#clients = clients;
    this.#rules = openings.flatMap((opening) => opening.joined.map((joined) => ({ opening, joined })));
    this.#marks = marksByFirst(this.#rules.map(({ joined }) => joined.pattern));
    this.#automaton = unlessTooIntricate(() => automatonOf(openings));
    const [first] = this.#rules;
    if (first === undefined) throw new RangeError('nothing to read for');
    this.#finding = { weighed: first.joined.weighed, isPlain: true, client: { ip: null, host: null }, times: 1 };
  }

  /** Are lines read by the automaton? */
  get isSwift(): boolean {
    return this.#automaton !== null;
  }

  find(line: Line, start: number, end: number): Finding | null {
    const automaton = this.#automaton;
    if (automaton === null) return this.#findOneByOne(line, start, end);
    const mark = this.#marks[line.bytes[start] ?? 0] ?? 0;
    if (mark > 0 && !line.has(mark, start, end)) return null;
    let number: number;
    try {
      number = automaton.find(line, start, end);
    } catch (error) {
      if (!(error instanceof TooIntricateError)) throw error;
      this.#automaton = null;
      return this.#findOneByOne(line, start, end);
    }
    const rule = number < 0 ? undefined : this.#rules[number];
    if (rule === undefined) return null;
    const { opening, joined } = rule;
    const finding = this.#finding;
    const { hostStart, addressStart, behind } = automaton;
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

/** @throws TooIntricateError */
function automatonOf(openings: readonly Opening[]): Automaton {
  const steps = new Steps();
  let number = 0;
  const ways: Step[] = [];
  for (const opening of openings) {
    ways.push(wayOf(steps, opening, number));
    number += opening.joined.length;
  }
  return new Automaton(steps.fork(ways), steps.sets);
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

function unlessTooIntricate<T>(make: () => T): T | null {
  try {
    return make();
  } catch (error) {
    if (error instanceof TooIntricateError) return null;
    throw error;
  }
}
