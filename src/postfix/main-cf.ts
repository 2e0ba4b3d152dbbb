/**
 * Edits the text of main.cf by a few words. postconf(1) -e would put a value of several lines on one and part the
 * comments in it from what they explain (measured, 3.7), so words are put in and taken out in place; postconf is asked
 * afterwards whether it reads what was meant. Pure.
 */
import { parseRestrictions, type Restriction } from './restrictions.js';
import { OWN_PERMITS } from './wiring.js';

const NAME = 'smtpd_client_restrictions';

/** Set in front where setup adds the parameter: a user on a shared address that is banned may still log in and send. */
const FIRST_PERMITS = ['permit_mynetworks', 'permit_sasl_authenticated'];

/** Stands above the parameter where setup had to add it. */
export const MAIN_CF_MARK = '# Added by "blockctl setup"; "blockctl setup --undo" takes it out again.';

/**
 * `text` with those of the map's `tables` asked for that are `wanted`: behind what permits own networks and users, before
 * all else. What is named already stays where it is. The same text when all are.
 */
export function withTables(text: string, tables: readonly string[], wanted: readonly string[] = tables): string {
  const missing = wanted.filter((table) => !isNamed(text, table));
  const asks = missing.map((table) => `check_client_access ${table}`);
  if (asks.length === 0) return text;
  const value = valueIn(text);
  if (value === null) {
    const before = text === '' || text.endsWith('\n') ? text : `${text}\n`;
    return `${before}\n${MAIN_CF_MARK}\n${NAME} =\n    ${[...FIRST_PERMITS, ...asks].join(',\n    ')}\n`;
  }
  const items = itemsIn(text, value);
  if (items.length === 0) {
    const at = text.indexOf('=', value.nameStart) + 1;
    return `${text.slice(0, at)} ${asks.join(', ')}${text.slice(at)}`;
  }
  // The sibling belongs right behind the map.
  const named = items.findLastIndex((one) => one.argument !== null && tables.includes(one.argument));
  const own = items.findIndex(({ name }) => !OWN_PERMITS.includes(name));
  const at = named >= 0 ? named + 1 : own < 0 ? items.length : own;
  const next = items[at];
  const last = items[at - 1];
  if (next !== undefined) {
    const gap = lineGap(text, next.start);
    return `${text.slice(0, next.start)}${asks.map((ask) => `${ask},${gap}`).join('')}${text.slice(next.start)}`;
  }
  const end = last?.end ?? value.end;
  const gap = items.length > 1 ? lineGap(text, last?.start ?? end) : ' ';
  return `${text.slice(0, end)}${asks.map((ask) => `,${gap}${ask}`).join('')}${text.slice(end)}`;
}

/** `text` without `tables`; a parameter that setup had added goes as well when nothing else is left in it. */
export function withoutTables(text: string, tables: readonly string[]): string {
  let left = text;
  for (;;) {
    const value = valueIn(left);
    if (value === null) return left;
    const items = itemsIn(left, value);
    const at = items.findIndex(({ argument }) => argument !== null && tables.includes(argument));
    const item = items[at];
    if (item === undefined)
      return withoutMark(
        left,
        items.every(({ name }) => FIRST_PERMITS.includes(name)),
      );
    left = withoutItem(left, item, items[at - 1], at === items.length - 1);
  }
}

/** The restrictions that `text` itself gives, with `$name` unexpanded. */
export function restrictionsIn(text: string): string[] {
  const value = valueIn(text);
  return value === null ? [] : itemsIn(text, value).map(({ start, end }) => text.slice(start, end));
}

function isNamed(text: string, table: string): boolean {
  const value = valueIn(text);
  return value !== null && itemsIn(text, value).some(({ argument }) => argument === table);
}

interface Value {
  readonly nameStart: number;
  /** Behind the equals sign. */
  readonly start: number;
  readonly end: number;
}

/** The last setting of the parameter, which is the one that counts. postconf(5): an indented line continues. */
function valueIn(text: string): Value | null {
  const found = [...text.matchAll(new RegExp(`^${NAME}[ \\t]*=`, 'gm'))].at(-1);
  if (found === undefined) return null;
  const start = found.index + found[0].length;
  let end = lineEnd(text, start);
  let at = end;
  // Comments and empty lines between continue nothing and end nothing.
  while (at < text.length) {
    const stop = lineEnd(text, at + 1);
    const line = text.slice(at + 1, stop);
    if (!/^\s*(?:#|$)/.test(line)) {
      if (!/^[ \t]/.test(line)) break;
      end = stop;
    }
    at = stop;
  }
  return { nameStart: found.index, start, end };
}

function itemsIn(text: string, { start, end }: Value): Restriction[] {
  const shift = (one: Restriction) => ({ ...one, start: one.start + start, end: one.end + start });
  return parseRestrictions(text.slice(start, end)).map(shift);
}

function lineEnd(text: string, from: number): number {
  const at = text.indexOf('\n', from);
  return at < 0 ? text.length : at;
}

/** A new line with the same indentation, where `at` stands first on its own; else a blank. */
function lineGap(text: string, at: number): string {
  const indent = /\n([ \t]+)$/.exec(text.slice(0, at))?.[1];
  return indent === undefined ? ' ' : `\n${indent}`;
}

function withoutItem(text: string, item: Restriction, before: Restriction | undefined, isLast: boolean): string {
  const behind = /^[ \t]*,?[ \t]*/.exec(text.slice(item.end))?.[0] ?? '';
  let start = item.start;
  const end = item.end + behind.length;
  const startsLine = /\n[ \t]*$/.exec(text.slice(0, start))?.[0];
  const endsLine = text[end] === '\n' || end === text.length;
  // With its whole line; on the parameter's own line the name has to stay.
  if (startsLine !== undefined && endsLine) start -= startsLine.length;
  else if (endsLine) start -= /[ \t]*$/.exec(text.slice(0, start))?.[0].length ?? 0;
  const rest = text.slice(end);
  if (!isLast || before === undefined) return text.slice(0, start) + rest;
  const kept = text.slice(0, start);
  return kept.slice(0, before.end) + kept.slice(before.end).replace(/^[ \t]*,[ \t]*/, '') + rest;
}

/** Without what setup wrote above the parameter, and without the parameter when nobody else has put anything into it. */
function withoutMark(text: string, empty: boolean): string {
  const block = `\n${MAIN_CF_MARK}\n`;
  const at = text.indexOf(`${block}${NAME}`);
  if (at < 0) return text.replace(block, '\n');
  const behind = at + block.length;
  const value = valueIn(text);
  // Set again below, it is no longer what counts.
  if (value?.nameStart !== behind) return text;
  const { end } = value;
  return text.slice(0, at) + (empty ? text.slice(end + 1) : `\n${text.slice(behind)}`);
}
