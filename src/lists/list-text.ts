/** What a list says: DROP-like (`203.0.113.0/24 ; SBL123`), plain addresses and networks, or a JSON object a line. */
import { isIPv4, parseNetwork } from '../domain/address.js';
import { UnavailableError } from '../domain/errors.js';
import { NetworkDraft, type NetworkSet } from '../domain/network-set.js';
import { safe } from '../domain/safe.js';
import { eachInTurns } from '../domain/turns.js';
import { listedAs } from '../policy/lists.js';

export const MOST_BYTES = 16 << 20;
export const MOST_ENTRIES = 1_000_000;

export interface ListText {
  readonly networks: NetworkSet;
  /** Networks that it names. */
  readonly entries: number;
  /** Lines that name none. */
  readonly bogus: number;
  /** The first of them, short and safe to print. */
  readonly bogusLine: string | null;
  /** Networks so wide that nobody is known by them; they are left out. */
  readonly tooWide: number;
}

/** No registry has given one owner a wider network. */
const WIDEST4 = 8;
const WIDEST6 = 19;
const LONGEST_LINE = 4_096;
/** By which an export of ours says that nobody is banned: an empty list of anybody else is a failure of his. */
const HONESTLY_EMPTY = /^# 0 bans of blockd\b/m;

/** @throws UnavailableError that goes on after the list's name, when this is no list to go by. */
export async function parseList(text: string, ipv6Prefix: number): Promise<ListText> {
  if (/^[\s\ufeff\xef\xbb\xbf]*</.test(text.slice(0, 1_024))) throw new UnavailableError('is a web page, not a list');
  const draft = new NetworkDraft();
  let [bogus, tooWide] = [0, 0];
  let bogusLine: string | null = null;
  await eachInTurns(linesOf(text.replace(/^(?:\ufeff|\xef\xbb\xbf)/, '')), (line) => {
    const content = contentOf(line.slice(0, LONGEST_LINE).trim());
    if (content === '') return;
    const network = line.length > LONGEST_LINE ? null : parseNetwork(content);
    if (network === null) {
      bogus++;
      bogusLine ??= safe(line.trim().slice(0, 60));
    } else if (network.prefix < (isIPv4(network.base) ? WIDEST4 : WIDEST6)) tooWide++;
    else if (draft.size < MOST_ENTRIES) draft.add(listedAs(network, ipv6Prefix));
    else throw new UnavailableError(`has more than ${MOST_ENTRIES.toLocaleString('en')} entries`);
  });
  const entries = draft.size;
  if (bogus > entries)
    throw new UnavailableError(`is no list of addresses: ${bogus} of its lines are none, such as "${bogusLine}"`);
  if (entries === 0 && !HONESTLY_EMPTY.test(text)) throw new UnavailableError('is empty');
  return { networks: await draft.settle(), entries, bogus, bogusLine, tooWide };
}

function* linesOf(text: string): Generator<string> {
  for (let from = 0; from < text.length; ) {
    const found = text.indexOf('\n', from);
    const to = found < 0 ? text.length : found;
    yield text.slice(from, to);
    from = to + 1;
  }
}

/** The network that a line names, without comment; empty when it names none and is right so. */
function contentOf(line: string): string {
  if (line.startsWith('{')) return cidrOf(line);
  // No expression that also takes the blanks: a hostile line could make it slow.
  const comment = line.search(/[;#]/);
  return comment < 0 ? line : line.slice(0, comment).trimEnd();
}

/** Of Spamhaus' JSON lines, of which one tells about the list itself. */
function cidrOf(json: string): string {
  try {
    const { cidr, type } = JSON.parse(json) as { readonly cidr?: unknown; readonly type?: unknown };
    if (typeof cidr === 'string' && cidr !== '') return cidr;
    return type === 'metadata' ? '' : json;
  } catch {
    return json;
  }
}
