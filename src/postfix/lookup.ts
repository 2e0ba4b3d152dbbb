/** Asks one table as Postfix would, by postmap(1) -q. */
import { UnavailableError } from '../domain/errors.js';
import { complaintOf, run } from './run.js';

export interface LookupOptions {
  readonly postmap: string;
  readonly configDirectory?: string | undefined;
}

/** Null when the key is not in it. @throws UnavailableError when the table can't be asked. */
export async function lookUp(
  table: string,
  key: string,
  { postmap, configDirectory }: LookupOptions,
): Promise<string | null> {
  const where = configDirectory === undefined ? [] : ['-c', configDirectory];
  const result = await run([postmap, ...where, '-q', key, table]);
  // Not found is status 1 too, and a warning may be about anything else in main.cf.
  const failed = result.code > 1 || /\b(?:fatal|error|panic): |is unavailable/.test(result.stderr);
  if (failed) throw new UnavailableError(`${table} can't be asked: ${complaintOf(result)}`);
  return result.code === 0 ? result.stdout.trimEnd() : null;
}
