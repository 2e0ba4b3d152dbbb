/**
 * Log lines to matches. A line is read from the left once: header, then the words before the address, which many rules
 * share, then the address, then what each rule wants behind it. A line of a program or with words that no rule knows
 * is dropped on the way, before anything is allocated.
 */
import { parseAddress } from '../domain/address.js';
import { UsageError } from '../domain/errors.js';
import type { Match } from '../domain/event.js';
import type { LineClock } from './clock.js';
import { isPlain } from './guard.js';
import { LineHeader } from './header.js';
import { nearest } from './nearest.js';
import { type Pattern, parseRulePattern, type Rule } from './rule.js';
import type { Node } from './syntax.js';

export interface FilterOptions {
  /** Points by rule name, over those of the rule files; 0 turns a rule off. */
  readonly points?: Readonly<Record<string, number>>;
  /** Postfix's reply to a banned client, with `{until}`: what `{reply}` in a pattern stands for. */
  readonly reply?: string;
}

/** What one line can count for at most: a log line is one line, whatever it claims to stand for. */
const MAX_TIMES = 10;
const MAX_REPEATED = 100;
const DEFAULT_REPLY = 'Blocked until {until}';

export class Filter {
  readonly rules: readonly Rule[];
  /** By program as rules name it. */
  readonly #programs: ReadonlyMap<string, Program>;
  /** By tag as logged; tags that no rule reads are null. Bounded, since anybody on the host may log under any tag. */
  readonly #tags = new Map<string, Program | null>();
  readonly #header = new LineHeader();

  private constructor(rules: readonly Rule[], programs: ReadonlyMap<string, Program>) {
    this.rules = rules;
    this.#programs = programs;
  }

  /** @throws UsageError when `options.points` names a rule that there is not. */
  static compile(rules: readonly Rule[], options: FilterOptions = {}): Filter {
    const points = options.points ?? {};
    const names = rules.map((rule) => rule.name);
    for (const name of Object.keys(points)) {
      if (names.includes(name)) continue;
      const near = nearest(name, names).map((other) => `"${other}"`);
      throw new UsageError(`[points] "${name}": there is no such rule${near.length > 0 ? `; did you mean ${near.join(' or ')}?` : ''}`);
    }
    const programs = new Map<string, Program>();
    for (const rule of rules) {
      const weighed = weigh(rule, points[rule.name]);
      const pattern = parseRulePattern(rule.pattern, options.reply ?? DEFAULT_REPLY);
      for (const name of rule.program) {
        let program = programs.get(name);
        if (program === undefined) programs.set(name, (program = new Program()));
        program.add(pattern, weighed);
      }
    }
    return new Filter(rules, programs);
  }

  /**
   * Calls `onMatch` for each line of `text` that a rule matches, in order.
   * @param text Whole lines, bytes as latin-1.
   * @returns The number of lines.
   */
  scan(text: string, clock: LineClock, onMatch: (match: Match) => void): number {
    let lines = 0;
    for (let from = 0; from < text.length; lines++) {
      let to = text.indexOf('\n', from);
      if (to < 0) to = text.length;
      const match = this.#match(text, from, to, clock);
      if (match !== null) onMatch(match);
      from = to + 1;
    }
    return lines;
  }

  match(line: string, clock: LineClock): Match | null {
    const end = line.indexOf('\n');
    return this.#match(line, 0, end < 0 ? line.length : end, clock);
  }

  #match(text: string, from: number, lineEnd: number, clock: LineClock): Match | null {
    const to = text.charCodeAt(lineEnd - 1) === 13 ? lineEnd - 1 : lineEnd;
    const header = this.#header;
    if (!header.read(text, from, to)) return null;
    const program = this.#program(text.slice(header.programStart, header.programEnd));
    if (program === null) return null;

