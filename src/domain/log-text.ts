/** Log lines for reading: blockd keeps their bytes, one character each, since a log may hold any. */

/** The line as text: where its bytes are UTF-8 they become that, the others stay as they are. */
export function readable(line: string): string {
  return line.replace(MULTIBYTE, (sequence) => {
    try {
      return STRICT.decode(Buffer.from(sequence, 'latin1'));
    } catch {
      return sequence;
    }
  });
}

/** What may be a UTF-8 character of several bytes; the decoder knows the finer rules. */
const MULTIBYTE = /[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}/g;
const STRICT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
