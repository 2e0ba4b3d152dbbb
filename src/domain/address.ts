/**
 * Addresses and the subjects they are scored under. The one IP type of blockd is canonical text:
 * dotted quad, RFC 5952 for IPv6, `net/prefix` for networks; equal addresses are equal strings.
 */
import ipaddr from 'ipaddr.js';

/**
 * Canonical text of an address, or null when `text` is none. `::ffff:a.b.c.d` is `a.b.c.d`.
 * Refuses what only looks like an address: leading zeros, fewer than four parts, zone ids.
 */
export function parseAddress(text: string): string | null {
  if (isCanonicalIPv4(text)) return text;
  if (!text.includes(':') || text.includes('%') || text.length > 45 || !ipaddr.IPv6.isValid(text)) return null;
  const address = ipaddr.IPv6.parse(text);
  return address.isIPv4MappedAddress() ? address.toIPv4Address().toString() : address.toRFC5952String();
}

export function isIPv4(address: string): boolean {
  return !address.includes(':');
}

/** A network in CIDR notation, or a single address as its /32 or /128; null when `text` is neither. */
export function parseNetwork(text: string): { readonly base: string; readonly prefix: number } | null {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === null) return null;
  const width = isIPv4(address) ? 32 : 128;
  if (slash < 0) return { base: address, prefix: width };
  const digits = text.slice(slash + 1);
  if (!/^(0|[1-9]\d{0,2})$/.test(digits) || Number(digits) > width) return null;
  const prefix = Number(digits);
  return { base: networkBase(address, prefix), prefix };
}

/**
 * What an address is scored under: itself for IPv4; for IPv6 its network of `ipv6Prefix` bits (64 by default),
 * since one machine owns a whole one.
 */
export function subjectOf(address: string, ipv6Prefix = 64): string {
  if (isIPv4(address)) return address;
  return ipv6Prefix === 128 ? address : `${networkBase(address, ipv6Prefix)}/${ipv6Prefix}`;
}

/** Canonical subject of what a person typed: an address (mapped by `subjectOf`) or a network; null when neither. */
export function parseSubject(text: string, ipv6Prefix = 64): string | null {
  const network = parseNetwork(text);
  if (network === null) return null;
  if (!text.includes('/')) return subjectOf(network.base, ipv6Prefix);
  const width = isIPv4(network.base) ? 32 : 128;
  if (network.prefix === width) return subjectOf(network.base, ipv6Prefix);
  return `${network.base}/${network.prefix}`;
}

/** The IPv4 /24 or IPv6 /48 that may be banned as a whole when many of its subjects are; null when it is no smaller one. */
export function networkOf(subject: string): string | null {
  const network = parseNetwork(subject);
  if (network === null) return null;
  const prefix = isIPv4(network.base) ? 24 : 48;
  return network.prefix <= prefix ? null : `${networkBase(network.base, prefix)}/${prefix}`;
}

/** Does the network or address `outer` hold all of `inner`? Both canonical. */
export function contains(outer: string, inner: string): boolean {
  const a = parseNetwork(outer);
  const b = parseNetwork(inner);
  if (a === null || b === null || isIPv4(a.base) !== isIPv4(b.base) || b.prefix < a.prefix) return false;
  return networkBase(b.base, a.prefix) === a.base;
}

/** Address bytes, 4 or 16 of them, of a canonical address. */
export function addressBytes(address: string): number[] {
  return ipaddr.parse(address).toByteArray();
}

function networkBase(address: string, prefix: number): string {
  const bytes = addressBytes(address).map((byte, index) => {
    const bits = Math.min(8, Math.max(0, prefix - index * 8));
    return byte & (0xff << (8 - bits)) & 0xff;
  });
  const base = ipaddr.fromByteArray(bytes);
  return base.kind() === 'ipv6' ? (base as ipaddr.IPv6).toRFC5952String() : base.toString();
}

function isCanonicalIPv4(text: string): boolean {
  let parts = 1;
  let value = -1;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 46) {
      if (value < 0 || ++parts > 4) return false;
      value = -1;
    } else if (code >= 48 && code <= 57) {
      if (value === 0) return false;
      value = (value < 0 ? 0 : value * 10) + code - 48;
      if (value > 255) return false;
    } else return false;
  }
  return parts === 4 && value >= 0;
}
