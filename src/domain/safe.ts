/** Text of others made harmless to those who read it: nothing in it steers a terminal, ends a line or hides. */

/** Controls (C0, DEL, C1), bidi and zero-width characters, odd separators. */
const STEERING = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Most texts by far hold nothing of it, which is found out in half the time. */
const NOT_PLAIN = /[^\x20-\x7e]/;
const NOT_PLAIN_LINES = /[^\n\x20-\x7e]/;

/** `text` with every character that could steer a terminal made visible: `\x1b`, `\u202e`. */
export function safe(text: string): string {
  if (!NOT_PLAIN.test(text)) return text;
  return text.replace(STEERING, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${hex(code, 2)}` : code < 0x10000 ? `\\u${hex(code, 4)}` : `\\u{${hex(code, 1)}}`;
  });
}

/** JSON text that means the same and can't steer a terminal either. */
export function safeJson(text: string): string {
  if (!NOT_PLAIN_LINES.test(text)) return text;
  return text.replace(/[^\n\P{C}]|[\p{Zl}\p{Zp}]/gu, (char) =>
    Array.from({ length: char.length }, (_, i) => `\\u${hex(char.charCodeAt(i), 4)}`).join(''),
  );
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}
