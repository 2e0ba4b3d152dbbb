/** The hours of a host's history, as notes in its store: the daemon writes them, reports read them. */
import type { Store } from '../store/store.js';
import { HOUR_MS, type Hour } from './hours.js';

/** Note that lists the hours kept. */
export function historyNote(host: string): string {
  return `history:${host}`;
}

export function hourNote(host: string, at: number): string {
  return `history:${host}:${new Date(at).toISOString().slice(0, 13)}`;
}

/** The hours of `host` that lie in the time asked for, oldest first. */
export async function readHours(store: Store, host: string, since: number, until: number): Promise<Hour[]> {
  const index = (await store.note(historyNote(host))) as { readonly hours?: readonly number[] } | null;
  const wanted = (index?.hours ?? []).filter((at) => at + HOUR_MS > since && at < until);
  const hours = await Promise.all(wanted.map((at) => store.note(hourNote(host, at)) as Promise<Hour | null>));
  return hours.filter((hour) => hour !== null);
}
