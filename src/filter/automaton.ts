/**
 * Many patterns read at once, byte by byte, without going back and without a string: of all the ways through them that
 * are still open, the order in which a regular expression would have tried them is kept, so that what it would have
 * found first is what is found here. Which ways stay open after a byte is worked out when it first happens, and looked
 * up from then on.
 */

import type { Line } from './line.js';
import { ADDRESS, BEHIND, type ByteSet, HOST, holds, type Mark, type Step, TooIntricateError } from './steps.js';

/** Whatever the lines, those of a packaged program's rules are 4,100 at most; what needs more is left to the expressions. */
const MOST_STATES = 8_192;
/** Places of one line that are remembered at a time. */
const MOST_PLACES = 8;
const CHARACTERS = 256;

/**
 * Lines repeat each other. So many bytes at a time are looked up together, which takes about as long as one of them
 * does alone: the rows of all states are more than the fastest part of the processor's memory holds.
 */
const BLOCK = 8;
const BLOCK_BITS = 12;
const BLOCKS = 1 << BLOCK_BITS;
/** The bits of a row in what a block brings about; above them, the place that was passed in it and where. */
const ROWS = 0xffffff;
const OFFSET_BITS = 24;
const PLACE_BITS = 27;
const PASSED = 1 << 30;
/** It brings about more than fits. */
const NOT_KEPT = Number.MIN_SAFE_INTEGER;

const UNKNOWN = -1;
/** Lower ones, turned round, are numbers of arrivals. */
const FIRST_ARRIVAL = -2;

/** One way that is still open. */
interface Way {
  readonly step: Extract<Step, { type: 'set' | 'end' | 'found' }>;
  /** What lies ahead must still turn out to be there, or not to be. */
  readonly looks: readonly Look[];
  /** By mark, the number of the place where it was passed. */
  readonly places: readonly number[];
}

interface Look {
  readonly negative: boolean;
  readonly steps: readonly Step[];
}

interface State {
  readonly ways: readonly Way[];
  /** Of its row in the table. */
  readonly row: number;
  /** What is found when the text ends here; undefined until it did. */
  atEnd: Found | null | undefined;
}

interface Found {
  readonly number: number;
  readonly places: readonly number[];
}

/** Where a byte leads that changes more than the state. */
interface Arrival {
  /** Where the present place is written down, or -1. */
  readonly place: number;
  /** Null when it is decided. */
  readonly state: State | null;
  readonly found: Found | null;
}

const NOT_PASSED = -1;
/** Passed at the present place, which has no number yet. */
const HERE = -2;
const NOWHERE: readonly number[] = [NOT_PASSED, NOT_PASSED, NOT_PASSED];
const NO_LOOKS: readonly Look[] = [];
const DEAD: Arrival = { place: -1, state: null, found: null };

export class Automaton {
  /** Of what was found last, in the bytes that were read. */
  hostStart = 0;
  addressStart = 0;
  /** Behind the address, and the bracket that it stands in. */
  behind = 0;
  readonly #kindOf: Uint8Array;
  readonly #kinds: number;
  /** A byte of each kind. */
  readonly #samples: readonly number[];
  /** By state and kind of byte, the row of the state that it leads to, or what else it brings about. */
  #rows: Int32Array;
  /** Where the last walk led, and as what it is kept. */
  #row = 0;
  #outcome = 0;
  /** Of the blocks read last: the row of the state before, its bytes, what they bring about. */
  readonly #blocks = new Int32Array(4 * BLOCKS).fill(-1);
  readonly #states = new Map<string, State>();
  readonly #inOrder: State[] = [];
  readonly #arrivals: Arrival[] = [DEAD];
  readonly #start: Arrival;
  readonly #places = new Int32Array(MOST_PLACES);

  /** @param sets All character sets of the steps. */
  constructor(first: Step, sets: readonly ByteSet[]) {
    const { kindOf, samples } = kindsOf(sets);
    this.#kindOf = kindOf;
    this.#samples = samples;
    this.#kinds = samples.length;
    this.#rows = new Int32Array(64 * this.#kinds).fill(UNKNOWN);
    const ways = new Ways(false);
    ways.follow(first, NO_LOOKS, NOWHERE);
    this.#start = this.#arrive(ways.open);
  }

