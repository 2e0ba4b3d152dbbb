/** Lines that look like a reject and that no rule matches, grouped by their shape: a sign that a rule is missing. */
import { mask } from './rejects.js';

export interface Shape {
  readonly program: string;
  /** The message with all that varies masked. */
  readonly shape: string;
  readonly count: number;
  /** One such line, as logged. */
  readonly example: string;
  /** A temporary refusal: greylisting and our own faults score nothing on purpose. */
  readonly temporary: boolean;
}

/** With a digit at least, or it might be a word. */
const QUEUE_ID = /^(?:NOQUEUE|(?=[A-Za-z]*\d)[0-9A-Za-z]{5,25}): /;
const MOST_SHAPES = 1_000;
const LONGEST_SHAPE = 140;
const LONGEST_EXAMPLE = 500;
const SHOWN = 25;

export class Shapes {
  readonly #shapes = new Map<
    string,
    { program: string; shape: string; count: number; example: string; temporary: boolean }
  >();
  #count = 0;

  /** Lines counted in all. */
  get count(): number {
    return this.#count;
  }

  add(program: string, message: string, line: string): void {
    this.#count++;
    // A message is masked from its start only: what lies far behind is an attacker's.
    const words = mask(message.slice(0, 400).replace(QUEUE_ID, 'QID: ')).slice(0, LONGEST_SHAPE);
    const key = `${program}: ${words}`;
    const known = this.#shapes.get(key);
    if (known !== undefined) known.count++;
    else if (this.#shapes.size < MOST_SHAPES)
      this.#shapes.set(key, {
        program,
        shape: words,
        count: 1,
        example: line.slice(0, LONGEST_EXAMPLE),
        temporary: /\]?: (?:4\d\d |4\.\d\.\d)/.test(message.slice(0, 400)),
      });
  }

  top(): Shape[] {
    return [...this.#shapes.values()]
      .sort((a, b) => Number(a.temporary) - Number(b.temporary) || b.count - a.count)
      .slice(0, SHOWN);
  }
}

/** Does the message say that something was refused, or wrong with a client? */
export function looksRefused(message: string): boolean {
  return REFUSED.test(message);
}

const REFUSED =
  /\breject|\bdenied\b|\brefused\b|\bblocked\b|fail(?:ed|ure)|\binvalid\b|\billegal\b|too many|limit exceeded|not allowed|unauthori[sz]ed|\bimproper\b|non-SMTP|\bunknown user|\bdisallowed\b/i;
