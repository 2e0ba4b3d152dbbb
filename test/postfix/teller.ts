/** Who tells a map what changed in its bans. */
import type { AccessMap, MapEntry } from '../../src/postfix/access-map.js';
import { entry } from './map-bench.js';

export const MANY = Array.from({ length: 300 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);

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

  async tell(put: readonly MapEntry[], gone: readonly string[] = []) {
    for (const one of put) this.bans.set(one.subject, one);
    for (const one of gone) this.bans.delete(one);
    return this.#map.publishPicture(async () => ({ changes: { put, gone }, all: () => [...this.bans.values()] }));
  }
}

export async function heldBy(map: AccessMap): Promise<Map<string, number>> {
  return new Map((await map.read()).entries.map(({ subject, until }) => [subject, until]));
}
