/** V8's settings for a short run are taken without a word, by the version that gains by them. */
import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const exec = promisify(execFile);
const MODULE = join(resolve(import.meta.dirname, '../..'), 'dist/daemon/short-run.js');

/** Bytes of the room for young objects, once some have outlived their first collections. */
async function roomAfter(version: string | null): Promise<number> {
  const program = `
    const { expectShortRun } = await import(${JSON.stringify(MODULE)});
    const { getHeapSpaceStatistics } = await import('node:v8');
    ${version === null ? '' : `expectShortRun(${JSON.stringify(version)});`}
    const room = () => getHeapSpaceStatistics().find((space) => space.space_name === 'new_space').space_size;
    const kept = [];
    while (kept.length < 60_000) kept.push({ i: kept.length });
    console.log(room());`;
  const { stdout, stderr } = await exec(process.execPath, ['--input-type=module', '-e', program]);
  expect(stderr).toBe('');
  return Number(stdout);
}

describe('a short run', () => {
  test('has all room for young objects at once with Node.js 20, and is as ever with others', async () => {
    const usual = await roomAfter(null);
    expect(usual).toBeGreaterThan(0);
    expect(await roomAfter('22.1.0')).toBe(usual);
    expect(await roomAfter('20.19.0')).toBeGreaterThan(2 * usual);
  });
});
