/**
 * What the service manager is told, when it asked for it (`Type=notify`): ready once the first backlog is counted, alive
 * only as long as the loop and the counting turn, reloading, stopping. There is no timer in here: whoever calls `turned()`
 * has just done some work.
 */
import type { Logger } from './log.js';
import { Notify } from './notify.js';

/** A start lasts as long as catching up does: the time for it is prolonged by this much, this often. */
const PROLONG_EVERY_MS = 10_000;
const PROLONG_BY_MS = 60_000;
/** How often the status is told where no watchdog wants to know. */
const STATUS_EVERY_MS = 60_000;

export interface Turn {
  /** Was every log read to its end? */
  readonly caughtUp: boolean;
  /** One sentence for `systemctl status`. */
  readonly status: string;
}

export class Supervision {
  readonly #notify: Notify | null;
  readonly #logger: Logger;
  readonly #beatEveryMs: number;
  /** On the monotonic clock, as all here. */
  #toldAt = Number.NEGATIVE_INFINITY;
  #isReady = false;
  #isStopping = false;

  /** @param environment with NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID as systemd.exec(5) describes them. */
  constructor(logger: Logger, environment: NodeJS.ProcessEnv = process.env) {
    this.#logger = logger;
    const socket = environment['NOTIFY_SOCKET'];
    this.#notify = socket === undefined || socket === '' ? null : new Notify(socket, (why) => this.#complain(why));
    const watchdogMs = watchdogIn(environment);
    // Three beats in its time: one that comes late does no harm.
    this.#beatEveryMs = watchdogMs === null ? STATUS_EVERY_MS : watchdogMs / 3;
  }

  /** The loop and the counting have turned. Cheap: call it about once a second. */
  turned({ caughtUp, status }: Turn): void {
    if (this.#notify === null || this.#isStopping) return;
    const now = performance.now();
    if (!this.#isReady && caughtUp) {
      this.#isReady = true;
      this.#toldAt = now;
      this.#logger.info({ event: 'ready' }, 'the backlog is counted: ready');
      this.#notify.send('READY=1', 'WATCHDOG=1', `STATUS=${status}`);
      return;
    }
    const everyMs = this.#isReady ? this.#beatEveryMs : Math.min(this.#beatEveryMs, PROLONG_EVERY_MS);
    if (now - this.#toldAt < everyMs) return;
    this.#toldAt = now;
    const prolong = this.#isReady ? [] : [`EXTEND_TIMEOUT_USEC=${PROLONG_BY_MS * 1_000}`];
    this.#notify.send('WATCHDOG=1', ...prolong, `STATUS=${status}`);
  }

  /** Before the first readiness a reload is nobody's business: its end would be taken for that. */
  reloading(): void {
    if (!this.#isReady || this.#isStopping) return;
    // What hrtime says is CLOCK_MONOTONIC, as the protocol wants it.
    const monotonicUsec = process.hrtime.bigint() / 1_000n;
    this.#notify?.send('RELOADING=1', `MONOTONIC_USEC=${monotonicUsec}`, 'STATUS=Reading config and rules again');
  }

  /** The reload is over, well or not. */
  reloaded(status: string): void {
    if (!this.#isReady || this.#isStopping) return;
    this.#notify?.send('READY=1', `STATUS=${status}`);
  }

  stopping(status: string): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#notify?.send('STOPPING=1', `STATUS=${status}`);
  }

  #complain(why: string): void {
    this.#logger.warn({ event: 'notify-failed' }, `systemd can't be told how blockd is: ${why}`);
  }
}

/** Null without a watchdog, or with one that is meant for another process. */
function watchdogIn(environment: NodeJS.ProcessEnv): number | null {
  const usec = Number(environment['WATCHDOG_USEC'] ?? '');
  const pid = environment['WATCHDOG_PID'];
  if (!Number.isFinite(usec) || usec <= 0) return null;
  if (pid !== undefined && pid !== '' && Number(pid) !== process.pid) return null;
  return usec / 1_000;
}
