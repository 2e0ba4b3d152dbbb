/**
 * The version of what a store holds, told among its named facts. It moves on only when programs of before would read
 * the store wrongly, so that hosts of several releases may share one while they are upgraded one after the other.
 * Whoever writes looks at it in the same step: what a newer blockd has made is never changed.
 */
import { NewerStoreError } from '../domain/errors.js';
import type { Store } from './store.js';

export const SCHEMA_VERSION = 1;
/** Name of the fact, and the table `notes` that holds it: the same in all versions to come. */
export const SCHEMA = 'schema';

/**
 * A store that says no version is new, or of the time before versions: the first commit tells it.
 * @throws NewerStoreError
 */
export async function requireKnownSchema(store: Pick<Store, 'url' | 'note'>): Promise<void> {
  const told = await store.note(SCHEMA);
  if (told !== null && isNewer(told)) throw newerStore(store.url, told);
}

/** @param told The fact as JSON says it. */
export function isNewer(told: unknown): boolean {
  return typeof told !== 'number' || !(told <= SCHEMA_VERSION);
}

export function newerStore(url: string, told: unknown): NewerStoreError {
  const version = typeof told === 'number' ? `version ${told}` : 'a version of another kind';
  return new NewerStoreError(
    `store ${url} was made by a newer blockd (${version}; this one knows up to ${SCHEMA_VERSION}): upgrade blockd on this host; nothing was changed`,
  );
}
