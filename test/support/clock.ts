/** A wall clock that a test sets while the programs run: libfaketime in front of them; timers keep real time, as in life. */
import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Debian's folders for the architectures that blockd runs on. */
const LIBRARIES = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map(
  (triplet) => `/usr/lib/${triplet}/faketime/libfaketimeMT.so.1`,
);

export class SettableClock {
  readonly #folder = mkdtempSync(join(tmpdir(), 'blockd-clock-'));
  #aheadMs = 0;

  constructor(aheadMs = 0) {
    this.set(aheadMs);
  }

  /** What `Date.now()` says in the programs. */
  now(): number {
    return Date.now() + this.#aheadMs;
  }

  /** For programs that shall live by this clock, and all that they start. */
  env(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
    const library = LIBRARIES.find((file) => existsSync(file));
    if (library === undefined) throw new Error('these tests need libfaketime: apt-get install libfaketime');
    return {
      ...process.env,
      ...more,
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: join(this.#folder, 'now'),
      FAKETIME_NO_CACHE: '1',
      // A clock that is set moves neither timers nor the times of files that were written before.
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      NO_FAKE_STAT: '1',
    };
  }

  /** How far ahead of the real time the clock is from now on; negative: behind. */
  set(aheadMs: number): void {
    this.#aheadMs = Math.round(aheadMs / 1_000) * 1_000;
    const seconds = this.#aheadMs / 1_000;
    const fresh = join(this.#folder, 'next');
    writeFileSync(fresh, `${seconds < 0 ? '' : '+'}${seconds}s\n`);
    renameSync(fresh, join(this.#folder, 'now'));
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
