/** Reads Postfix's settings with postconf(1). */
import { readFile } from 'node:fs/promises';
import { parseNetwork } from '../domain/address.js';
import { UnavailableError, UsageError } from '../domain/errors.js';
import { INDEXED_TYPES } from './map-files.js';
import { complaintOf, run } from './run.js';

export interface PostconfOptions {
  readonly postconf: string;
  readonly configDirectory?: string;
}

/**
 * The networks of `mynetworks`, canonical. Files and tables of addresses that it names are read. Left out are: names,
 * tables that are no local file, and exclusions (`!192.0.2.7`), so that what they exclude counts as own.
 * @throws UnavailableError when Postfix can't be asked.
 */
export async function mynetworks(options: PostconfOptions): Promise<string[]> {
  const items = (await setting('mynetworks', options)).split(/[\s,]+/);
  const networks = await Promise.all(items.map((item) => networksOf(item)));
  return [...new Set(networks.flat())];
}

/**
 * The type of map that this Postfix makes by default.
 * @throws UnavailableError when Postfix can't be asked; UsageError when blockd can't write that type.
 */
export async function defaultMapType(options: PostconfOptions): Promise<string> {
  const type = await setting('default_database_type', options);
  if (INDEXED_TYPES.includes(type)) return type;
  throw new UsageError(
    `Postfix's default_database_type is ${type}, which blockd can't write; set postfix.map = "TYPE:PATH" with TYPE one of ${INDEXED_TYPES.join(', ')}, cidr`,
  );
}

async function setting(name: string, { postconf, configDirectory }: PostconfOptions): Promise<string> {
  const where = configDirectory === undefined ? [] : ['-c', configDirectory];
  const result = await run([postconf, ...where, '-hx', name]);
  if (result.code !== 0) throw new UnavailableError(`${postconf} can't tell ${name}: ${complaintOf(result)}`);
  return result.stdout.trim();
}

async function networksOf(item: string): Promise<string[]> {
  if (item.startsWith('/')) return (await linesOf(item)).flatMap((line) => line.split(/[\s,]+/)).flatMap(network);
  const table = /^(?:cidr|texthash|hash|btree|lmdb|cdb):(\/.*)$/.exec(item)?.[1];
  // postconf(5): what a table answers means nothing, only whether it has the address.
  if (table !== undefined) return (await linesOf(table)).flatMap((line) => network(line.split(/\s+/)[0] ?? ''));
  return network(item);
}

/** One network, IPv6 in brackets or not; none for anything else. */
function network(text: string): string[] {
  const found = parseNetwork(text.replace(/^\[([^\]]*)\]/, '$1'));
  return found === null ? [] : [`${found.base}/${found.prefix}`];
}

/** Lines without comments; none when there is no such file, about which Postfix itself complains. */
async function linesOf(file: string): Promise<string[]> {
  try {
    return (await readFile(file, 'utf8')).split('\n').map((line) => line.replace(/#.*/, '').trim());
  } catch {
    return [];
  }
}
