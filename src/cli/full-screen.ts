/** A terminal lent to a full-screen view, and given back as it was: however the program ends, unless it is killed. */

interface Input {
  readonly isTTY?: boolean;
  setRawMode?(on: boolean): unknown;
  on(event: 'data', listener: (data: Buffer) => void): unknown;
  off(event: 'data', listener: (data: Buffer) => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

/** xterm's control sequences, ctlseqs: the alternate screen, and no cursor on it. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[2J';
const LEAVE = '\x1b[0m\x1b[?25h\x1b[?1049l';

export class FullScreen {
  readonly #input: Input;
  readonly #output: NodeJS.WriteStream;
  readonly #onKey: (key: string) => void;
  readonly #restore = () => this.leave();
  #entered = false;

  constructor(input: Input, output: NodeJS.WriteStream, onKey: (key: string) => void) {
    this.#input = input;
    this.#output = output;
    this.#onKey = onKey;
  }

  get columns(): number {
    return this.#output.columns || 80;
  }

  get rows(): number {
    return this.#output.rows || 24;
  }

  enter(): void {
    this.#entered = true;
    // An uncaught error passes here before its stack is printed.
    process.on('exit', this.#restore);
    this.#output.write(ENTER);
    if (this.#input.isTTY !== true) return;
    this.#input.setRawMode?.(true);
    this.#input.on('data', this.#take);
    this.#input.resume();
  }

  /** Replaces what is shown. Each line must fit: `lines` hold nothing that steers the terminal but styles. */
  draw(lines: readonly string[]): void {
    // Each line is cleared before it is written: behind a full one the cursor still stands on its last character.
    this.#output.write(
      `\x1b[H${lines.map((line) => `\x1b[K${line}`).join('\r\n')}\x1b[0m${lines.length < this.rows ? '\r\n\x1b[J' : ''}`,
    );
  }

  leave(): void {
    if (!this.#entered) return;
    this.#entered = false;
    process.off('exit', this.#restore);
    try {
      this.#output.write(LEAVE);
      if (this.#input.isTTY !== true) return;
      this.#input.off('data', this.#take);
      this.#input.setRawMode?.(false);
      this.#input.pause();
    } catch {
      // The terminal itself is gone.
    }
  }

  /** A sequence of a key such as an arrow comes as a whole; a lone escape is the key. */
  readonly #take = (data: Buffer): void => {
    const text = data.toString('latin1');
    if (text.startsWith('\x1b')) this.#onKey(text);
    else for (const key of text) this.#onKey(key);
  };
}