    let start = header.messageStart;
    let end = to;
    let repeated = 1;
    if (text.charCodeAt(start) === 109 && text.startsWith(REPEATED, start)) {
      const wrapper = REPEATED_MESSAGE.exec(text.slice(start, to));
      if (wrapper === null) return null;
      repeated = Math.min(Number(wrapper[2]), MAX_REPEATED);
      start += (wrapper[1] ?? '').length;
      end -= (wrapper[4] ?? '').length;
    }
    const finding = program.find(text, from, start, end);
    if (finding === null) return null;
    const { rule } = finding.weighed;
    const { kind } = finding.weighed;
    if (kind === null) return null;
    const ip = parseAddress(finding.ip);
    if (ip === null) return null;
    const at = clock.parse(text, header.stampStart, header.stampEnd);
    if (Number.isNaN(at)) return null;
    return {
      kind,
      rule: rule.name,
      ip: own(ip),
      at,
      host: finding.host === '' || finding.host === 'unknown' ? null : own(finding.host).toLowerCase(),
      points: finding.times * repeated === 1 ? finding.weighed.points : rounded(finding.weighed.points * finding.times * repeated),
      line: own(text.slice(from, to)),
      process: own(text.slice(header.programStart, header.processEnd)),
      echo: rule.echo,
      closes: rule.closes,
    };
  }

  #program(tag: string): Program | null {
    const known = this.#tags.get(tag);
    if (known !== undefined) return known;
    const program = this.#programs.get(tag) ?? this.#programs.get(canonicalTag(tag)) ?? null;
    if (this.#tags.size >= MAX_TAGS) this.#tags.clear();
    this.#tags.set(own(tag), program);
    return program;
  }
}

const MAX_TAGS = 1_000;
const REPEATED = 'message repeated ';
const REPEATED_MESSAGE = /^(message repeated (\d{1,9}) times: \[ ?)(.*?)( ?\])$/;

/** `postfix/smtpd` for that daemon under any service name (`postfix/submission/smtpd`) or instance (`postfix-in/smtpd`). */
function canonicalTag(tag: string): string {
  return tag.replace(/^postfix[\w.-]*\/(?:[\w.-]+\/)*/, 'postfix/');
}

interface Weighed {
  readonly rule: Rule;
  /** Null for a rule that is turned off: its lines are still its, and no other rule's. */
  readonly kind: Match['kind'] | null;
  readonly points: number;
}

function weigh(rule: Rule, override: number | undefined): Weighed {
  const points = override ?? rule.points;
  const off = points === 0 && (override === 0 || rule.kind === 'offense');
  return { rule, kind: off ? (rule.closes ? 'closed' : null) : rule.kind, points };
}

interface Finding {
  readonly weighed: Weighed;
  readonly ip: string;
  readonly host: string;
  readonly times: number;
}

/** The rules of one program, by what their lines begin with. */
class Program {
  readonly #plain = new Openings();
  /** Those that begin with a queue id, by what follows it. */
  readonly #queued = new Openings();

