/** The addresses of this host. */
import { networkInterfaces } from 'node:os';
import { parseAddress } from './address.js';

/** Canonical addresses of all interfaces, loopback included. */
export function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .map(({ address }) => parseAddress(address.split('%')[0] ?? ''))
    .filter((address) => address !== null);
}
