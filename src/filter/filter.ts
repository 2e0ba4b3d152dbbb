/**
 * Log lines to matches. A line is read from the left once, as bytes: header, then the words before the address, the
 * address, and what each rule wants behind it. A line of a program or with words that no rule knows is dropped on the
 * way, before anything is decoded or allocated.
 */

import { UsageError } from '../domain/errors.js';
import type { Match } from '../domain/event.js';
import { Brake, type Watch } from './brake.js';
import type { LineClock } from './clock.js';
import type { Finding, Weighed } from './finding.js';
import { LineHeader } from './header.js';
import { Hit } from './hit.js';
import type { JoinedReader } from './joined-reader.js';
import type { KnownProgram } from './known-automata.js';
import { Line } from './line.js';
import { nearest } from './nearest.js';
import { Programs } from './programs.js';
import { type Pattern, parseRulePattern, type Rule, replyPattern } from './rule.js';
import { MOST_KEPT } from './scanner/layout.js';
import { Scanner } from './scanner.js';
import { PatternError } from './syntax.js';
import { Tag } from './tag.js';

export interface FilterOptions {
  /** Points by rule name, over those of the rule files; 0 turns a rule off. */
  readonly points?: Readonly<Record<string, number>>;
  /** Postfix's reply to a banned client, with `{until}`: what `{reply}` in a pattern stands for. */
  readonly reply?: string;
  /** Told of a rule that `scan` switched off, with a sentence that says why and what to do. */
  readonly onSlow?: (rule: Rule, message: string) => void;
  /** False: no vector instructions, as on processors that have none. */
  readonly vectors?: boolean;
}

const MAX_REPEATED = 100;
const DEFAULT_REPLY = 'Blocked until {until}';
/** For one chunk, which usually takes a few milliseconds. */
const PATIENCE_MS = 1_000;

interface Reading {
  readonly programs: Programs;
  readonly scanner: Scanner;
  readonly tellers: readonly JoinedReader[];
}

export class Filter {
  readonly rules: readonly Rule[];
  /** By program as rules name it. */
  readonly #programs: Programs;
  /** Of lines that name no program, as Dovecot's own log file has them. */
  #dovecot: Tag | null = null;
  /** The tags seen last, by hash. */
  readonly #tags: (Tag | undefined)[] = Array.from({ length: TAGS }, () => undefined);
  readonly #header = new LineHeader();
  readonly #scanner: Scanner;
  /** Who tells what was scanned, by the number of the rule. */
  readonly #tellers: readonly JoinedReader[];
  readonly #line = new Line();
  readonly #hit = new Hit(this.#line);
  /** The last one that the scanner could not read. */
  readonly #otherStamp = { from: 0, to: 0, at: Number.NaN };
  readonly #suspects: Suspects | null;

  private constructor(rules: readonly Rule[], { programs, scanner, tellers }: Reading, suspects: Suspects | null) {
    this.rules = rules;
    this.#programs = programs;
    this.#scanner = scanner;
    this.#tellers = tellers;
    this.#suspects = suspects;
  }

