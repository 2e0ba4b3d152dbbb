/** `blockctl export`: the active bans for other programs. Only the JSON tells more than subjects and their ends. */
import { addressBytes, contains, isIPv4, parseNetwork } from '../domain/address.js';
import type { Ban } from '../domain/ban.js';
import { type ExitCode, UsageError } from '../domain/errors.js';
import { renderLine } from '../postfix/entry.js';
import { atDesk, type Context, type Desk } from './desk.js';
import { banJson, iso, plural } from './format.js';

const FORMATS = { plain, json: null, nft, cidr };

export async function exportBans(options: { readonly format?: string }, context: Context): Promise<ExitCode> {
  const { output, globals } = context;
  const asked = options.format ?? (globals.json === true ? 'json' : 'plain');
  if (!Object.hasOwn(FORMATS, asked))
    throw new UsageError(`--format "${asked}" is none: write one of ${Object.keys(FORMATS).join(', ')}`);
  const format = asked as keyof typeof FORMATS;
  if (globals.json === true && format !== 'json')
    throw new UsageError(`export takes --json or --format ${format}, not both`);
  return atDesk(context, { create: false }, async (desk) => {
    const bans = (await desk.store.bans(desk.now)).map((ban) => ({ ban, key: orderOf(ban.subject) }));
    bans.sort((a, b) => (a.key < b.key ? -1 : 1));
    const sorted = bans.map(({ ban }) => ban);
    if (desk.dryRun && sorted.length > 0)
      output.notice(`DRY-RUN: ${plural(sorted.length, 'ban')}, recorded only; whoever takes this enforces them`);
    const render = FORMATS[format];
    if (render === null) await output.json(sorted.map(banJson));
    else for (const line of render(sorted, desk)) await output.line(line);
    return 0;
  });
}

/** IPv4 before IPv6, by address, wider networks first: the same bans are the same text. */
function orderOf(subject: string): string {
  const network = parseNetwork(subject);
  if (network === null) return `9${subject}`;
  const bytes = addressBytes(network.base).map((byte) => byte.toString(16).padStart(2, '0'));
  return `${bytes.length}`.padStart(2, '0') + bytes.join('') + String(network.prefix).padStart(3, '0');
}

function plain(bans: readonly Ban[]): string[] {
  return bans.map(({ subject }) => subject);
}

/** Rows of a cidr: table (cidr_table(5)), as the access map's own second table has them. */
function cidr(bans: readonly Ban[], desk: Desk): string[] {
  const { reply } = desk.config.postfix;
  const action = desk.mode === 'shadow' ? 'warn' : 'reject';
  return bans.map(({ subject, until, by, reason }) =>
    // What a person wrote is not for others.
    renderLine({ subject, until, reason: by === 'person' ? 'an order' : reason }, 'cidr', { reply, action }),
  );
}

/** nft(8): loaded as a whole or not at all; loaded again, it replaces what it put there before. */
function nft(bans: readonly Ban[], { now }: Desk): string[] {
  const { kept, shortened } = disjoint(bans);
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
    `# ${plural(bans.length, 'ban')} of blockd at ${iso(now)}; each ends by its own timeout, counted from when this is loaded.`,
    `# Nothing is dropped until a rule of yours asks the sets: ${families.map(({ rule }) => `"${rule} tcp dport 25 drop"`).join(', ')}.`,
    ...(shortened > 0
      ? [
          `# ${plural(shortened, 'ban')} inside of a banned network would last longer than it: export again when it has ended.`,
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
function disjoint(sorted: readonly Ban[]): { readonly kept: Ban[]; readonly shortened: number } {
  const kept: Ban[] = [];
  let shortened = 0;
  for (const ban of sorted) {
    // In this order a network stands before all that it holds, and nothing else comes between.
    const around = kept.at(-1);
    if (around === undefined || !contains(around.subject, ban.subject)) kept.push(ban);
    else if (ban.until > around.until) shortened++;
  }
  return { kept, shortened };
}
