/**
 * Patterns as steps, each leading to the next: what a regular expression does, laid out so that all ways through it
 * can be followed at once. A fork's first way is the one that the expression would try first.
 */
import type { CharSet, Node } from './syntax.js';

export type Step = { readonly id: number } & (
  | { readonly type: 'set'; readonly bytes: ByteSet; readonly next: Step }
  | { readonly type: 'fork'; first: Step; second: Step }
  | { readonly type: 'end'; readonly next: Step }
  | { readonly type: 'look'; readonly negative: boolean; readonly item: Step; readonly next: Step }
  /** The place of the host, of the address, or behind the address. */
  | { readonly type: 'mark'; readonly mark: Mark; readonly next: Step }
  /** All of the pattern was found; of a look-ahead, which has no number, all of that. */
  | { readonly type: 'found'; readonly number: number }
);

/** The same as a `CharSet`: a bit for each byte, 32 to a number. */
export type ByteSet = Int32Array;

export function holds(bytes: ByteSet, byte: number): boolean {
  return (((bytes[byte >> 5] ?? 0) >>> (byte & 31)) & 1) === 1;
}

export type Mark = 0 | 1 | 2;
export const HOST: Mark = 0;
export const ADDRESS: Mark = 1;
export const BEHIND: Mark = 2;

/** What can't be laid out, or would be too large: it is left to the regular expression. */
export class TooIntricateError extends Error {}

const MOST_STEPS = 50_000;

/** Builds steps from the last to the first. */
export class Steps {
  readonly #sets = new Map<CharSet, ByteSet>();
  #count = 0;

  found(number: number): Step {
    return { id: this.#id(), type: 'found', number };
  }

  mark(mark: Mark, next: Step): Step {
    return { id: this.#id(), type: 'mark', mark, next };
  }

  set(set: CharSet, next: Step): Step {
    let bytes = this.#sets.get(set);
    if (bytes === undefined) {
      bytes = new Int32Array(8);
      let rest = set;
      for (let i = 0; rest !== 0n; rest >>= 32n) bytes[i++] = Number(BigInt.asIntN(32, rest));
      this.#sets.set(set, bytes);
    }
    return { id: this.#id(), type: 'set', bytes, next };
  }

  /** All sets of bytes that are told apart. */
  get sets(): readonly ByteSet[] {
    return [...this.#sets.values()];
  }

  /** The ways in the order in which they are tried; there must be one. */
  fork([first, ...others]: readonly Step[]): Step {
    if (first === undefined) throw new RangeError('a fork without ways');
    return others.length === 0 ? first : { id: this.#id(), type: 'fork', first, second: this.fork(others) };
  }

  /** @throws TooIntricateError */
  of(node: Node, next: Step): Step {
    switch (node.type) {
      case 'set':
        return this.set(node.set, next);
      case 'sequence':
        return node.items.reduceRight((behind, item) => this.of(item, behind), next);
      case 'choice':
        return this.fork(node.options.map((option) => this.of(option, next)));
      case 'repeat':
        return this.#repeat(node, next);
      case 'look': {
        if (holdsLook(node.item)) throw new TooIntricateError();
        return {
          id: this.#id(),
          type: 'look',
          negative: node.negative,
          item: this.of(node.item, this.found(-1)),
          next,
        };
      }
      case 'end':
        return { id: this.#id(), type: 'end', next };
      case 'boundary':
        throw new TooIntricateError();
    }
  }

  #repeat({ item, min, max, lazy }: Extract<Node, { type: 'repeat' }>, next: Step): Step {
    // What JavaScript does with a turn that takes nothing is a story of its own.
    if (canBeEmpty(item)) throw new TooIntricateError();
    const ways = (again: Step): Step => this.fork(lazy ? [next, again] : [again, next]);
    let step = next;
    if (max === Number.POSITIVE_INFINITY) {
      const loop = { id: this.#id(), type: 'fork' as const, first: next, second: next };
      const again = this.of(item, loop);
      if (lazy) loop.second = again;
      else loop.first = again;
      step = loop;
    } else {
      for (let turn = min; turn < max; turn++) step = ways(this.of(item, step));
    }
    for (let turn = 0; turn < min; turn++) step = this.of(item, step);
    return step;
  }

  #id(): number {
    if (this.#count >= MOST_STEPS) throw new TooIntricateError();
    return this.#count++;
  }
}

function canBeEmpty(node: Node): boolean {
  switch (node.type) {
    case 'set':
      return false;
    case 'sequence':
      return node.items.every(canBeEmpty);
    case 'choice':
      return node.options.some(canBeEmpty);
    case 'repeat':
      return node.min === 0 || canBeEmpty(node.item);
    default:
      return true;
  }
}

function holdsLook(node: Node): boolean {
  switch (node.type) {
    case 'look':
      return true;
    case 'sequence':
      return node.items.some(holdsLook);
    case 'choice':
      return node.options.some(holdsLook);
    case 'repeat':
      return holdsLook(node.item);
    default:
      return false;
  }
}
