/** A line on a terminal's stderr that tells how far the logs are read, how fast, and how long it will take. */
import { formatDuration } from '../domain/duration.js';
import type { ReportLog } from '../report/logs.js';

const EVERY_MS = 100;
const BAR = 24;

type Stream = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };

export class Progress {
  readonly #stream: Stream;
  readonly #logs: readonly ReportLog[];
  readonly #size: number | null;
  readonly #startedAt = performance.now();
  #shownAt = 0;
  #isShown = false;

  constructor(stream: Stream, logs: readonly ReportLog[]) {
    this.#stream = stream;
    this.#logs = logs;
    this.#size = logs.some(({ size }) => size === null) ? null : logs.reduce((sum, { size }) => sum + (size ?? 0), 0);
  }

  show(lines: number): void {
    if (this.#stream.isTTY !== true) return;
    const now = performance.now();
    if (now - this.#shownAt < EVERY_MS) return;
    this.#shownAt = now;
    this.#isShown = true;
    const width = (this.#stream.columns ?? 80) - 1;
    this.#stream.write(`\r${this.#text(lines, now - this.#startedAt).slice(0, width)}\x1b[K`);
  }

  clear(): void {
    if (this.#isShown) this.#stream.write('\r\x1b[K');
    this.#isShown = false;
  }

  #text(lines: number, elapsedMs: number): string {
    const rate = `${count(lines)} lines, ${count((lines / elapsedMs) * 1_000)}/s`;
    if (this.#size === null) return rate;
    const read = this.#logs.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
    const share = this.#size === 0 ? 1 : Math.min(1, read / this.#size);
    const filled = Math.round(share * BAR);
    const left = share > 0.02 ? `, ${formatDuration((elapsedMs / share) * (1 - share))} left` : '';
    const bar = '█'.repeat(filled) + '░'.repeat(BAR - filled);
    return `${bar} ${String(Math.floor(share * 100)).padStart(3)} %  ${rate}${left}`;
  }
}

/** `999`, `12.3k`, `4.56M` */
function count(value: number): string {
  if (value < 1_000) return String(Math.round(value));
  return value < 1e6 ? `${(value / 1e3).toPrecision(3)}k` : `${(value / 1e6).toPrecision(3)}M`;
}
