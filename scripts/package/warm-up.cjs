/**
 * Has V8 compile what a daemon's start, a look into its store and a report run, and keeps it: see `compiled.js`. Run by
 * whoever may write beside the programs. What fails makes nothing worse: then it is compiled at each start.
 */
'use strict';
const { spawnSync } = require('node:child_process');
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const MOST_MS = 30_000;
const COMPILED = join(__dirname, '../compiled');

const folder = mkdtempSync(join(tmpdir(), 'blockd-warm-up-'));
try {
  rmSync(COMPILED, { recursive: true, force: true });
  const config = join(folder, 'blockd.toml');
  const log = join(folder, 'mail.log');
  writeFileSync(config, '');
  writeFileSync(log, lines());
  const here = ['--config', config, '--store', `lmdb:${join(folder, 'store')}`];
  // As systemd starts it, too: sd-daemon(3).
  for (const env of [{}, { JOURNAL_STREAM: '0:0' }]) {
    run(env, 'blockd', ...here, '--once', '--from-start', '--log', log);
  }
  for (const command of [['list'], ['--json', 'list'], ['explain', '192.0.2.1'], ['status'], ['report', log]]) {
    run({}, 'blockctl', ...here, ...command);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function run(env, program, ...args) {
  spawnSync(process.execPath, [join(__dirname, 'compiled.js'), `${program}-program.js`, ...args], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: 'ignore',
    timeout: MOST_MS,
  });
}

/** Addresses to ban, and one that is welcome. */
function lines() {
  const at = (second) => new Date(Date.now() - 600_000 + second * 1_000).toISOString().replace('Z', '000+00:00');
  const text = [];
  for (let i = 0; i < 400; i++) {
    const client = `unknown[192.0.2.${i % 20}]`;
    const head = `${at(i)} mx postfix/smtpd[${1_000 + (i % 20)}]: `;
    text.push(
      `${head}connect from ${client}`,
      `${head}NOQUEUE: reject: RCPT from ${client}: 550 5.1.1 <x@example.net>: Recipient address rejected: User unknown in local recipient table; from=<y@example.org> to=<x@example.net> proto=ESMTP helo=<z>`,
      `${head}disconnect from ${client} ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4`,
      `${head}${(i + 0x4000_0000).toString(16).toUpperCase()}: client=mail.example.org[198.51.100.7]`,
    );
  }
  return `${text.join('\n')}\n`;
}
