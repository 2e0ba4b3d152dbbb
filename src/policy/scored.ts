/** Events of one batch that scored. What they say is taken from the events when it is asked for: it seldom is. */
import type { EventList } from '../domain/event.js';
import type { EvidenceList } from './outcome.js';
import type { Evidence } from './state.js';

const MAX_LINE = 500;
const NONE = -1;

/** By the numbers of the events: when each counted, what it counted for, and which of the same subject came before it. */
export class ScoredEvents {
  readonly #events: EventList;
  readonly #at: Float64Array;
  readonly #points: Float64Array;
  readonly #before: Int32Array;

  constructor(events: EventList) {
    this.#events = events;
    this.#at = new Float64Array(events.length);
    this.#points = new Float64Array(events.length);
    this.#before = new Int32Array(events.length);
  }

  note(number: number, before: number, at: number, points: number): void {
    this.#at[number] = at;
    this.#points[number] = points;
    this.#before[number] = before;
  }

  before(number: number): number {
    return this.#before[number] ?? NONE;
  }

  evidence(number: number): Evidence {
    const { rule = '', line = '' } = this.#events.at(number) ?? {};
    return { at: this.#at[number] ?? 0, rule, points: this.#points[number] ?? 0, line: line.slice(0, MAX_LINE) };
  }
}

/** Those of one subject. */
export class Scored implements EvidenceList {
  readonly #all: ScoredEvents;
  #last = NONE;
  length = 0;

  constructor(all: ScoredEvents) {
    this.#all = all;
  }

  /** @param number Of the event. */
  add(number: number, at: number, points: number): void {
    this.#all.note(number, this.#last, at, points);
    this.#last = number;
    this.length++;
  }

  slice(start: number): Evidence[] {
    const first = start < 0 ? Math.max(0, this.length + start) : start;
    const lines: Evidence[] = [];
    let number = this.#last;
    for (let at = this.length; at > first; at--) {
      lines.push(this.#all.evidence(number));
      number = this.#all.before(number);
    }
    return lines.reverse();
  }

  findLast(is: (line: Evidence) => boolean): Evidence | undefined {
    for (let number = this.#last; number !== NONE; number = this.#all.before(number)) {
      const line = this.#all.evidence(number);
      if (is(line)) return line;
    }
    return undefined;
  }

  forEach(tell: (line: Evidence) => void): void {
    this.slice(0).forEach(tell);
  }
}
