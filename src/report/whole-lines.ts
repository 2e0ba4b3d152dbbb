/** Cuts a stream of bytes into texts of whole lines, one character a byte. */

/** No mail server writes such lines; whoever makes one does not get our memory for it. */
const LONGEST_LINE = 1_048_576;
const KEPT_OF_LONGER = 8_192;
const NEWLINE = 10;

export async function* wholeLines(blocks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest = '';
  let cutting = false;
  for await (const block of blocks) {
    const newline = block.lastIndexOf(NEWLINE);
    if (newline >= 0) {
      const start = cutting ? block.indexOf(NEWLINE) : 0;
      yield rest + block.toString('latin1', start, newline + 1);
      rest = '';
      cutting = false;
    }
    if (!cutting) rest += block.toString('latin1', newline + 1);
    if (rest.length > LONGEST_LINE) {
      rest = rest.slice(0, KEPT_OF_LONGER);
      cutting = true;
    }
  }
  if (rest !== '') yield `${rest}\n`;
}
