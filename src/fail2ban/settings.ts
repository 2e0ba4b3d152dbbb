/** Several of fail2ban's files, each over the one before: includes, `.local` files, and `%(name)s` filled in. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { reasonOf, UsageError } from '../domain/errors.js';
import { parseIni, type SourceLine, type Value } from './ini.js';

/** Stands for `__prefix_line`, that is, for all of a line before its message: blockd reads that part itself. */
export const PREFIX_LINE = '\ue000';

/** Longer values are no pattern that anybody wrote. */
const LONGEST = 100_000;
const DEEPEST = 25;
const MOST_LOOKUPS = 1_000;

interface Option {
  readonly value: Value;
  /** What an earlier file said: `%(known/name)s`. */
  readonly known: Value | null;
}

export class Settings {
  readonly #sections = new Map<string, Map<string, Option>>();

  /** Those of `files` that exist, in this order, each with what it includes. @throws UsageError */
  static read(files: readonly string[]): Settings {
    const settings = new Settings();
    for (const file of files) settings.#include(file, []);
    return settings;
  }

  #include(file: string, around: readonly string[]): void {
    if (around.includes(file) || around.length > DEEPEST || !existsSync(file)) return;
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      throw new UsageError(`${file} can't be read: ${reasonOf(error)}`, { cause: error });
    }
    const sections = parseIni(text, file);
    const included = (name: string) => {
      for (const { text: other } of sections.get('INCLUDES')?.get(name) ?? []) {
        const path = isAbsolute(other) ? other : join(dirname(file), other);
        this.#include(path, [...around, file]);
        const local = path.replace(/\.[^./]+$/, '.local');
        if (local !== path) this.#include(local, [...around, file]);
      }
    };
    included('before');
    for (const [name, options] of sections) {
      if (name === 'INCLUDES') continue;
      const known = this.#sections.get(name) ?? new Map<string, Option>();
      for (const [option, value] of options) known.set(option, { value, known: known.get(option)?.value ?? null });
      this.#sections.set(name, known);
    }
    included('after');
  }

  /** Names of sections, without those that only serve others. */
  get names(): string[] {
    return [...this.#sections.keys()].filter((name) => name !== 'DEFAULT' && !name.includes('/'));
  }

  /** The value with all `%(name)s` filled in; null when nobody set it. `fallback` knows what no file here says. */
  lines(section: string, name: string, fallback: Lookup = () => null): Value | null {
    const option = this.#find(section, name);
    return option === null ? null : this.#filled(option.value, { section, name }, fallback, { lookups: 0 }, 0);
  }

  text(section: string, name: string, fallback?: Lookup): string | null {
    const lines = this.lines(section, name, fallback);
    return lines === null ? null : textOf(lines);
  }

  #find(section: string, name: string): Option | null {
    return this.#sections.get(section)?.get(name) ?? this.#sections.get('DEFAULT')?.get(name) ?? null;
  }

  /** @param spent Of one value's budget: names may stand for each other, or for ever more of themselves. */
  #filled(
    value: Value,
    own: { readonly section: string; readonly name: string },
    fallback: Lookup,
    spent: { lookups: number },
    depth: number,
  ): Value {
    if (depth > DEEPEST) return value;
    const lookup = (reference: string): Value | null => {
      if (spent.lookups++ > MOST_LOOKUPS) return null;
      const name = reference.toLowerCase();
      if (name === '__prefix_line') return [{ text: PREFIX_LINE, file: '', line: 0 }];
      if (name === '__name__') return [{ text: own.section, file: '', line: 0 }];
      const slash = name.indexOf('/');
      const section = slash < 0 ? own.section : reference.slice(0, slash);
      const option = slash < 0 ? name : name.slice(slash + 1);
      const isKnown = section.toLowerCase() === 'known';
      if (!isKnown && option === own.name && section === own.section) return null;
      const found = isKnown ? this.#find(own.section, option)?.known : this.#find(section, option)?.value;
      const known = found ?? fallback(option);
      return known === null
        ? null
        : this.#filled(known, { section: own.section, name: option }, fallback, spent, depth + 1);
    };
    return substituted(value, REFERENCE, lookup, '%');
  }
}

export type Lookup = (name: string) => Value | null;

const REFERENCE = /%\(([^()]+)\)s|%%/g;
/** The innermost ones: `<mdre-<mode>>` takes two rounds. */
const TAG = /<([^<> ]+)>/g;

/** The value with all `<name>` that `lookup` knows filled in; others stay. */
export function withTags(value: Value, lookup: Lookup): Value {
  let now = value;
  for (let round = 0; round < DEEPEST; round++) {
    const next = substituted(now, TAG, lookup, '');
    const text = textOf(next);
    if (text === textOf(now) || text.length > LONGEST) return now;
    now = next;
  }
  return now;
}

/** @param doubled What a match without a name stands for. */
function substituted(value: Value, pattern: RegExp, lookup: Lookup, doubled: string): Value {
  let length = 0;
  return value.flatMap((line): readonly SourceLine[] => {
    const { text } = line;
    const matches = [...text.matchAll(pattern)];
    const [only] = matches;
    // A line that is one reference and nothing else stands for the lines behind it, which keep their own places.
    if (only !== undefined && only[0] === text && only[1] !== undefined) return lookup(only[1]) ?? [line];
    if (only === undefined) return [line];
    const filled = text.replace(pattern, (whole, name?: string) => {
      const found = name === undefined ? doubled : lookup(name);
      const put = found === null ? whole : typeof found === 'string' ? found : textOf(found);
      length += put.length;
      return length > LONGEST ? '' : put;
    });
    return filled.split('\n').map((part) => ({ ...line, text: part }));
  });
}

export function textOf(value: Value): string {
  return value.map(({ text }) => text).join('\n');
}
