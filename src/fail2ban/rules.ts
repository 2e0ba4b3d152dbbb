/** The patterns of fail2ban's jails as rule files, and what is to be said of those that are none. */
import { LineClock } from '../filter/clock.js';
import { Filter } from '../filter/filter.js';
import { parseRules } from '../filter/load.js';
import { parseRulePattern, type Rule } from '../filter/rule.js';
import { PatternError } from '../filter/syntax.js';
import type { SourceLine } from './ini.js';
import type { Jail, Remark } from './jails.js';
import { type Converted, convert, objectionTo } from './pattern.js';
import { alternativesOf, Refusal } from './python.js';
import { linesFor, type MadeLine } from './sample.js';
import { PREFIX_LINE } from './settings.js';

export interface RuleFile {
  readonly name: string;
  readonly text: string;
}

export interface Carried {
  readonly files: readonly RuleFile[];
  readonly remarks: readonly Remark[];
  /** Rules written. */
  readonly count: number;
}

/** @param pointsOf What one failure in the jail is worth, so that its `maxretry` of them ban. */
export function carryOver(
  jails: readonly Jail[],
  packaged: readonly Rule[],
  pointsOf: (jail: Jail) => number,
): Carried {
  const remarks: Remark[] = [];
  const files: RuleFile[] = [];
  const seen = new Set<string>();
  const slugs = new Set<string>();
  let count = 0;
  // The strictest first: where two jails share a pattern, its points are the ones that count.
  for (const jail of [...jails].sort((a, b) => pointsOf(b) - pointsOf(a))) {
    const slug = unique(
      jail.name
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, '-')
        .replace(/^-|-$/g, '') || 'jail',
      slugs,
    );
    const rules: string[] = [];
    const add = (line: SourceLine, regex: string, points: number) => {
      const say = (sentence: string) =>
        remarks.push({ file: line.file, line: line.line, sentence: `jail ${jail.name}: ${sentence}` });
      try {
        const converted = convertIn(jail, regex);
        const key = `${converted.program} ${converted.pattern} ${points === 0}`;
        if (seen.has(key)) return;
        seen.add(key);
        const covered = points === 0 ? null : coveredBy(converted, jail, points, packaged);
        if (covered !== null) {
          say(`left out, since ${covered} see${covered.includes(',') ? '' : 's'} these lines already`);
          return;
        }
        const objection = objectionTo(converted);
        if (objection !== null) throw new Refusal(`blockd refuses it: it ${objection}`);
        const name = `fail2ban/${slug}-${rules.length + 1}`;
        rules.push(ruleText(name, points, converted, line, jail, packaged));
        if (converted.notes.length > 0) say(`taken as rule ${name}, narrower: ${converted.notes.join('; ')}`);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        say(`not carried over: ${error.message}: ${shown(regex)}`);
      }
    };
    for (const line of jail.ignoreregex) add(line, line.text, 0);
    for (const line of jail.failregex) {
      for (const regex of alternativesOf(line.text)) add(line, regex, pointsOf(jail));
    }
    if (rules.length === 0) continue;
    count += rules.length;
    const heading = `# From fail2ban's jail ${oneLine(jail.name)}, filter ${oneLine(jail.filter)}; made by "blockctl import fail2ban".\n`;
    files.push({ name: `fail2ban-${slug}.toml`, text: [heading, ...rules].join('\n') });
  }
  return { files, remarks, count };
}

function convertIn(jail: Jail, regex: string): Converted {
  if (jail.maxLines > 1)
    throw new Refusal(`its filter reads ${jail.maxLines} lines at once (maxlines), and a blockd rule reads one`);
  return convert({ regex, prefregex: jail.prefregex, daemon: jail.daemon });
}

/** Filters of fail2ban's own whose every sign of abuse the packaged rules know, each weighed for itself. */
const WELL_KNOWN = /^(?:postfix(?:-sasl|-rbl|-auth)?|dovecot)$/;

/**
 * Packaged rules that count what the pattern finds, or null when some of it is news to them. Of a filter of fail2ban's
 * own, the packaged rules' sample lines tell; of any other, lines made from the pattern, all of which must be theirs.
 */
function coveredBy(converted: Converted, jail: Jail, points: number, packaged: readonly Rule[]): string | null {
  const names = WELL_KNOWN.test(jail.filter)
    ? rulesWithSamples(converted, packaged)
    : rulesForMade(converted, points, packaged);
  if (names.length === 0) return null;
  return names.slice(0, 4).join(', ') + (names.length > 4 ? ', …' : '');
}

