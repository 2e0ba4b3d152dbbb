/**
 * States of an embedded store as this process read or wrote them last. They are of one revision: any commit that is not
 * the process's own, or that failed and was written all the same, leaves another one, and then all is forgotten.
 */
import type { Remembered } from './lmdb-text.js';

/** Subjects; two of the largest commits are far fewer. */
const MOST_SUBJECTS = 20_000;

export class StateCache {
  readonly #known = new Map<string, Remembered | null>();
  #revision: number | null = null;

  /** What is asked for and added from now on is of this revision. */
  turnTo(revision: number): void {
    if (revision !== this.#revision) this.#known.clear();
    this.#revision = revision;
  }

  /** Null: the store has nothing of it; undefined: ask the store. */
  get(subject: string): Remembered | null | undefined {
    return this.#known.get(subject);
  }

  add(subject: string, stored: Remembered | null): void {
    if (this.#known.size >= MOST_SUBJECTS) this.#known.clear();
    this.#known.set(subject, stored);
  }

  /** A commit of this process was written, made from the revision `after`. */
  wrote(after: number, changed: ReadonlyMap<string, Remembered | null>): void {
    // It may be known already, by reading, what the commit left; or something later.
    if (this.#revision !== after) return;
    this.#revision = after + 1;
    for (const [subject, stored] of changed) this.add(subject, stored);
  }
}
