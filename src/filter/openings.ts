/**
 * The rules of one program, by what their lines begin with. Whether a line can be any rule's is asked of its bytes; only
 * one that can is decoded, and read by the one regular expression that joins all rules with those opening words.
 */
import type { MatchKind } from '../domain/event.js';
import type { Watch } from './brake.js';
import { isPlain } from './guard.js';
import type { Line } from './line.js';
import type { Pattern, Rule } from './rule.js';
import type { CharSet, Node } from './syntax.js';

export interface Weighed {
  readonly rule: Rule;
  /** Null for a rule that is turned off: its lines are still its, and no other rule's. */
  readonly kind: MatchKind | null;
  readonly points: number;
}

export interface Finding {
  readonly weighed: Weighed;
  /** Is the address found by what precedes it alone? */
  readonly isPlain: boolean;
  readonly ip: string;
  readonly host: string;
  readonly times: number;
}

/** What one line can count for at most: a log line is one line, whatever it claims to stand for. */
const MAX_TIMES = 10;

export class Program {
  readonly #plain = new Openings();
  /** Those that begin with a queue id, by what follows it. */
  readonly #queued = new Openings();

  add(pattern: Pattern, weighed: Weighed, watch: Watch | null): void {
    if (pattern.queueId !== 'always') this.#plain.add(pattern, weighed, watch);
    if (pattern.queueId !== 'never') this.#queued.add(pattern, weighed, watch);
  }

  get expressions() {
    return [...this.#plain.expressions, ...this.#queued.expressions];
  }

  /** The first rule that matches the message, `bytes[start, end)` of the line's. */
  find(line: Line, start: number, end: number): Finding | null {
    const plain = this.#plain.find(line, start, end);
    if (plain !== null) return plain;
    const queued = queueIdEnd(line.bytes, start, end);
    return queued < 0 ? null : this.#queued.find(line, queued, end);
  }
}

/** Behind `QUEUEID: `, or -1. */
function queueIdEnd(bytes: Uint8Array, start: number, end: number): number {
  const limit = Math.min(end - 2, start + 26);
  let at = start;
  for (; at < limit; at++) {
    const code = bytes[at] ?? 0;
    if (!isInQueueId(code)) break;
  }
  return at - start >= 5 && bytes[at] === 58 && bytes[at + 1] === 32 ? at + 2 : -1;
}

/** Postfix's queue ids have no small vowels, so that no word such as `warning` is one. */
function isInQueueId(code: number): boolean {
  if (code < 97) return (code >= 48 && code <= 57) || (code >= 65 && code <= 90);
  return code <= 122 && code !== 97 && code !== 101 && code !== 105 && code !== 111 && code !== 117;
}

/** Rules in the order in which they are tried, neighbours with the same opening words joined. */
class Openings {
  readonly #all: Opening[] = [];
  /** By the first character. */
  readonly #byFirst: Opening[][] = Array.from({ length: 256 }, () => []);

  get expressions() {
    return this.#all.map(({ rules, expression }) => ({ rules, expression }));
  }

  add(pattern: Pattern, weighed: Weighed, watch: Watch | null): void {
    const last = this.#all.at(-1);
    if (watch === null && last?.take(pattern, weighed)) return;
    const opening = new Opening(pattern, weighed, watch);
    this.#all.push(opening);
    const first = firstOf({ type: 'sequence', items: [pattern.head.node, pattern.address.node] });
    // The lowest character is the last bit.
    for (const [fromEnd, bit] of [...first.toString(2)].reverse().entries()) {
      if (bit === '1') this.#byFirst[fromEnd]?.push(opening);
    }
  }

  find(line: Line, start: number, end: number): Finding | null {
    const openings = this.#byFirst[line.bytes[start] ?? 0];
    if (openings === undefined) return null;
    for (const opening of openings) {
      const finding = opening.find(line, start, end);
      if (finding !== null) return finding;
    }
    return null;
  }
}

/**
 * The words before an address, the address, and the rules that differ only in what they want behind it: one regular
 * expression with one empty group behind each rule's part, which tells the rule that matched.
 */
class Opening {
  /** Fixed text that the message begins with. */
  readonly #literal: Uint8Array;
  readonly #start: string;
  readonly #ends: string[] = [];
  readonly #rules: { readonly weighed: Weighed; readonly group: number; readonly timesGroup: number }[] = [];
  readonly #plain: boolean;
  /** Of a rule of the admin's own, which stands alone so that it can be switched off alone. */
  readonly #watch: Watch | null;
  readonly #hostGroup: number;
  readonly #ipGroup: number;
  #groups: number;
  /** Characters that every match has behind the address. */
  #required: CharSet = -1n;
  /** The rarest of them, or -1: a line without it needs no closer look. */
  #mark = -1;
  #expression: RegExp | null = null;

