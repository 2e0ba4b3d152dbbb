/** How often each of many names came: the most frequent ones are kept, whatever an attacker makes up. */

const MOST_NAMES = 20_000;

export interface Counted {
  readonly name: string;
  readonly count: number;
}

export class Counter {
  readonly #counts = new Map<string, number>();

  add(name: string, count = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + count);
    if (this.#counts.size > MOST_NAMES) this.#forgetRare();
  }

  get size(): number {
    return this.#counts.size;
  }

  top(limit: number): Counted[] {
    const all = [...this.#counts].map(([name, count]) => ({ name, count }));
    return all.sort((a, b) => b.count - a.count || (a.name < b.name ? -1 : 1)).slice(0, limit);
  }

  /** The rarer half goes; a name that comes back starts anew. */
  #forgetRare(): void {
    const kept = new Set(this.top(MOST_NAMES / 2).map(({ name }) => name));
    for (const name of this.#counts.keys()) if (!kept.has(name)) this.#counts.delete(name);
  }
}
