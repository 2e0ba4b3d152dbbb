/** Rule files: the packaged ones, and the admin's, which add to and override them by rule name. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultConfig } from '../config/schema.js';
import { parseToml } from '../config/toml.js';
import { reasonOf, UsageError } from '../domain/errors.js';
import { guard } from './guard.js';
import { knownRules } from './known-rules.js';
import { parseRulePattern, type Rule } from './rule.js';
import { readRuleFile, type WrittenRule } from './rule-file.js';
import { PatternError } from './syntax.js';

/**
 * Rules in the order in which they are tried: those that the admin adds, then the packaged ones, each in the admin's
 * version if there is one.
 * @param overrideDir The admin's directory; null or missing means none.
 * @param care What is done for the packaged ones, whose patterns the guards have passed when they were packaged: `all`
 *   has them judged again, which takes longer than all the rest of a start; `own` only the admin's; `short` is that
 *   without the samples of the packaged ones, for those who only read logs.
 * @throws UsageError naming file, rule and reason.
 */
export function loadRules(
  packagedDir: string,
  overrideDir: string | null,
  care: 'all' | 'own' | 'short' = 'all',
): Rule[] {
  const packaged = readDirectory(packagedDir, { packaged: true, guarded: care === 'all', short: care === 'short' });
  const overriding = overrideDir === null || !existsSync(overrideDir) ? [] : readDirectory(overrideDir, OWN);
  const changed = new Map(overriding.map((rule) => [rule.name, rule]));
  const known = new Set(packaged.map((rule) => rule.name));
  return [
    ...overriding.filter((rule) => !known.has(rule.name)),
    ...packaged.map((rule) => changed.get(rule.name) ?? rule),
  ];
}

/** That the folder which the config names is not there, or null; the default one need not be. */
export function missingFilters(directory: string): string | null {
  if (directory === defaultConfig().log.filters || existsSync(directory)) return null;
  return `log.filters: there is no folder ${directory}, so no rule of yours is in force: make it, or name another`;
}

/** The directory of the packaged rule files, beside `src/` or `dist/`. */
export function packagedFilters(): string {
  for (let directory = dirname(fileURLToPath(import.meta.url)); ; directory = dirname(directory)) {
    const filters = join(directory, 'filters');
    if (existsSync(join(filters, 'postfix.toml'))) return filters;
    if (directory === dirname(directory)) throw new Error('the packaged filters/ are missing: install blockd anew');
  }
}

/** The rules of one file's text. Whatever is wrong with its keys is said at once, a line each. */
export function parseRules(content: string | Uint8Array, file: string, origin: Origin = OWN): Rule[] {
  const { packaged, guarded, short } = origin;
  const known = short && typeof content !== 'string' ? knownRules(content) : null;
  const names = new Set<string>();
  return (known ?? writtenIn(content, file)).map((rule) => {
    const place = `${file}, rule "${rule.name}"`;
    if (names.has(rule.name)) throw new UsageError(`${place}: is there twice; give each rule its own name`);
    names.add(rule.name);
    if (rule.kind === 'offense' && rule.points === undefined)
      throw new UsageError(`${place}: wants points; an offense without any counts nothing`);
    try {
      if (guarded) guard(parseRulePattern(rule.pattern, ANY_REPLY));
    } catch (error) {
      if (error instanceof PatternError) throw new UsageError(`${place}: its pattern ${error.message}`);
      throw error;
    }
    const { name, kind, program, description, pattern, echo, closes, matches, ignores } = rule;
    return {
      ...{ name, kind, points: rule.points ?? 0, description, program, pattern, echo },
      closes: closes || kind === 'closed',
      matches: short ? [] : matches,
      ignores: short ? [] : ignores,
      ...{ file, packaged, known: known !== null },
    };
  });
}

function writtenIn(content: string | Uint8Array, file: string): readonly WrittenRule[] {
  const { rules, problems } = readRuleFile(parseToml(content, file, false));
  const said = problems.map(({ rule, sentence }) => `${file}${rule === null ? '' : `, ${rule}`}: ${sentence}`);
  if (said.length > 0) throw new UsageError(said.join('\n'));
  return rules;
}

/** The guards judge what stands around the reply; its text is the config's. */
const ANY_REPLY = 'Blocked until {until}';

/** Does the file come with blockd, do the guards judge it, and are its samples left out? */
interface Origin {
  readonly packaged: boolean;
  readonly guarded: boolean;
  readonly short: boolean;
}

const OWN: Origin = { packaged: false, guarded: true, short: false };

function readDirectory(directory: string, origin: Origin): Rule[] {
  if (isFile(directory)) throw new UsageError(`${directory}: is a file; name the folder of the rule files`);
  const files = attempt(directory, () => readdirSync(directory)).filter((name) => name.endsWith('.toml'));
  const rules = files.sort().flatMap((name) => {
    const file = join(directory, name);
    return parseRules(
      attempt(file, () => readFileSync(file)),
      file,
      origin,
    );
  });
  const first = new Map<string, Rule>();
  for (const rule of rules) {
    const earlier = first.get(rule.name);
    if (earlier !== undefined)
      throw new UsageError(
        `${rule.file}, rule "${rule.name}": is also in ${earlier.file}; give each rule its own name`,
      );
    first.set(rule.name, rule);
  }
  return rules;
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

function attempt<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UsageError(`${path}: can't be read: ${reasonOf(error)}`, { cause: error });
  }
}