  constructor(pattern: Pattern, weighed: Weighed, watch: Watch | null) {
    this.#watch = watch;
    this.#literal = Buffer.from(literalStart(pattern.head.node), 'latin1');
    this.#start = pattern.head.source + pattern.addressSource;
    this.#plain = isPlain(pattern);
    const before = pattern.head.times ? 1 : 0;
    this.#hostGroup = pattern.hasHost ? before + 1 : 0;
    this.#ipGroup = before + (pattern.hasHost ? 2 : 1);
    this.#groups = this.#ipGroup;
    this.#add(pattern, weighed);
  }

  /** Adds a rule with the same words before the same kind of address; false when it has others. */
  take(pattern: Pattern, weighed: Weighed): boolean {
    if (this.#watch !== null || !this.#plain || pattern.head.source + pattern.addressSource !== this.#start)
      return false;
    this.#add(pattern, weighed);
    return true;
  }

  #add(pattern: Pattern, weighed: Weighed): void {
    const timesGroup = pattern.tail.times ? ++this.#groups : pattern.head.times ? 1 : 0;
    this.#ends.push(`${pattern.tail.source}()`);
    this.#rules.push({ weighed, group: ++this.#groups, timesGroup });
    this.#required &= requiredIn(pattern.tail.node);
    this.#mark =
      [...RARE].map((char) => char.charCodeAt(0)).find((code) => (this.#required >> BigInt(code)) & 1n) ?? -1;
    this.#expression = null;
  }

  get rules(): string[] {
    return this.#rules.map(({ weighed }) => weighed.rule.name);
  }

  get expression(): RegExp {
    this.#expression ??= new RegExp(`${this.#start}(?:${this.#ends.join('|')})`, 'y');
    return this.#expression;
  }

  find(line: Line, start: number, end: number): Finding | null {
    if (!line.startsWith(this.#literal, start, end)) return null;
    if (this.#mark >= 0 && !line.has(this.#mark, start + this.#literal.length, end)) return null;
    // `$` is the end of the message, which a wrapper around it may follow.
    const found = this.#read(end === line.to ? line.text : line.text.slice(0, end - line.from), start - line.from);
    if (found === null) return null;
    for (const { weighed, group, timesGroup } of this.#rules) {
      if (found[group] === undefined) continue;
      const host = this.#hostGroup === 0 ? '' : (found[this.#hostGroup] ?? '');
      return {
        weighed,
        isPlain: this.#plain,
        ip: found[this.#ipGroup] ?? '',
        host,
        times: timesGroup === 0 ? 1 : timesOf(found[timesGroup]),
      };
    }
    return null;
  }

  #read(text: string, from: number): RegExpExecArray | null {
    const { expression } = this;
    expression.lastIndex = from;
    if (this.#watch === null) return expression.exec(text);
    if (this.#watch.isOff) return null;
    this.#watch.begin();
    const found = expression.exec(text);
    this.#watch.end();
    return found;
  }
}

function timesOf(counted: string | undefined): number {
  const times = Number(counted ?? 1);
  return times >= 1 ? Math.min(times, MAX_TIMES) : 1;
}

function literalStart(node: Node): string {
  let literal = '';
  for (const item of node.type === 'sequence' ? node.items : [node]) {
    if (item.type !== 'set' || (item.set & (item.set - 1n)) !== 0n) break;
    literal += String.fromCharCode(item.set.toString(2).length - 1);
  }
  return literal;
}

/** What stands in few lines, the rarest first. */
const RARE = '|^~`$#"\\{}!?*%&/+,()=<>;';

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

/** Characters that a match may begin with. */
function firstOf(node: Node): bigint {
  const [set] = firstAndNullable(node);
  return set;
}

function firstAndNullable(node: Node): readonly [bigint, boolean] {
  switch (node.type) {
    case 'set':
      return [node.set, false];
    case 'sequence': {
      let all = 0n;
      for (const item of node.items) {
        const [set, nullable] = firstAndNullable(item);
        all |= set;
        if (!nullable) return [all, false];
      }
      return [all, true];
    }
    case 'choice': {
      const options = node.options.map(firstAndNullable);
      return [options.reduce((all, [set]) => all | set, 0n), options.some(([, nullable]) => nullable)];
    }
    case 'repeat': {
      const [set, nullable] = firstAndNullable(node.item);
      return [set, nullable || node.min === 0];
    }
    default:
      return [0n, true];
  }
}
