/** Several logs as one source: each in its own order, none waiting for another that is silent or has much to tell. */
import type { Chunk, Source } from './source.js';

export function mergeSources(sources: readonly Source[]): Source {
  const [only] = sources;
  return only !== undefined && sources.length === 1 ? only : new MergedSource(sources);
}

class MergedSource implements Source {
  readonly logs: readonly string[];
  readonly #sources: readonly Source[];

  constructor(sources: readonly Source[]) {
    this.#sources = sources;
    this.logs = sources.flatMap(({ logs }) => logs);
  }

  /** One chunk of each log waits at most; whose chunk was taken goes to the end of the queue. */
  async *chunks(): AsyncGenerator<Chunk> {
    const iterators = this.#sources.map((source) => source.chunks()[Symbol.asyncIterator]());
    const arrivals = new Queue<Arrival>();
    const request = (iterator: AsyncIterator<Chunk>) => {
      iterator.next().then(
        (result) => arrivals.push({ iterator, result }),
        (error: unknown) => arrivals.push({ iterator, error }),
      );
    };
    let open = iterators.length;
    try {
      for (const iterator of iterators) request(iterator);
      while (open > 0) {
        const arrival = await arrivals.shift();
        if ('error' in arrival) throw arrival.error;
        if (arrival.result.done === true) {
          open--;
          continue;
        }
        yield arrival.result.value;
        request(arrival.iterator);
      }
    } finally {
      this.stop();
      await Promise.all(iterators.map((iterator) => iterator.return?.()));
    }
  }

  stop(): void {
    for (const source of this.#sources) source.stop();
  }
}

type Arrival =
  | { readonly iterator: AsyncIterator<Chunk>; readonly result: IteratorResult<Chunk, unknown> }
  | { readonly iterator: AsyncIterator<Chunk>; readonly error: unknown };

/** Holds one waiting reader at most. `Promise.race` over logs silent for days would keep every loser's reaction. */
class Queue<T> {
  readonly #items: T[] = [];
  #waiting: ((item: T) => void) | null = null;

  push(item: T): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting === null) this.#items.push(item);
    else waiting(item);
  }

  shift(): Promise<T> {
    const item = this.#items.shift();
    return item === undefined ? new Promise((resolve) => (this.#waiting = resolve)) : Promise.resolve(item);
  }
}
