/** Lines of one subject that scored, by the numbers of their events: most are never looked at again. */
import type { EventList } from '../domain/event.js';
import type { EvidenceList } from './outcome.js';
import type { Evidence } from './state.js';

const MAX_LINE = 500;

export class Scored implements EvidenceList {
  readonly #events: EventList;
  readonly #numbers: number[] = [];
  readonly #at: number[] = [];
  readonly #points: number[] = [];

  constructor(events: EventList) {
    this.#events = events;
  }

  get length(): number {
    return this.#numbers.length;
  }

  /** @param number Of the event. */
  add(number: number, at: number, points: number): void {
    this.#numbers.push(number);
    this.#at.push(at);
    this.#points.push(points);
  }

  at(index: number): Evidence | undefined {
    const event = this.#events.at(this.#numbers[index] ?? Number.NaN);
    const at = this.#at[index];
    const points = this.#points[index];
    if (event === undefined || at === undefined || points === undefined) return undefined;
    return { at, rule: event.rule, points, line: event.line.slice(0, MAX_LINE) };
  }

  forEach(tell: (line: Evidence) => void): void {
    for (let i = 0; i < this.length; i++) {
      const line = this.at(i);
      if (line !== undefined) tell(line);
    }
  }
}