  /** @throws UsageError when `options.points` names a rule that there is not, or when a pattern is none. */
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
    const scanner = new Scanner(options.vectors);
    const tellers: JoinedReader[] = [];
    const programs = new Programs(scanner, tellers);
    const named = [...new Set(rules.flatMap(({ program }) => program))];
    const suspects = rules.every(({ packaged }) => packaged) ? null : new Suspects(options.onSlow);
    for (const rule of rules) {
      const watch = rule.packaged ? null : (suspects?.watch(rule) ?? null);
      const weighed = weigh(rule, points[rule.name]);
      const reply = options.reply ?? DEFAULT_REPLY;
      const pattern = patternOf(rule, reply);
      const written = JSON.stringify([rule.pattern, rule.pattern.includes('{reply}') ? replyPattern(reply) : '']);
      // A rule for one service of many stands beside those for all services of its program, and hides none of them.
      for (const name of named.filter(
        (one) => rule.program.includes(one) || rule.program.includes(canonicalTag(one)),
      )) {
        programs.add(name, { written, pattern, weighed, watch });
      }
    }
    return new Filter(rules, { programs, scanner, tellers }, suspects);
  }

  /**
   * Calls `onMatch` for each line of `lines` that a rule matches, in order.
   * @param lines Whole lines; as text: bytes as latin-1.
   * @returns The number of lines.
   */
  scan(lines: Buffer | string, clock: LineClock, onMatch: (match: Match) => void): number {
    const bytes = typeof lines === 'string' ? Buffer.from(lines, 'latin1') : lines;
    return this.read(bytes, clock, (hit) => onMatch(hit.toMatch()), false);
  }

  /**
   * The same for one who keeps no match, and has none made.
   * @param keeps Are the lines with hits `kept` until the next call?
   */
  read(lines: Buffer, clock: LineClock, onHit: (hit: Hit) => void, keeps = true): number {
    this.#useBytes(lines, keeps);
    if (this.#suspects !== null) return this.#readBraked(lines, clock, onHit, this.#suspects);
    let count = 0;
    for (let from = 0; from < lines.length; ) {
      const step = this.#step(lines, from, clock, onHit);
      count += step.lines;
      from = step.to;
    }
    return count;
  }

  /** The lines of the last `read` in which something was found, long ones cut; each hit tells where its own lies. */
  get kept(): Uint8Array {
    return this.#scanner.kept;
  }

  /** As `read`, in steps of which each is done wholly or not at all, since any of them may be ended from outside. */
  #readBraked(bytes: Buffer, clock: LineClock, onHit: (hit: Hit) => void, suspects: Suspects): number {
    const hits: Hit[] = [];
    let done = { from: 0, lines: 0, hits: 0, kept: 0 };
    suspects.run(() => {
      hits.length = done.hits;
      this.#scanner.unkeep(done.kept);
      while (done.from < bytes.length) {
        const { to, lines } = this.#step(bytes, done.from, clock, (hit) => hits.push(hit.copy()));
        done = { from: to, lines: done.lines + lines, hits: hits.length, kept: this.#scanner.kept.length };
      }
    });
    for (const hit of hits) onHit(hit);
    return done.lines;
  }

  /** Lines from `from` on: those that the scanner reads, and one that it can't. */
  #step(bytes: Buffer, from: number, clock: LineClock, onHit: (hit: Hit) => void) {
    const scanner = this.#scanner;
    const count = scanner.scan(from);
    const { next, lines, isStuck } = scanner;
    const stamp = this.#otherStamp;
    stamp.at = Number.NaN;
    for (let i = 0; i < count; i++) {
      const hit = this.#tell(bytes, i, clock);
      if (hit !== null) onHit(hit);
    }
    if (!Number.isNaN(stamp.at)) scanner.learnDate(bytes, stamp.from, stamp.to, stamp.at);
    if (!isStuck) return { to: next, lines };
    let end = bytes.indexOf(NEWLINE, next);
    if (end < 0) end = bytes.length;
    const hit = this.#match(bytes, next, end, clock);
    if (hit !== null) {
      hit.keptAt = scanner.keep(this.#line.from, this.#line.to);
      onHit(hit);
    }
    if (scanner.isNewBegin) this.#learn(bytes, next, end);
    return { to: end + 1, lines: lines + 1 };
  }

  /** Of programs whose automata are not known yet, what these depend on and all that can be known of them: for `toBeKnown`. */
  toKnown(): (readonly [patterns: readonly string[], known: KnownProgram])[] {
    return this.#programs.all.flatMap((program) => {
      const known = program.toKnown();
      return known === null ? [] : [known];
    });
  }

  /** The regular expressions that are run, each with the rules that it joins: for those who judge them. */
  get expressions(): readonly { readonly rules: readonly string[]; readonly expression: RegExp }[] {
    return this.#programs.all.flatMap((program) => program.expressions);
  }

  /** @param line Bytes as latin-1. */
  match(line: string, clock: LineClock): Match | null {
    const bytes = Buffer.from(line, 'latin1');
    this.#useBytes(bytes);
    const end = bytes.indexOf(NEWLINE);
    return this.#match(bytes, 0, end < 0 ? bytes.length : end, clock)?.toMatch() ?? null;
  }

  #useBytes(bytes: Buffer, keeps = false): void {
    this.#line.useBytes(bytes);
    this.#scanner.put(bytes, keeps);
  }

  #match(bytes: Buffer, from: number, lineEnd: number, clock: LineClock): Hit | null {
    const to = lineEnd > from && bytes[lineEnd - 1] === CARRIAGE_RETURN ? lineEnd - 1 : lineEnd;
    const header = this.#header;
    const tag = this.#tagOf(bytes, from, to);
    if (tag === null || tag.program === null) return null;

    const line = this.#line;
    line.set(from, to);
    let start = header.messageStart;
    let end = to;
    let repeated = 1;
    if (bytes[start] === REPEATED[0] && line.startsWith(REPEATED, start, to)) {
      const wrapper = REPEATED_MESSAGE.exec(line.text.slice(start - from));
      if (wrapper === null) return null;
      repeated = Math.min(Number(wrapper[2]), MAX_REPEATED);
      start += (wrapper[1] ?? '').length;
      end -= (wrapper[4] ?? '').length;
    }
    const finding = tag.program.find(line, start, end);
    return finding === null ? null : this.#hitOf(finding, tag, bytes, repeated, clock);
  }

  /** The hit in a line that was scanned. */
  #tell(bytes: Buffer, number: number, clock: LineClock): Hit | null {
    const found = this.#scanner.found(number);
    const { tag } = found;
    const teller = this.#tellers[found.rule];
    if (tag === undefined || teller === undefined) return null;
    this.#line.set(found.from, found.to);
    const finding = teller.tell(this.#line, found);
    if (finding === null) return null;
    const header = this.#header;
    header.stampStart = found.from;
    header.stampEnd = found.stampEnd;
    header.programStart = found.programStart;
    header.processEnd = found.processEnd;
    header.pid = found.pid;
    header.hostless = false;
    const { milliseconds } = found;
    const isKnown = milliseconds >= 0;
    const hit = this.#hitOf(finding, tag, bytes, 1, isKnown ? this.#scanner.dateAt + milliseconds : clock);
    if (hit === null) return null;
    hit.keptAt = found.keptAt;
    if (!isKnown) {
      const stamp = this.#otherStamp;
      stamp.from = found.from;
      stamp.to = found.stampEnd;
      stamp.at = hit.at;
    }
    return hit;
  }

  /** @param when The instant of its stamp, or who reads it. */
  #hitOf(finding: Finding, tag: Tag, bytes: Buffer, repeated: number, when: LineClock | number): Hit | null {
    const header = this.#header;
    const line = this.#line;
    const { weighed, times, client } = finding;
    const { ip, host } = client;
    if (weighed.kind === null || ip === null) return null;
    if (!finding.isPlain && line.to - line.from >= CUT_AT) return null;
    const at = typeof when === 'number' ? when : when.read(line.view, header.stampStart, header.stampEnd);
    if (Number.isNaN(at)) return null;
    const hit = this.#hit;
    hit.kind = weighed.kind;
    hit.rule = weighed.rule.name;
    hit.ip = ip;
    hit.at = at;
    hit.host = host;
    hit.points = times * repeated === 1 ? weighed.points : rounded(weighed.points * times * repeated);
    hit.process = header.hostless ? 'dovecot' : tag.processOf(bytes, header);
    hit.echo = weighed.rule.echo;
    hit.closes = weighed.rule.closes;
    hit.client = client;
    hit.keptLength = Math.min(line.to - line.from, MOST_KEPT);
    return hit;
  }

  /** The line's program, behind its header; null when it has none. */
  #tagOf(bytes: Buffer, from: number, to: number): Tag | null {
    const header = this.#header;
    if (!header.read(bytes, from, to)) return null;
    if (header.hostless) {
      this.#dovecot ??= new Tag('dovecot', this.#programs.get('dovecot'));
      return this.#dovecot;
    }
    const { programStart: start, programEnd: end } = header;
    const slot = header.programHash & (TAGS - 1);
    let tag = this.#tags[slot];
    if (tag === undefined || !tag.isAt(bytes, start, end)) {
      const logged = bytes.toString('latin1', start, end);
      tag = new Tag(logged, this.#programs.get(logged) ?? this.#programs.get(canonicalTag(logged)));
      this.#tags[slot] = tag;
    }
    return tag;
  }

  /** Has the scanner read lines that begin like this one. */
  #learn(bytes: Buffer, from: number, to: number): void {
    const header = this.#header;
    const tag = this.#tagOf(bytes, from, to);
    if (tag !== null && !header.hostless && header.stampStart === from) this.#scanner.learn(bytes, header, tag);
  }
}

