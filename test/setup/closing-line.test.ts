/** The last line of `.ci/run`, made from what the test runner reports. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'blockd-closing-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const LOADED = { status: 'passed', assertionResults: [{ status: 'passed' }] };
const UNLOADED = { status: 'failed', assertionResults: [] };
const report = (passed: number, failed: number, skipped = 0, files: object[] = [LOADED]) => ({
  numPassedTests: passed,
  numFailedTests: failed,
  numPendingTests: skipped,
  numTodoTests: 0,
  testResults: files,
});

test.each([
  ['all is well', report(12, 0), ['0', '0', '0'], '12 passed, 0 failed', 0],
  ['some were skipped', report(12, 0, 3), ['0', '0', '0'], '12 passed, 0 failed, 3 skipped', 0],
  ['a test failed', report(11, 1), ['1', '0', '0'], '11 passed, 1 failed', 1],
  ['a file could not be loaded', report(11, 0, 0, [LOADED, UNLOADED]), ['1', '0', '0'], '11 passed, 1 failed', 1],
  ['the run ended badly after its tests', report(12, 0), ['1', '0', '0'], '12 passed, 1 failed', 1],
  ['the run found no tests', report(0, 0, 0, []), ['0', '0', '0'], '0 passed, 1 failed', 1],
  ['the set-up failed before any report', null, ['1', '0', '0'], '0 passed, 1 failed', 1],
  ['only a linter found something', report(12, 0), ['0', '0', '2'], '12 passed, 0 failed', 1],
])('when %s', (_, made, statuses, line, code) => {
  const file = join(folder, 'report.json');
  writeFileSync(file, made === null ? '' : JSON.stringify(made));
  const { stdout, status } = spawnSync(process.execPath, [join(ROOT, 'scripts/closing-line.mjs'), file, ...statuses], {
    encoding: 'utf8',
  });
  expect(stdout.trimEnd().split('\n').at(-1)).toBe(line);
  expect(status).toBe(code);
});
