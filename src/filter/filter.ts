/**
 * Log lines to matches. A line is read from the left once: header, then the words before the address, which many rules
 * share, then the address, then what each rule wants behind it. A line of a program or with words that no rule knows
 * is dropped on the way, before anything is allocated.
 */
import { parseAddress } from '../domain/address.js';
import { UsageError } from '../domain/errors.js';
import type { Match } from '../domain/event.js';
import { Brake, type Watch } from './brake.js';
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
  /** Told of a rule that `scan` switched off, with a sentence that says why and what to do. */
  readonly onSlow?: (rule: Rule, message: string) => void;
}

/** What one line can count for at most: a log line is one line, whatever it claims to stand for. */
const MAX_TIMES = 10;
const MAX_REPEATED = 100;
const DEFAULT_REPLY = 'Blocked until {until}';
/** For one chunk, which usually takes a few milliseconds. */
const PATIENCE_MS = 1_000;

export class Filter {
  readonly rules: readonly Rule[];
  /** By program as rules name it. */
  readonly #programs: ReadonlyMap<string, Program>;
  /** The tags seen last, by hash. */
  readonly #tags: (Tag | undefined)[] = Array.from({ length: TAGS }, () => undefined);
  readonly #addresses = new Addresses();
  readonly #header = new LineHeader();
  readonly #suspects: Suspects | null;

  private constructor(rules: readonly Rule[], programs: ReadonlyMap<string, Program>, suspects: Suspects | null) {
    this.rules = rules;
    this.#programs = programs;
    this.#suspects = suspects;
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
    const suspects = rules.every(({ packaged }) => packaged) ? null : new Suspects(options.onSlow);
    for (const rule of rules) {
      const watch = rule.packaged ? null : (suspects?.watch(rule) ?? null);
      const weighed = weigh(rule, points[rule.name]);
      const pattern = parseRulePattern(rule.pattern, options.reply ?? DEFAULT_REPLY);
      for (const name of rule.program) {
        const program = programs.get(name) ?? new Program();
        program.add(pattern, weighed, watch);
        programs.set(name, program);
      }
    }
    return new Filter(rules, programs, suspects);
  }

