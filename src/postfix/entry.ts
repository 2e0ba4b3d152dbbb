/** One ban as one line of an access map, and back. Pure. The map's text is all that ending a ban needs. */
import { isIPv4, parseAddress, parseNetwork } from '../domain/address.js';

/** What the map is made from. */
export interface MapEntry {
  /** Canonical: IPv4 address, IPv6 /64, or any network. */
  readonly subject: string;
  /** Milliseconds since the epoch. */
  readonly until: number;
  readonly reason: string;
}

/** What can be read back from the map's text. */
export interface PublishedEntry {
  readonly subject: string;
  readonly until: number;
  /** The whole line as written, without its newline. */
  readonly line: string;
}

export interface Rendering {
  /** Template that begins with `Blocked until {until}`; `{reason}` and `{ip}` may follow. */
  readonly reply: string;
  /** `warn`: Postfix logs what it would have refused, and refuses nobody. */
  readonly action: 'reject' | 'warn';
}

/** Which of the two files an entry stands in: IPv6 and odd prefixes can't be keys of an indexed map. */
export type Table = 'indexed' | 'cidr';

/** RFC 5321 allows 512 octets, and a log record cut at 2,000 would lose what is told of the mail. */
const MAX_VALUE = 190;
/** 9999-12-31T23:59:59Z: later years have no four digits. */
const LAST_UNTIL = 253_402_300_799_000;
const LINE =
  /^(\S+)\t(?:554 5\.7\.1 |WARN blockd: )Blocked until (\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?Z)(?: [\x20-\x7e]*)?$/;

/** Can the map hold it at all? */
export function isSubject(text: string): boolean {
  return parseAddress(text) === text || parseNetwork(text) !== null;
}

export function tableOf(subject: string): Table {
  if (parseAddress(subject) === subject) return isIPv4(subject) ? 'indexed' : 'cidr';
  const network = parseNetwork(subject);
  if (network === null || !isIPv4(network.base)) return 'cidr';
  return [8, 16, 24, 32].includes(network.prefix) ? 'indexed' : 'cidr';
}

/** `203.0.113.9<TAB>554 5.7.1 Blocked until 2026-05-11T04:00Z after repeated rejects` */
export function renderLine(entry: MapEntry, table: Table, rendering: Rendering): string {
  return `${keyFor(entry.subject, table)}\t${replyTo(entry, rendering)}`;
}

/** Null for a line that blockd did not write. */
export function parseLine(line: string): PublishedEntry | null {
  const parts = LINE.exec(line);
  const subject = parts?.[1] === undefined ? null : subjectOfKey(parts[1]);
  const until = Date.parse(parts?.[2] ?? '');
  return subject === null || Number.isNaN(until) ? null : { subject, until, line };
}

/** The look-up key that a rendered line begins with. */
export function keyOfLine(line: string): string {
  return line.slice(0, line.indexOf('\t'));
}

function keyFor(subject: string, table: Table): string {
  // Nearly all subjects are single IPv4 addresses, and taking networks apart is slow.
  if (table === 'indexed' && parseAddress(subject) === subject) return subject;
  const network = parseNetwork(subject);
  if (network === null) throw new RangeError(`not a subject: ${subject}`);
  if (table === 'cidr') return `${network.base}/${network.prefix}`;
  // access(5): a network is the address without its last octets, and without a dot behind.
  return network.base
    .split('.')
    .slice(0, network.prefix / 8)
    .join('.');
}

function subjectOfKey(key: string): string | null {
  if (parseAddress(key) === key) return key;
  const octets = /^\d+(\.\d+){0,2}$/.test(key) ? key.split('.') : null;
  const text = octets === null ? key : `${[...octets, '0', '0', '0'].slice(0, 4).join('.')}/${octets.length * 8}`;
  const network = parseNetwork(text);
  if (network === null) return null;
  return network.prefix === (isIPv4(network.base) ? 32 : 128) ? network.base : `${network.base}/${network.prefix}`;
}

function replyTo(entry: MapEntry, { reply, action }: Rendering): string {
  const until = formatUntil(entry.until);
  const filled = reply
    .replaceAll('{until}', until)
    .replaceAll('{reason}', () => entry.reason)
    .replaceAll('{ip}', () => entry.subject);
  const marker = `Blocked until ${until}`;
  // Without the marker neither the end could be read back nor our own refusals be known in the log.
  const text = filled === marker || filled.startsWith(`${marker} `) ? filled : marker;
  return `${action === 'warn' ? 'WARN blockd: ' : '554 5.7.1 '}${plain(text)}`.slice(0, MAX_VALUE).trimEnd();
}

/** ISO 8601 UTC, without seconds that are zero; never earlier than the ban's own end. */
function formatUntil(until: number): string {
  const iso = new Date(Math.min(LAST_UNTIL, Math.ceil(until / 1_000) * 1_000)).toISOString();
  return `${iso.slice(0, 16)}${iso.slice(16, 19) === ':00' ? '' : iso.slice(16, 19)}Z`;
}

/** Printable ASCII in one line: whatever else a text held can't become a second entry or an action. */
function plain(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, ' ');
}
