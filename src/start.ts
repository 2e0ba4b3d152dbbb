/**
 * What `npm start` runs: the daemon on this machine's mail log, in dry-run and with a store of its own unless told
 * otherwise; on a machine without a mail log, the demonstration.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const USUAL_LOGS = ['/var/log/mail.log', '/var/log/maillog'];
const program = (name: string) => fileURLToPath(new URL(`./${name}.js`, import.meta.url));

const given = process.argv.slice(2);
const gives = (...names: string[]) =>
  names.some((name) => given.some((arg) => arg === name || arg.startsWith(`${name}=`)));
const sets = (key: string) => given.some((arg) => arg.startsWith(`${key}=`) || arg.startsWith(`--set=${key}=`));

// An admin's own config says all of it; a store or log besides it would publish a map that knows nothing of his bans.
const configured = gives('--config') || existsSync('/etc/blockd/blockd.toml');
const log = USUAL_LOGS.find((file) => existsSync(file));
const named = configured || gives('--log') || sets('log.files') || sets('log.journal');
if (log === undefined && given.length === 0 && !configured) {
  const { demonstrate } = await import('./demo/demonstration.js');
  await demonstrate(`This machine has no mail log (${USUAL_LOGS.join(', ')}):\nhere is a demonstration.`);
} else {
  const args = [...given];
  if (!named && log !== undefined) args.push('--log', log);
  if (!configured && !gives('--store') && !sets('store.url')) {
    const store = `lmdb:${stateFolder()}`;
    args.push('--store', store);
    if (!gives('--help', '-h', '--version', '-V')) {
      process.stdout.write(
        `To look at it from another terminal:\n  node ${program('blockctl')} --store ${store} list\n\n`,
      );
    }
  }
  forward(spawn(process.execPath, [program('blockd'), ...args], { stdio: 'inherit' }));
}

/** Beside the programs for root, who may write there; else where the XDG base directory specification puts state. */
function stateFolder(): string {
  if (process.getuid?.() === 0) return fileURLToPath(new URL('../var/store', import.meta.url));
  const state = process.env['XDG_STATE_HOME'];
  return join(state?.startsWith('/') ? state : join(homedir(), '.local/state'), 'blockd/store');
}

/** The daemon ends in good order by itself; this process only hands on the signals and the exit code. */
function forward(child: ChildProcess): void {
  // The daemon reloads on SIGHUP; but when a terminal goes away, what was started in it ends.
  const hangup = process.stderr.isTTY ? 'SIGTERM' : 'SIGHUP';
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  process.on('SIGHUP', () => child.kill(hangup));
  // Ctrl-C reaches both: the terminal sends it to the whole group.
  process.on('SIGINT', () => undefined);
  child.on('exit', (code, signal) => {
    process.exitCode = signal === null ? (code ?? 1) : 1;
  });
}
