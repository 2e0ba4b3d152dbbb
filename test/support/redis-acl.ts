/** The users of Redis as docs/redis.md describes them, made in a real one. */
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';

export const PASSWORD = 'a-password-of-the-test';

const text = readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8');

/** What docs/redis.md adds for a node of a Cluster. */
export const CLUSTER_RIGHTS = (/Cluster, on each node, `([^`]+)`/.exec(text)?.[1] ?? '').split(' ');

/** The line of docs/redis.md for this user, word by word, without `ACL SETUSER NAME`. */
export function documentedRights(user: 'blockd' | 'blockd-monitor'): string[] {
  const line = text.split('\n').find((one) => one.startsWith(`ACL SETUSER ${user} `));
  if (line === undefined) throw new Error(`docs/redis.md shows no ACL SETUSER ${user}`);
  return line.split(' ').slice(3);
}

/** Makes a user for this prefix, with these rights. */
export async function setUser(redis: Redis, name: string, prefix: string, rights: readonly string[]): Promise<void> {
  const own = rights.map((right) => right.replace('>PASSWORD', `>${PASSWORD}`).replace('{blockd}', `{${prefix}}`));
  await redis.call('ACL', 'SETUSER', name, ...own);
}

/** What `+…` allows. */
export function commandsIn(rights: readonly string[]): string[] {
  return rights.flatMap((right) => (right.startsWith('+') ? [right.slice(1)] : []));
}
