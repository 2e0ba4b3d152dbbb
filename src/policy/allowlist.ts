/** Who is never banned, by address or by forward-confirmed name, and why. */
import { addressBytes, isIPv4, parseNetwork } from '../domain/address.js';

/** One reason why a client is never banned. */
export interface AllowRule {
  /** Canonical address or network, or a host name suffix. */
  readonly entry: string;
  /** For a person: `your network (mynetworks)`, `allowed by blockctl allow`. */
  readonly why: string;
}

export interface AllowRules {
  readonly addresses: readonly AllowRule[];
  readonly hostnames: readonly AllowRule[];
}

/** Everybody who is never banned, from all the places that name them. */
export function allowRules(from: {
  /** Addresses of this host's interfaces. */
  readonly own: readonly string[];
  readonly mynetworks: readonly string[];
  /** `[allow]` of the config. */
  readonly addresses: readonly string[];
  readonly hostnames: readonly string[];
  /** Entries of `blockctl allow`: addresses, networks and host names. */
  readonly people: readonly string[];
}): AllowRules {
  const named = (entries: readonly string[], why: string) => entries.map((entry) => ({ entry, why }));
  return {
    addresses: [
      ...named(['127.0.0.0/8', '::1'], 'loopback'),
      ...named(from.own, 'an address of this host'),
      ...named(from.mynetworks, "Postfix's mynetworks"),
      ...named(from.addresses, 'allow.addresses in the config'),
      ...named(from.people.filter(isNetwork), 'blockctl allow'),
    ],
    hostnames: [
      ...named(from.hostnames, 'allow.hostnames in the config'),
      ...named(
        from.people.filter((entry) => !isNetwork(entry)),
        'blockctl allow',
      ),
    ],
  };
}

function isNetwork(entry: string): boolean {
  return parseNetwork(entry) !== null;
}

/** Networks by prefix length, so that a look-up costs as many map reads as there are different lengths. */
type NetworkTable = Map<number, Map<string, string>>;

export class Allowlist {
  readonly #v4: NetworkTable = new Map();
  readonly #v6: NetworkTable = new Map();
  readonly #networks: { readonly base: string; readonly prefix: number; readonly why: string }[] = [];
  readonly #names = new Map<string, string>();

  constructor(rules: AllowRules) {
    for (const { entry, why } of rules.addresses) {
      const network = parseNetwork(entry);
      if (network === null) continue;
      const table = isIPv4(network.base) ? this.#v4 : this.#v6;
      const bases = table.get(network.prefix) ?? new Map<string, string>();
      const bits = bitsOf(addressBytes(network.base), network.prefix);
      // Of several reasons the first holds: loopback stays loopback when mynetworks names it too.
      if (!bases.has(bits)) bases.set(bits, why);
      table.set(network.prefix, bases);
      this.#networks.push({ ...network, why });
    }
    for (const { entry, why } of rules.hostnames) this.#names.set(entry.replace(/^\./, '').toLowerCase(), why);
  }

  /**
   * Why `subject` (an address or a network) is never banned, or null. A network is protected when it holds any
   * allowed address, or lies in an allowed network. `host` is the name that Postfix confirmed, else null.
   */
  why(subject: string, host: string | null): string | null {
    const byName = this.whyName(host);
    if (byName !== null) return byName;
    const network = parseNetwork(subject);
    if (network === null) return null;
    const around = this.#around(network.base, network.prefix);
    if (around !== null) return around;
    const width = isIPv4(network.base) ? 32 : 128;
    return network.prefix === width ? null : this.#inside(network.base, network.prefix);
  }

  #around(base: string, prefix: number): string | null {
    const bytes = addressBytes(base);
    for (const [length, bases] of isIPv4(base) ? this.#v4 : this.#v6) {
      if (length > prefix) continue;
      const why = bases.get(bitsOf(bytes, length));
      if (why !== undefined) return why;
    }
    return null;
  }

  #inside(base: string, prefix: number): string | null {
    const bits = bitsOf(addressBytes(base), prefix);
    for (const inner of this.#networks) {
      if (inner.prefix < prefix || isIPv4(inner.base) !== isIPv4(base)) continue;
      if (bitsOf(addressBytes(inner.base), prefix) === bits) return inner.why;
    }
    return null;
  }

  /** Why a client with this confirmed name is never banned, whatever its address, or null. */
  whyName(host: string | null): string | null {
    if (host === null || this.#names.size === 0) return null;
    let rest = host.toLowerCase();
    for (;;) {
      const why = this.#names.get(rest);
      if (why !== undefined) return why;
      const dot = rest.indexOf('.');
      if (dot < 0) return null;
      rest = rest.slice(dot + 1);
    }
  }
}

/** The first `prefix` bits of an address, as a map key. */
function bitsOf(bytes: readonly number[], prefix: number): string {
  let key = '';
  for (let index = 0; index * 8 < prefix; index++) {
    const bits = Math.min(8, prefix - index * 8);
    key += String.fromCharCode((bytes[index] ?? 0) & (0xff << (8 - bits)) & 0xff);
  }
  return key;
}
