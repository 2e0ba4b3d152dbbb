/** Reads Postfix's settings with postconf(1). */
import { readFileSync } from 'node:fs';
import { parseNetwork } from '../domain/address.js';
import { UnavailableError } from '../domain/errors.js';
import { complaintOf, run } from './run.js';

export interface PostconfOptions {
  readonly postconf: string;
  readonly configDirectory?: string;
}

/**
 * The networks of `mynetworks`, canonical. Files that it names are read; look-up tables and exclusions (`!net`) are
 * left out, which only makes fewer addresses exempt.
 * @throws UnavailableError when Postfix can't be asked.
 */
export async function mynetworks(options: PostconfOptions): Promise<string[]> {
  return networksOf(await setting('mynetworks', options));
}

/** @throws UnavailableError when Postfix can't be asked. */
export async function defaultMapType(options: PostconfOptions): Promise<string> {
  return setting('default_database_type', options);
}

async function setting(name: string, { postconf, configDirectory }: PostconfOptions): Promise<string> {
  const where = configDirectory === undefined ? [] : ['-c', configDirectory];
  const result = await run([postconf, ...where, '-hx', name]);
  if (result.code !== 0) throw new UnavailableError(`${postconf} can't tell ${name}: ${complaintOf(result)}`);
  return result.stdout.trim();
}

function networksOf(list: string): string[] {
  const networks: string[] = [];
  for (const item of list.split(/[\s,]+/)) {
    if (item.startsWith('/')) networks.push(...networksOf(contentOf(item)));
    else {
      const network = parseNetwork(item.replace(/^\[([^\]]*)\]/, '$1'));
      if (network !== null) networks.push(`${network.base}/${network.prefix}`);
    }
  }
  return networks;
}

/** postconf(5): a file holds one pattern a line; comments start with `#`. Files inside files are not followed. */
function contentOf(file: string): string {
  try {
    const lines = readFileSync(file, 'utf8').split('\n');
    return lines.map((line) => line.replace(/#.*/, '').replace(/^\s*\/.*/, '')).join(' ');
  } catch {
    return '';
  }
}