  /**
   * Calls `onMatch` for each line of `text` that a rule matches, in order.
   * @param text Whole lines, bytes as latin-1.
   * @returns The number of lines.
   */
  scan(text: string, clock: LineClock, onMatch: (match: Match) => void): number {
    if (this.#suspects !== null) return this.#scanBraked(text, clock, onMatch, this.#suspects);
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

  /** As `scan`, in steps of which each is done wholly or not at all, since any of them may be ended from outside. */
  #scanBraked(text: string, clock: LineClock, onMatch: (match: Match) => void, suspects: Suspects): number {
    const matches: Match[] = [];
    let done = { from: 0, lines: 0, matches: 0 };
    suspects.run(() => {
      matches.length = done.matches;
      while (done.from < text.length) {
        let to = text.indexOf('\n', done.from);
        if (to < 0) to = text.length;
        const match = this.#match(text, done.from, to, clock);
        if (match !== null) matches.push(match);
        done = { from: to + 1, lines: done.lines + 1, matches: matches.length };
      }
    });
    for (const match of matches) onMatch(match);
    return done.lines;
  }

  /** The regular expressions that are run, each with the rules that it joins: for those who judge them. */
  get expressions(): readonly { readonly rules: readonly string[]; readonly expression: RegExp }[] {
    return [...this.#programs.values()].flatMap((program) => program.expressions);
  }

  match(line: string, clock: LineClock): Match | null {
    const end = line.indexOf('\n');
    return this.#match(line, 0, end < 0 ? line.length : end, clock);
  }

  #match(text: string, from: number, lineEnd: number, clock: LineClock): Match | null {
    const to = text.charCodeAt(lineEnd - 1) === 13 ? lineEnd - 1 : lineEnd;
    const header = this.#header;
    if (!header.read(text, from, to)) return null;
    const tag = this.#tag(text, header);
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
    if (!finding.isPlain && to - from >= CUT_AT) return null;
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

/**
 * RFC 3164, 4.1: a syslog message has at most 1,024 bytes, `<PRI>` included. Where the end of the line is what makes an
 * address unmistakable, a line which may have lost its own says nothing: a long user name pushes the true address out.
 */
const CUT_AT = 1_000;

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

/** The rules of the admin's own, which the guard has passed and nobody else has proved. */
class Suspects {
  readonly #brake = new Brake(PATIENCE_MS);
  readonly #rules: { readonly rule: Rule; readonly watch: Watch; isTold: boolean }[] = [];
  readonly #onSlow: FilterOptions['onSlow'];

  constructor(onSlow: FilterOptions['onSlow']) {
    this.#onSlow = onSlow;
  }

  watch(rule: Rule): Watch {
    const watch = this.#brake.watch();
    this.#rules.push({ rule, watch, isTold: false });
    return watch;
  }

  run(work: () => void): void {
    this.#brake.run(work);
    for (const suspect of this.#rules) {
      if (!suspect.watch.isOff || suspect.isTold) continue;
      suspect.isTold = true;
      const { rule } = suspect;
      this.#onSlow?.(
        rule,
        `${rule.file}, rule "${rule.name}": its pattern took about a second for a few lines, so this rule is switched off and the others go on; make the pattern simpler (fewer repeated or optional parts that can match the same text), then reload blockd`,
      );
    }
  }
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
  /** Is the address found by what precedes it alone? */
  readonly isPlain: boolean;
  readonly ip: string;
  readonly host: string;
  readonly times: number;
}

/** The rules of one program, by what their lines begin with. */
class Program {
  readonly #plain = new Openings();
  /** Those that begin with a queue id, by what follows it. */
  readonly #queued = new Openings();

  add(pattern: Pattern, weighed: Weighed, watch: Watch | null): void {
    (pattern.queued ? this.#queued : this.#plain).add(pattern, weighed, watch);
  }

  get expressions() {
    return [...this.#plain.expressions, ...this.#queued.expressions];
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
    if (!isInQueueId(code)) break;
  }
  return at - start >= 5 && text.charCodeAt(at) === 58 && text.charCodeAt(at + 1) === 32 ? at + 2 : -1;
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
  /** Of a rule of the admin's own, which stands alone so that it can be switched off alone. */
  readonly #watch: Watch | null;
  readonly #hostGroup: number;
  readonly #ipGroup: number;
  #groups: number;
  #expression: RegExp | null = null;

  constructor(pattern: Pattern, weighed: Weighed, watch: Watch | null) {
    this.#watch = watch;
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
    if (this.#watch !== null || !this.#plain || pattern.head.source + pattern.addressSource !== this.#start)
      return false;
    this.#add(pattern, weighed);
    return true;
  }

  #add(pattern: Pattern, weighed: Weighed): void {
    const timesGroup = pattern.tail.times ? ++this.#groups : pattern.head.times ? 1 : 0;
    this.#ends.push(`${pattern.tail.source}()`);
    this.#rules.push({ weighed, group: ++this.#groups, timesGroup });
    this.#expression = null;
  }

  get rules(): string[] {
    return this.#rules.map(({ weighed }) => weighed.rule.name);
  }

  get expression(): RegExp {
    this.#expression ??= new RegExp(`^${this.#start}(?:${this.#ends.join('|')})`);
    return this.#expression;
  }

  find(message: string): Finding | null {
    const found = this.#watch === null ? this.expression.exec(message) : this.#watched(message, this.#watch);
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

  #watched(message: string, watch: Watch): RegExpExecArray | null {
    if (watch.isOff) return null;
    watch.begin();
    const found = this.expression.exec(message);
    watch.end();
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
