/** A real NOTIFY_SOCKET, as systemd opens one for a service. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const LISTENER = fileURLToPath(new URL('./notify-socket.pl', import.meta.url));

export interface Notification {
  readonly atMs: number;
  /** `NAME=VALUE` each. */
  readonly sent: readonly string[];
}

export class NotifySocket {
  readonly path: string;
  readonly #received: Notification[] = [];
  readonly #listener: ChildProcess;

  private constructor(path: string, listener: ChildProcess) {
    this.path = path;
    this.#listener = listener;
  }

  /** @param path of a file, or `@NAME` for an abstract one. */
  static async open(path: string): Promise<NotifySocket> {
    const listener = spawn('perl', [LISTENER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    const opened = new NotifySocket(path, listener);
    const lines = createInterface({ input: listener.stdout });
    const [first] = (await Promise.race([once(lines, 'line'), once(listener, 'exit').then(() => ['{}'])])) as [string];
    if (!first.includes('listening')) throw new Error(`no socket at ${path}`);
    lines.on('line', (line) => opened.#take(line));
    return opened;
  }

  /** Messages in order; a barrier is none. */
  get received(): readonly Notification[] {
    return this.#received;
  }

  /** How many messages say so. */
  count(assignment: string): number {
    return this.#received.filter(({ sent }) => sent.includes(assignment)).length;
  }

  /** The first message from number `from` on that says so; waits for it. */
  async message(assignment: string, { from = 0, withinMs = 15_000 } = {}): Promise<Notification> {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const found = this.#received.slice(from).find(({ sent }) => sent.includes(assignment));
      if (found !== undefined) return found;
      if (performance.now() > deadline) {
        throw new Error(`no ${assignment} within ${withinMs} ms, but ${JSON.stringify(this.#received)}`);
      }
      await sleep(20);
    }
  }

  async close(): Promise<void> {
    const exited = once(this.#listener, 'exit');
    this.#listener.kill();
    await exited;
  }

  #take(line: string): void {
    const { at, sent } = JSON.parse(line) as { at: number; sent: string[] };
    if (sent.length === 1 && sent[0] === 'BARRIER=1') return;
    this.#received.push({ atMs: at * 1_000, sent });
  }
}
