/** Who tells a map what changed in its bans. */

import fc from 'fast-check';
import type { AccessMap, MapEntry } from '../../src/postfix/access-map.js';
import { entry, UNTIL } from './map-bench.js';

export const MANY = Array.from({ length: 300 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);

const SOME = MANY.slice(0, 12);

/** Of the first twelve, bans with other ends, and subjects that are let in. */
export const anyChange = fc.record({
  put: fc.array(fc.record({ subject: fc.constantFrom(...SOME), minutes: fc.integer({ min: 0, max: 3 }) }), {
    maxLength: 4,
  }),
  gone: fc.array(fc.constantFrom(...SOME), { maxLength: 3 }),
});

type AnyChange = typeof anyChange extends fc.Arbitrary<infer Change> ? Change : never;

/** Publishes what changed, as who keeps the whole picture would. */
export class Teller {
  readonly bans = new Map<string, MapEntry>();
  readonly #map: AccessMap;

  constructor(map: AccessMap) {
    this.#map = map;
  }

  async whole(subjects: readonly string[]) {
    this.bans.clear();
    for (const one of subjects) this.bans.set(one, entry(one));
    return this.#map.publish(async () => [...this.bans.values()]);
  }

  async tellAny({ put, gone }: AnyChange) {
    const newest = new Map(put.map((one) => [one.subject, entry(one.subject, UNTIL + one.minutes * 60_000)]));
    const left = gone.filter((one) => !newest.has(one));
    return this.tell([...newest.values()], left);
  }

  async tell(put: readonly MapEntry[], gone: readonly string[] = []) {
    for (const one of put) this.bans.set(one.subject, one);
    for (const one of gone) this.bans.delete(one);
    return this.#map.publishPicture(async () => ({ changes: { put, gone }, all: () => [...this.bans.values()] }));
  }
}

export async function heldBy(map: AccessMap): Promise<Map<string, number>> {
  return new Map((await map.read()).entries.map(({ subject, until }) => [subject, until]));
}
