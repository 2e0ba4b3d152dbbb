/**
 * A signal that aborts after a time, or with another one. Not `AbortSignal.timeout()` in `AbortSignal.any()`: in Node 20
 * those may be collected as garbage before they fire.
 */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal;
  readonly #timer: NodeJS.Timeout;
  readonly #end = () => this.end();

  /** To be closed when what it is for is over. */
  constructor(timeoutMs: number, outer: AbortSignal) {
    this.#outer = outer;
    this.#timer = setTimeout(this.#end, timeoutMs);
    outer.addEventListener('abort', this.#end);
    if (outer.aborted) this.end();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Before its time. */
  end(): void {
    this.#controller.abort();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener('abort', this.#end);
  }
}