  get states(): number {
    return this.#inOrder.length;
  }

  /**
   * The number of what the line's bytes `[start, end)` begin with, or -1.
   * @throws TooIntricateError when that takes more states than are kept.
   */
  find({ bytes, view }: Line, start: number, end: number): number {
    const { place, state } = this.#start;
    if (place >= 0) this.#places[place] = start;
    if (state === null) return this.#tell(this.#start.found);
    const blocks = this.#blocks;
    let { row } = state;
    // Most messages are no rule's from their first byte on.
    if (start < end && this.#rows[row + (this.#kindOf[bytes[start] ?? 0] ?? 0)] === FIRST_ARRIVAL) return -1;
    let at = start;
    for (const last = end - BLOCK; at <= last; at += BLOCK) {
      const low = view.getInt32(at, true);
      const high = view.getInt32(at + 4, true);
      const slot = slotOf(row, low, high);
      if (blocks[slot] === row && blocks[slot + 1] === low && blocks[slot + 2] === high) {
        const outcome = blocks[slot + 3] ?? 0;
        if (outcome < 0) return this.#tell(this.#arrivals[FIRST_ARRIVAL - outcome]?.found ?? null);
        if (outcome > ROWS) this.#places[(outcome >>> PLACE_BITS) & 7] = at + ((outcome >>> OFFSET_BITS) & 7) + 1;
        row = outcome & ROWS;
      } else {
        const decision = this.#walk(bytes, at, at + BLOCK, row);
        if (this.#outcome !== NOT_KEPT) {
          // Whole or not at all, wherever a brake ends this.
          blocks[slot] = -1;
          blocks[slot + 1] = low;
          blocks[slot + 2] = high;
          blocks[slot + 3] = this.#outcome;
          blocks[slot] = row;
        }
        if (decision !== null) return this.#tell(decision.found);
        row = this.#row;
      }
    }
    const decision = this.#walk(bytes, at, end, row);
    return this.#tell(decision === null ? this.#atEnd(this.#row) : decision.found);
  }

  /** Goes from state to state; where it is decided says so, else leaves the last one's row in `#row`. */
  #walk(bytes: Uint8Array, from: number, to: number, first: number): Arrival | null {
    const kindOf = this.#kindOf;
    let row = first;
    let passed = 0;
    for (let at = from; at < to; at++) {
      const kind = kindOf[bytes[at] ?? 0] ?? 0;
      let next = this.#rows[row + kind] ?? UNKNOWN;
      if (next === UNKNOWN) next = this.#explore(row, kind);
      if (next < 0) {
        const arrival = this.#arrivals[FIRST_ARRIVAL - next] ?? DEAD;
        if (arrival.place >= 0) {
          this.#places[arrival.place] = at + 1;
          passed = passed === 0 ? PASSED | (arrival.place << PLACE_BITS) | ((at - from) << OFFSET_BITS) : NOT_KEPT;
        }
        if (arrival.state === null) {
          this.#outcome = passed === 0 ? next : NOT_KEPT;
          return arrival;
        }
        next = arrival.state.row;
      }
      row = next;
    }
    this.#row = row;
    this.#outcome = passed === NOT_KEPT ? NOT_KEPT : row | passed;
    return null;
  }

