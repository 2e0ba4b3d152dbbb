/** The verified names of addresses: a PTR record whose name has an address record that leads back. */
import { Resolver } from 'node:dns/promises';
import { addressBytes } from '../domain/address.js';
import { reasonOf } from '../domain/errors.js';

/** How long one question may take, and how often it is put. */
const ANSWER_MS = 3_000;
const TRIES = 2;
/** Who owns a reverse zone may put a thousand names into it. */
const MOST_NAMES = 8;
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62})?)*$/;

/** All verified names, empty when there are none; null when a name server did not answer, which says nothing. */
export type NamesOf = (ip: string) => Promise<readonly string[] | null>;

/** @param servers `192.0.2.53` or `127.0.0.1:5353`; none: those of the system. */
export function namesFrom(servers: readonly string[]): NamesOf {
  const resolver = new Resolver({ timeout: ANSWER_MS, tries: TRIES });
  if (servers.length > 0) resolver.setServers([...servers]);
  const ask = async <T>(question: Promise<T[]>): Promise<T[] | null> => {
    try {
      return await question;
    } catch (error) {
      // "No such name" and "no such record" are answers.
      return /^(?:ENOTFOUND|ENODATA)$/.test(String((error as { readonly code?: unknown }).code ?? reasonOf(error)))
        ? []
        : null;
    }
  };
  return async (ip) => {
    // Not `reverse`: it calls a name server that fails or is silent "not found" (c-ares, measured with Node 20).
    const claimed = await ask(resolver.resolvePtr(reverseName(ip)));
    if (claimed === null) return null;
    const verified: string[] = [];
    for (const name of claimed.slice(0, MOST_NAMES).map((one) => one.toLowerCase().replace(/\.$/, ''))) {
      if (!HOST_NAME.test(name)) continue;
      const addresses = await ask(ip.includes(':') ? resolver.resolve6(name) : resolver.resolve4(name));
      if (addresses === null) return null;
      if (addresses.includes(ip)) verified.push(name);
    }
    return verified;
  };
}

/** RFC 1035, 3.5, and RFC 3596, 2.5. */
function reverseName(ip: string): string {
  const bytes = addressBytes(ip);
  if (!ip.includes(':')) return `${bytes.toReversed().join('.')}.in-addr.arpa`;
  const nibbles = bytes.flatMap((byte) => [byte >> 4, byte & 15]).toReversed();
  return `${nibbles.map((one) => one.toString(16)).join('.')}.ip6.arpa`;
}
