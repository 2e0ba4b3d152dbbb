/** How long the event loop was kept from its work at most: what blocks it keeps signals, timers and the log waiting. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** The monitor is a timer: a finer one would be most of what a daemon at rest does. */
const RESOLUTION_MS = 50;

export class LoopDelay {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  start(): void {
    this.#histogram.enable();
  }

  /** Whole milliseconds, since the start. The monitor counts its own interval in, which is taken off. */
  get maxMs(): number {
    return Math.max(0, Math.round(this.#histogram.max / 1e6) - RESOLUTION_MS);
  }

  stop(): void {
    this.#histogram.disable();
  }
}
