/**
 * What makes a pattern unsafe: an address that an attacker's text could supply, or a time to match that grows faster
 * than the line. Both are decided on the pattern's position automaton (Glushkov), not by trying lines.
 */
import type { Pattern } from './rule.js';
import { type CharSet, charOf, DIGITS, type Node, type Parsed, PatternError, WORD } from './syntax.js';

/** @throws PatternError with the reason, as the end of a sentence about the pattern. */
export function guard(pattern: Pattern): void {
  guardAddress(pattern);
  guardTime({ type: 'sequence', items: [pattern.head.node, pattern.address.node, pattern.tail.node] });
}

/* Whose address is it? */

/**
 * Either nothing before the address can be a client's text: everything variable is a plain word, in no kind of quotes.
 * Or the place is unmistakable: the pattern reaches to the end of the line, and nothing in it, before or behind, can
 * swallow another address that stands behind the same words. A line with two such places then matches nothing.
 */
function guardAddress(pattern: Pattern): void {
  const doubt = wordDoubt(pattern.head.node);
  if (doubt === null) return;
  if (!endsWithEnd(pattern.tail.node)) {
    throw new PatternError(
      `${doubt}, and an attacker's text there could name another's address; write fixed words, or classes of letters, digits, "_", "." and "-", or anchor the end of the line with "$"`,
    );
  }
  const leadIn = trailingLiteral(pattern.head.node);
  const second = [...leadIn, pattern.hasHost ? CLIENT_STARTS : ADDRESS_STARTS];
  if (leadIn.length === 0 || [pattern.head, pattern.tail].some((part) => canSwallow(part, second))) {
    throw new PatternError(
      `${doubt}, and a second address behind the same words could be taken for the true one; exclude the character before the address from the variable parts`,
    );
  }
}

const PLAIN: CharSet = WORD | charOf('.') | charOf('-') | charOf('+') | charOf('/');
/** What a client's text often stands behind, and what ends it. */
const FIELDS: readonly (readonly [opening: CharSet, closing: CharSet])[] = [
  [charOf('<'), charOf('>')],
  [charOf('('), charOf(')')],
  [charOf('{'), charOf('}')],
  [charOf('"'), charOf('"')],
  [charOf("'"), charOf("'")],
  [charOf('`'), charOf("'")],
  [charOf('='), charOf(' ') | charOf(',') | charOf(';')],
];
const OPENINGS: CharSet = FIELDS.reduce((set, [opening]) => set | opening, 0n);
const ADDRESS_STARTS: CharSet = [...'0123456789abcdefABCDEF:'].reduce((set, char) => set | charOf(char), 0n);
const CLIENT_STARTS: CharSet = WORD | charOf('.') | charOf('-') | charOf('[');

/** Why the words before the address may hold a client's text; null when they can't. */
function wordDoubt(node: Node): string | null {
  let doubt: string | null = null;
  /** Openings of fields that are not closed yet. */
  let open: CharSet = 0n;
  const visit = (part: Node, variable: boolean): void => {
    switch (part.type) {
      case 'set': {
        const isFixed = isSingle(part.set);
        const free = variable || !isFixed;
        if (free && (part.set & ~PLAIN) !== 0n)
          doubt ??= `lets a variable part before the address match ${show(part.set & ~PLAIN)}`;
        else if (free && (part.set & ~DIGITS) !== 0n && open !== 0n) {
          doubt ??= `has a variable part behind ${show(open)}, where a client's text may stand, before the address`;
        }
        if (isFixed) open = fieldsBehind(open, part.set);
        return;
      }
      case 'sequence':
        for (const item of part.items) visit(item, variable);
        return;
      case 'choice': {
        const before = open;
        let after: CharSet = 0n;
        for (const option of part.options) {
          open = before;
          // Fixed words to choose from are as fixed as one word.
          visit(option, variable);
          after |= open;
        }
        open = after;
        return;
      }
      case 'repeat': {
        const before = open;
        const optionalWord = part.min === 0 && part.max === 1;
        visit(part.item, variable || !(optionalWord || part.min === part.max));
        open |= before;
      }
    }
  };
  visit(node, false);
  return doubt;
}

