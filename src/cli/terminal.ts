/**
 * What reaches the person's terminal: aligned, coloured where that is wanted, and harmless. Log lines, host names and
 * reasons hold text that attackers choose, so all of it goes through `safe` or `json`.
 */
import { inspect } from 'node:util';

/** Characters that steer a terminal or hide text: controls (C0, DEL, C1), bidi and zero-width ones, odd separators. */
const STEERING = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** `text` with every character that could steer a terminal made visible: `\x1b`, `\u202e`. */
export function safe(text: string): string {
  return text.replace(STEERING, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${hex(code, 2)}` : code < 0x10000 ? `\\u${hex(code, 4)}` : `\\u{${hex(code, 1)}}`;
  });
}

/** JSON that means the same and can't steer a terminal either. */
export function json(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(/[^\n\P{C}]|[\p{Zl}\p{Zp}]/gu, (char) =>
    Array.from({ length: char.length }, (_, i) => `\\u${hex(char.charCodeAt(i), 4)}`).join(''),
  );
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
  readonly style?: (row: Row) => Style | undefined;
}

/** An aligned table with a heading line, cut to the width of the terminal. */
export function table<Row>(look: Look, columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const cells = rows.map((row) => columns.map((column) => safe(column.text(row))));
  const widths = columns.map((column, i) =>
    Math.max(column.title.length, ...cells.map((cell) => lengthOf(cell[i] ?? ''))),
  );
  fit(widths, columns, look.width);
  const heading = line(
    look,
    columns.map((column, i) => ({ text: column.title, width: widths[i] ?? 0, right: column.right, style: 'bold' })),
  );
  const body = rows.map((row, r) =>
    line(
      look,
      columns.map((column, i) => ({
        text: cells[r]?.[i] ?? '',
        width: widths[i] ?? 0,
        right: column.right,
        style: column.style?.(row),
      })),
    ),
  );
  return `${[heading, ...body].join('\n')}\n`;
}

/** `text` in at most `width` columns, with a mark when something was cut off. */
export function cut(text: string, width: number): string {
  const chars = [...text];
  return chars.length <= width ? text : `${chars.slice(0, Math.max(0, width - 1)).join('')}…`;
}

const GAP = 2;

interface Cell {
  readonly text: string;
  readonly width: number;
  readonly right: boolean | undefined;
  readonly style: Style | undefined;
}

function line(look: Look, cells: readonly Cell[]): string {
  let out = '';
  cells.forEach(({ text, width, right, style }, i) => {
    const shown = cut(text, width);
    const padding = ' '.repeat(width - lengthOf(shown));
    const last = i === cells.length - 1;
    const inStyle = style === undefined ? shown : styled(look, style, shown);
    out += right === true ? padding + inStyle : inStyle + (last ? '' : padding);
    if (!last) out += ' '.repeat(GAP);
  });
  // An empty last cell leaves the padding of the one before.
  return look.colour ? out : out.trimEnd();
}

/** Takes from the cuttable columns, the widest first, until the line fits. */
function fit(widths: number[], columns: readonly Column<never>[], width: number): void {
  for (;;) {
    const total = widths.reduce((sum, one) => sum + one, 0) + GAP * (widths.length - 1);
    if (total <= width) return;
    let widest = -1;
    widths.forEach((one, i) => {
      const least = columns[i]?.least;
      if (least !== undefined && one > least && one > (widths[widest] ?? 0)) widest = i;
    });
    if (widest < 0) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
}

function lengthOf(text: string): number {
  return [...text].length;
}

function wantsColour(tty: boolean, env: NodeJS.ProcessEnv): boolean {
  const force = env.FORCE_COLOR;
  if (force !== undefined && force !== '') return force !== '0';
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== '') return false;
  return tty && env.TERM !== 'dumb';
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}
