/**
 * What reaches the person's terminal: aligned, coloured where that is wanted, and harmless. Log lines, host names and
 * reasons hold text that attackers choose, so all of it goes through `safe` or `json`.
 */
import { inspect } from 'node:util';
import { safe, safeJson } from '../domain/safe.js';

export { safe };

/** JSON that means the same as `value` and can't steer a terminal either. */
export function json(value: unknown, indent?: number): string {
  return safeJson(JSON.stringify(value, null, indent));
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** What a stream can show. */
export interface Look {
  readonly colour: boolean;
  /** Columns that fit, infinite for a pipe or file. */
  readonly width: number;
}

export function lookOf(stream: { isTTY?: boolean; columns?: number }, env: NodeJS.ProcessEnv = process.env): Look {
  const tty = stream.isTTY === true;
  return { colour: wantsColour(tty, env), width: tty ? (stream.columns ?? 80) : Number.POSITIVE_INFINITY };
}

/** `text` in a style, if the stream shows any. */
export function styled(look: Look, style: Style, text: string): string {
  const [on, off] = inspect.colors[style] ?? [0, 0];
  return look.colour ? `\x1b[${on}m${text}\x1b[${off}m` : text;
}

export interface Column<Row> {
  readonly title: string;
  readonly text: (row: Row) => string;
  /** Flush right, for numbers. */
  readonly right?: boolean;
  /** May be cut down to this many characters when the terminal is narrow; others keep their width. */
  readonly least?: number;
  /** Left out, the highest rank first, where the others would not fit. */
  readonly spare?: number;
  readonly style?: (row: Row) => Style | undefined;
}

/** An aligned table with a heading line, cut to the width of the terminal. */
export function table<Row>(look: Look, columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const laid = fitted(
    columns.map((column) => laidOut(look, column, rows)),
    look.width,
  );
  let text = `${laid
    .map((one) => title(look, one))
    .join(GAP)
    .trimEnd()}\n`;
  if (laid.every((one) => one.isBare)) return text + bareLines(laid, rows.length);
  let r = 0;
  for (const row of rows) {
    let line = '';
    for (const one of laid) line += (line === '' ? '' : GAP) + cell(look, one, r, row);
    text += `${line.trimEnd()}\n`;
    r++;
  }
  return text;
}

function laidOut<Row>(look: Look, column: Column<Row>, rows: readonly Row[]): Laid<Row> {
  const { title, text: textOf } = column;
  let width = title.length;
  const texts = rows.map((row) => {
    const text = textOf(row);
    if (text.length > width) width = text.length;
    return text;
  });
  // A long list is plain but for a few cells: it is asked as a whole, which takes a fraction of the time.
  if (!NOT_PLAIN.test(title + texts.join(''))) {
    return { column, texts, width, widthOf: lengthOf, isBare: !look.colour || column.style === undefined };
  }
  const harmless = texts.map(safe);
  width = harmless.reduce((most, text) => Math.max(most, columnsOf(text)), title.length);
  return { column, texts: harmless, width, widthOf: columnsOf, isBare: false };
}

/** `text` in at most `width` columns, with a mark when something was cut off. */
export function cut(text: string, width: number, widthOf = columnsOf): string {
  if (widthOf(text) <= width) return text;
  let kept = '';
  let columns = 0;
  for (const char of text) {
    columns += columnsOf(char);
    if (columns > width - 1) break;
    kept += char;
  }
  return `${kept}…`;
}

/** Columns that a terminal gives to printable text: two to East Asian wide characters and pictures, none to accents. */
export function columnsOf(text: string): number {
  if (!NOT_PLAIN.test(text)) return text.length;
  let columns = 0;
  for (const char of text) columns += ACCENT.test(char) ? 0 : WIDE.test(char) ? 2 : 1;
  return columns;
}

const lengthOf = (text: string) => text.length;

/** Searched for, since `^[…]*$` would remember each character of a long text to come back to. */
const NOT_PLAIN = /[^\x20-\x7e]/;
const ACCENT = /^\p{M}/u;
/** Unicode Standard Annex 11, East Asian Width: the blocks that are wide or full-width. */
const WIDE =
  /^[\u1100-\u115f\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;

const GAP = '  ';
const BLANK = 0x20;
const NEWLINE = 0x0a;

/** A column with its cells, and the width that it gets. */
interface Laid<Row> {
  readonly column: Column<Row>;
  readonly texts: readonly string[];
  readonly width: number;
  /** Columns that one of the texts takes. */
  readonly widthOf: (text: string) => number;
  /** The texts need nothing but blanks beside them. A long list is mostly of such. */
  readonly isBare: boolean;
}

function title<Row>(look: Look, laid: Laid<Row>): string {
  return filled(look, laid, laid.column.title, 'bold');
}

function cell<Row>(look: Look, laid: Laid<Row>, r: number, row: Row): string {
  const { column, texts, width, isBare } = laid;
  const text = texts[r] ?? '';
  if (!isBare) return filled(look, laid, text, column.style?.(row));
  return column.right === true ? text.padStart(width) : text.padEnd(width);
}

/** The lines of a long list, as bytes: put together from texts, they would keep the garbage collector busy. */
function bareLines<Row>(laid: readonly Laid<Row>[], count: number): string {
  const bytes = Buffer.alloc(count * (total(laid.map(({ width }) => width)) + 1), ' ');
  let at = 0;
  for (let r = 0; r < count; r++) {
    let end = at;
    for (const { column, texts, width } of laid) {
      const text = texts[r] ?? '';
      const from = column.right === true ? at + width - text.length : at;
      for (let i = 0; i < text.length; i++) bytes[from + i] = text.charCodeAt(i);
      end = from + text.length;
      at += width + GAP.length;
    }
    while (bytes[end - 1] === BLANK) end--;
    bytes[end] = NEWLINE;
    at = end + 1;
  }
  return bytes.toString('latin1', 0, at);
}

function filled<Row>(look: Look, laid: Laid<Row>, text: string, style: Style | undefined): string {
  const shown = cut(text, laid.width, laid.widthOf);
  const padding = ' '.repeat(laid.width - (shown === text ? laid.widthOf(shown) : columnsOf(shown)));
  const inStyle = style === undefined || shown === '' ? shown : styled(look, style, shown);
  return laid.column.right === true ? padding + inStyle : inStyle + padding;
}

/** Leaves spare columns out, then takes from those that may be cut, the widest first, until a line fits. */
function fitted<Row>(all: readonly Laid<Row>[], width: number): Laid<Row>[] {
  let laid = [...all];
  const leastOf = ({ column, width: full }: Laid<Row>) => Math.min(full, column.least ?? full);
  while (total(laid.map(leastOf)) > width) {
    const spare = laid.reduce((most, { column }) => Math.max(most, column.spare ?? 0), 0);
    if (spare === 0) break;
    laid = laid.filter(({ column }) => column.spare !== spare);
  }
  while (total(laid.map((one) => one.width)) > width) {
    const widest = laid.filter((one) => one.width > leastOf(one)).sort((a, b) => b.width - a.width)[0];
    if (widest === undefined) break;
    laid = laid.map((one) => (one === widest ? { ...one, width: one.width - 1, isBare: false } : one));
  }
  return laid;
}

function total(widths: readonly number[]): number {
  return widths.reduce((sum, one) => sum + one, 0) + GAP.length * (widths.length - 1);
}

function wantsColour(tty: boolean, env: NodeJS.ProcessEnv): boolean {
  const force = env.FORCE_COLOR;
  if (force !== undefined && force !== '') return force !== '0';
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== '') return false;
  return tty && env.TERM !== 'dumb';
}