const NEWLINE = 10;
const CARRIAGE_RETURN = 13;
/**
 * RFC 3164, 4.1: a syslog message has at most 1,024 bytes, `<PRI>` included. Where the end of the line is what makes an
 * address unmistakable, a line which may have lost its own says nothing: a long user name pushes the true address out.
 */
const CUT_AT = 1_000;

/** A power of two. */
const TAGS = 256;

const REPEATED = Buffer.from('message repeated ');
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

/** Read at once, unless it is known to be right: the words of a reply, which may stand in it, are the config's. */
function patternOf(rule: Rule, reply: string): () => Pattern {
  let read: Pattern | null = null;
  const pattern = () => {
    read ??= readPattern(rule, reply);
    return read;
  };
  if (!rule.known || rule.pattern.includes('{reply}')) pattern();
  return pattern;
}

function readPattern({ file, name, pattern }: Rule, reply: string): Pattern {
  try {
    return parseRulePattern(pattern, reply);
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    throw new UsageError(`${file}, rule "${name}": its pattern ${error.message}`);
  }
}

function weigh(rule: Rule, override: number | undefined): Weighed {
  const points = override ?? rule.points;
  const off = points === 0 && (override === 0 || rule.kind === 'offense');
  return { rule, kind: off ? (rule.closes ? 'closed' : null) : rule.kind, points };
}

function rounded(points: number): number {
  return Math.round(points * 1e6) / 1e6;
}
