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
  /** Of lines that name no program, as Dovecot's own log file has them. */
  readonly #dovecot: Tag;
  /** The tags seen last, by hash. */
  readonly #tags: (Tag | undefined)[] = Array.from({ length: TAGS }, () => undefined);
  readonly #addresses = new Addresses();
  readonly #header = new LineHeader();

  private constructor(rules: readonly Rule[], programs: ReadonlyMap<string, Program>) {
    this.rules = rules;
    this.#programs = programs;
    this.#dovecot = { text: 'dovecot', program: programs.get('dovecot') ?? null };
  }

  /** @throws UsageError when `options.points` names a rule that there is not. */
  static compile(rules: readonly Rule[], options: FilterOptions = {}): Filter {
    const points = options.points ?? {};
    const names = rules.map((rule) => rule.name);
    for (const name of Object.keys(points)) {
      if (names.includes(name)) continue;
      const near = nearest(name, names).map((other) => `"${other}"`);
      throw new UsageError(
        `[points] "${name}": there is no such rule${near.length > 0 ? `; did you mean ${near.join(' or ')}?` : ''}`,
      );
    }
    const programs = new Map<string, Program>();
    for (const rule of rules) {
      const weighed = weigh(rule, points[rule.name]);
      const pattern = parseRulePattern(rule.pattern, options.reply ?? DEFAULT_REPLY);
      for (const name of rule.program) {
        const program = programs.get(name) ?? new Program();
        program.add(pattern, weighed);
        programs.set(name, program);
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
    const tag = header.hostless ? this.#dovecot : this.#tag(text, header);
    if (tag.program === null) return null;

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
    const finding = tag.program.find(text, start, end);
    if (finding === null) return null;
    const { weighed, host, times } = finding;
    if (weighed.kind === null) return null;
    const ip = this.#addresses.parse(finding.ip);
    if (ip === null) return null;
    const at = clock.parse(text, header.stampStart, header.stampEnd);
    if (Number.isNaN(at)) return null;
    return {
      kind: weighed.kind,
      rule: weighed.rule.name,
      ip,
      at,
      host: host === '' || host === 'unknown' ? null : own(host).toLowerCase(),
      points: times * repeated === 1 ? weighed.points : rounded(weighed.points * times * repeated),
      line: own(text.slice(from, to)),
      process: tag.text + own(text.slice(header.programEnd, header.processEnd)),
      echo: weighed.rule.echo,
      closes: weighed.rule.closes,
    };
  }

  #tag(text: string, header: LineHeader): Tag {
    const slot = header.programHash & (TAGS - 1);
    const seen = this.#tags[slot];
    const length = header.programEnd - header.programStart;
    if (seen?.text.length === length && text.startsWith(seen.text, header.programStart)) return seen;
    const logged = own(text.slice(header.programStart, header.programEnd));
    const tag = {
      text: logged,
      program: this.#programs.get(logged) ?? this.#programs.get(canonicalTag(logged)) ?? null,
    };
    this.#tags[slot] = tag;
    return tag;
  }
}

/** A power of two. */
const TAGS = 256;

interface Tag {
  /** As logged. */
  readonly text: string;
  /** Null when no rule reads its lines. */
  readonly program: Program | null;
}

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
    if (pattern.queueId !== 'always') this.#plain.add(pattern, weighed);
    if (pattern.queueId !== 'never') this.#queued.add(pattern, weighed);
  }

  /** The first rule that matches the message `text[start, end)`. */
  find(text: string, start: number, end: number): Finding | null {
    const plain = this.#plain.find(text, start, end);
    if (plain !== null) return plain;
    const queued = queueIdEnd(text, start, end);
    return queued < 0 ? null : this.#queued.find(text, queued, end);
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

  find(text: string, start: number, end: number): Finding | null {
    const openings = this.#byFirst[text.charCodeAt(start) & 255];
    if (openings === undefined) return null;
    for (const opening of openings) {
      if (!text.startsWith(opening.literal, start)) continue;
      const finding = opening.find(text.slice(start, end));
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
  readonly literal: string;
  readonly #start: string;
  readonly #ends: string[] = [];
  readonly #rules: { readonly weighed: Weighed; readonly group: number; readonly timesGroup: number }[] = [];
  readonly #plain: boolean;
  readonly #hostGroup: number;
  readonly #ipGroup: number;
  #groups: number;
  #expression: RegExp | null = null;

  constructor(pattern: Pattern, weighed: Weighed) {
    this.literal = literalStart(pattern.head.node);
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
    if (!this.#plain || pattern.head.source + pattern.addressSource !== this.#start) return false;
    this.#add(pattern, weighed);
    return true;
  }

  #add(pattern: Pattern, weighed: Weighed): void {
    const timesGroup = pattern.tail.times ? ++this.#groups : pattern.head.times ? 1 : 0;
    this.#ends.push(`${pattern.tail.source}()`);
    this.#rules.push({ weighed, group: ++this.#groups, timesGroup });
    this.#expression = null;
  }

  find(message: string): Finding | null {
    this.#expression ??= new RegExp(`^${this.#start}(?:${this.#ends.join('|')})`);
    const found = this.#expression.exec(message);
    if (found === null) return null;
    for (const { weighed, group, timesGroup } of this.#rules) {
      if (found[group] === undefined) continue;
      const host = this.#hostGroup === 0 ? '' : (found[this.#hostGroup] ?? '');
      return {
        weighed,
        ip: found[this.#ipGroup] ?? '',
        host,
        times: timesGroup === 0 ? 1 : timesOf(found[timesGroup]),
      };
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

/** Canonical addresses; of the IPv6 ones, whose parsing is slow, the last ones are remembered. */
class Addresses {
  readonly #known = new Map<string, string | null>();

  /** Null when `text` is no address. */
  parse(text: string): string | null {
    if (!text.includes(':')) return parseAddress(own(text));
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const kept = own(text);
    const address = parseAddress(kept);
    if (this.#known.size >= MAX_KNOWN_ADDRESSES) this.#known.clear();
    this.#known.set(kept, address);
    return address;
  }
}

const MAX_KNOWN_ADDRESSES = 16_384;

/** V8 copies slices of up to 12 characters; longer ones point into the string that they were cut from. */
const COPIED = 12;

/**
 * A copy: a slice of a chunk would keep all of it in memory. Cutting a joined string makes V8 write it out anew first,
 * which takes half the time of a copy through a Buffer.
 */
function own(text: string): string {
  return text.length <= COPIED ? text : `\n${text}`.slice(1);
}
