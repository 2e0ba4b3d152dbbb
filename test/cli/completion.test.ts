/** Tab in a real shell: the scripts as `blockctl completion` prints them. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStore } from '../../src/store/open.js';
import { blockctl } from '../support/programs.js';
import { Terminal } from '../support/terminal.js';
import { BLOCKCTL } from './support.js';

const folder = mkdtempSync(join(tmpdir(), 'blockd-completion-'));
const store = `lmdb:${folder}/store`;
const program = join(folder, 'blockctl');

beforeAll(async () => {
  writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${BLOCKCTL} --store ${store} "$@"\n`);
  chmodSync(program, 0o755);
  for (const shell of ['bash', 'zsh', 'fish'])
    writeFileSync(join(folder, shell), (await blockctl(['completion', shell])).stdout);
  for (const one of ['203.0.113.9', '203.0.113.77', '2001:db8:1:2::/64'])
    await blockctl(['--store', store, 'ban', one]);
  await blockctl(['--store', store, 'allow', 'partner.example']);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const environment = { ...process.env, PATH: `${folder}:${process.env['PATH']}`, HOME: folder };

/** What Tab offers behind `line` in bash. */
function inBash(line: string): string[] {
  const script = `source ${join(folder, 'bash')}; compopt() { echo "compopt $*"; }
    COMP_LINE=${JSON.stringify(line)}; COMP_POINT=\${#COMP_LINE}; _blockctl; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8', env: environment });
  expect(stderr).toBe('');
  return stdout.trim().split('\n').filter(Boolean);
}

describe('bash', () => {
  it.each<[string, string[]]>([
    ['blockctl unb', ['unban']],
    ['blockctl import ', ['fail2ban', 'list']],
    ['blockctl unban 203.0.113.', ['203.0.113.77', '203.0.113.9']],
    ['blockctl unban 203.0.113.9 203.0.113.7', ['203.0.113.77']],
    ['blockctl unban 203.0.113.9 203.0.113.', ['203.0.113.77']],
    ['blockctl allow 203.0.113.9', ['203.0.113.9']],
    ['blockctl --set=score.thr', ['compopt -o nospace', 'score.threshold=']],
    ['blockctl --set scor', ['score.half_life=', 'score.standing=', 'score.threshold=']],
    ['blockctl --set poi', ['compopt -o nospace', 'points.']],
    ['blockctl setup --mode ', ['dry-run', 'shadow']],
    ['blockctl report --html=x', ['compopt -o default']],
    // A colon begins another word there.
    ['blockctl explain 2001:db8:1', ['1:2::/64']],
    ['blockctl disallow ', ['partner.example']],
    ['blockctl ban --f', ['--for']],
    ['blockctl list --js', ['--json']],
    ['blockctl --set score.thr', ['compopt -o nospace', 'score.threshold=']],
    ['blockctl setup --mode sh', ['shadow']],
    ['blockctl completion ', ['bash', 'fish', 'zsh']],
    ['blockctl report ', ['compopt -o default']],
    ['blockctl report --html x', ['compopt -o default']],
    ['blockctl ban ', []],
  ])('offers behind "%s" what fits there', (line, offered) => {
    expect(inBash(line)).toEqual(offered);
  });

  it('offers every command, and none that is hidden', () => {
    const offered = inBash('blockctl ');
    expect(offered).toContain('doctor');
    expect(offered).not.toContain('complete');
    expect(offered.length).toBeGreaterThan(18);
  });

  it('asks the store and the config that the line names, not another', () => {
    expect(inBash(`blockctl --store lmdb:${folder}/other unban `)).toEqual([]);
    expect(inBash(`blockctl --store=lmdb:${folder}/other unban `)).toEqual([]);
    expect(inBash(`blockctl --config ${folder}/none.toml unban `)).toEqual([]);
    expect(inBash(`blockctl --store ${store} unban 203.0.113.7`)).toEqual(['203.0.113.77']);
  });

  it('offers nothing from a store that a shell would take for more than a word', async () => {
    const hostile = `lmdb:${folder}/hostile`;
    const opened = await openStore(hostile, { prefix: 'blockd' });
    const entries = ['$(touch pwned)', 'a.example;reboot', 'b.example\nc.example', 'fair.example'];
    await opened.commit([], () => ({ allow: entries.map((entry) => ({ entry, at: Date.now() })), changes: [] }));
    await opened.close();
    expect(inBash(`blockctl --store ${hostile} disallow `)).toEqual(['fair.example']);
  });

  it('is quick and silent when the store is away', async () => {
    const { stdout, stderr, code } = await blockctl(['--store', 'redis://127.0.0.1:1', 'complete', '--', 'unban', '']);
    expect({ stdout, stderr, code }).toEqual({ stdout: 'words\n', stderr: '', code: 0 });
  });
});

describe('the others', () => {
  it('fish offers the same', ({ skip }) => {
    const ask = `source ${join(folder, 'fish')}; complete -C "blockctl unban 203"`;
    const { stdout, error } = spawnSync('fish', ['-N', '-c', ask], { encoding: 'utf8', env: environment });
    if (error !== undefined) skip('fish is not installed');
    expect(stdout.trim().split('\n').sort()).toEqual(['203.0.113.77', '203.0.113.9']);
  });

  it('zsh offers the same, typed in a terminal', async ({ skip }) => {
    if (spawnSync('zsh', ['--version']).error !== undefined) skip('zsh is not installed');
    const set = 'autoload -U compinit; compinit -u -D; source ./zsh; PS1="ready> "';
    writeFileSync(join(folder, '.zshrc'), `cd ${folder}; export PATH=${folder}:$PATH; ${set}\n`);
    const terminal = new Terminal('zsh -i', {
      columns: 100,
      rows: 20,
      env: { HOME: folder, ZDOTDIR: folder, TMPPREFIX: join(folder, 'zsh-') },
    });
    const shown = (text: string) => expect.poll(() => terminal.text, { timeout: 10_000 }).toContain(text);
    try {
      await shown('ready>');
      terminal.press('blockctl unban 203.0.113.7');
      terminal.press('Tab');
      await shown('ready> blockctl unban 203.0.113.77');
      terminal.press('C-u');
      terminal.press('blockctl --set score.thr');
      terminal.press('Tab');
      await shown('ready> blockctl --set score.threshold=');
      terminal.press('C-u');
      terminal.press('blockctl report --html=fis');
      terminal.press('Tab');
      await shown('ready> blockctl report --html=fish');
    } finally {
      terminal.close();
    }
  });
});
