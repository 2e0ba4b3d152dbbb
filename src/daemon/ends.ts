/** Subjects in the order in which their bans end: a binary heap, in which outdated ends are passed over. */

interface End {
  readonly until: number;
  readonly subject: string;
}

/** The end of a subject's ban as it is now, undefined when there is none. */
type EndOf = (subject: string) => number | undefined;

export class Ends {
  readonly #heap: End[] = [];

  clear(): void {
    this.#heap.length = 0;
  }

  add(subject: string, until: number): void {
    const heap = this.#heap;
    let at = heap.length;
    const added = { until, subject };
    heap.push(added);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || parent.until <= until) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = added;
  }

  /** Takes out those that ended at `now` or before. */
  takeUntil(now: number, endOf: EndOf): Set<string> {
    const ended = new Set<string>();
    for (let first = this.#first(endOf); first !== undefined && first.until <= now; first = this.#first(endOf)) {
      this.#takeFirst();
      ended.add(first.subject);
    }
    return ended;
  }

  soonest(endOf: EndOf): number {
    return this.#first(endOf)?.until ?? Number.POSITIVE_INFINITY;
  }

  #first(endOf: EndOf): End | undefined {
    let first = this.#heap[0];
    while (first !== undefined && endOf(first.subject) !== first.until) {
      this.#takeFirst();
      first = this.#heap[0];
    }
    return first;
  }

  #takeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const [one, other] = [heap[left], heap[left + 1]];
      const smaller = other !== undefined && one !== undefined && other.until < one.until ? left + 1 : left;
      const child = heap[smaller];
      if (child === undefined || child.until >= last.until) break;
      heap[at] = child;
      at = smaller;
    }
    heap[at] = last;
  }
}
