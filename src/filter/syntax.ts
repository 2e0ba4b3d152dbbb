/**
 * The regular expressions that rules may use, as a tree: what the guards reason about, and the JavaScript source.
 * A subset of JavaScript's: no back-references, no look-behind, no named groups but `times`.
 */

/** Characters as a bit set over latin-1. */
export type CharSet = bigint;

export type Node =
  | { readonly type: 'set'; readonly set: CharSet }
  | { readonly type: 'sequence'; readonly items: readonly Node[] }
  | { readonly type: 'choice'; readonly options: readonly Node[] }
  | {
      readonly type: 'repeat';
      readonly item: Node;
      readonly min: number;
      readonly max: number;
      /** As few as will do are tried first. */
      readonly lazy: boolean;
    }
  | { readonly type: 'look'; readonly item: Node; readonly negative: boolean }
  | { readonly type: 'end' }
  | { readonly type: 'boundary' };

export interface Parsed {
  readonly node: Node;
  /** For `RegExp`: every group but `times` is made non-capturing. */
  readonly source: string;
  readonly times: boolean;
}

/** What a pattern may not hold, as the end of a sentence. */
export class PatternError extends Error {}

/** @throws PatternError */
export function parsePattern(text: string): Parsed {
  try {
    new RegExp(text);
  } catch (error) {
    throw new PatternError(error instanceof Error ? error.message : String(error));
  }
  const parser = new Parser(text);
  const node = parser.choice();
  return { node, source: parser.source(), times: parser.times };
}

/** Most of a pattern is fixed text: its sets are made once. */
const CHARACTERS: readonly CharSet[] = Array.from({ length: 256 }, (_, code) => 1n << BigInt(code));

export const ANY: CharSet = (1n << 256n) - 1n;
export const DIGITS = charRange(48, 57);
export const WORD = DIGITS | charRange(65, 90) | charRange(97, 122) | charOf('_');
/** JavaScript's `\s` within latin-1. */
const SPACE = charRange(9, 13) | charOf(' ') | charOf('\xa0');
const LINE_ENDS = charOf('\n') | charOf('\r');

export function charOf(char: string): CharSet {
  return CHARACTERS[char.charCodeAt(0)] ?? 1n << BigInt(char.charCodeAt(0));
}

function charRange(from: number, to: number): CharSet {
  return ((1n << BigInt(to - from + 1)) - 1n) << BigInt(from);
}

const CONTROLS: Record<string, string | undefined> = { t: '\t', n: '\n', r: '\r', f: '\f', v: '\v', 0: '\0' };

/** What a quantifier begins with. */
const QUANTIFIERS = '*+?{';

class Parser {
  times = false;
  readonly #text: string;
  #at = 0;
  /** For `RegExp`, up to `#copied`: only groups are written otherwise than in the text. */
  #source = '';
  #copied = 0;

  constructor(text: string) {
    this.#text = text;
  }

  source(): string {
    return this.#source + this.#text.slice(this.#copied, this.#at);
  }