function fieldsBehind(open: CharSet, char: CharSet): CharSet {
  if (open === 0n && (char & OPENINGS) === 0n) return open;
  let still = open;
  for (const [opening, closing] of FIELDS) {
    const isOpen = (open & opening) !== 0n;
    if (isOpen && (closing & char) !== 0n) still &= ~opening;
    else if (opening === char) still |= opening;
  }
  return still;
}

function endsWithEnd(node: Node): boolean {
  return node.type === 'end' || (node.type === 'sequence' && node.items.at(-1)?.type === 'end');
}

function trailingLiteral(node: Node): CharSet[] {
  const literal: CharSet[] = [];
  const items = node.type === 'sequence' ? node.items : [node];
  for (const item of items.toReversed()) {
    if (item.type !== 'set' || !isSingle(item.set)) break;
    literal.unshift(item.set);
  }
  return literal;
}

/** Can a match of `part` hold these characters in a row? */
function canSwallow(part: Parsed, chars: readonly CharSet[]): boolean {
  const { positions } = automaton(part.node);
  let reached = new Set(positions.keys());
  for (const [place, char] of chars.entries()) {
    const matched = [...reached].flatMap((index) => positions[index] ?? []).filter(({ set }) => (set & char) !== 0n);
    if (matched.length === 0) return false;
    if (place < chars.length - 1) reached = new Set(matched.flatMap(({ follow }) => [...follow]));
  }
  return true;
}

/* How long may it take? */

/**
 * A backtracking matcher takes more than linear time only where one text can be read in many ways: where a loop can
 * be read in two ways (exponential), or the border between two loops can lie anywhere (polynomial). Weber and Seidl,
 * On the degree of ambiguity of finite automata, TCS 88 (1991).
 */
function guardTime(node: Node): void {
  if (hasRepeatedLook(node)) throw new PatternError('looks ahead inside of a repetition, each time anew');
  for (const look of looksIn(node)) guardTime(look);
  guardBounded(node);
  const { positions, loops } = automaton(node);
  for (const loop of loops) {
    if (loop.size > 1 && hasTwoReadings(positions, Math.min(...loop), loop)) {
      throw new PatternError('repeats a part that can match the same text in two ways');
    }
  }
  const chars = loops.map((loop) => charsOf(positions, loop));
  for (const [i, first] of loops.entries()) {
    for (const [j, second] of loops.entries()) {
      if (j <= i || ((chars[i] ?? 0n) & (chars[j] ?? 0n)) === 0n || !hasFloatingBorder(positions, first, second))
        continue;
      throw new PatternError(
        `has two repeated parts that can match the same text (${show(chars[i] ?? 0n)} and ${show(chars[j] ?? 0n)}), so that a long line could take very long`,
      );
    }
  }
}

/**
 * A repetition with a bound does not grow with the line, but several that can match the same text multiply:
 * `a?a?a?…` doubles with each part.
 */
function guardBounded(node: Node): void {
  const { positions, loops, ambiguous, ways } = automaton(node, true);
  const most = loops.reduce((product, loop) => product * (ways.get(loop) ?? NO_WAYS).all, 1);
  if (most <= MAX_WAYS) return;
  const chars = loops.map((loop) => charsOf(positions, loop));
  let together = 1;
  for (const [i, loop] of loops.entries()) {
    const { ends, all } = ways.get(loop) ?? NO_WAYS;
    if (all === 1) continue;
    if (ambiguous.has(loop) || (loop.size > 1 && hasTwoReadings(positions, Math.min(...loop), loop))) together *= all;
    else {
      const shares = loops.some(
        (other, j) =>
          j !== i &&
          ((chars[i] ?? 0n) & (chars[j] ?? 0n)) !== 0n &&
          (j < i ? hasFloatingBorder(positions, other, loop) : hasFloatingBorder(positions, loop, other)),
      );
      if (shares) together *= ends;
    }
  }
  if (together > MAX_WAYS)
    throw new PatternError('has repeated or optional parts that can match the same text in too many ways');
}

interface Ways {
  /** How many repetitions it may end behind. */
  readonly ends: number;
  /** All ways to take it and what is in it. */
  readonly all: number;
}

const NO_WAYS: Ways = { ends: 1, all: 1 };

/** Steps for each character that nobody notices. */
const MAX_WAYS = 500;

