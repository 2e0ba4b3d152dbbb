/** Bans that people bring along from elsewhere: each is committed as `blockctl ban` commits one. */
import type { Ban } from '../domain/ban.js';
import type { Change } from '../policy/outcome.js';
import type { Desk } from './desk.js';

/** One ban that is wanted. */
export interface Order {
  /** Canonical, and not too wide. */
  readonly subject: string;
  /** Milliseconds since the epoch, later than now. */
  readonly until: number;
  readonly reason: string;
}

export interface Ordered {
  readonly made: readonly Ban[];
  /** Orders that were not carried out, with the reason as the end of a sentence. */
  readonly left: readonly { readonly order: Order; readonly why: string }[];
}

/** Commits at one time: the store gathers them into few writes. */
const AT_ONCE = 200;

/** Carries out `orders`, of one subject each, unless `dryRun`; then `made` holds what would be. Publishes once. */
export async function carryOut(desk: Desk, orders: readonly Order[], dryRun: boolean): Promise<Ordered> {
  const { store, now } = desk;
  const policy = await desk.policy();
  const made: Ban[] = [];
  const left: { order: Order; why: string }[] = [];
  for (let from = 0; from < orders.length; from += AT_ONCE) {
    const answers = await Promise.all(
      orders.slice(from, from + AT_ONCE).map(async (order) => {
        const { subject, until, reason } = order;
        let why: string | null = null;
        let changes: readonly Change[] = [];
        await store.commit(policy.subjectsFor(subject), (states) => {
          const state = states.get(subject);
          const protectedWhy = policy.protectedWhy(subject, state, now);
          const held = state?.ban ?? null;
          const outlasts = held !== null && held.until >= until;
          why = protectedWhy !== null ? `is never banned: ${protectedWhy}` : outlasts ? 'is banned for longer' : null;
          if (why !== null) return {};
          const verdict = policy.ban(subject, states, { at: now, forMs: until - now, reason });
          changes = verdict.changes;
          return dryRun ? {} : verdict;
        });
        return { order, why, ban: changes.find((change) => change.type === 'ban')?.ban };
      }),
    );
    for (const { order, why, ban } of answers) {
      if (why !== null) left.push({ order, why });
      else if (ban !== undefined) made.push(ban);
    }
  }
  if (!dryRun && made.length > 0) await desk.publishChange();
  return { made, left };
}

/** One order for each subject: the one that ends last. */
export function lastOfEach(orders: Iterable<Order>): Order[] {
  const bySubject = new Map<string, Order>();
  for (const order of orders) {
    const other = bySubject.get(order.subject);
    if (other === undefined || other.until < order.until) bySubject.set(order.subject, order);
  }
  return [...bySubject.values()];
}
