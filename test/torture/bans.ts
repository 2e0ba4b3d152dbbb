/** Bans as the access map shows them, and as the store has them, in the same words. */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Store } from '../../src/store/store.js';

export function bansInMap(map: string): string[] {
  return [map, `${map}.cidr`]
    .filter((file) => existsSync(file))
    .flatMap((file) => readFileSync(file, 'utf8').split('\n'))
    .filter((line) => line.includes('Blocked until '))
    .map((line) => `${line.split('\t')[0]} until ${/until (\S+)/.exec(line)?.[1]}`)
    .sort();
}

export async function bansInStore(store: Store): Promise<string[]> {
  const bans = await store.bans(Date.now());
  const time = (until: number) => new Date(until).toISOString().replace(/(?::00)?\.000Z$/, 'Z');
  // A /24 is a key without its last octet.
  const key = (subject: string) => subject.replace(/^(\d+\.\d+\.\d+)\.0\/24$/, '$1');
  return bans.map(({ subject, until }) => `${key(subject)} until ${time(until)}`).sort();
}

/** Looks at the map without pause until told to stop: which of `wanted` was ever missing? */
export function watchMap(map: string, wanted: readonly string[]): () => Promise<string[]> {
  const missing = new Set<string>();
  let done = false;
  const watching = (async () => {
    while (!done) {
      const now = new Set(bansInMap(map));
      for (const one of wanted) if (!now.has(one)) missing.add(one);
      await sleep(10);
    }
  })();
  return async () => {
    done = true;
    await watching;
    return [...missing];
  };
}
