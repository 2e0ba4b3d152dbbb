/** Bans and their ends. */

export type BannedBy = 'score' | 'person' | 'network';
export type ReleaseHow = 'expired' | 'unbanned' | 'handover' | 'allowed';

const DAY_MS = 86_400_000;
/** The longest that a person may order: a ban of years is a typing error or belongs into the firewall. */
export const LONGEST_ORDER_MS = 365 * DAY_MS;
/** The longest that any setting allows; what claims to last longer was made by no blockd. */
export const LONGEST_BAN_MS = 3_660 * DAY_MS;

export interface Ban {
  /** Canonical subject: `203.0.113.9`, `2001:db8:1:2::/64`, `203.0.113.0/24`. */
  readonly subject: string;
  /** Milliseconds since the epoch; whole seconds. */
  readonly since: number;
  /** Milliseconds since the epoch; whole seconds, never infinite. */
  readonly until: number;
  readonly reason: string;
  /** Earlier bans that made this one longer, decayed, as counted when it began. */
  readonly strikes: number;
  /** Verified name of the client when it was banned. */
  readonly host: string | null;
  readonly by: BannedBy;
  /** How often the client was turned away, or would have been, since then. */
  readonly refused: number;
  /** The list of others without which it would not have been banned yet. */
  readonly listed?: Listing;
}

/** What a list of others says of a subject. */
export interface Listing {
  /** The list's name in the config. */
  readonly list: string;
  /** File or URL, safe to print. */
  readonly source: string;
  readonly points: number;
  /** When what it holds was last known to be right, milliseconds. */
  readonly refreshedAt: number;
}

export interface Release {
  readonly at: number;
  readonly how: ReleaseHow;
  /** The ban that ended. */
  readonly ban: Ban;
}

/** `postfix/user-unknown, with 2 points by list drop` */
export function reasonWithList({ reason, listed }: Pick<Ban, 'reason' | 'listed'>): string {
  return listed === undefined ? reason : `${reason}, with ${listed.points} points by list ${listed.list}`;
}
