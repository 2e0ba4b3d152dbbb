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

/** A power of two, and how many of them share a place by their hash. */
const MOST_CLIENTS = 16_384;
const WAYS = 4;
/** Room for what was logged, with its lengths behind it: most host names are shorter than what an address leaves of it. */
const WORDS = 16;
const LENGTHS = WORDS - 1;
const LONGEST_BYTES = 4 * LENGTHS;
/** No address that is worth remembering is shorter. */
const SHORTEST_ADDRESS = 7;

export class Clients {
  readonly #known: (Client | undefined)[] = Array.from({ length: MOST_CLIENTS }, () => undefined);
  /** Of what was logged, so that most others are told from it at once. */
  readonly #hashes = new Int32Array(MOST_CLIENTS);
  readonly #logged = new Int32Array(MOST_CLIENTS * WORDS);
  #nextWay = 0;

  /** The client of which the host name, which may be empty, stands at `hostStart`, the address at `start`. */
  at({ bytes, view }: Line, hostStart: number, start: number, end: number): Client {
    const length = end - hostStart;
    if (length > LONGEST_BYTES || end - start < SHORTEST_ADDRESS) return this.#read(bytes, hostStart, start, end);
    const lengths = (length << 8) | (start - hostStart);
    const tail =
      Math.imul(view.getInt32(end - 4, true), 0x9e3779b1) ^ Math.imul(view.getInt32(end - 7, true), 0x85ebca6b);
    const hash = Math.imul(tail ^ (tail >>> 15) ^ view.getInt32(start, true) ^ lengths, 0xc2b2ae35);
    const first = (hash >>> 16) & (MOST_CLIENTS - WAYS);
    for (let slot = first; slot < first + WAYS; slot++) {
      if (this.#hashes[slot] !== hash) continue;
      const known = this.#knownAs(slot, view, hostStart, lengths);
      if (known !== null) return known;
    }
    const client = this.#read(bytes, hostStart, start, end);
    const slot = first + (this.#nextWay++ & (WAYS - 1));
    // A brake may end this anywhere: what is half written down is nobody's.
    this.#known[slot] = undefined;
    this.#hashes[slot] = hash;
    this.#logged.set(wordsOf(bytes.subarray(hostStart, end)).words, slot * WORDS);
    this.#logged[slot * WORDS + LENGTHS] = lengths;
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

  #knownAs(slot: number, view: DataView, from: number, lengths: number): Client | null {
    const known = this.#known[slot];
    const logged = this.#logged;
    let word = slot * WORDS;
    if (known === undefined || logged[word + LENGTHS] !== lengths) return null;
    const last = from + (lengths >> 8) - 4;
    for (let at = from; at < last; at += 4) if (view.getInt32(at, true) !== logged[word++]) return null;
    return view.getInt32(last, true) === logged[word] ? known : null;
  }
}