/** In how many ways can its repetitions be taken? Endless ones count as one. */
function waysOf(node: Node): number {
  switch (node.type) {
    case 'sequence':
      return node.items.reduce((product, item) => product * waysOf(item), 1);
    case 'choice':
      return node.options.reduce((sum, option) => sum + waysOf(option), 0);
    case 'repeat': {
      if (node.max - node.min >= MANY) return 1;
      const each = waysOf(node.item);
      let sum = 0;
      for (let times = node.min; times <= node.max && sum <= MAX_WAYS; times++) sum += each ** times;
      return sum;
    }
    default:
      return 1;
  }
}

function hasRepeatedLook(node: Node): boolean {
  switch (node.type) {
    case 'look':
      return hasRepeatedLook(node.item);
    case 'sequence':
      return node.items.some(hasRepeatedLook);
    case 'choice':
      return node.options.some(hasRepeatedLook);
    case 'repeat':
      return node.max > 1 ? looksIn(node.item).length > 0 : hasRepeatedLook(node.item);
    default:
      return false;
  }
}

interface Automaton {
  readonly positions: readonly Position[];
  /** Positions that can reach each other, loop by loop, in the order of the pattern. */
  readonly loops: readonly ReadonlySet<number>[];
  /** Those that repeat a part which can match nothing, or which is a repetition itself. */
  readonly ambiguous: ReadonlySet<ReadonlySet<number>>;
  /** In how many ways a loop that has a bound can be taken. */
  readonly ways: ReadonlyMap<ReadonlySet<number>, Ways>;
}

interface Position {
  readonly set: CharSet;
  readonly follow: Set<number>;
}

interface Fragment {
  readonly nullable: boolean;
  readonly first: readonly number[];
  readonly last: readonly number[];
}

/** From here on a bounded repetition is treated as if it had no bound. */
const MANY = 10;

/** @param lenient Every repetition is a loop, and none is refused. */
function automaton(root: Node, lenient = false): Automaton {
  const positions: Position[] = [];
  const ambiguous = new Set<ReadonlySet<number>>();
  const ways = new Map<ReadonlySet<number>, Ways>();
  let loops: Set<number>[] = [];
  const join = (from: readonly number[], to: readonly number[]): boolean => {
    let twice = false;
    for (const index of from) {
      const follow = positions[index]?.follow;
      for (const next of to) {
        if (follow?.has(next)) twice = true;
        follow?.add(next);
      }
    }
    return twice;
  };
  const sequence = (parts: readonly Fragment[]): Fragment => {
    let all: Fragment = { nullable: true, first: [], last: [] };
    for (const part of parts) {
      join(all.last, part.first);
      all = {
        nullable: all.nullable && part.nullable,
        first: all.nullable ? [...all.first, ...part.first] : all.first,
        last: part.nullable ? [...all.last, ...part.last] : part.last,
      };
    }
    return all;
  };
  const build = (node: Node): Fragment => {
    switch (node.type) {
      case 'set': {
        positions.push({ set: node.set, follow: new Set() });
        return { nullable: false, first: [positions.length - 1], last: [positions.length - 1] };
      }
      case 'sequence':
        return sequence(node.items.map(build));
      case 'choice': {
        const options = node.options.map(build);
        return {
          nullable: options.some((option) => option.nullable),
          first: options.flatMap((option) => option.first),
          last: options.flatMap((option) => option.last),
        };
      }
      case 'repeat': {
        if (node.max - node.min >= MANY) return endless(node.item, node.min, NO_WAYS);
        if (lenient && node.max > 0) {
          return endless(node.item, node.min, { ends: node.max - node.min + 1, all: waysOf(node) });
        }
        return counted(node.item, node.min, node.max);
      }
      case 'look':
        // It is tried wherever the pattern gets to, and nothing follows it.
        return { nullable: true, first: build(node.item).first, last: [] };
      default:
        return { nullable: true, first: [], last: [] };
    }
  };
  const endless = (item: Node, min: number, inWays: Ways): Fragment => {
    const start = positions.length;
    const part = build(item);
    const loop = new Set([...positions.keys()].slice(start));
    loops = [...loops.filter((inner) => !isWithin(inner, loop)), loop];
    ways.set(loop, inWays);
    const nests = join(part.last, part.first);
    if (lenient && (part.nullable || nests)) ambiguous.add(loop);
    else if (part.nullable) throw new PatternError('repeats a part that can match nothing');
    else if (nests) throw new PatternError('nests one repetition directly in another');
    return { ...part, nullable: min === 0 };
  };
  const counted = (item: Node, min: number, max: number): Fragment => {
    if (max > 1_000) throw new PatternError('repeats a part more than 1,000 times');
    const copies = Array.from({ length: Math.min(max, MANY * 4) }, () => build(item));
    return sequence(copies.map((copy, index) => (index < min ? copy : { ...copy, nullable: true })));
  };
  build(root);
  return { positions, loops, ambiguous, ways };
}

