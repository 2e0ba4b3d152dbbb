/**
 * HTML and SVG that hostile text can't get out of: whatever is put into a template is escaped, unless it is markup
 * itself. Text of a log is decoded and its steering characters are made visible first.
 */
import { readable } from '../domain/log-text.js';

export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Part = Markup | readonly Markup[] | string | number | null;

export function markup(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  let text = strings[0] ?? '';
  parts.forEach((part, i) => {
    text += render(part) + (strings[i + 1] ?? '');
  });
  return new Markup(text);
}

function render(part: Part): string {
  if (part === null) return '';
  if (part instanceof Markup) return part.text;
  if (typeof part === 'number') return String(Math.round(part * 100) / 100);
  if (typeof part === 'string') return escaped(part);
  return part.map(({ text }) => text).join('');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return text
    .replace(
      /(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu,
      (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`,
    )
    .replace(/[&<>"']/g, (char) => ENTITIES[char] ?? '');
}

/** A log line, or part of one: at most `longest` characters. */
export function logText(line: string, longest = 400): string {
  const text = readable(line);
  return text.length <= longest ? text : `${text.slice(0, longest - 1)}…`;
}
