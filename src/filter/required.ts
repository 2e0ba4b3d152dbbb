/** What surely stands in a message that a pattern matches: a plain `disconnect` is told from one with failed commands by a slash. */
import type { Pattern } from './rule.js';
import type { CharSet, Node } from './syntax.js';

/** What stands in few lines, the rarest first. */
const RARE = '|^~`$#"\\{}!?*%&/+,()=<>;';
const CHARACTERS = 256;

/** By the first byte of a message, a rare one that every pattern with such a begin wants to see in it, or 0. */
export function bytesByFirst(patterns: readonly Pattern[]): Uint8Array {
  const wanted = patterns.map(({ head, address, tail }) => {
    const node: Node = { type: 'sequence', items: [head.node, address.node, tail.node] };
    return { first: firstOf(node)[0], required: requiredIn(node) };
  });
  const firsts = wanted.reduce((every, { first }) => every | first, 0n);
  return Uint8Array.from({ length: CHARACTERS }, (_, code) => {
    if (!has(firsts, code)) return 0;
    const all = wanted.filter(({ first }) => has(first, code));
    const rare = [...RARE].find((char) => all.every(({ required }) => has(required, char.charCodeAt(0))));
    return rare === undefined ? 0 : rare.charCodeAt(0);
  });
}

function has(set: CharSet, code: number): boolean {
  return ((set >> BigInt(code)) & 1n) !== 0n;
}

/** Characters that surely stand in whatever the node matches. */
function requiredIn(node: Node): CharSet {
  switch (node.type) {
    case 'set':
      return (node.set & (node.set - 1n)) === 0n ? node.set : 0n;
    case 'sequence':
      return node.items.reduce((all, item) => all | requiredIn(item), 0n);
    case 'choice':
      return node.options.map(requiredIn).reduce((all, set) => all & set);
    case 'repeat':
      return node.min > 0 ? requiredIn(node.item) : 0n;
    case 'look':
      return node.negative ? 0n : requiredIn(node.item);
    default:
      return 0n;
  }
}

/** Characters that a match may begin with, and whether it may be empty. */
function firstOf(node: Node): readonly [CharSet, boolean] {
  switch (node.type) {
    case 'set':
      return [node.set, false];
    case 'sequence': {
      let all = 0n;
      for (const item of node.items) {
        const [set, nullable] = firstOf(item);
        all |= set;
        if (!nullable) return [all, false];
      }
      return [all, true];
    }
    case 'choice': {
      const options = node.options.map(firstOf);
      return [options.reduce((all, [set]) => all | set, 0n), options.some(([, nullable]) => nullable)];
    }
    case 'repeat': {
      const [set, nullable] = firstOf(node.item);
      return [set, nullable || node.min === 0];
    }
    default:
      return [0n, true];
  }
}
