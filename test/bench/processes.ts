/** Whole processes, timed from outside; and what the system says of those that run. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { median } from './figures.js';

/** `npm run` starts in the repository's root. */
export const ROOT = process.cwd();

/** The programs as the package has them: scripts/package/programs.mjs. */
const PROGRAMS = join(ROOT, 'node_modules/.cache/programs/dist');

export const blockd = (...args: string[]): string[] => [process.execPath, join(PROGRAMS, 'blockd.js'), ...args];
export const blockctl = (...args: string[]): string[] => [process.execPath, join(PROGRAMS, 'blockctl.js'), ...args];

export interface Timing {
  readonly wallMs: number;
  /** User and system time of the process and its children. */
  readonly cpuMs: number;
}

/** Runs a command to its end, its output thrown away. Throws when it fails, unless `codes` holds its exit status. */
export async function timed(
  argv: readonly string[],
  options: { input?: string; codes?: number[] } = {},
): Promise<Timing> {
  // The shell's own accounting: Node tells no child's processor time.
  // Through a pipe: grep, for one, ends at the first match when its output is /dev/null.
  const input = options.input === undefined ? '</dev/null' : '<"$INPUT"';
  const script = `set -o pipefail; TIMEFORMAT='%R %U %S'; time { "$@" ${input} 2>/dev/null | cat >/dev/null; }`;
  const child = spawn('bash', ['-c', script, 'bash', ...argv], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...(options.input !== undefined && { INPUT: options.input }) },
  });
  let said = '';
  child.stderr.on('data', (data) => {
    said += data;
  });
  const [code] = (await once(child, 'close')) as [number];
  if (!(options.codes ?? [0]).includes(code)) throw new Error(`${argv.join(' ')} ended with status ${code}`);
  const [real = 0, user = 0, system = 0] = said.trim().split('\n').at(-1)?.split(' ').map(Number) ?? [];
  return { wallMs: real * 1_000, cpuMs: (user + system) * 1_000 };
}

/** Runs the commands in turn, so that what slows the machine slows all of them; the median of each one's wall times. */
export async function inTurn(rounds: number, ...commands: (() => Promise<Timing>)[]): Promise<number[]> {
  const walls = commands.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, command] of commands.entries()) walls[index]?.push((await command()).wallMs);
  }
  return walls.map(median);
}

export function isInstalled(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}

/** Starts a daemon; resolves once it has logged `event`. */
export async function started(argv: readonly string[], event: string): Promise<ChildProcess> {
  const child = spawn(argv[0] ?? '', [...argv.slice(1), '--set', 'log_output.format=json'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await new Promise<void>((resolve, reject) => {
    let said = '';
    child.stderr.on('data', (data) => {
      said += data;
      if (said.includes(`"event":"${event}"`)) resolve();
    });
    child.once('exit', () => reject(new Error(`${argv.join(' ')} ended:\n${said}`)));
  });
  child.removeAllListeners('exit');
  child.stderr.removeAllListeners('data').resume();
  return child;
}

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

/** Resident memory in MiB: all of it, and without the pages of files, which the system takes back when it needs them. */
export function residentOf(pid: number): { readonly all: number; readonly own: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const of = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? Number.NaN) / 1_024;
  return { all: of('VmRSS'), own: of('RssAnon') };
}

/** Processor time so far, milliseconds; the kernel counts hundredths of a second. */
export function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
