/**
 * The building blocks of the config schema: what a key takes, its default, and what is said of a wrong value.
 * Written out rather than taken from a validation library, since loading one costs every `blockctl` call more than
 * Node itself does, and the sentences for the admin would have to be written all the same.
 */
import { isAbsolute, resolve } from 'node:path';
import { parseDuration } from '../domain/duration.js';

/** Reads one key's value; `undefined` means that nobody set it. What is wrong goes to `context.problem`. */
export interface Field<T> {
  read(value: unknown, key: readonly string[], context: ReadContext): T;
  /** The keys below, when this is a section of fixed keys. */
  readonly keys?: Readonly<Record<string, Field<unknown>>>;
}

export interface ReadContext {
  /** Notes a problem of `key`; the sentence goes on after the key's name. */
  problem(key: readonly string[], sentence: string): void;
  /** Directory against which a relative path of `key` counts, or null where paths must be absolute. */
  baseOf(key: readonly string[]): string | null;
}

export type Value<F> = F extends Field<infer T> ? T : never;
type Fields = Readonly<Record<string, Field<unknown>>>;
type OptionalKeys<F> = {
  [K in keyof F]: undefined extends Value<F[K]> ? K : never;
}[keyof F];
type Section<F> = {
  readonly [K in Exclude<keyof F, OptionalKeys<F>>]: Value<F[K]>;
} & {
  readonly [K in OptionalKeys<F>]?: Value<F[K]>;
};

/** A table with these keys and no others. */
export function section<F extends Fields>(keys: F): Field<{ readonly [K in keyof Section<F>]: Section<F>[K] }> {
  return {
    keys,
    read(value, key, context) {
      const table = tableOf(value, key, context);
      for (const name of Object.keys(table))
        if (!Object.hasOwn(keys, name)) context.problem([...key, name], UNKNOWN_KEY);
      const read: Record<string, unknown> = {};
      for (const [name, field] of Object.entries(keys)) {
        const one = field.read(Object.hasOwn(table, name) ? table[name] : undefined, [...key, name], context);
        if (one !== undefined) read[name] = one;
      }
      // The loop has read every key of F with the field that F names for it.
      return read as Section<F>;
    },
  };
}

/** An array of tables, each with these keys; none unless somebody wrote one. */
export function tables<F extends Fields>(keys: F): Field<readonly Value<ReturnType<typeof section<F>>>[]> {
  const each = section(keys);
  return {
    keys,
    read(value, key, context) {
      if (value === undefined) return [];
      // TOML's own headings don't count.
      const heading = `[[${key.filter((part) => !/^\d+$/.test(part)).join('.')}]]`;
      if (!Array.isArray(value)) {
        context.problem(key, `is a list of tables: write the keys of each under ${heading}`);
        return [];
      }
      return value.flatMap((one, index) => {
        const place = [...key, String(index + 1)];
        if (isTable(one)) return [each.read(one, place, context)];
        context.problem(place, `is a table: write its keys under ${heading}, not ${shown(one)}`);
        return [];
      });
    },
  };
}

/** The sentence by which the loader knows a problem as an unknown key, to add the nearest known one. */
export const UNKNOWN_KEY = 'unknown key';

/** A table of numbers whose keys are free. */
export function numbersByName(atLeast: number, atMost: number): Field<Readonly<Record<string, number>>> {
  const each = number({ fallback: 0, atLeast, atMost });
  return {
    read(value, key, context) {
      const table = tableOf(value, key, context);
      return Object.fromEntries(
        Object.keys(table).map((name) => [name, each.read(table[name], [...key, name], context)]),
      );
    },
  };
}

export function number(range: {
  fallback: number;
  atLeast?: number;
  above?: number;
  atMost: number;
  whole?: boolean;
}): Field<number> {
  const { fallback, atLeast, above, atMost, whole = false } = range;
  const from = above === undefined ? `from ${atLeast} to ${atMost}` : `above ${above}, at most ${atMost}`;
  return {
    read(value, key, context) {
      if (value === undefined) return fallback;
      const fits =
        typeof value === 'number' &&
        (!whole || Number.isInteger(value)) &&
        value <= atMost &&
        (above === undefined ? value >= (atLeast ?? 0) : value > above);
      if (fits) return value;
      context.problem(key, `wants a ${whole ? 'whole ' : ''}number ${from}, without quotes, not ${shown(value)}`);
      return fallback;
    },
  };
}

