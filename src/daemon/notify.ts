/**
 * Sends to the service manager what sd_notify(3) defines, in order. Node.js has no datagram sockets of the local kind, so
 * systemd's own systemd-notify(1) sends: it is there wherever systemd is, knows every kind of address, and ends only
 * when the message was taken (a barrier, since systemd 246), so that it can't be lost with its short-lived sender. The
 * unit must let it speak for the daemon: NotifyAccess=all.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { reasonOf } from '../domain/errors.js';

/** Its own barrier gives up after five seconds. */
const LONGEST_MS = 10_000;
/** What waits while the service manager is deaf: of more than that, nothing is of interest. */
const MOST_WAITING = 8;

const exec = promisify(execFile);

export class Notify {
  readonly #socket: string;
  readonly #onFailure: (why: string) => void;
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();
  #failed = false;

  /** @param onFailure hears of the first failure only. */
  constructor(socket: string, onFailure: (why: string) => void) {
    this.#socket = socket;
    this.#onFailure = onFailure;
  }

  /** `NAME=VALUE` each, in one message. The process does not end before it is sent. */
  send(...assignments: readonly string[]): void {
    if (this.#waiting >= MOST_WAITING) return;
    this.#waiting++;
    this.#last = this.#last.then(() => this.#run(assignments)).finally(() => this.#waiting--);
  }

  async #run(assignments: readonly string[]): Promise<void> {
    const oneLine = assignments.map((text) => text.replace(/[\r\n]+/g, ' '));
    try {
      await exec('systemd-notify', oneLine, {
        cwd: '/',
        env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', NOTIFY_SOCKET: this.#socket },
        timeout: LONGEST_MS,
      });
    } catch (error) {
      if (!this.#failed) this.#onFailure(reasonOf(error));
      this.#failed = true;
    }
  }
}
