/** Log lines for reading: blockd keeps their bytes, one character each, since a log may hold any. */

/** The line as text: UTF-8 where it is that, else each byte as the character of Latin-1. */
export function readable(line: string): string {
  if (!/[\x80-\xff]/.test(line) || /[^\0-\xff]/.test(line)) return line;
  try {
    return STRICT.decode(Buffer.from(line, 'latin1'));
  } catch {
    return line;
  }
}

const STRICT = new TextDecoder('utf-8', { fatal: true });
