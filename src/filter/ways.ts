/** All ways through the patterns that are still open after some bytes, in the order in which they are tried. */
import { MOST_PLACES } from './scanner/layout.js';
import { holds, type Step, TooIntricateError } from './steps.js';

/** One way that is still open. */
export interface Way {
  readonly step: Extract<Step, { type: 'set' | 'end' | 'found' }>;
  /** What lies ahead must still turn out to be there, or not to be. */
  readonly looks: readonly Look[];
  /** By mark, the number of the place where it was passed. */
  readonly places: readonly number[];
}

export interface Look {
  readonly negative: boolean;
  readonly steps: readonly Step[];
}

/** A rule, and where what it wants to know was passed. */
export interface Found {
  readonly number: number;
  readonly places: readonly number[];
}

const NOT_PASSED = -1;
/** Passed at the present place, which has no number yet. */
const HERE = -2;
const NOWHERE: readonly number[] = [NOT_PASSED, NOT_PASSED, NOT_PASSED];
const NO_LOOKS: readonly Look[] = [];

/** Where a byte leads. */
export interface Turn {
  /** The number of the place that is to be written down, or -1. */
  readonly place: number;
  /** None when it is decided. */
  readonly ways: readonly Way[];
  readonly found: Found | null;
}

export function begin(first: Step): Turn {
  const ways = new Ways(false);
  ways.follow(first, NO_LOOKS, NOWHERE);
  return turnTo(ways.open);
}

/** @throws TooIntricateError */
export function turn(ways: readonly Way[], byte: number): Turn {
  return turnTo(advance(ways, byte));
}

export function end(ways: readonly Way[]): Turn {
  const [first] = advance(ways, null);
  return { place: -1, ways: [], found: first === undefined ? null : foundBy(first) };
}

/** Ways with the same key lead to the same. */
export function keyOf(ways: readonly Way[]): string {
  let key = '';
  for (const way of ways) key += keyOfWay(way);
  return key;
}

function turnTo(open: readonly Way[]): Turn {
  const place = open.some(({ places }) => places.includes(HERE)) ? unusedPlace(open) : -1;
  const ways =
    place < 0 ? open : open.map((way) => ({ ...way, places: way.places.map((at) => (at === HERE ? place : at)) }));
  const [first] = ways;
  const found = first === undefined ? null : foundBy(first);
  return found === null ? { place, ways, found } : { place, ways: [], found };
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

/** Two characters, and what tells the looks, if there are any, up to a space. */
function keyOfWay({ step, looks, places }: Way): string {
  let passed = 0;
  for (const place of places) passed = passed * (MOST_PLACES + 1) + place + 1;
  if (looks.length === 0) return String.fromCharCode(step.id, passed);
  return `${String.fromCharCode(step.id, passed + LOOKS)}${keyOfLooks(looks)} `;
}

/** Above all that places come to. */
const LOOKS = (MOST_PLACES + 1) ** 3;

function keyOfLooks(looks: readonly Look[]): string {
  let key = '';
  for (const { negative, steps } of looks) key += `${negative ? '!' : '='}${steps.map(({ id }) => id).join()}`;
  return key;
}
