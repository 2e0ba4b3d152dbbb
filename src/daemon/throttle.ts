/** One notification of a kind in a time: the first at once, then the latest of those that came meanwhile. */

export class Throttle<N extends { readonly event: string }> {
  readonly #everyMs: number;
  readonly #send: (notice: N, suppressed: number) => void;
  readonly #kinds = new Map<string, Kind<N>>();

  /** `suppressed`: how many of the kind were not told since the one before. */
  constructor(everyMs: number, send: (notice: N, suppressed: number) => void) {
    this.#everyMs = everyMs;
    this.#send = send;
  }

  tell(notice: N): void {
    const kind = this.#kind(notice.event);
    if (kind.timer === null) this.#release(kind, notice);
    else {
      if (kind.pending !== null) kind.suppressed++;
      kind.pending = notice;
    }
  }

  /** What waits to be told is over, and only counts. False when none waits. */
  withdraw(event: string): boolean {
    const kind = this.#kind(event);
    if (kind.pending === null) return false;
    kind.pending = null;
    kind.suppressed++;
    return true;
  }

  /** Tells nothing more. */
  close(): void {
    for (const { timer } of this.#kinds.values()) clearTimeout(timer ?? undefined);
    this.#kinds.clear();
  }

  #release(kind: Kind<N>, notice: N): void {
    const { suppressed } = kind;
    kind.suppressed = 0;
    kind.pending = null;
    kind.timer = setTimeout(() => {
      kind.timer = null;
      if (kind.pending !== null) this.#release(kind, kind.pending);
    }, this.#everyMs).unref();
    this.#send(notice, suppressed);
  }

  #kind(event: string): Kind<N> {
    const known = this.#kinds.get(event);
    if (known !== undefined) return known;
    const kind: Kind<N> = { timer: null, pending: null, suppressed: 0 };
    this.#kinds.set(event, kind);
    return kind;
  }
}

interface Kind<N> {
  /** Runs while nothing more of the kind may be told. */
  timer: NodeJS.Timeout | null;
  pending: N | null;
  suppressed: number;
}
