/** What Redis wants to see, from files that only blockd can read: neither argv nor the config has to hold it. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { reasonOf, UnavailableError, UsageError } from '../domain/errors.js';

/** systemd.exec(5): `LoadCredential=redis-password:/etc/blockd/redis-password` puts it there. */
const CREDENTIAL = 'redis-password';

/** From the file that the config names, or else from systemd's credential; null when there is neither. */
export function redisPassword(file: string | undefined): string | null {
  const folder = process.env['CREDENTIALS_DIRECTORY'];
  const credential = folder === undefined ? undefined : join(folder, CREDENTIAL);
  const found = file ?? (credential !== undefined && existsSync(credential) ? credential : undefined);
  if (found === undefined) return null;
  const password = contentOf(found, 'password of Redis').replace(/\r?\n$/, '');
  if (password === '') throw new UsageError(`the password of Redis: the file ${found} is empty`);
  return password;
}

/** Certificates of the CA that signed that of Redis, as PEM; undefined: those that Node trusts. */
export function authorities(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  const pem = contentOf(file, 'CA of Redis');
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) {
    throw new UsageError(`the CA of Redis: ${file} (store.ca_file) holds no certificate in PEM form`);
  }
  return pem;
}

function contentOf(file: string, what: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UnavailableError(`the ${what} can't be read from ${file}: ${reasonOf(error)}`, { cause: error });
  }
}