export function flag(fallback: boolean): Field<boolean> {
  return {
    read(value, key, context) {
      if (value === undefined) return fallback;
      if (typeof value === 'boolean') return value;
      context.problem(key, `wants true or false, without quotes, not ${shown(value)}`);
      return fallback;
    },
  };
}

export function oneOf<const T extends string>(choices: readonly [T, ...T[]], fallback: T): Field<T> {
  return {
    read(value, key, context) {
      if (value === undefined) return fallback;
      const chosen = choices.find((choice) => choice === value);
      if (chosen === undefined)
        context.problem(key, `wants one of ${choices.map((c) => `"${c}"`).join(', ')}, not ${shown(value)}`);
      return chosen ?? fallback;
    },
  };
}

/** A list of some of the choices. */
export function someOf<const T extends string>(choices: readonly T[], fallback: readonly T[]): Field<readonly T[]> {
  const list = texts(fallback);
  const named = choices.map((c) => `"${c}"`).join(', ');
  return {
    read(value, key, context) {
      const given = list.read(value, key, context);
      const wrong = given.find((one) => !choices.some((choice) => choice === one));
      if (wrong !== undefined) context.problem(key, `wants a list of ${named}, not ${shown(wrong)}`);
      return choices.filter((choice) => given.includes(choice));
    },
  };
}

/** Milliseconds, from a text such as `6h`. */
export function duration(fallback: string, atLeast = '1s', atMost = '3660d'): Field<number> {
  const least = parseDuration(atLeast) ?? 0;
  const most = parseDuration(atMost) ?? Number.POSITIVE_INFINITY;
  return {
    read(value, key, context) {
      const ms = typeof (value ?? fallback) === 'string' ? parseDuration(String(value ?? fallback)) : null;
      if (ms === null)
        context.problem(key, `wants a duration in quotes, such as "90s", "15m", "6h" or "7d", not ${shown(value)}`);
      else if (ms < least) context.problem(key, `${shown(value)} is too short: at least ${atLeast}`);
      else if (ms > most) context.problem(key, `${shown(value)} is too long: at most ${atMost}`);
      return ms ?? 0;
    },
  };
}

/** What a text must fulfil: the sentence to say when it doesn't, or null; and the form in which it is kept. */
export interface TextRule {
  readonly wrong?: (text: string) => string | null;
  readonly canonical?: (text: string, base: string | null) => string;
}

export function text(fallback: string | (() => string), rule: TextRule = {}): Field<string> {
  const optional = optionalText(rule);
  return {
    read: (value, key, context) =>
      optional.read(value, key, context) ?? (typeof fallback === 'string' ? fallback : fallback()),
  };
}

export function optionalText(rule: TextRule = {}): Field<string | undefined> {
  return {
    read(value, key, context) {
      if (value === undefined) return undefined;
      return readText(value, key, context, rule);
    },
  };
}

export function texts(fallback: readonly string[], rule: TextRule = {}): Field<readonly string[]> {
  return {
    read(value, key, context) {
      if (value === undefined) return fallback;
      if (!Array.isArray(value)) {
        context.problem(key, `wants a list of texts, such as ["…", "…"], not ${shown(value)}`);
        return fallback;
      }
      return value.map((one) => readText(one, key, context, rule));
    },
  };
}

/** A path that must not depend on where the daemon was started. */
export const PATH: TextRule = {
  wrong: (path) => (isAbsolute(path) ? null : `"${path}" is a relative path: write it from / on`),
  canonical: (path, base) => (base === null ? path : resolve(base, path)),
};

/** The value as it would stand in the file, for the end of a sentence. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (value instanceof Date) return 'a date';
  if (typeof value === 'object' && value !== null) return 'a table';
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

function readText(value: unknown, key: readonly string[], context: ReadContext, rule: TextRule): string {
  if (typeof value !== 'string') {
    context.problem(key, `wants a text in quotes, not ${shown(value)}`);
    return '';
  }
  const kept = rule.canonical?.(value, context.baseOf(key)) ?? value;
  const wrong = value === '' || value.includes('\0') ? 'must not be empty' : (rule.wrong?.(kept) ?? null);
  if (wrong !== null) context.problem(key, wrong);
  return kept;
}

function tableOf(value: unknown, key: readonly string[], context: ReadContext): Record<string, unknown> {
  if (value === undefined) return {};
  if (isTable(value)) return value;
  context.problem(key, `is a section: write its keys under [${key.join('.')}], not ${shown(value)}`);
  return {};
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
