/**
 * Many patterns read at once, byte by byte, without going back and without a string: of all the ways through them that
 * are still open, the order in which a regular expression would have tried them is kept, so that what it would have
 * found first is what is found here. Which ways stay open after a byte is worked out when it first happens, and looked
 * up from then on, by the scanner in its tables.
 */

import * as layout from './scanner/layout.js';
import { type Explorer, type Found as Scanned, type Scanner, TOO_MANY } from './scanner.js';
import { type ByteSet, holds, type Step, TooIntricateError } from './steps.js';
import { begin, end, type Found, keyOf, type Turn, turn, type Way } from './ways.js';

/** Whatever the lines, those of a packaged program's rules are 4,100 at most; what needs more is left to the expressions. */
const MOST_STATES = 8_192;
const FIRST_STATES = 64;
const FIRST_ARRIVALS = 64;
const CHARACTERS = 256;

interface State {
  readonly ways: readonly Way[];
  /** Of its row in the table. */
  readonly row: number;
}

export class Automaton implements Explorer {
  /** Of its tables in the scanner's memory. */
  readonly address: number;
  readonly #scanner: Scanner;
  /** A byte of each kind. */
  readonly #samples: readonly number[];
  /** Of the table: one for each kind of byte, and the end of the message. */
  readonly #columns: number;
  readonly #states = new Map<string, State>();
  readonly #inOrder: State[] = [];
  #rowsRoom = 0;
  #arrivals = 0;
  #arrivalsRoom = 0;
  #gaveUp = false;

  /**
   * @param sets All character sets of the steps.
   * @param mustHold By the first byte of a message, one without which nothing is found in it, or 0.
   * @throws TooIntricateError
   */
  constructor(scanner: Scanner, first: Step, sets: readonly ByteSet[], mustHold: Uint8Array) {
    const { kindOf, samples } = kindsOf(sets);
    this.#scanner = scanner;
    this.#samples = samples;
    this.#columns = samples.length + 1;
    this.address = scanner.add(this);
    const blocks = scanner.allocate(layout.BLOCK_SIZE << layout.BLOCK_BITS);
    this.#growRows(FIRST_STATES);
    this.#growArrivals(FIRST_ARRIVALS);
    this.#write(0, -1, -1, null);
    scanner.bytes.set(kindOf, this.address + layout.KINDS);
    scanner.bytes.set(mustHold, this.address + layout.MUST_HOLD);
    scanner.bytes.fill(0xff, blocks, blocks + (layout.BLOCK_SIZE << layout.BLOCK_BITS));
    this.#set(layout.BLOCKS, blocks);
    this.#set(layout.END_KIND, samples.length);
    const start = begin(first);
    this.#set(layout.START_PLACE, start.place);
    if (start.ways.length === 0) {
      this.#set(layout.START_ROW, -1);
      this.#set(layout.START_ARRIVAL, this.#leadsTo(start));
    } else this.#set(layout.START_ROW, this.#stateOf(start.ways).row);
  }

  /** Does it take more states than are kept? It reads only what it has met before then. */
  get gaveUp(): boolean {
    return this.#gaveUp;
  }

  /** Added to the numbers of its rules wherever lines are scanned. */
  set firstRule(number: number) {
    this.#set(layout.FIRST_RULE, number);
  }

  /** What the bytes `[start, end)` begin with: null when that is nothing, `gave up` when it would take too many states. */
  find(start: number, to: number): Scanned | 'gave up' | null {
    return this.#scanner.find(this.address, start, to);
  }

