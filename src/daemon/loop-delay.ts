/** How long the event loop was kept from its work at most: what blocks it keeps signals, timers and the log waiting. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** The monitor is a timer: a finer one would be most of what a daemon at rest does. */
const RESOLUTION_MS = 100;
const WINDOW_MS = 60_000;

export class LoopDelay {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  /** Of earlier windows, and of the last one. */
  #before = 0;
  #last = 0;
  #windowAt = performance.now();

  start(): void {
    this.#histogram.enable();
  }

  /** Whole milliseconds, since the start. The monitor counts its own interval in, which is taken off. */
  get maxMs(): number {
    return Math.max(this.#before, this.#present);
  }

  /** The same over the last minute or two; over more when nobody asked for long. */
  get recentMs(): number {
    const recent = Math.max(this.#last, this.#present);
    const now = performance.now();
    if (now - this.#windowAt > WINDOW_MS) {
      this.#before = this.maxMs;
      this.#last = this.#present;
      this.#windowAt = now;
      this.#histogram.reset();
    }
    return recent;
  }

  stop(): void {
    this.#histogram.disable();
  }

  get #present(): number {
    return Math.max(0, Math.round(this.#histogram.max / 1e6) - RESOLUTION_MS);
  }
}
