/** The Postfix instances of this host: MULTI_INSTANCE_README. What `postmulti -l` lists, asked of each by postconf. */
import { UnavailableError } from '../domain/errors.js';
import type { PostconfOptions } from './postconf.js';
import { configDirectoryOf, rawValue } from './settings.js';

export interface Instance {
  /** As postmulti names it; `-` for one without a name, as the first one often is. */
  readonly name: string;
  readonly configDirectory: string;
}

/** The instance asked, and those that its main.cf names beside it. @throws UnavailableError */
export async function instancesOf(options: PostconfOptions): Promise<Instance[]> {
  const primary = await configDirectoryOf(options);
  const others = (await rawValue('multi_instance_directories', options)).split(/[\s,]+/).filter((name) => name !== '');
  const found: Instance[] = [];
  for (const configDirectory of [primary, ...others]) {
    found.push({ name: await nameOf({ ...options, configDirectory }), configDirectory });
  }
  return found;
}

async function nameOf(options: PostconfOptions): Promise<string> {
  try {
    return (await rawValue('multi_instance_name', options)) || '-';
  } catch (error) {
    // An instance whose folder is gone is of no concern to the others.
    if (error instanceof UnavailableError) return '-';
    throw error;
  }
}
