/** Runs Postfix's own tools, by argument list, never by a shell, and never for longer than they may take. */
import { spawn } from 'node:child_process';
import { reasonOf, UnavailableError } from '../domain/errors.js';

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
  /** What to do when the program is not there. */
  readonly missing?: string;
}

/** Longest measured: building a hash map of a million entries took 7 s. */
const DEFAULT_TIMEOUT_MS = 60_000;
const INSTALL_POSTFIX = 'install Postfix, or set postfix.postmap and postfix.postconf to where they are';
/** Where Postfix's tools are, and where a plain user's PATH does not look. */
const SYSTEM_PATHS = '/usr/sbin:/usr/local/sbin:/sbin';

/** @throws UnavailableError when the program is missing, can't be run, or does not end in time. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { input = '', timeoutMs = DEFAULT_TIMEOUT_MS, missing = INSTALL_POSTFIX } = options;
  const [program = '', ...args] = argv;
  const path = [process.env.PATH, SYSTEM_PATHS].filter(Boolean).join(':');
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, PATH: path } });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (data: Buffer) => out.push(data));
  child.stderr.on('data', (data: Buffer) => err.push(data));
  // A tool that ends before it has read all its input is judged by its exit status.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    child.kill('SIGKILL');
    // A grandchild may hold the pipes open after the tool itself is gone.
    child.stdout.destroy();
    child.stderr.destroy();
  }, timeoutMs);
  const result = await new Promise<number | Error>((resolve) => {
    child.once('error', resolve);
    child.once('close', (code) => resolve(code ?? 1));
  });
  clearTimeout(timer);
  if (hung) throw new UnavailableError(`${program} did not end within ${timeoutMs / 1_000} s and was killed`);
  if (result instanceof Error) {
    const isMissing = (result as NodeJS.ErrnoException).code === 'ENOENT';
    const why = isMissing ? `it is not there: ${missing}` : reasonOf(result);
    throw new UnavailableError(`can't run ${program}: ${why}`, { cause: result });
  }
  return { code: result, stdout: Buffer.concat(out).toString('latin1'), stderr: Buffer.concat(err).toString('latin1') };
}

/** The last line that a tool complained with, for the end of a sentence. */
export function complaintOf({ code, stderr }: RunResult): string {
  return stderr.trim().split('\n').at(-1) || `it ended with status ${code}`;
}