  explore(row: number, kind: number): number {
    if (this.#gaveUp) return TOO_MANY;
    const state = this.#inOrder[row / this.#columns];
    if (state === undefined) throw new RangeError('no such state');
    try {
      const isEnd = kind === this.#samples.length;
      const next = this.#leadsTo(isEnd ? end(state.ways) : turn(state.ways, this.#samples[kind] ?? 0));
      this.#scanner.words[(this.#at(layout.ROWS) >> 2) + row + kind] = next;
      return next;
    } catch (error) {
      if (!(error instanceof TooIntricateError)) throw error;
      this.#gaveUp = true;
      return TOO_MANY;
    }
  }

  /** A row, or the number of an arrival. */
  #leadsTo({ place, ways, found }: Turn): number {
    if (ways.length === 0 && found === null) return layout.FIRST_ARRIVAL;
    const row = ways.length === 0 ? -1 : this.#stateOf(ways).row;
    if (row >= 0 && place < 0) return row;
    // The first is that nothing is found.
    const number = this.#arrivals + 1;
    if (number >= this.#arrivalsRoom) this.#growArrivals(2 * this.#arrivalsRoom);
    this.#write(number, place, row, found);
    this.#arrivals = number;
    return layout.FIRST_ARRIVAL - number;
  }

  #write(arrival: number, place: number, row: number, found: Found | null): void {
    const [host = 0, address = 0, behind = 0] = found?.places ?? [];
    const at = this.#at(layout.ARRIVALS) + arrival * layout.ARRIVAL_SIZE;
    this.#scanner.words.set([place, row, found?.number ?? -1, host, address, behind], at >> 2);
  }

  /** @throws TooIntricateError */
  #stateOf(ways: readonly Way[]): State {
    const key = keyOf(ways);
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    const count = this.#inOrder.length;
    if (count >= MOST_STATES) throw new TooIntricateError();
    if (count >= this.#rowsRoom) this.#growRows(2 * this.#rowsRoom);
    const state = { ways, row: count * this.#columns };
    this.#inOrder.push(state);
    // Last: a brake may end this anywhere, and what is found by its key must be whole.
    this.#states.set(key, state);
    return state;
  }

  #growRows(states: number): void {
    const size = 4 * this.#columns * states;
    const rows = this.#scanner.allocate(size);
    this.#scanner.bytes.fill(0xff, rows, rows + size);
    this.#move(layout.ROWS, 4 * this.#columns * this.#rowsRoom, rows);
    this.#rowsRoom = states;
  }

  #growArrivals(count: number): void {
    const arrivals = this.#scanner.allocate(layout.ARRIVAL_SIZE * count);
    this.#move(layout.ARRIVALS, layout.ARRIVAL_SIZE * this.#arrivalsRoom, arrivals);
    this.#arrivalsRoom = count;
  }

  /** In one step at last: a brake may end this anywhere. */
  #move(table: number, size: number, to: number): void {
    const from = this.#at(table);
    this.#scanner.bytes.copyWithin(to, from, from + size);
    this.#set(table, to);
  }

  #at(field: number): number {
    return this.#scanner.words[(this.address + field) >> 2] ?? 0;
  }

  #set(field: number, value: number): void {
    this.#scanner.words[(this.address + field) >> 2] = value;
  }
}

/** Bytes that no set tells apart are of one kind. */
function kindsOf(sets: readonly ByteSet[]): { kindOf: Uint8Array; samples: readonly number[] } {
  const kindOf = new Uint8Array(CHARACTERS);
  const sizes = [CHARACTERS];
  for (const set of sets) {
    const members: number[] = [];
    const sizesIn = new Map<number, number>();
    for (let byte = 0; byte < CHARACTERS; byte++) {
      // Most sets hold one byte.
      if (set[byte >> 5] === 0) byte |= 31;
      else if (holds(set, byte)) {
        const kind = kindOf[byte] ?? 0;
        members.push(byte);
        sizesIn.set(kind, (sizesIn.get(kind) ?? 0) + 1);
      }
    }
    const split = new Map<number, number>();
    for (const [kind, size] of sizesIn) {
      const whole = sizes[kind] ?? 0;
      if (size === whole) continue;
      split.set(kind, sizes.length);
      sizes[kind] = whole - size;
      sizes.push(size);
    }
    for (const byte of members) kindOf[byte] = split.get(kindOf[byte] ?? 0) ?? kindOf[byte] ?? 0;
  }
  const samples: number[] = [];
  for (let byte = CHARACTERS - 1; byte >= 0; byte--) samples[kindOf[byte] ?? 0] = byte;
  return { kindOf, samples };
}
