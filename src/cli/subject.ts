/** What a person typed as an address, network or host name. */
import { parseAddress, parseNetwork, parseSubject } from '../domain/address.js';
import { UsageError } from '../domain/errors.js';

/** The canonical subject: an address, the /64 around an IPv6 one, or a network. @throws UsageError */
export function subjectFrom(text: string, ipv6Prefix: number): string {
  const subject = parseSubject(text, ipv6Prefix);
  if (subject === null) throw new UsageError(nonsense(text));
  return subject;
}

/** The same for a ban, which must not hit half a continent by a slip of the finger. @throws UsageError */
export function subjectToBan(text: string, ipv6Prefix: number): string {
  const subject = subjectFrom(text, ipv6Prefix);
  const widest = subject.includes(':') ? 32 : 16;
  if ((parseNetwork(subject)?.prefix ?? 0) < widest) {
    throw new UsageError(`${subject} is too wide to ban: at most a /${widest}, so that a slip bans no provider`);
  }
  return subject;
}

/** An entry of the never-banned list: canonical address or network, or a host name suffix. @throws UsageError */
export function allowEntryFrom(text: string): string {
  const network = parseNetwork(text);
  if (network !== null) {
    const widest = network.base.includes(':') ? 16 : 8;
    const width = network.base.includes(':') ? 128 : 32;
    if (network.prefix < widest) throw new UsageError(`${text} is too wide to allow: at most a /${widest}`);
    return network.prefix === width ? network.base : `${network.base}/${network.prefix}`;
  }
  const name = text.toLowerCase().replace(/\.$/, '');
  if (looksLikeAddress(text)) throw new UsageError(nonsense(text));
  if (!HOSTNAME.test(name) || name.length > 253) {
    throw new UsageError(
      `"${text}" is no address, network or host name: write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32, mail.example.org or example.org (at least two labels)`,
    );
  }
  return name.replace(/^\./, '');
}

const HOSTNAME = /^\.?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}$/;

function looksLikeAddress(text: string): boolean {
  return /[:/%]/.test(text) || /^[\d.]+$/.test(text);
}

function nonsense(text: string): string {
  return `"${text}" is no address or network: ${reason(text)}`;
}

function reason(text: string): string {
  const [address = '', prefix] = text.split('/');
  if (address.includes('%')) return 'an address with a zone (%…) means something only on one link';
  if (prefix !== undefined && parseAddress(address) !== null) {
    return `/${prefix} is no prefix length; write /0 to /${address.includes(':') ? 128 : 32}`;
  }
  if (/^[\d.]+$/.test(address)) {
    if (/(^|\.)0\d/.test(address))
      return 'a part with a leading zero is read differently by different programs; write it without';
    if (address.split('.').some((part) => Number(part) > 255)) return 'its parts go from 0 to 255';
    return 'it takes four parts, such as 203.0.113.9';
  }
  return 'write one such as 203.0.113.9, 203.0.113.0/24 or 2001:db8:1:2::/64';
}
