/** A real terminal without a window: tmux, with a program on it that is asked, typed to, and resized. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

let counter = 0;

export class Terminal {
  readonly #name = `blockd-test-${process.pid}-${counter++}`;

  /** `command` is run by a shell, which stays there behind it. */
  constructor(command: string, options: { columns: number; rows: number; env?: Record<string, string> }) {
    const { columns, rows, env = {} } = options;
    const shell = `echo BEFORE; ${command}; echo "AFTER $?"; exec sleep 1000`;
    const set = Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
    const size = ['-x', String(columns), '-y', String(rows)];
    this.#tmux('-f', '/dev/null', 'new-session', '-d', ...size, ...set, shell);
  }

  /** What is shown, line by line; with `styles`, with the sequences that colour it. */
  screen(styles = false): string[] {
    return this.#tmux('capture-pane', '-p', ...(styles ? ['-e'] : [])).split('\n');
  }

  get text(): string {
    return this.screen().join('\n');
  }

  /** A key as tmux names it: `q`, `Escape`, `C-c`. */
  press(key: string): void {
    this.#tmux('send-keys', key);
  }

  resize(columns: number, rows: number): void {
    this.#tmux('resize-window', '-x', String(columns), '-y', String(rows));
  }

  get state(): { readonly alternate: boolean; readonly cursor: boolean } {
    const [alternate, cursor] = this.#tmux('display-message', '-p', '#{alternate_on} #{cursor_flag}').trim().split(' ');
    return { alternate: alternate === '1', cursor: cursor === '1' };
  }

  /** Does the terminal echo what is typed, and hand it over by lines? */
  get isCooked(): boolean {
    const tty = this.#tmux('display-message', '-p', '#{pane_tty}').trim();
    const { stdout } = spawnSync('stty', ['-a', '-F', tty], { encoding: 'utf8' });
    return / icanon/.test(stdout) && / echo /.test(stdout);
  }

  /** Process id of what the shell runs now. */
  get child(): number {
    const shell = this.#tmux('display-message', '-p', '#{pane_pid}').trim();
    return Number(readFileSync(`/proc/${shell}/task/${shell}/children`, 'utf8').trim().split(' ')[0]);
  }

  close(): void {
    this.#tmux('kill-server');
  }

  #tmux(...args: readonly string[]): string {
    // What the test's own runner wants of its output is not what the program's user wants.
    const { NO_COLOR: _noColour, FORCE_COLOR: _colour, CI: _ci, ...rest } = process.env;
    const env = { ...rest, LANG: 'C.UTF-8', LC_ALL: 'C.UTF-8', TMUX: '' };
    const { stdout, stderr, error } = spawnSync('tmux', ['-u', '-L', this.#name, ...args], { env, encoding: 'utf8' });
    if (error !== undefined || (stderr !== '' && args[0] !== 'kill-server')) throw error ?? new Error(stderr);
    return stdout;
  }
}
