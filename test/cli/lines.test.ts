import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, expect, it } from 'vitest';
import { openLog } from '../../src/cli/lines.js';

const dir = mkdtempSync(join(tmpdir(), 'blockd-lines-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function linesOf(bytes: string | Buffer, name = 'log'): Promise<string[]> {
  const file = join(dir, name);
  writeFileSync(file, bytes);
  const lines: string[] = [];
  for await (const line of openLog(file).lines()) lines.push(line);
  return lines;
}

it('lines are read with and without a newline at the end, and empty ones count', async () => {
  expect(await linesOf('one\n\ntwo')).toEqual(['one', '', 'two']);
  expect(await linesOf('one\n')).toEqual(['one']);
  expect(await linesOf('')).toEqual([]);
  expect(await linesOf('x')).toEqual(['x']);
});

it('gzip is recognised by its bytes, in several members too', async () => {
  expect(await linesOf(Buffer.concat([gzipSync('one\ntw'), gzipSync('o\n')]), 'mail.log.2.gz')).toEqual(['one', 'two']);
  expect(await linesOf(gzipSync('one\n'), 'no-suffix')).toEqual(['one']);
});

it('bytes are kept, whatever their encoding', async () => {
  expect(await linesOf(Buffer.from([0x61, 0xff, 0xc3, 0xbc, 0x0a]))).toEqual(['a\xff\xc3\xbc']);
});

it('of a line without end only the beginning is held', async () => {
  const [long, next] = await linesOf(`${'x'.repeat(3_000_000)}\nnext\n`);
  expect(long?.length).toBe(8_192);
  expect(next).toBe('next');
});

it('what can not be read is told with its reason', async () => {
  expect(() => openLog(join(dir, 'none'))).toThrow(/none can't be read: no such file or directory/);
  expect(() => openLog(dir)).toThrow(/is a directory/);
  const whole = gzipSync('line\n'.repeat(10_000));
  await expect(linesOf(whole.subarray(0, whole.length / 2))).rejects.toThrow(
    /can't be read to its end: unexpected end of file/,
  );
});
