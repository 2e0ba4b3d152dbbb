/**
 * Addresses and the subjects they are scored under. The one IP type of blockd is canonical text:
 * dotted quad, RFC 5952 for IPv6, `net/prefix` for networks; equal addresses are equal strings.
 */
/**
 * Canonical text of an address, or null when `text` is none. `::ffff:a.b.c.d` is `a.b.c.d`.
 * Refuses what only looks like an address: leading zeros, fewer than four parts, zone ids.
 */
export function parseAddress(text: string): string | null {
  if (parseIPv4(text) !== null) return text;
  const groups = parseIPv6(text);
  if (groups === null) return null;
  const [a, b, c, d, e, f, high = 0, low = 0] = groups;
  const mapped = a === 0 && b === 0 && c === 0 && d === 0 && e === 0 && f === 0xffff;
  return mapped ? formatIPv4([high >> 8, high & 255, low >> 8, low & 255]) : formatIPv6(groups);
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
  const bytes = parseIPv4(address) ?? parseIPv6(address)?.flatMap((group) => [group >> 8, group & 255]);
  if (!bytes) throw new RangeError(`not an address: ${address}`);
  return bytes;
}

function networkBase(address: string, prefix: number): string {
  const bytes = addressBytes(address).map((byte, index) => {
    const bits = Math.min(8, Math.max(0, prefix - index * 8));
    return byte & (0xff << (8 - bits)) & 0xff;
  });
  if (bytes.length === 4) return formatIPv4(bytes);
  return formatIPv6(Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)));
}

/** Four numbers of a dotted quad; strict: no leading zeros, no fewer parts. */
function parseIPv4(text: string): number[] | null {
  if (text.length > 15) return null;
  const parts: number[] = [];
  let value = -1;
  for (let i = 0; i <= text.length; i++) {
    const code = i === text.length ? DOT : text.charCodeAt(i);
    if (code === DOT) {
      if (value < 0) return null;
      parts.push(value);
      value = -1;
    } else if (code >= 48 && code <= 57 && value !== 0) {
      value = (value < 0 ? 0 : value * 10) + code - 48;
      if (value > 255) return null;
    } else return null;
  }
  return parts.length === 4 ? parts : null;
}

const DOT = 46;

/** Eight groups of 16 bits. RFC 4291 section 2.2: one `::`, and a dotted quad in place of the last two groups. */
function parseIPv6(text: string): number[] | null {
  if (text.length < 2 || text.length > 45 || !text.includes(':')) return null;
  const gap = text.indexOf('::');
  if (gap < 0) {
    const groups = parseGroups(text, true);
    return groups?.length === 8 ? groups : null;
  }
  const left = gap === 0 ? [] : parseGroups(text.slice(0, gap), false);
  const right = gap + 2 === text.length ? [] : parseGroups(text.slice(gap + 2), true);
  if (left === null || right === null || left.length + right.length > 7) return null;
  return [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
}

function parseGroups(text: string, mayEndInQuad: boolean): number[] | null {
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const quad = mayEndInQuad && index === parts.length - 1 ? parseIPv4(part) : null;
    if (quad === null) return null;
    const [a = 0, b = 0, c = 0, d = 0] = quad;
    groups.push((a << 8) | b, (c << 8) | d);
  }
  return groups;
}

function formatIPv4(bytes: readonly number[]): string {
  return bytes.join('.');
}

/** RFC 5952: lower case, no leading zeros, the first of the longest runs of two or more zero groups as `::`. */
function formatIPv6(groups: readonly number[]): string {
  let [start, length] = [0, 1];
  for (let from = 0; from < 8; from++) {
    let to = from;
    while (to < 8 && groups[to] === 0) to++;
    if (to - from > length) [start, length] = [from, to - from];
    from = Math.max(from, to - 1);
  }
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':');
  return length < 2 ? hex(groups) : `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}
