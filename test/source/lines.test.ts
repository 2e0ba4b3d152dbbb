/** Blocks that logs share: none is written into by two. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BLOCK_BYTES, Blocks } from '../../src/source/blocks.js';
import { LineCutter, type Lines } from '../../src/source/lines.js';

/** Puts all of `bytes` into the cutter, at most `atOnce` at a time; returns what came of it. */
function feed(
  cutter: LineCutter,
  bytes: Buffer,
  atOnce = Number.POSITIVE_INFINITY,
  onAdded: (lines: Lines | null) => void = () => undefined,
): Lines[] {
  const all: Lines[] = [];
  for (let from = 0; from < bytes.length; ) {
    const count = bytes.copy(cutter.room, 0, from, Math.min(bytes.length, from + atOnce));
    from += count;
    const lines = cutter.add(count);
    onAdded(lines);
    if (lines !== null) all.push(lines);
  }
  return all;
}

const NOTHING: Buffer = Buffer.alloc(0);
const textOf = (lines: readonly Lines[]) => lines.map(({ data }) => data.toString('latin1')).join('');

it('a log that is read to its end gives its block to another', () => {
  const blocks = new Blocks();
  const [one, other] = [new LineCutter(blocks), new LineCutter(blocks)];
  const [first] = feed(one, Buffer.from('a line\n'));
  one.pause();
  const [second] = feed(other, Buffer.from('another\n'));
  expect(second?.data.buffer).toBe(first?.data.buffer);
});

it('a log in which half a line waits keeps its block, and what another reads is not in it', () => {
  const blocks = new Blocks();
  const [one, other] = [new LineCutter(blocks), new LineCutter(blocks)];
  feed(one, Buffer.from('a line\nhalf'));
  one.pause();
  expect(textOf(feed(other, Buffer.from('another\n')))).toBe('another\n');
  expect(textOf(feed(one, Buffer.from(' a line\n')))).toBe('half a line\n');
});

it('lines of several logs that share blocks come whole, wherever reading pauses', () => {
  const length = fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 0, max: 300 }) },
    // Over several blocks, and below what is cut.
    fc.integer({ min: 0, max: 2 * BLOCK_BYTES - 100 }),
  );
  const written = fc.record({
    to: fc.nat(2),
    lengths: fc.array(length, { minLength: 1, maxLength: 20 }),
    /** Bytes of the last line that come with the next write only. */
    held: fc.nat(20),
    atOnce: fc.constantFrom(1_000, 70_000, 1_000_000),
    pauses: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(written, { maxLength: 20 }), (writes) => {
      const blocks = new Blocks();
      const logs = Array.from({ length: 3 }, () => ({
        cutter: new LineCutter(blocks),
        rest: '',
        text: '',
        seen: '',
        last: { data: NOTHING, text: '' },
      }));
      for (const [n, { to, lengths, held, atOnce, pauses }] of writes.entries()) {
        const log = logs[to];
        if (log === undefined) throw new Error('no such log');
        // Until the log is read on, its last chunk stays as it was, whatever the others read.
        expect(log.last.data.toString('latin1')).toBe(log.last.text);
        const text = lengths.map((length, i) => `${to} ${n} ${i} ${'x'.repeat(length)}\n`).join('');
        log.text += text;
        const all = log.rest + text;
        log.rest = all.slice(all.length - held);
        feed(log.cutter, Buffer.from(all.slice(0, all.length - held)), atOnce, (lines) => {
          const data = lines?.data ?? NOTHING;
          log.last = { data, text: data.toString('latin1') };
          log.seen += log.last.text;
        });
        if (!pauses) continue;
        log.cutter.pause();
        log.last = { data: NOTHING, text: '' };
      }
      for (const { cutter, rest, text, seen } of logs) {
        const end = textOf(feed(cutter, Buffer.from(rest)));
        expect(seen + end + textOf([cutter.finish()].filter((lines) => lines !== null))).toBe(text);
      }
    }),
    { numRuns: 200 },
  );
});
