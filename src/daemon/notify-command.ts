/** Hands a notification to a program: by argument list, never by a shell, with little of our surroundings. */
import { spawn } from 'node:child_process';
import { reasonOf } from '../domain/errors.js';
import type { Message, Send } from './outlet.js';

/** Of its complaint. */
const MOST_SAID = 500;
/** What programs need to find their way; ours holds more than they are to know. */
const PASSED_ON = ['PATH', 'HOME', 'USER', 'LOGNAME', 'LANG', 'TZ'];

/** The message goes to its standard input as JSON. It is killed, with all that it started, after `timeoutMs`. */
export function commandSend(argv: readonly string[], timeoutMs: number): Send {
  const [program = '', ...args] = argv;
  return async (message, signal) => {
    // A group of its own: what it started must not outlive it either.
    const child = spawn(program, args, {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: surroundings(message),
      detached: true,
      cwd: '/',
    });
    const kill = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // The group is gone already.
      }
      child.stderr.destroy();
    };
    let said = '';
    child.stderr.on('data', (data: Buffer) => {
      said = (said + data.toString()).slice(-MOST_SAID);
    });
    // One that ends without having read it is judged by its exit status.
    child.stdin.on('error', () => undefined);
    child.stdin.end(`${JSON.stringify(message)}\n`);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, timeoutMs);
    signal.addEventListener('abort', kill);
    if (signal.aborted) kill();
    const result = await new Promise<number | NodeJS.Signals | Error>((resolve) => {
      child.once('error', resolve);
      child.once('close', (code, name) => resolve(code ?? name ?? 1));
    });
    clearTimeout(timer);
    signal.removeEventListener('abort', kill);
    if (late) throw new Error(`it did not end within ${timeoutMs / 1_000} s and was killed`);
    if (result instanceof Error) throw new Error(`it can't be run: ${reasonOf(result)}`);
    if (result === 0) return;
    const complaint = said.trim().split('\n').at(-1) ?? '';
    throw new Error(`it ended with ${result}${complaint === '' ? '' : `: ${complaint}`}`);
  };
}

function surroundings({ event, host, mode, text }: Message): NodeJS.ProcessEnv {
  const passed = PASSED_ON.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    ...Object.fromEntries(passed),
    BLOCKD_EVENT: event,
    BLOCKD_HOST: host,
    BLOCKD_MODE: mode,
    BLOCKD_TEXT: text,
  };
}
