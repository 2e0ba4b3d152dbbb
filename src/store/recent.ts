/** What was last seen of the subjects that come again and again, so that it need not be asked for. */

/** A busy host sees some thousands of addresses an hour. */
const MOST = 20_000;
/** So long after it was wrong nothing is remembered: somebody else writes of the same subjects. */
const REST_MS = 10_000;

/** A guess: whoever uses it compares it with what is there when it matters, and says when it was `wrong`. */
export class Recent<T> {
  #young = new Map<string, T>();
  #old = new Map<string, T>();
  #restsUntil = 0;

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(subject: string): T | undefined {
    const young = this.#young.get(subject);
    if (young !== undefined) return young;
    const old = this.#old.get(subject);
    if (old !== undefined) this.#keep(subject, old);
    return old;
  }

  set(subject: string, seen: T): void {
    if (performance.now() >= this.#restsUntil) this.#keep(subject, seen);
  }

  wrong(): void {
    this.#young.clear();
    this.#old.clear();
    this.#restsUntil = performance.now() + REST_MS;
  }

  #keep(subject: string, seen: T): void {
    if (this.#young.size >= MOST / 2) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(subject, seen);
  }
}