  #stateAt(row: number): State {
    const state = this.#inOrder[row / this.#kinds];
    if (state === undefined) throw new RangeError('no such state');
    return state;
  }

  #atEnd(row: number): Found | null {
    const state = this.#stateAt(row);
    if (state.atEnd === undefined) {
      const [first] = advance(state.ways, null);
      state.atEnd = first === undefined ? null : foundBy(first);
    }
    return state.atEnd;
  }

  #tell(found: Found | null): number {
    if (found === null) return -1;
    this.hostStart = this.#placeOf(found, HOST);
    this.addressStart = this.#placeOf(found, ADDRESS);
    this.behind = this.#placeOf(found, BEHIND);
    return found.number;
  }

  #placeOf({ places }: Found, mark: Mark): number {
    return this.#places[places[mark] ?? 0] ?? 0;
  }

  /** Works out where a kind of byte leads from a state, and writes it down. */
  #explore(row: number, kind: number): number {
    const arrival = this.#arrive(advance(this.#stateAt(row).ways, this.#samples[kind] ?? 0));
    let next: number;
    if (arrival.state !== null && arrival.place < 0) next = arrival.state.row;
    else if (arrival === DEAD) next = FIRST_ARRIVAL;
    else next = FIRST_ARRIVAL - (this.#arrivals.push(arrival) - 1);
    this.#rows[row + kind] = next;
    return next;
  }

  #arrive(open: readonly Way[]): Arrival {
    const place = open.some(({ places }) => places.includes(HERE)) ? unusedPlace(open) : -1;
    const ways =
      place < 0 ? open : open.map((way) => ({ ...way, places: way.places.map((at) => (at === HERE ? place : at)) }));
    const [first] = ways;
    if (first === undefined) return DEAD;
    const found = foundBy(first);
    return found === null ? { place, state: this.#stateOf(ways), found } : { place, state: null, found };
  }

  #stateOf(ways: readonly Way[]): State {
    const key = ways.map(keyOf).join(' ');
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    const count = this.#inOrder.length;
    if (count >= MOST_STATES) throw new TooIntricateError();
    const state: State = { ways, row: count * this.#kinds, atEnd: undefined };
    const rows = this.#rows;
    if (rows.length < (count + 1) * this.#kinds) {
      const larger = new Int32Array(rows.length * 2).fill(UNKNOWN);
      larger.set(rows);
      this.#rows = larger;
    }
    this.#inOrder.push(state);
    // Last: a brake may end this anywhere, and what is found by its key must be whole.
    this.#states.set(key, state);
    return state;
  }
}

/** The ways that are open after `byte`, or at the end of the text. */
function advance(ways: readonly Way[], byte: number | null): readonly Way[] {
  const next = new Ways(byte === null);
  for (const { step, looks, places } of ways) {
    const left = looksAfter(looks, byte);
    if (left === null) continue;
    if (step.type === 'found') next.follow(step, left, places);
    else if (step.type === 'set' && byte !== null && holds(step.bytes, byte)) next.follow(step.next, left, places);
    else if (step.type === 'end' && byte === null) next.follow(step.next, left, places);
    if (next.isDecided) break;
  }
  return next.open;
}

/** Gathers ways in the order in which they are tried. */
class Ways {
  readonly open: Way[] = [];
  /** Something is found, whatever comes; what would be tried behind it never is. */
  isDecided = false;
  readonly #seen = new Set<number | string>();
  readonly #atEnd: boolean;

  constructor(atEnd: boolean) {
    this.#atEnd = atEnd;
  }