function isWithin(inner: ReadonlySet<number>, outer: ReadonlySet<number>): boolean {
  for (const index of inner) return outer.has(index);
  return true;
}

function looksIn(node: Node): Node[] {
  switch (node.type) {
    case 'look':
      return [node.item];
    case 'sequence':
      return node.items.flatMap(looksIn);
    case 'choice':
      return node.options.flatMap(looksIn);
    case 'repeat':
      return looksIn(node.item);
    default:
      return [];
  }
}

/** Walks several positions in step over one common text; true when `goal` is reached after at least one character. */
function walk(
  positions: readonly Position[],
  start: readonly number[],
  within: readonly (ReadonlySet<number> | null)[],
  goal: (tuple: readonly number[]) => boolean,
): boolean {
  const seen = new Set<string>();
  const open: (readonly number[])[] = [start];
  for (let tuple = open.pop(); tuple !== undefined; tuple = open.pop()) {
    let steps: { tuple: number[]; common: CharSet }[] = [{ tuple: [], common: -1n }];
    for (const [place, index] of tuple.entries()) {
      const allowed = within[place] ?? null;
      const followers = [...(positions[index]?.follow ?? [])].filter((next) => allowed === null || allowed.has(next));
      steps = steps.flatMap((step) =>
        followers.map((next) => ({ tuple: [...step.tuple, next], common: step.common & (positions[next]?.set ?? 0n) })),
      );
      steps = steps.filter((step) => step.common !== 0n);
    }
    for (const step of steps) {
      if (goal(step.tuple)) return true;
      const key = step.tuple.join(',');
      if (seen.has(key)) continue;
      seen.add(key);
      open.push(step.tuple);
    }
  }
  return false;
}

function hasTwoReadings(positions: readonly Position[], index: number, loop: ReadonlySet<number>): boolean {
  const apart: (readonly number[])[] = [];
  walk(positions, [index, index], [loop, loop], (tuple) => {
    if (tuple[0] !== tuple[1]) apart.push(tuple);
    return false;
  });
  return apart.some((pair) => walk(positions, pair, [loop, loop], ([a, b]) => a === index && b === index));
}

function hasFloatingBorder(
  positions: readonly Position[],
  firstLoop: ReadonlySet<number>,
  secondLoop: ReadonlySet<number>,
): boolean {
  for (const p of firstLoop) {
    for (const q of secondLoop) {
      if (walk(positions, [p, p, q], [firstLoop, null, secondLoop], ([a, b, c]) => a === p && b === q && c === q))
        return true;
    }
  }
  return false;
}

function isSingle(set: CharSet): boolean {
  return set !== 0n && (set & (set - 1n)) === 0n;
}

function charsOf(positions: readonly Position[], loop: ReadonlySet<number>): CharSet {
  let chars = 0n;
  for (const index of loop) chars |= positions[index]?.set ?? 0n;
  return chars;
}

/** Up to three characters of the set, quoted. */
function show(set: CharSet): string {
  const chars: string[] = [];
  for (const code of SHOWN_FIRST) if ((set >> BigInt(code)) & 1n) chars.push(String.fromCharCode(code));
  for (let code = 33; code < 127 && chars.length < 4; code++) {
    const char = String.fromCharCode(code);
    if ((set >> BigInt(code)) & 1n && !chars.includes(char)) chars.push(char);
  }
  if (chars.length === 0) return 'characters that are not printable';
  return (
    chars
      .slice(0, 3)
      .map((char) => `"${char}"`)
      .join(', ') + (chars.length > 3 ? ', …' : '')
  );
}

const SHOWN_FIRST = [91, 60, 58, 32];

/** Does nothing before the address leave room for a client's text? Then the address is found by what precedes it alone. */
export function isPlain(pattern: Pattern): boolean {
  return wordDoubt(pattern.head.node) === null;
}
