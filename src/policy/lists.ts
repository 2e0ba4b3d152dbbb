/**
 * Lists of others, as a head start: who is on one needs fewer points of his own to be banned. Nothing is added to a score,
 * so nothing adds up, and nothing is to be undone when an address leaves the list. Pure: the time is passed in.
 */

import { subjectOf } from '../domain/address.js';
import type { Listing } from '../domain/ban.js';
import type { NetworkSet } from '../domain/network-set.js';

export interface PointList {
  /** As the config calls it. */
  readonly name: string;
  /** File or URL, safe to print. */
  readonly source: string;
  readonly points: number;
  /** When what it holds was last known to be right, milliseconds. */
  readonly refreshedAt: number;
  /** From so old on it gives no points, milliseconds. */
  readonly maxAgeMs: number;
  readonly networks: NetworkSet;
}

export class Lists {
  readonly #lists: readonly PointList[];

  constructor(lists: readonly PointList[]) {
    this.#lists = lists.toSorted((a, b) => b.points - a.points);
  }

  get isEmpty(): boolean {
    return this.#lists.length === 0;
  }

  get mostPoints(): number {
    return this.#lists[0]?.points ?? 0;
  }

  /**
   * The list that counts for `subject` at `at`: of several the one with the most points, since lists copy from each
   * other and are no independent witnesses. Null when it is on none that is fresh.
   */
  strongest(subject: string, at: number): Listing | null {
    for (const list of this.#lists) if (isFresh(list, at) && list.networks.holds(subject)) return listingOf(list);
    return null;
  }

  /** All that hold `subject`, the one that counts first; for a person to read. */
  all(subject: string): (Listing & { readonly maxAgeMs: number })[] {
    return this.#lists
      .filter(({ networks }) => networks.holds(subject))
      .map((list) => ({ ...listingOf(list), maxAgeMs: list.maxAgeMs }));
  }
}

export const NO_LISTS = new Lists([]);

/** The network as a list is asked for it: one machine owns a whole IPv6 subject, so that any of its addresses stands for it. */
export function listedAs(network: { readonly base: string; readonly prefix: number }, ipv6Prefix: number) {
  if (!network.base.includes(':') || network.prefix <= ipv6Prefix) return network;
  const [base = network.base] = subjectOf(network.base, ipv6Prefix).split('/');
  return { base, prefix: ipv6Prefix };
}

export function isFresh({ refreshedAt, maxAgeMs }: Pick<PointList, 'refreshedAt' | 'maxAgeMs'>, at: number): boolean {
  return at - refreshedAt <= maxAgeMs;
}

function listingOf({ name, source, points, refreshedAt }: PointList): Listing {
  return { list: name, source, points, refreshedAt };
}
