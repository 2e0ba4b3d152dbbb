/** Sentences over several lines, where the terminal is narrow. */
import { columnsOf } from './terminal.js';

/** Longer lines are hard to read, however wide the terminal is. */
const WIDEST = 110;

/** `text` in lines of at most `width` columns, those behind the first indented. Lines of its own, as they are. */
export function wrap(text: string, width: number, indent: string): string {
  if (width === Number.POSITIVE_INFINITY) return text.split('\n').join(`\n${indent}`);
  const [first = '', ...others] = text.split('\n');
  const lines: string[] = [];
  let line = '';
  for (const word of first.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && columnsOf(longer) > Math.min(width, WIDEST) - columnsOf(indent)) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line, ...others].join(`\n${indent}`);
}
