/** The two streams of a command: the answer on stdout, all that is said about it on stderr. */
import { once } from 'node:events';
import { reasonOf } from '../domain/errors.js';
import { json, type Look, lookOf, safe } from './terminal.js';

/** Enough to make few writes of a large answer, little enough to show a slow one as it comes. */
const BATCH = 32 * 1024;

type Stream = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };

export class Output {
  readonly #stdout: Stream;
  readonly #stderr: Stream;
  #pending = '';
  /** How stdout shows text. */
  readonly look: Look;

  constructor(stdout: Stream, stderr: Stream) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.look = lookOf(stdout);
    // A reader that went away, such as `head`, has seen all that he wants.
    const leave = (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? undefined : 3);
    stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') this.error(`The answer can't be written: ${reasonOf(error)}`);
      leave(error);
    });
    stderr.on('error', leave);
  }

  /** Adds text to the answer. Awaited, it never holds more than the reader has yet to take. */
  async print(text: string): Promise<void> {
    this.#pending += text;
    if (this.#pending.length >= BATCH) await this.flush();
  }

  async line(text: string): Promise<void> {
    await this.print(`${text}\n`);
  }

  async json(value: unknown): Promise<void> {
    await this.print(`${json(value, 2)}\n`);
  }

  async flush(): Promise<void> {
    const text = this.#pending;
    this.#pending = '';
    if (text !== '' && !this.#stdout.write(text)) await once(this.#stdout, 'drain');
  }

  /** Resolves when all that was printed has left the program. */
  async finish(): Promise<void> {
    await this.flush();
    for (const stream of [this.#stdout, this.#stderr])
      await new Promise<void>((done) => stream.write('', () => done()));
  }

  /** A sentence about the answer, for a person; it may hold text of others. */
  notice(sentence: string): void {
    this.#stderr.write(`blockctl: ${safe(sentence)}\n`);
  }

  /** Lines for stderr as they are. */
  errorText(text: string): void {
    this.#stderr.write(text);
  }

  /** What was wrong: the program's own sentence, which may go over several lines. */
  error(message: string): void {
    this.#stderr.write(
      `${message
        .split('\n')
        .map((line) => `blockctl: ${safe(line)}`)
        .join('\n')}\n`,
    );
  }
}
