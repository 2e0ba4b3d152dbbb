/** What may stand in a rule file, and what is said of what may not. */
import {
  type Field,
  flag,
  number,
  oneOf,
  optionalText,
  type ReadContext,
  section,
  shown,
  type TextRule,
  tables,
  texts,
  UNKNOWN_KEY,
  type Value,
} from '../config/field.js';
import { parseAddress } from '../domain/address.js';
import { nearest } from './nearest.js';

/** A rule as written; its pattern is not judged yet. */
export type WrittenRule = Value<typeof ruleFields>;

/** What is wrong with a file, or with one of its rules. */
export interface RuleProblem {
  /** `rule "local/x"`, or null where it is not about one rule. */
  readonly rule: string | null;
  readonly sentence: string;
}

/** The rules of a file's TOML, and all that is wrong with it. */
export function readRuleFile(document: Record<string, unknown>): {
  readonly rules: readonly WrittenRule[];
  readonly problems: readonly RuleProblem[];
} {
  const problems: RuleProblem[] = [];
  const nameOf = (index: number): string => {
    const name = (document as { rule?: { name?: unknown }[] }).rule?.[index]?.name;
    return typeof name === 'string' ? `rule ${JSON.stringify(name)}` : `rule number ${index + 1}`;
  };
  const context: ReadContext = {
    problem: ([list, index, ...key], sentence) => {
      const rule = list === 'rule' && index !== undefined ? nameOf(Number(index) - 1) : null;
      const named = rule === null ? [list, ...(index === undefined ? [] : [index])] : key;
      const whole = sentence === UNKNOWN_KEY ? unknown(named) : `${named.join('.')} ${sentence}`.trim();
      problems.push({ rule, sentence: whole });
    },
    baseOf: () => null,
  };
  // A file of which all is commented out holds none.
  const strays = Object.keys(document).filter((key) => Object.hasOwn(ruleKeys, key));
  if (strays.length > 0) {
    const what = strays.length === 1 ? 'belongs to a rule' : 'belong to a rule';
    problems.push({
      rule: null,
      sentence: `${strays.join(', ')} ${what}: write [[rule]] above the keys of each`,
    });
  }
  const known = Object.fromEntries(Object.entries(document).filter(([key]) => !strays.includes(key)));
  const { rule } = fileFields.read(known, [], context);
  return { rules: rule, problems };
}

function unknown(key: readonly (string | undefined)[]): string {
  const [known] = nearest(key.join('.'), KEYS);
  return `unknown key ${key.join('.')}${known === undefined ? '' : `; did you mean ${known}?`}`;
}

/** A key that must be there. */
function needed<T>(field: Field<T | undefined>, fallback: T): Field<T> {
  return {
    ...field,
    read(value, key, context) {
      if (value === undefined) context.problem(key, 'is missing');
      return field.read(value, key, context) ?? fallback;
    },
  };
}

/** A key without a default. */
function optional<T>(field: Field<T>): Field<T | undefined> {
  return { read: (value, key, context) => (value === undefined ? undefined : field.read(value, key, context)) };
}

const fits = (pattern: RegExp, sentence: string): TextRule => ({
  wrong: (text) => (pattern.test(text) ? null : sentence),
});

const text = (rule?: TextRule) => needed(optionalText(rule), '');
const points = () => optional(number({ fallback: 0, atLeast: 0, atMost: 1_000 }));

const PROGRAM = fits(
  /^[\w.-]+(?:\/[\w.-]+)*$/,
  'wants a program as it tags its lines, such as "postfix/smtpd", or a list of them',
);

/** One program, or a list of them. */
const programs: Field<readonly string[]> = {
  read(value, key, context) {
    const list = typeof value === 'string' ? [value] : value;
    const read = texts([], PROGRAM).read(list, key, context);
    if (value === undefined || (Array.isArray(value) && value.length === 0)) context.problem(key, 'is missing');
    return read;
  },
};

const sampleFields = {
  line: text(),
  ip: text({
    wrong: (ip) => (parseAddress(ip) === ip ? null : `wants an address, such as "203.0.113.9", not ${shown(ip)}`),
  }),
  points: points(),
};

const ruleKeys = {
  name: text(
    fits(
      /^[a-z0-9]+(?:[/-][a-z0-9]+)*$/,
      'wants lower-case words joined by "/" and "-", such as "postfix/relay-denied"',
    ),
  ),
  kind: needed(optional(oneOf(['offense', 'accepted', 'authenticated', 'refused', 'closed'], 'offense')), 'offense'),
  points: points(),
  program: programs,
  description: text(),
  pattern: text(),
  echo: flag(false),
  closes: flag(false),
  matches: tables(sampleFields),
  ignores: texts([]),
};
const ruleFields = section(ruleKeys);
const KEYS = [...Object.keys(ruleKeys), 'rule'];

const fileFields = section({ rule: tables(ruleKeys) });
