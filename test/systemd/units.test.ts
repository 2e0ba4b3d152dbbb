/** The packaged units, as systemd itself reads them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const UNITS = fileURLToPath(new URL('../../systemd', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'blockd-units-'));
const names = readdirSync(UNITS).filter((name) => /\.(service|timer)$/.test(name));

beforeAll(() => {
  // The programs need not be installed here for their units to be looked at.
  const program = join(folder, 'program');
  writeFileSync(program, '#!/bin/sh\n', { mode: 0o755 });
  for (const name of names) {
    const unit = readFileSync(join(UNITS, name), 'utf8');
    writeFileSync(join(folder, name), unit.replace(/\/usr\/s?bin\/block(d|ctl)\b/g, program));
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('systemd has nothing to say against them', () => {
  const files = names.map((name) => join(folder, name));
  const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...files], {
    encoding: 'utf8',
  });
  expect(`${stdout}${stderr}`).toBe('');
  expect(status).toBe(0);
});

test.each([
  ['blockd.service', 1.2],
  ['blockd-sweep.service', 0.3],
])('%s is exposed by no more than %d', (name, most) => {
  const { stdout } = spawnSync('systemd-analyze', ['security', '--offline=yes', '--no-pager', join(folder, name)], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  });
  const [, exposure] = /exposure level for \S+: ([\d.]+) /.exec(stdout) ?? [];
  expect(Number(exposure)).toBeLessThanOrEqual(most);
  expect(Number(exposure)).toBeGreaterThan(0);
});

test('the timer ends bans at least every five minutes', () => {
  const timer = readFileSync(join(UNITS, 'blockd-sweep.timer'), 'utf8');
  const [, calendar] = /^OnCalendar=(.+)$/m.exec(timer) ?? [];
  const said = execFileSync('systemd-analyze', ['calendar', '--iterations=2', calendar ?? ''], {
    encoding: 'utf8',
    env: { ...process.env, TZ: 'UTC', LC_ALL: 'C.UTF-8' },
  });
  const [first, second] = [...said.matchAll(/(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC/g)].map(([, at]) =>
    Date.parse(`${at}Z`),
  );
  expect((second ?? Number.NaN) - (first ?? 0)).toBe(300_000);
});