  follow(step: Step, looks: readonly Look[], places: readonly number[]): void {
    if (this.isDecided) return;
    const key = looks.length === 0 ? step.id : step.id + keyOfLooks(looks);
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    switch (step.type) {
      case 'fork':
        this.follow(step.first, looks, places);
        this.follow(step.second, looks, places);
        return;
      case 'mark':
        this.follow(
          step.next,
          looks,
          places.map((place, mark) => (mark === step.mark ? HERE : place)),
        );
        return;
      case 'look': {
        const steps = openIn([step.item], this.#atEnd);
        const left = outcomeOf(step.negative, steps, this.#atEnd);
        if (left === false) return;
        this.follow(step.next, left === true ? looks : [...looks, left], places);
        return;
      }
      case 'found':
        this.open.push({ step, looks, places });
        this.isDecided = looks.length === 0;
        return;
      case 'set':
        if (!this.#atEnd) this.open.push({ step, looks, places });
        return;
      case 'end':
        if (this.#atEnd) this.follow(step.next, looks, places);
        else this.open.push({ step, looks, places });
        return;
    }
  }
}

/** What is still to be seen ahead after `byte`; null when it was not as it had to be. */
function looksAfter(looks: readonly Look[], byte: number | null): readonly Look[] | null {
  const left: Look[] = [];
  for (const { negative, steps } of looks) {
    const next = steps.flatMap((step) => {
      if (step.type === 'set') return byte !== null && holds(step.bytes, byte) ? [step.next] : [];
      return step.type === 'end' && byte === null ? [step.next] : [];
    });
    const outcome = outcomeOf(negative, openIn(next, byte === null), byte === null);
    if (outcome === false) return null;
    if (outcome !== true) left.push(outcome);
  }
  return left.length === 0 ? NO_LOOKS : left;
}

/** Is it as it has to be? What is left to be seen when that can't be told yet. */
function outcomeOf(negative: boolean, steps: readonly Step[] | 'found', atEnd: boolean): boolean | Look {
  if (steps === 'found') return !negative;
  return steps.length === 0 || atEnd ? negative : { negative, steps };
}

/** The steps of a look-ahead that wait for a byte or the end, or that it has found what it looks for. */
function openIn(starts: readonly Step[], atEnd: boolean): readonly Step[] | 'found' {
  const seen = new Set<Step>();
  const open: Step[] = [];
  const waiting = [...starts];
  for (let step = waiting.pop(); step !== undefined; step = waiting.pop()) {
    if (seen.has(step)) continue;
    seen.add(step);
    if (step.type === 'found') return 'found';
    if (step.type === 'fork') waiting.push(step.first, step.second);
    else if (step.type === 'end' && atEnd) waiting.push(step.next);
    else open.push(step);
  }
  return open.sort((a, b) => a.id - b.id);
}

function foundBy({ step, looks, places }: Way): Found | null {
  return step.type === 'found' && looks.length === 0 ? { number: step.number, places } : null;
}

/** @throws TooIntricateError when all are in use. */
function unusedPlace(ways: readonly Way[]): number {
  for (let place = 0; place < MOST_PLACES; place++) {
    if (!ways.some(({ places }) => places.includes(place))) return place;
  }
  throw new TooIntricateError();
}

function keyOf({ step, looks, places }: Way): string {
  const [host, address, behind] = places;
  return `${step.id}${keyOfLooks(looks)}@${host},${address},${behind}`;
}

function keyOfLooks(looks: readonly Look[]): string {
  let key = '';
  for (const { negative, steps } of looks) key += `${negative ? '!' : '='}${steps.map(({ id }) => id).join()}`;
  return key;
}

function slotOf(row: number, low: number, high: number): number {
  const mixed = Math.imul(low ^ row, 0x9e3779b1) ^ Math.imul(high, 0x85ebca6b);
  return (Math.imul(mixed ^ (mixed >>> 15), 0xc2b2ae35) >>> (32 - BLOCK_BITS)) << 2;
}

/** Bytes that no set tells apart are of one kind. */
function kindsOf(sets: readonly ByteSet[]): { kindOf: Uint8Array; samples: readonly number[] } {
  const kindOf = new Uint8Array(CHARACTERS);
  let count = 1;
  for (const set of sets) {
    const split = new Int16Array(CHARACTERS).fill(-1);
    const members = new Int16Array(CHARACTERS);
    const sizes = new Int16Array(CHARACTERS);
    for (let byte = 0; byte < CHARACTERS; byte++) {
      const kind = kindOf[byte] ?? 0;
      sizes[kind] = (sizes[kind] ?? 0) + 1;
      if (holds(set, byte)) members[kind] = (members[kind] ?? 0) + 1;
    }
    for (let byte = 0; byte < CHARACTERS; byte++) {
      const kind = kindOf[byte] ?? 0;
      if (!holds(set, byte) || members[kind] === sizes[kind]) continue;
      if (split[kind] === -1) split[kind] = count++;
      kindOf[byte] = split[kind] ?? 0;
    }
  }
  const samples: number[] = [];
  for (let byte = CHARACTERS - 1; byte >= 0; byte--) samples[kindOf[byte] ?? 0] = byte;
  return { kindOf, samples };
}