function rulesWithSamples({ pattern, program }: Converted, packaged: readonly Rule[]): string[] {
  const expression = expressionOf(pattern);
  if (expression === null) return [];
  const isSeen = ({ line }: { readonly line: string }) => {
    const [, tag = '', message = ''] = SAMPLE.exec(line) ?? [];
    return program.includes(tag) && expression.test(message);
  };
  return packaged.filter(({ kind, matches }) => kind === 'offense' && matches.some(isSeen)).map(({ name }) => name);
}

/** Time, host, program and message of a sample line. */
const SAMPLE = /^(?:[A-Z][a-z]{2} [ \d]\d [\d:]+|\S+) \S+ ([\w./-]+)(?:\[\d+\])?: (.*)$/;

/** Null when it is none that blockd can read. */
function expressionOf(pattern: string): RegExp | null {
  try {
    const { head, addressSource, tail, queueId } = parseRulePattern(pattern, 'Blocked until {until}');
    const id = '[0-9A-Za-z]{5,25}: ';
    const opening = { always: id, maybe: `(?:${id})?`, never: '' }[queueId];
    return new RegExp(`^${opening}${head.source}${addressSource}${tail.source}`);
  } catch (error) {
    if (error instanceof PatternError) return null;
    throw error;
  }
}

function rulesForMade({ pattern, program }: Converted, points: number, packaged: readonly Rule[]): string[] {
  if (expressionOf(pattern) === null) return [];
  const filter = Filter.compile(packaged);
  const lines = program.flatMap((one) => linesFor(pattern, one));
  const matches = lines.map(({ line }) => filter.match(line, new LineClock(WRITTEN_AT)));
  const isTheirs = matches.every((match) => match !== null && match.kind === 'offense' && match.points >= points);
  return isTheirs ? [...new Set(matches.map((match) => match?.rule ?? ''))] : [];
}

/** Any time will do: only whether a line matches is asked. */
const WRITTEN_AT = Date.UTC(2028, 11, 31);

function ruleText(
  name: string,
  points: number,
  converted: Converted,
  { file, line }: SourceLine,
  jail: Jail,
  packaged: readonly Rule[],
): string {
  const { pattern, program } = converted;
  const from = `${file}, line ${line}`;
  const description =
    points === 0
      ? `ignoreregex of fail2ban's filter ${jail.filter} (${from}): worth no points, and no other rule counts it.`
      : `From fail2ban's filter ${jail.filter} (${from}).`;
  const lines = [
    '[[rule]]',
    `name = ${quoted(name)}`,
    'kind = "offense"',
    `points = ${points}`,
    `program = ${program.length === 1 ? quoted(program[0] ?? '') : `[${program.map(quoted).join(', ')}]`}`,
    `description = ${quoted(oneLine(description))}`,
    `pattern = ${/^[^'\p{C}]*$/u.test(pattern) ? `'${pattern}'` : quoted(pattern)}`,
  ];
  const rule = `${lines.join('\n')}\n`;
  const samples = points === 0 ? [] : matched(rule, name, converted, packaged).slice(0, 2);
  if (samples.length === 0) return rule;
  const rows = samples.map((sample) => `  { line = ${quoted(sample.line)}, ip = ${quoted(sample.ip)} },\n`);
  return `${rule}# Made from the pattern; put a line of your own log in their place.\nmatches = [\n${rows.join('')}]\n`;
}

/** The made lines that the rule does match. */
function matched(rule: string, name: string, { pattern, program }: Converted, packaged: readonly Rule[]): MadeLine[] {
  const filter = Filter.compile([...parseRules(rule, ''), ...packaged]);
  return linesFor(pattern, program[0] ?? '').filter(({ line, ip }) => {
    const match = filter.match(line, new LineClock(WRITTEN_AT));
    return match?.rule === name && match.ip === ip;
  });
}

/** A basic string of TOML. */
function quoted(text: string): string {
  return JSON.stringify(text).replace(
    /\p{C}/gu,
    (char) => `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, '0').slice(-4)}`,
  );
}

function oneLine(text: string): string {
  return text.replace(/\p{C}+/gu, ' ');
}

function shown(regex: string): string {
  const text = oneLine(regex.replaceAll(PREFIX_LINE, '%(__prefix_line)s'));
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

function unique(slug: string, taken: Set<string>): string {
  let name = slug;
  for (let n = 2; taken.has(name); n++) name = `${slug}-${n}`;
  taken.add(name);
  return name;
}
