/** Times and bans in the words of people, and bans in the JSON that others rely on. */
import type { Ban, Listing, ReleaseHow } from '../domain/ban.js';
import { formatDuration } from '../domain/duration.js';
import { safe } from '../domain/safe.js';

/** A ban as `blockctl list --json` prints it. */
export function banJson(ban: Ban) {
  const { subject, since, until, reason, strikes, host, by, refused, listed } = ban;
  const told = { subject, since: iso(since), until: iso(until), reason, strikes: rounded(strikes), host, by, refused };
  return { ...told, ...(listed !== undefined && { listed: listingJson(listed) }) };
}

export function listingJson({ list, source, points, refreshedAt }: Listing) {
  return { list, source, points, refreshedAt: iso(refreshedAt) };
}

/** `list drop (https://lists.example.net/drop.txt, refreshed 3 h ago)` */
export function listingSentence({ list, source, refreshedAt }: Listing, now: number): string {
  return `list ${safe(list)} (${safe(source)}, refreshed ${roughly(refreshedAt, now)})`;
}

/** ISO 8601, UTC. */
export function iso(at: number): string {
  return new Date(at).toISOString();
}

/** `12 min ago`, `in 3 h 20 min`, `just now`. */
export function relative(at: number, now: number): string {
  const distance = Math.abs(at - now);
  if (distance < 1_000) return 'just now';
  return at < now ? `${formatDuration(distance)} ago` : `in ${formatDuration(distance)}`;
}

/** The same in one rounded number, for a column of a table: `85 min ago`, `in 2 h`. */
export function roughly(at: number, now: number): string {
  const distance = Math.abs(at - now);
  if (distance < 1_000) return 'now';
  const words = inOneUnit(distance);
  return at < now ? `${words} ago` : `in ${words}`;
}

function inOneUnit(ms: number): string {
  if (ms < 90_000) return `${Math.round(ms / 1_000)} s`;
  if (ms < 90 * 60_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 36 * 3_600_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** Local time, as the logs of this host have it. */
export function localTime(at: number): string {
  const date = new Date(at);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** At most three decimals: decayed sums have endless ones. */
export function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

/** A decayed sum for a person: `4`, `2.5`, `0.04`. */
export function shortNumber(value: number): string {
  return String(Number(value.toPrecision(value < 10 ? 2 : 3)));
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

export const RELEASED: Readonly<Record<ReleaseHow, string>> = {
  expired: 'ended on time',
  unbanned: 'unbanned by a person',
  handover: 'the address changed hands',
  allowed: 'allowed, or a user logged in',
};

/** Who banned, for a person. */
export const BANNED_BY = {
  score: 'its score',
  person: 'a person',
  network: 'its many banned addresses',
} as const;
