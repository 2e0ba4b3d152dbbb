/** The bans as text for other programs. The same bans are the same text. */
import { addressBytes, contains, isIPv4, parseNetwork } from '../domain/address.js';
import type { Ban } from '../domain/ban.js';
import { eachInTurns, sortedInTurns } from '../domain/turns.js';
import { type Rendering, renderLine } from './entry.js';

/** IPv4 before IPv6, by address, wider networks first. */
export async function ordered(bans: readonly Ban[]): Promise<Ban[]> {
  const byKey = new Map<string, Ban>();
  await eachInTurns(bans, (ban) => byKey.set(orderOf(ban.subject), ban));
  return (await sortedInTurns([...byKey.keys()])).flatMap((key) => byKey.get(key) ?? []);
}

function orderOf(subject: string): string {
  const network = parseNetwork(subject);
  if (network === null) return `9${subject}`;
  const bytes = addressBytes(network.base).map((byte) => byte.toString(16).padStart(2, '0'));
  return `${bytes.length}`.padStart(2, '0') + bytes.join('') + String(network.prefix).padStart(3, '0');
}

export function plainText(bans: readonly Ban[]): string[] {
  return bans.map(({ subject }) => subject);
}

/** Rows of a cidr: table (cidr_table(5)), as the access map's own second table has them. */
export async function cidrText(bans: readonly Ban[], rendering: Rendering): Promise<string[]> {
  const lines: string[] = [];
  await eachInTurns(bans, ({ subject, until, by, reason }) => {
    // What a person wrote is not for others.
    const told = { subject, until, reason: by === 'person' ? 'an order' : reason };
    lines.push(renderLine(told, 'cidr', rendering));
  });
  return lines;
}

/** nft(8): loaded as a whole or not at all; loaded again, it replaces what it put there before. */
export async function nftText(bans: readonly Ban[], { now }: { readonly now: number }): Promise<string[]> {
  const { kept, shortened } = await disjoint(bans);
  const families = [
    {
      set: 'banned4',
      type: 'ipv4_addr',
      rule: 'ip saddr @banned4',
      bans: kept.filter(({ subject }) => isIPv4(subject)),
    },
    {
      set: 'banned6',
      type: 'ipv6_addr',
      rule: 'ip6 saddr @banned6',
      bans: kept.filter(({ subject }) => !isIPv4(subject)),
    },
  ];
  return [
    `# ${counted(bans.length)} of blockd at ${new Date(now).toISOString()}; each ends by its own timeout, counted from when this is loaded.`,
    `# Nothing is dropped until a rule of yours asks the sets: ${families.map(({ rule }) => `"${rule} tcp dport 25 drop"`).join(', ')}.`,
    ...(shortened > 0
      ? [
          `# ${counted(shortened)} inside of a banned network would last longer than it: export again when it has ended.`,
        ]
      : []),
    'add table inet blockd',
    ...families.flatMap(({ set, type, bans: own }) => [
      `add set inet blockd ${set} { type ${type}; flags interval, timeout; }`,
      `flush set inet blockd ${set}`,
      ...(own.length === 0 ? [] : [`add element inet blockd ${set} {`]),
      ...own.map(
        ({ subject, until }, i) =>
          `\t${subject} timeout ${Math.max(1, Math.ceil((until - now) / 1_000))}s${i < own.length - 1 ? ',' : ''}`,
      ),
      ...(own.length === 0 ? [] : ['}']),
    ]),
  ];
}

/** Sets of intervals refuse one that lies in another, so the wider ban stands for both. */
async function disjoint(sorted: readonly Ban[]): Promise<{ readonly kept: Ban[]; readonly shortened: number }> {
  const kept: Ban[] = [];
  let shortened = 0;
  await eachInTurns(sorted, (ban) => {
    // In this order a network stands before all that it holds, and nothing else comes between.
    const around = kept.at(-1);
    if (around === undefined || !contains(around.subject, ban.subject)) kept.push(ban);
    else if (ban.until > around.until) shortened++;
  });
  return { kept, shortened };
}

/**
 * A file for others, whole: when it was written and how many bans it holds, and of each ban the address, its times, how
 * often before, and the rule; nothing of mail, names or people.
 */
export async function exportText(
  bans: readonly Ban[],
  format: 'plain' | 'json' | 'nft' | 'cidr',
  { now, reply }: { readonly now: number; readonly reply: string },
): Promise<string> {
  const told = (await ordered(bans)).map((ban) => ({ ...ban, reason: categoryOf(ban) }));
  if (format === 'json') {
    const rows: string[] = [];
    await eachInTurns(told, (ban) => rows.push(JSON.stringify(rowOf(ban))));
    return `[${rows.map((row) => `\n${row}`).join(',')}\n]\n`;
  }
  const lines =
    format === 'plain'
      ? plainText(told)
      : format === 'nft'
        ? await nftText(told, { now })
        : await cidrText(told, { reply, action: 'reject' });
  const head = `# ${counted(bans.length)} of blockd at ${new Date(now).toISOString()}\n`;
  return head + lines.map((line) => `${line}\n`).join('');
}

function rowOf({ subject, since, until, strikes, reason }: Ban) {
  const iso = (at: number) => new Date(at).toISOString();
  return { subject, since: iso(since), until: iso(until), strikes: Math.round(strikes * 100) / 100, reason };
}

/** The name of a rule, or who ordered it: what a person wrote is not for others. */
function categoryOf({ by, reason }: Ban): string {
  return by === 'score' && /^[a-z0-9-]+\/[a-z0-9-]+$/.test(reason) ? reason : by;
}

function counted(bans: number): string {
  return bans === 1 ? '1 ban' : `${bans} bans`;
}
