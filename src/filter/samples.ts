/** Runs the sample lines that rule files carry. */
import { LineClock } from './clock.js';
import { Filter } from './filter.js';
import type { Rule } from './rule.js';

export interface SampleProblem {
  readonly rule: string;
  readonly file: string;
  readonly line: string;
  readonly problem: string;
}

/**
 * Each of a rule's `matches` must be matched by that rule, among all of `rules`, with the address expected; none of
 * its `ignores` may be. Empty when all is well.
 */
export function runSamples(rules: readonly Rule[]): SampleProblem[] {
  const filter = Filter.compile(rules);
  const problems: SampleProblem[] = [];
  for (const rule of rules) {
    const report = (line: string, problem: string) =>
      problems.push({ rule: rule.name, file: rule.file, line, problem });
    // A rule turned off in its file matches nothing, and so has no samples to keep.
    if (rule.kind === 'offense' && rule.points === 0) continue;
    for (const sample of rule.matches) {
      const match = filter.match(bytes(sample.line), new LineClock(SAMPLES_READ_AT));
      const points = sample.points ?? rule.points;
      if (match === null) report(sample.line, 'no rule matches it');
      else if (match.rule !== rule.name) report(sample.line, `rule "${match.rule}" matches it first`);
      else if (match.ip !== sample.ip) report(sample.line, `found ${match.ip}, expected ${sample.ip}`);
      else if (match.points !== points) report(sample.line, `is worth ${match.points} points, expected ${points}`);
    }
    for (const line of rule.ignores) {
      const match = filter.match(bytes(line), new LineClock(SAMPLES_READ_AT));
      if (match?.rule === rule.name) report(line, `is matched, with ${match.ip}, and should not be`);
    }
  }
  return problems;
}

/** Samples without a year need some; a leap year, so that Feb 29 is one. */
const SAMPLES_READ_AT = Date.UTC(2028, 11, 31);

function bytes(line: string): string {
  return Buffer.from(line, 'utf8').toString('latin1');
}
