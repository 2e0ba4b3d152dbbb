/** Runs the built programs as their users do: as processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BUILT = fileURLToPath(new URL('../../dist', import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
  /** Killed, and reported as code null, after this long. */
  readonly timeoutMs?: number;
  readonly uid?: number;
  /** Folder of other programs than the built ones. */
  readonly programs?: string;
  /** A command that runs the program as its own arguments, such as `ip netns exec NAME`. */
  readonly through?: readonly string[];
}

const program = (name: string, { programs = BUILT }: RunOptions) => join(programs, `${name}.js`);

/** Runs `blockctl ARGS` to its end. */
export function blockctl(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return run('blockctl', args, options);
}

/** Runs `blockd ARGS` to its end: for `--once` and for what must fail. */
export function blockdOnce(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return run('blockd', args, options);
}

async function run(name: string, args: readonly string[], options: RunOptions): Promise<Finished> {
  const [command = '', ...rest] = [...(options.through ?? []), process.execPath, program(name, options), ...args];
  const child = spawn(command, rest, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }),
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 30_000);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { code, stdout, stderr };
}

/** One entry of the daemon's JSON log. */
export type LogEntry = Readonly<Record<string, unknown>> & { readonly msg: string };

/** A running daemon, with its log as it comes. */
export class RunningDaemon {
  readonly log: LogEntry[] = [];
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | null>;
  readonly #waiting = new Set<() => void>();

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exited = once(child, 'exit').then(([code]) => code as number | null);
    let rest = '';
    child.stderr?.on('data', (data) => {
      const lines = (rest + String(data)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.log.push(entryOf(line));
      for (const wake of this.#waiting) wake();
    });
    void this.#exited.then(() => {
      for (const wake of this.#waiting) wake();
    });
  }

  /** Starts `blockd ARGS` and waits until it says that it follows the logs. */
  static async start(args: readonly string[], options: RunOptions = {}): Promise<RunningDaemon> {
    const daemon = RunningDaemon.launch(args, options);
    await daemon.until((entry) => entry['event'] === 'started', options.timeoutMs ?? 20_000);
    return daemon;
  }

  /** Starts `blockd ARGS` and waits for nothing: a signal may meet it before it is ready. */
  static launch(args: readonly string[], options: RunOptions = {}): RunningDaemon {
    const json = ['--set', 'log_output.format=json'];
    const [command = '', ...rest] = [
      ...(options.through ?? []),
      process.execPath,
      program('blockd', options),
      ...args,
      ...json,
    ];
    const child = spawn(command, rest, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', 'ignore', 'pipe'],
      ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }),
    });
    return new RunningDaemon(child);
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Its exit code, once it has ended by itself; null when a signal ended it. */
  get exited(): Promise<number | null> {
    return this.#exited;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Resolves with the first entry, past ones included, that fits; rejects with the log when none comes in time. */
  async until(fits: (entry: LogEntry) => boolean, timeoutMs = 15_000): Promise<LogEntry> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const found = this.log.find(fits);
      if (found !== undefined) return found;
      const over = this.hasEnded;
      if (over || Date.now() > deadline) {
        throw new Error(
          `the daemon ${over ? 'ended' : 'did not say it in time'}:\n${this.log.map((e) => JSON.stringify(e)).join('\n')}`,
        );
      }
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake);
          clearTimeout(timer);
          resolve();
        };
        const timer = setTimeout(wake, 100);
        this.#waiting.add(wake);
      });
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Ends the daemon and resolves with its exit code; null when it had to be killed. */
  async stop(name: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 15_000);
    if (!this.hasEnded) this.#child.kill(name);
    const code = await this.#exited;
    clearTimeout(timer);
    return code;
  }
}

function entryOf(line: string): LogEntry {
  try {
    return JSON.parse(line) as LogEntry;
  } catch {
    return { msg: line };
  }
}
