/** Clients as lines name them, `host[address]`, and as events do. Most lines are about few, and those are remembered. */

import { parseAddress } from '../domain/address.js';
import type { Line } from './line.js';
import { wordsOf } from './words.js';

export interface Client {
  /** Canonical; null when what stands in its place is no address. */
  readonly ip: string | null;
  /** Lower case; null when it is `unknown` or there is none. */
  readonly host: string | null;
}

/** A power of two. */
const MOST_CLIENTS = 16_384;
/** Room for what was logged: most host names are shorter than what is left of it beside an address. */
const WORDS = 16;
const LONGEST_BYTES = 4 * WORDS;
/** No address that is worth remembering is shorter. */
const SHORTEST_ADDRESS = 7;

export class Clients {
  /** By a hash of what was logged, and beside that place: of those that share one, the last two are known. */
  readonly #known: (Client | undefined)[] = Array.from({ length: MOST_CLIENTS }, () => undefined);
  /** Of the host name, and of it with the address. */
  readonly #hostLengths = new Uint8Array(MOST_CLIENTS);
  readonly #lengths = new Uint8Array(MOST_CLIENTS);
  readonly #logged = new Int32Array(MOST_CLIENTS * WORDS);

  /** The client of which the host name, which may be empty, stands at `hostStart`, the address at `start`. */
  at({ bytes, view }: Line, hostStart: number, start: number, end: number): Client {
    const length = end - hostStart;
    const hostLength = start - hostStart;
    if (length > LONGEST_BYTES || end - start < SHORTEST_ADDRESS) return this.#read(bytes, hostStart, start, end);
    const tail =
      Math.imul(view.getInt32(end - 4, true), 0x9e3779b1) ^ Math.imul(view.getInt32(end - 7, true), 0x85ebca6b);
    const mixed = Math.imul(tail ^ (tail >>> 15) ^ view.getInt32(start, true) ^ length, 0xc2b2ae35);
    const slot = (mixed >>> 16) & (MOST_CLIENTS - 1);
    const known = this.#knownAs(slot, view, hostStart, hostLength, length);
    if (known !== null) return known;
    const other = slot ^ 1;
    const shifted = this.#knownAs(other, view, hostStart, hostLength, length);
    if (shifted !== null) return shifted;
    const client = this.#read(bytes, hostStart, start, end);
    const { words } = wordsOf(bytes.subarray(hostStart, end));
    this.#move(slot, other);
    // A brake may end this anywhere: what is half written down is nobody's.
    this.#known[slot] = undefined;
    this.#lengths[slot] = length;
    this.#hostLengths[slot] = hostLength;
    this.#logged.set(words, slot * WORDS);
    this.#known[slot] = client;
    return client;
  }

  of(host: string, address: string): Client {
    return { ip: parseAddress(address), host: host === '' || host === 'unknown' ? null : host.toLowerCase() };
  }

  #read(bytes: Buffer, hostStart: number, start: number, end: number): Client {
    // The bracket between them is not the host's.
    const host = bytes.toString('latin1', hostStart, Math.max(hostStart, start - 1));
    return this.of(host, bytes.toString('latin1', start, end));
  }

  #knownAs(slot: number, view: DataView, from: number, hostLength: number, length: number): Client | null {
    const known = this.#known[slot];
    if (known === undefined || this.#lengths[slot] !== length || this.#hostLengths[slot] !== hostLength) return null;
    const logged = this.#logged;
    const last = from + length - 4;
    let word = slot * WORDS;
    for (let at = from; at < last; at += 4) if (view.getInt32(at, true) !== logged[word++]) return null;
    return view.getInt32(last, true) === logged[word] ? known : null;
  }

  #move(from: number, to: number): void {
    this.#known[to] = undefined;
    this.#lengths[to] = this.#lengths[from] ?? 0;
    this.#hostLengths[to] = this.#hostLengths[from] ?? 0;
    this.#logged.copyWithin(to * WORDS, from * WORDS, (from + 1) * WORDS);
    this.#known[to] = this.#known[from];
  }
}
