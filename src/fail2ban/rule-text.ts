/** One carried pattern as the text of a rule file. */
import type { SourceLine } from './ini.js';
import type { Converted } from './pattern.js';
import type { MadeLine } from './sample.js';

export interface NewRule {
  readonly name: string;
  /** 0 for an `ignoreregex`: its lines count nothing, whatever other rules say. */
  readonly points: number;
  readonly converted: Converted;
  readonly from: SourceLine;
  /** fail2ban's filter. */
  readonly filter: string;
  readonly samples: readonly MadeLine[];
}

export function ruleText({ name, points, converted, from, filter, samples }: NewRule): string {
  const { pattern, program } = converted;
  const place = `(${from.file}, line ${from.line})`;
  const description =
    points === 0
      ? `ignoreregex of fail2ban's filter ${filter} ${place}: worth no points, and no other rule counts it.`
      : `From fail2ban's filter ${filter} ${place}.`;
  const lines = [
    '[[rule]]',
    `name = ${quoted(name)}`,
    'kind = "offense"',
    `points = ${points}`,
    `program = ${program.length === 1 ? quoted(program[0] ?? '') : `[${program.map(quoted).join(', ')}]`}`,
    `description = ${quoted(oneLine(description))}`,
    `pattern = ${/^[^'\p{C}]*$/u.test(pattern) ? `'${pattern}'` : quoted(pattern)}`,
  ];
  if (samples.length > 0) {
    lines.push('# Made from the pattern; put a line of your own log in their place.', 'matches = [');
    for (const { line, ip } of samples) lines.push(`  { line = ${quoted(line)}, ip = ${quoted(ip)} },`);
    lines.push(']');
  }
  return `${lines.join('\n')}\n`;
}

/** A basic string of TOML. */
function quoted(text: string): string {
  return JSON.stringify(text).replace(
    /\p{C}/gu,
    (char) => `\\U${(char.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`,
  );
}

export function oneLine(text: string): string {
  return text.replace(/\p{C}+/gu, ' ');
}
