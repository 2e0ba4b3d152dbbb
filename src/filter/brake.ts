/**
 * What holds when a slow pattern of the admin's own got past the guard: its matching is ended from outside, and it is
 * switched off. Packaged patterns are proved linear and run without any of this.
 */
import { createContext, Script } from 'node:vm';

/** One pattern under watch. */
export class Watch {
  isOff = false;
  #spentMs = 0;
  #since: number | null = null;

  /** Its matching begins, and may never come to its end. */
  begin(): void {
    this.#since = performance.now();
  }

  end(): void {
    if (this.#since !== null) this.#spentMs += performance.now() - this.#since;
    this.#since = null;
  }

  get spentMs(): number {
    return this.#spentMs;
  }

  reset(): void {
    this.#spentMs = 0;
  }
}

export class Brake {
  readonly #patienceMs: number;
  readonly #watches: Watch[] = [];
  readonly #cabin: { work: (() => void) | null } = { work: null };
  readonly #context = createContext(this.#cabin);
  readonly #script = new Script('work()');

  /** @param patienceMs For one call of `run`, in processor time that the process spends. */
  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  watch(): Watch {
    const watch = new Watch();
    this.#watches.push(watch);
    return watch;
  }

  /**
   * Runs `work`, which may be ended at any of its steps and is then called again, until it returned once: it must go on
   * from what it has done. Whoever took the time is switched off.
   */
  run(work: () => void): void {
    for (const watch of this.#watches) watch.reset();
    this.#cabin.work = work;
    let spentMs = 0;
    for (;;) {
      const before = process.cpuUsage();
      if (this.#finishes()) break;
      for (const watch of this.#watches) watch.end();
      const { user, system } = process.cpuUsage(before);
      spentMs += (user + system) / 1_000;
      // A machine that stood still is no fault of a pattern.
      if (spentMs < this.#patienceMs / 2) continue;
      spentMs = 0;
      const [slowest] = this.#watches.filter(({ isOff }) => !isOff).sort((a, b) => b.spentMs - a.spentMs);
      if (slowest !== undefined && slowest.spentMs >= this.#patienceMs / 4) slowest.isOff = true;
    }
    this.#cabin.work = null;
  }

  /** False when time ran out. V8 ends a regular expression in the midst of its backtracking. */
  #finishes(): boolean {
    try {
      this.#script.runInContext(this.#context, { timeout: this.#patienceMs });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return false;
      throw error;
    }
  }
}
