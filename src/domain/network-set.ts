/**
 * Many networks, and whether they hold an address: a million of them in a few megabytes, asked in a microsecond. Nested
 * ones are dropped when it is built, so that a look-up is one binary search.
 */
import { addressBytes, isIPv4, parseNetwork } from './address.js';
import { eachInTurns, numbersInTurns, sortedInTurns } from './turns.js';

export class NetworkSet {
  /** `base · 64 + prefix`, ascending, none inside another. */
  readonly #v4: Float64Array;
  /** Base as eight code units, then the prefix; ascending, none inside another. */
  readonly #v6: readonly string[];

  /** By `NetworkDraft`. */
  constructor(v4: Float64Array, v6: readonly string[]) {
    this.#v4 = v4;
    this.#v6 = v6;
  }

  /** Networks left after those inside others were dropped. */
  get size(): number {
    return this.#v4.length + this.#v6.length;
  }

  /** Does one of the networks hold all of `subject`, a canonical address or network? */
  holds(subject: string): boolean {
    const network = parseNetwork(subject);
    if (network === null) return false;
    return isIPv4(network.base) ? this.#holds4(network) : this.#holds6(network);
  }

  #holds4({ base, prefix }: Network): boolean {
    const address = numberOf(base);
    const all = this.#v4;
    const at = lastUpTo(all.length, (index) => (all[index] ?? 0) <= address * WIDEST + prefix);
    const found = all[at];
    return found !== undefined && isInside4(found, address, prefix);
  }

  #holds6({ base, prefix }: Network): boolean {
    const key = keyOf(base, prefix);
    const at = lastUpTo(this.#v6.length, (index) => (this.#v6[index] ?? '') <= key);
    const found = this.#v6[at];
    return found !== undefined && isInside6(found, key);
  }
}

/** Networks as they come, in any order, also several times. */
export class NetworkDraft {
  #v4 = new Float64Array(1_024);
  #count4 = 0;
  readonly #v6: string[] = [];

  get size(): number {
    return this.#count4 + this.#v6.length;
  }

  add({ base, prefix }: Network): void {
    if (!isIPv4(base)) {
      this.#v6.push(keyOf(base, prefix));
      return;
    }
    if (this.#count4 === this.#v4.length) {
      const larger = new Float64Array(this.#v4.length * 2);
      larger.set(this.#v4);
      this.#v4 = larger;
    }
    this.#v4[this.#count4++] = numberOf(base) * WIDEST + prefix;
  }

  /** Sorts them, in turns. */
  async settle(): Promise<NetworkSet> {
    const sorted4 = await numbersInTurns(this.#v4.slice(0, this.#count4));
    let kept = 0;
    await eachInTurns(sorted4, (one) => {
      // In this order a network stands before all that it holds.
      const around = kept === 0 ? undefined : sorted4[kept - 1];
      if (around === undefined || !isInside4(around, Math.floor(one / WIDEST), one % WIDEST)) sorted4[kept++] = one;
    });
    const kept6: string[] = [];
    await eachInTurns(await sortedInTurns(this.#v6), (one) => {
      const around = kept6.at(-1);
      if (around === undefined || !isInside6(around, one)) kept6.push(one);
    });
    return new NetworkSet(sorted4.slice(0, kept), kept6);
  }
}

interface Network {
  /** Canonical, all bits behind the prefix zero. */
  readonly base: string;
  readonly prefix: number;
}

/** More than any IPv4 prefix. */
const WIDEST = 64;
const PREFIX_AT = 8;

function numberOf(base: string): number {
  const [a = 0, b = 0, c = 0, d = 0] = addressBytes(base);
  return ((a * 256 + b) * 256 + c) * 256 + d;
}

function keyOf(base: string, prefix: number): string {
  const bytes = addressBytes(base);
  let key = '';
  for (let at = 0; at < bytes.length; at += 2)
    key += String.fromCharCode(((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  return key + String.fromCharCode(prefix);
}

function isInside4(around: number, base: number, prefix: number): boolean {
  const length = around % WIDEST;
  const size = 2 ** (32 - length);
  return length <= prefix && Math.floor(base / size) === Math.floor(Math.floor(around / WIDEST) / size);
}

function isInside6(around: string, key: string): boolean {
  const length = around.charCodeAt(PREFIX_AT);
  if (length > key.charCodeAt(PREFIX_AT)) return false;
  const whole = length >> 4;
  if (around.slice(0, whole) !== key.slice(0, whole)) return false;
  const rest = length & 15;
  return rest === 0 || around.charCodeAt(whole) >> (16 - rest) === key.charCodeAt(whole) >> (16 - rest);
}

/** Index of the last for which `fits` holds, -1 when there is none; those that fit stand in front. */
function lastUpTo(length: number, fits: (index: number) => boolean): number {
  let [low, high] = [0, length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (fits(middle)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
