/**
 * Many patterns read at once, byte by byte, without going back and without a string: of all the ways through them that
 * are still open, the order in which a regular expression would have tried them is kept, so that what it would have
 * found first is what is found here. Which ways stay open after a byte is worked out when it first happens, and looked
 * up from then on, by the scanner in its tables.
 */

import * as layout from './scanner/layout.js';
import { type Explorer, type Scanner, TOO_MANY } from './scanner.js';
import { type ByteSet, holds, type Step, TooIntricateError } from './steps.js';
import { begin, end, keyOf, type Turn, turn, type Way } from './ways.js';

/** Whatever the lines, those of a packaged program's rules are 4,100 at most; what needs more is left to the expressions. */
const MOST_STATES = 8_192;
const FIRST_STATES = 64;
const FIRST_ARRIVALS = 64;
const CHARACTERS = 256;

/**
 * An automaton that was worked out to its end: what the scanner has of it, word by word. The automaton itself, with lengths
 * in place of addresses, its rows, its arrivals.
 */
export type Image = Int32Array;

const IMAGE_HEAD = layout.AUTOMATON_SIZE >> 2;

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
  /** Their numbers, by what they are: many bytes lead to the same. */
  readonly #arrivals = new Map<string, number>();
  #rowsRoom = 0;
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
    const blocks = newBlocks(scanner);
    this.#growRows(FIRST_STATES);
    this.#growArrivals(FIRST_ARRIVALS);
    this.#arrivalAt([-1, -1, -1, 0, 0, 0]);
    scanner.bytes.set(kindOf, this.address + layout.KINDS);
    scanner.bytes.set(mustHold, this.address + layout.MUST_HOLD);
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

  /** Works out what is not known yet, whatever the lines; all of it, to be kept. */
  toImage(): Image {
    for (let number = 0; number < this.#inOrder.length; number++) {
      const row = number * this.#columns;
      for (let kind = 0; kind < this.#columns; kind++) {
        if (this.#scanner.words[(this.#at(layout.ROWS) >> 2) + row + kind] === layout.UNKNOWN) this.explore(row, kind);
      }
    }
    if (this.#gaveUp) throw new TooIntricateError();
    const { words } = this.#scanner;
    const part = (address: number, length: number) => words.subarray(address >> 2, (address >> 2) + length);
    const rows = part(this.#at(layout.ROWS), this.#inOrder.length * this.#columns);
    const arrivals = part(this.#at(layout.ARRIVALS), (this.#arrivals.size * layout.ARRIVAL_SIZE) >> 2);
    const head = part(this.address, IMAGE_HEAD).slice();
    head[layout.ROWS >> 2] = rows.length;
    head[layout.ARRIVALS >> 2] = arrivals.length;
    head[layout.FIRST_RULE >> 2] = 0;
    return Int32Array.from([...head, ...rows, ...arrivals]);
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
    const [host = 0, address = 0, behind = 0] = found?.places ?? [];
    return layout.FIRST_ARRIVAL - this.#arrivalAt([place, row, found?.number ?? -1, host, address, behind]);
  }

  /** The number of an arrival. The first is that nothing is found. */
  #arrivalAt(arrival: readonly number[]): number {
    const key = arrival.join();
    const known = this.#arrivals.get(key);
    if (known !== undefined) return known;
    const number = this.#arrivals.size;
    if (number >= this.#arrivalsRoom) this.#growArrivals(2 * this.#arrivalsRoom);
    this.#scanner.words.set(arrival, (this.#at(layout.ARRIVALS) + number * layout.ARRIVAL_SIZE) >> 2);
    this.#arrivals.set(key, number);
    return number;
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

/** Has the scanner read by an automaton that was worked out before; the address of its tables. */
export function layOut(scanner: Scanner, image: Image): number {
  const head = image.subarray(0, IMAGE_HEAD);
  const rowsEnd = IMAGE_HEAD + (head[layout.ROWS >> 2] ?? 0);
  const lay = (part: Int32Array) => {
    const address = scanner.allocate(4 * part.length);
    scanner.words.set(part, address >> 2);
    return address;
  };
  const address = lay(head);
  const tables = [lay(image.subarray(IMAGE_HEAD, rowsEnd)), lay(image.subarray(rowsEnd)), newBlocks(scanner)];
  scanner.words.set(tables, (address + layout.ROWS) >> 2);
  return address;
}

function newBlocks(scanner: Scanner): number {
  const size = layout.BLOCK_SIZE << layout.BLOCK_BITS;
  const blocks = scanner.allocate(size);
  scanner.bytes.fill(0xff, blocks, blocks + size);
  return blocks;
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
