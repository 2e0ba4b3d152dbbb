/** The config that setup writes, or adds the map to. */
import { parse } from 'smol-toml';
import { UsageError } from '../domain/errors.js';

/** Dotted key and value of one setting. */
export type ConfigEntry = readonly [key: string, value: unknown];

/** A new config file with these settings, by sections. */
export function newConfig(entries: readonly ConfigEntry[]): string {
  const sections = new Map<string, string[]>();
  for (const [key, value] of entries) {
    const dot = key.indexOf('.');
    const section = dot < 0 ? '' : key.slice(0, dot);
    const name = key.slice(dot + 1);
    const line = `${section === 'points' ? JSON.stringify(name) : name} = ${tomlOf(value)}`;
    sections.set(section, [...(sections.get(section) ?? []), line]);
  }
  const parts = [...sections].sort(([a], [b]) => (a === '' ? -1 : b === '' ? 1 : 0));
  const body = parts.map(([name, lines]) => `${name === '' ? '' : `[${name}]\n`}${lines.join('\n')}\n`).join('\n');
  return `${HEADER}\n${body}`;
}

/** `text` with `postfix.map` added. @throws UsageError when it can't be added to a file that is written so. */
export function withMap(text: string, map: string, file: string): string {
  const line = `map = ${tomlOf(map)}`;
  const added = /^\[postfix\][ \t]*(?:#.*)?$/m.test(text)
    ? text.replace(/^\[postfix\][ \t]*(?:#.*)?$/m, (head) => `${head}\n${line}`)
    : `${text.endsWith('\n') || text === '' ? text : `${text}\n`}\n[postfix]\n${line}\n`;
  try {
    const postfix = parse(added)['postfix'];
    if (typeof postfix === 'object' && 'map' in postfix && postfix['map'] === map) return added;
  } catch {
    // Such as a file that says `postfix.reply = …`, which no section may follow.
  }
  throw new UsageError(`${file}: postfix.map is not set, and can't be added by itself: write ${line} with the others`);
}

/** What `--set KEY=VALUE` gives; a text may stand without quotes. */
export function settingOf(pair: string): ConfigEntry {
  const cut = pair.indexOf('=');
  const [key, raw] = [pair.slice(0, cut).trim(), pair.slice(cut + 1).trim()];
  try {
    return [key, parse(`value = ${raw}`)['value']];
  } catch {
    return [key, raw];
  }
}

const HEADER = `# Written by "blockctl setup". What is not named here keeps its default; the
# packaged blockd.toml has all keys with their reasons. "blockctl check" tells
# whether this file is right.
`;

function tomlOf(value: unknown): string {
  // Strings, numbers, truth values and lists of them are spelt alike in JSON and TOML.
  return JSON.stringify(value);
}
