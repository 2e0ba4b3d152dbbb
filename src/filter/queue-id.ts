/** The queue id that many of Postfix's messages begin with. */

const SHORTEST = 5;
const LONGEST = 26;

const IN_QUEUE_ID = Uint8Array.from({ length: 256 }, (_, code) => (isInQueueId(code) ? 1 : 0));

/** Behind `QUEUEID: `, or -1. */
export function queueIdEnd(bytes: Uint8Array, start: number, end: number): number {
  const limit = Math.min(end - 2, start + LONGEST);
  let at = start;
  for (; at < limit; at++) {
    if (IN_QUEUE_ID[bytes[at] ?? 0] === 0) break;
  }
  return at - start >= SHORTEST && bytes[at] === 58 && bytes[at + 1] === 32 ? at + 2 : -1;
}

/** Postfix's queue ids have no small vowels, so that no word such as `warning` is one. */
export function isInQueueId(code: number): boolean {
  if (code < 97) return (code >= 48 && code <= 57) || (code >= 65 && code <= 90);
  return code <= 122 && code !== 97 && code !== 101 && code !== 105 && code !== 111 && code !== 117;
}
