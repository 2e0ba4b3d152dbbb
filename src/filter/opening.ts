/**
 * The words before an address, the address, and the rules that differ only in what they want behind it: one regular
 * expression with one empty group behind each rule's part, which tells the rule that matched. It says what the rules
 * mean; most lines are read by an automaton that says the same.
 */
import type { Watch } from './brake.js';
import type { Clients } from './clients.js';
import type { Finding, Weighed } from './finding.js';
import { isPlain } from './guard.js';
import type { Line } from './line.js';
import type { Pattern } from './rule.js';
import type { Node } from './syntax.js';

/** What one line can count for at most: a log line is one line, whatever it claims to stand for. */
const MAX_TIMES = 10;

/** One of the rules that an opening joins. */
export interface Joined {
  readonly pattern: Pattern;
  readonly weighed: Weighed;
  readonly group: number;
  /** 0 for a rule that counts nothing. */
  readonly timesGroup: number;
}

export class Opening {
  readonly joined: Joined[] = [];
  readonly isPlain: boolean;
  /** Fixed text that the message begins with. */
  readonly #literal: Uint8Array;
  readonly #start: string;
  readonly #ends: string[] = [];
  /** Of a rule of the admin's own, which stands alone so that it can be switched off alone. */
  readonly #watch: Watch | null;
  readonly #hostGroup: number;
  readonly #ipGroup: number;
  #groups: number;
  #expression: RegExp | null = null;

  constructor(pattern: Pattern, weighed: Weighed, watch: Watch | null) {
    this.#watch = watch;
    this.#literal = Buffer.from(literalStart(pattern.head.node), 'latin1');
    this.#start = pattern.head.source + pattern.addressSource;
    this.isPlain = isPlain(pattern);
    const before = pattern.head.times ? 1 : 0;
    this.#hostGroup = pattern.hasHost ? before + 1 : 0;
    this.#ipGroup = before + (pattern.hasHost ? 2 : 1);
    this.#groups = this.#ipGroup;
    this.#add(pattern, weighed);
  }

  /** Adds a rule with the same words before the same kind of address; false when it has others. */
  take(pattern: Pattern, weighed: Weighed): boolean {
    if (this.isWatched || !this.isPlain || pattern.head.source + pattern.addressSource !== this.#start) return false;
    this.#add(pattern, weighed);
    return true;
  }

  get isWatched(): boolean {
    return this.#watch !== null;
  }

  get rules(): string[] {
    return this.joined.map(({ weighed }) => weighed.rule.name);
  }

  get expression(): RegExp {
    this.#expression ??= new RegExp(`${this.#start}(?:${this.#ends.join('|')})`, 'y');
    return this.#expression;
  }

  find(line: Line, start: number, end: number, clients: Clients): Finding | null {
    if (!line.startsWith(this.#literal, start, end)) return null;
    const found = this.#read(line, start, end);
    if (found === null) return null;
    for (const { weighed, group, timesGroup } of this.joined) {
      if (found[group] === undefined) continue;
      const host = this.#hostGroup === 0 ? '' : (found[this.#hostGroup] ?? '');
      const client = clients.of(host, found[this.#ipGroup] ?? '');
      return { weighed, isPlain: this.isPlain, client, times: timesGroup === 0 ? 1 : timesOf(found[timesGroup]) };
    }
    return null;
  }

  /** How many misdeeds the message counts, of which it is known that `rule`, or its only one, matches it. */
  timesIn(line: Line, start: number, end: number, rule = this.joined[0]): number {
    return rule === undefined || rule.timesGroup === 0 ? 1 : timesOf(this.#read(line, start, end)?.[rule.timesGroup]);
  }

  #add(pattern: Pattern, weighed: Weighed): void {
    const timesGroup = pattern.tail.times ? ++this.#groups : pattern.head.times ? 1 : 0;
    this.#ends.push(`${pattern.tail.source}()`);
    this.joined.push({ pattern, weighed, group: ++this.#groups, timesGroup });
    this.#expression = null;
  }

  #read(line: Line, start: number, end: number): RegExpExecArray | null {
    // `$` is the end of the message, which a wrapper around it may follow.
    const text = end === line.to ? line.text : line.text.slice(0, end - line.from);
    const { expression } = this;
    expression.lastIndex = start - line.from;
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