  choice(): Node {
    const options = [this.#sequence()];
    while (this.#text[this.#at] === '|') {
      this.#take();
      options.push(this.#sequence());
    }
    const [only] = options;
    return only !== undefined && options.length === 1 ? only : { type: 'choice', options };
  }

  #sequence(): Node {
    const items: Node[] = [];
    while (this.#at < this.#text.length && this.#text[this.#at] !== '|' && this.#text[this.#at] !== ')') {
      items.push(this.#quantified());
    }
    return { type: 'sequence', items };
  }

  #quantified(): Node {
    const item = this.#atom();
    if (!QUANTIFIERS.includes(this.#text[this.#at] ?? ' ')) return item;
    const quantifier = /^(?:[*+?]|\{(\d+)(,(\d*))?\})\??/.exec(this.#text.slice(this.#at));
    if (quantifier === null) return item;
    this.#take(quantifier[0].length);
    const [all, least, range, most] = quantifier;
    const lazy = all.length > 1 && all.endsWith('?');
    if (least === undefined) {
      const max = all[0] === '?' ? 1 : Number.POSITIVE_INFINITY;
      return { type: 'repeat', item, min: all[0] === '+' ? 1 : 0, max, lazy };
    }
    const min = Number(least);
    const max = range === undefined ? min : most ? Number(most) : Number.POSITIVE_INFINITY;
    return { type: 'repeat', item, min, max, lazy };
  }

  #atom(): Node {
    const char = this.#text[this.#at];
    if (char === '(') return this.#group();
    if (char === '[') return { type: 'set', set: this.#class() };
    if (char === '\\') return this.#escape();
    if (char === '^') throw new PatternError('holds "^": a pattern is anchored at the start of the message anyway');
    this.#take();
    if (char === '$') return { type: 'end' };
    if (char === '.') return { type: 'set', set: ANY & ~LINE_ENDS };
    return { type: 'set', set: this.#literal(char ?? '') };
  }

  #group(): Node {
    const rest = this.#text.slice(this.#at);
    if (/^\(\?<[=!]/.test(rest)) throw new PatternError('holds a look-behind');
    const name = /^\(\?<(\w+)>/.exec(rest)?.[1];
    const look = /^\(\?[=!]/.exec(rest)?.[0];
    if (name !== undefined) {
      if (name !== 'times') throw new PatternError(`names a group "${name}": only "times" has a meaning`);
      if (this.times) throw new PatternError('names two groups "times"');
      this.times = true;
      this.#replace('(?<times>'.length, '(');
    } else if (look !== undefined) {
      this.#take(3);
    } else {
      this.#replace(rest.startsWith('(?:') ? 3 : 1, '(?:');
    }
    const item = this.choice();
    this.#take();
    return look === undefined ? item : { type: 'look', item, negative: look === '(?!' };
  }

  #escape(): Node {
    const char = this.#text[this.#at + 1] ?? '';
    if (char === 'b') {
      this.#take(2);
      return { type: 'boundary' };
    }
    return { type: 'set', set: this.#escaped() };
  }

  /** One `\…` that stands for characters, in or outside of a class. */
  #escaped(): CharSet {
    const char = this.#text[this.#at + 1] ?? '';
    if (/[1-9k]/.test(char)) throw new PatternError(`holds "\\${char}", a back-reference`);
    const hex = /[xu]/.test(char)
      ? /^\\(?:x([\da-fA-F]{2})|u00([\da-fA-F]{2}))/.exec(this.#text.slice(this.#at))
      : null;
    if (hex !== null) {
      this.#take(hex[0].length);
      return 1n << BigInt(Number.parseInt(hex[1] ?? hex[2] ?? '', 16));
    }
    this.#take(2);
    switch (char) {
      case 'd':
        return DIGITS;
      case 'D':
        return ANY & ~DIGITS;
      case 'w':
        return WORD;
      case 'W':
        return ANY & ~WORD;
      case 's':
        return SPACE;
      case 'S':
        return ANY & ~SPACE;
    }
    const control = CONTROLS[char];
    if (control !== undefined) return charOf(control);
    if (/[A-Za-z]/.test(char)) throw new PatternError(`holds "\\${char}", which has no meaning here`);
    return this.#literal(char);
  }

  #class(): CharSet {
    this.#take();
    const negated = this.#text[this.#at] === '^';
    if (negated) this.#take();
    let set = 0n;
    while (this.#text[this.#at] !== ']') {
      const from = this.#classMember();
      const to = this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']' ? this.#rangeEnd() : null;
      set |= to === null ? from : charRange(lowest(from), lowest(to));
    }
    this.#take();
    return negated ? ANY & ~set : set;
  }

  #rangeEnd(): CharSet {
    this.#take();
    return this.#classMember();
  }

  #classMember(): CharSet {
    if (this.#text[this.#at] === '\\') return this.#escaped();
    const char = this.#text[this.#at] ?? '';
    this.#take();
    return this.#literal(char);
  }

  #literal(char: string): CharSet {
    if (char.charCodeAt(0) > 255)
      throw new PatternError(`holds "${char}": log lines are read as bytes, write \\xHH for each`);
    return charOf(char);
  }

  #take(count = 1): void {
    this.#at += count;
  }

  /** Takes `count` characters, for which the source has others. */
  #replace(count: number, by: string): void {
    this.#source = this.source() + by;
    this.#take(count);
    this.#copied = this.#at;
  }
}

function lowest(set: CharSet): number {
  return Math.max((set & -set).toString(2).length - 1, 0);
}