  add(pattern: Pattern, weighed: Weighed): void {
    (pattern.queued ? this.#queued : this.#plain).add(pattern, weighed);
  }

  /** The first rule that matches the message `text[start, end)` of the line that begins at `from`. */
  find(text: string, from: number, start: number, end: number): Finding | null {
    const queued = queueIdEnd(text, start, end);
    const plain = this.#plain.find(text, from, start, end);
    return plain ?? (queued < 0 ? null : this.#queued.find(text, from, queued, end));
  }
}

/** Behind `QUEUEID: `, or -1. */
function queueIdEnd(text: string, start: number, end: number): number {
  const limit = Math.min(end - 2, start + 26);
  let at = start;
  for (; at < limit; at++) {
    const code = text.charCodeAt(at);
    if (!((code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122))) break;
  }
  return at - start >= 5 && text.charCodeAt(at) === 58 && text.charCodeAt(at + 1) === 32 ? at + 2 : -1;
}

/** Rules in the order in which they are tried, neighbours with the same opening words joined. */
class Openings {
  readonly #all: Opening[] = [];
  /** By the first character. */
  readonly #byFirst: Opening[][] = Array.from({ length: 256 }, () => []);

  add(pattern: Pattern, weighed: Weighed): void {
    const last = this.#all.at(-1);
    if (last?.take(pattern, weighed)) return;
    const opening = new Opening(pattern, weighed);
    this.#all.push(opening);
    const first = firstOf({ type: 'sequence', items: [pattern.head.node, pattern.address.node] });
    for (const [code, openings] of this.#byFirst.entries()) if ((first >> BigInt(code)) & 1n) openings.push(opening);
  }

  find(text: string, from: number, start: number, end: number): Finding | null {
    const openings = this.#byFirst[text.charCodeAt(start) & 255];
    if (openings === undefined) return null;
    for (const opening of openings) {
      if (!text.startsWith(opening.literal, start)) continue;
      const finding = opening.find(text.slice(from, end), start - from);
      if (finding !== null) return finding;
    }
    return null;
  }
}

/** The words before an address, the address, and the rules that differ only in what they want behind it. */
class Opening {
  /** Fixed text that the message begins with. */
  readonly literal: string;
  readonly #source: string;
  readonly #plain: boolean;
  readonly #expression: RegExp;
  readonly #timesGroup: number;
  readonly #hostGroup: number;
  readonly #ipGroup: number;
  readonly #tails: { readonly expression: RegExp | null; readonly times: boolean; readonly weighed: Weighed }[] = [];

  constructor(pattern: Pattern, weighed: Weighed) {
    this.literal = literalStart(pattern.head.node);
    this.#source = pattern.head.source + pattern.addressSource;
    this.#plain = isPlain(pattern);
    // With free text before it, an address is the right one only together with all that stands behind it.
    this.#expression = new RegExp(this.#plain ? this.#source : this.#source + pattern.tail.source, 'y');
    const before = pattern.head.times ? 1 : 0;
    const addressGroups = pattern.hasHost ? 2 : 1;
    this.#hostGroup = pattern.hasHost ? before + 1 : 0;
    this.#ipGroup = before + addressGroups;
    this.#timesGroup = pattern.head.times ? 1 : !this.#plain && pattern.tail.times ? this.#ipGroup + 1 : 0;
    this.#add(pattern, weighed);
  }

  /** Adds a rule with the same words before the same kind of address; false when it has others. */
  take(pattern: Pattern, weighed: Weighed): boolean {
    if (!this.#plain || pattern.head.source + pattern.addressSource !== this.#source) return false;
    this.#add(pattern, weighed);
    return true;
  }

  #add(pattern: Pattern, weighed: Weighed): void {
    const { source, times } = pattern.tail;
    const expression = !this.#plain || source === '' ? null : new RegExp(source, 'y');
    this.#tails.push({ expression, times: times && this.#plain, weighed });
  }

  find(line: string, start: number): Finding | null {
    this.#expression.lastIndex = start;
    const found = this.#expression.exec(line);
    if (found === null) return null;
    const behind = start + found[0].length;
    for (const tail of this.#tails) {
      let counted = this.#timesGroup === 0 ? undefined : found[this.#timesGroup];
      if (tail.expression !== null) {
        tail.expression.lastIndex = behind;
        if (tail.times) {
          const groups = tail.expression.exec(line);
          if (groups === null) continue;
          counted = groups[1];
        } else if (!tail.expression.test(line)) continue;
      }
      const host = this.#hostGroup === 0 ? '' : (found[this.#hostGroup] ?? '');
      return { weighed: tail.weighed, ip: found[this.#ipGroup] ?? '', host, times: timesOf(counted) };
    }
    return null;
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

function rounded(points: number): number {
  return Math.round(points * 1e6) / 1e6;
}

const COPY = Buffer.alloc(4_096);

/** A copy: a slice of a chunk would keep all of it in memory. V8 copies slices of up to 12 characters by itself. */
function own(text: string): string {
  if (text.length < 13) return text;
  if (text.length > COPY.length) return Buffer.from(text, 'latin1').toString('latin1');
  return COPY.toString('latin1', 0, COPY.write(text, 'latin1'));
}
