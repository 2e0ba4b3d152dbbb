/** Which packaged rules see what a pattern of fail2ban's finds: those lines need no rule of their own. */
import { LineClock } from '../filter/clock.js';
import { Filter } from '../filter/filter.js';
import { parseRulePattern, type Rule } from '../filter/rule.js';
import { runSamples } from '../filter/samples.js';
import { PatternError } from '../filter/syntax.js';
import type { Converted } from './pattern.js';
import { linesFor } from './sample.js';

/** Packaged rules that have a sample line which the pattern matches as well. */
export function rulesWithSamples({ pattern, program }: Converted, packaged: readonly Rule[]): string[] {
  const expression = expressionOf(pattern);
  if (expression === null) return [];
  const isSeen = ({ line }: { readonly line: string }) => {
    const [, tag = '', message = ''] = SAMPLE.exec(line) ?? [];
    return program.includes(tag.replace(/^postfix[\w.-]*\/(?:[\w.-]+\/)*/, 'postfix/')) && expression.test(message);
  };
  return packaged.filter(({ matches }) => matches.some(isSeen)).map(({ name }) => name);
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

/** Packaged rules that count all lines made from the pattern, for at least as many points; none when some are news. */
export function rulesForMade(converted: Converted, points: number, packaged: readonly Rule[]): string[] {
  const { pattern, program } = converted;
  if (expressionOf(pattern) === null) return [];
  const filter = Filter.compile(packaged);
  const lines = program.flatMap((one) => linesFor(pattern, one));
  const matches = lines.map(({ line }) => filter.match(line, new LineClock(WRITTEN_AT)));
  const isTheirs = matches.every((match) => match !== null && match.kind === 'offense' && match.points >= points);
  return isTheirs ? [...new Set(matches.map((match) => match?.rule ?? ''))] : [];
}

/** Packaged rules that would lose sample lines to `rule`, since rules of the admin's own are tried first. */
export function rulesRobbedBy(rule: Rule, packaged: readonly Rule[]): string[] {
  const problems = runSamples([rule, ...packaged]).filter((problem) => problem.rule !== rule.name);
  return [...new Set(problems.map((problem) => problem.rule))];
}

/** Any time will do: only whether a line matches is asked. */
const WRITTEN_AT = Date.UTC(2028, 11, 31);
