/** `blockctl import fail2ban --bans`: the bans that fail2ban holds now, with their own ends. */
import { parseNetwork } from '../domain/address.js';
import { LONGEST_ORDER_MS } from '../domain/ban.js';
import { formatDuration } from '../domain/duration.js';
import { type ExitCode, UsageError } from '../domain/errors.js';
import { atDesk, type Context } from './desk.js';
import { plural } from './format.js';
import { MAX_REASON } from './order.js';
import { tellOrders } from './order-told.js';
import { lastOfEach, type Order } from './orders.js';
import { querySqlite } from './sqlite.js';
import { subjectToBan } from './subject.js';

export interface BansOptions {
  readonly dryRun?: boolean;
  /** Only these jails; without any, those whose names speak of mail. */
  readonly jail?: readonly string[];
}

export const DEFAULT_DATABASE = '/var/lib/fail2ban/fail2ban.sqlite3';

export async function importBans(file: string, options: BansOptions, context: Context): Promise<ExitCode> {
  const bans = await readBans(file);
  const { output } = context;
  const dryRun = options.dryRun === true;
  return atDesk(context, { create: !dryRun, publishes: !dryRun }, async (desk) => {
    const { now, config } = desk;
    const orders: Order[] = [];
    const others = new Map<string, number>();
    for (const { jail, ip, since, lengthMs } of bans) {
      const until = lengthMs === null ? now + config.ban.max : since + lengthMs;
      if (until <= now) continue;
      if (!(options.jail?.includes(jail) ?? MAIL_JAIL.test(jail))) {
        others.set(jail, (others.get(jail) ?? 0) + 1);
        continue;
      }
      const subject = subjectOrWhy(ip, config.ban.ipv6_prefix);
      if ('why' in subject) {
        output.notice(`not taken: jail ${jail}: ${subject.why}`);
        continue;
      }
      const longest = now + LONGEST_ORDER_MS;
      if (lengthMs === null)
        output.notice(
          `${ip}, jail ${jail}: banned for ever there; here for ban.max, ${formatDuration(config.ban.max)}, since every ban ends`,
        );
      else if (until > longest)
        output.notice(
          `${ip}, jail ${jail}: banned for more than ${formatDuration(LONGEST_ORDER_MS)} there; here for that`,
        );
      const reason = `fail2ban jail ${jail.replace(/\p{C}/gu, '?')}`.slice(0, MAX_REASON);
      orders.push({ subject: subject.subject, until: Math.min(until, longest), reason });
    }
    for (const [jail, count] of others) {
      output.notice(
        `left out: ${plural(count, 'ban')} of jail ${jail}, ${options.jail === undefined ? `which is not about mail by its name (--jail ${jail} takes it)` : 'which --jail does not name'}`,
      );
    }
    return tellOrders(desk, lastOfEach(orders), { dryRun, ending: 'until the ends that fail2ban gave them' }, context);
  });
}

const MAIL_JAIL = /postfix|dovecot|sasl|smtp|imap|pop3|sieve|mail|postscreen/i;

interface LiveBan {
  readonly jail: string;
  readonly ip: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** Null: for ever. */
  readonly lengthMs: number | null;
}

/** The newest ban of each address in each jail. Before version 0.11 fail2ban had no table `bips` for just these. */
async function readBans(file: string): Promise<LiveBan[]> {
  const tables = (await querySqlite(file, "SELECT name FROM sqlite_master WHERE type = 'table'")).map(([name]) => name);
  const table = ['bips', 'bans'].find((name) => tables.includes(name));
  if (table === undefined)
    throw new UsageError(`${file} is no database of fail2ban: it has neither a table "bips" nor "bans"`);
  // As hexadecimal digits, so that no name of a jail can break the rows.
  const rows = await querySqlite(
    file,
    `SELECT hex(jail), hex(ip), CAST(timeofban AS INTEGER), CAST(bantime AS INTEGER) FROM ${table} ORDER BY timeofban, jail, ip`,
  );
  const newest = new Map<string, LiveBan>();
  for (const [jailHex = '', ipHex = '', since, length] of rows) {
    const [jail, ip] = [jailHex, ipHex].map((hex) => Buffer.from(hex, 'hex').toString('utf8'));
    if (jail === undefined || ip === undefined) continue;
    const seconds = Number(length);
    newest.set(`${jailHex} ${ipHex}`, {
      jail,
      ip,
      since: Number(since) * 1_000,
      lengthMs: seconds < 0 ? null : seconds * 1_000,
    });
  }
  return [...newest.values()];
}

function subjectOrWhy(ip: string, ipv6Prefix: number): { readonly subject: string } | { readonly why: string } {
  if (parseNetwork(ip) === null) return { why: `"${ip.slice(0, 80)}" is no address` };
  try {
    return { subject: subjectToBan(ip, ipv6Prefix) };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { why: error.message };
  }
}
