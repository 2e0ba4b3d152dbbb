import { execFileSync, spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

it('a program that is run synchronously has a time limit, also when nobody names one', () => {
  // Of the options that a test gives none is lost.
  expect(spawnSync('cat', { input: 'x', encoding: 'utf8' }).stdout).toBe('x');
  expect(execFileSync('printf', ['%s', 'y'], { encoding: 'utf8' })).toBe('y');
  expect(spawnSync.name).toBe('bounded');
  expect(execFileSync.name).toBe('bounded');
  expect(spawnSync('sleep', ['5'], { timeout: 20 }).signal).toBe('SIGKILL');
});
