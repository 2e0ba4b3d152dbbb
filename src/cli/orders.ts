/** Bans that people bring along from elsewhere: each is what `blockctl ban` makes of it. */
import type { Ban } from '../domain/ban.js';
import type { Verdict } from '../policy/outcome.js';
import type { Policy } from '../policy/policy.js';
import type { SubjectState } from '../policy/state.js';
import type { Outcome } from '../store/store.js';
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

/** In one commit: each waits for the disk. */
const AT_ONCE = 500;

/** Carries out `orders`, of one subject each, unless `dryRun`; then `made` holds what would be. Publishes once. */
export async function carryOut(desk: Desk, orders: readonly Order[], dryRun: boolean): Promise<Ordered> {
  const { store, now } = desk;
  const policy = await desk.policy();
  const made: Ban[] = [];
  const left: { order: Order; why: string }[] = [];
  for (let from = 0; from < orders.length; from += AT_ONCE) {
    const some = orders.slice(from, from + AT_ONCE);
    let answers: readonly Answer[] = [];
    await store.commit([...new Set(some.flatMap(({ subject }) => policy.subjectsFor(subject)))], (states) => {
      answers = some.map((order) => answerTo(order, { policy, states, now }));
      return dryRun ? {} : together(answers.flatMap(({ verdict }) => (verdict === null ? [] : [verdict])));
    });
    for (const { order, why, verdict } of answers) {
      const change = verdict?.changes.find(({ type }) => type === 'ban');
      if (why !== null) left.push({ order, why });
      else if (change?.type === 'ban') made.push(change.ban);
    }
  }
  if (!dryRun && made.length > 0) await desk.publishChange();
  return { made, left };
}

interface Answer {
  readonly order: Order;
  /** Why it is not carried out. */
  readonly why: string | null;
  readonly verdict: Verdict | null;
}

function answerTo(
  order: Order,
  { policy, states, now }: { policy: Policy; states: ReadonlyMap<string, SubjectState>; now: number },
): Answer {
  const { subject, until, reason } = order;
  const state = states.get(subject);
  const protectedWhy = policy.protectedWhy(subject, state, now);
  if (protectedWhy !== null) return { order, why: `is never banned: ${protectedWhy}`, verdict: null };
  const held = state?.ban ?? null;
  if (held !== null && held.until >= until) return { order, why: 'is banned for longer', verdict: null };
  const verdict = policy.ban(subject, states, { at: now, forMs: until - now, reason });
  return { order, why: null, verdict };
}

/** Verdicts on different subjects as one. */
function together(verdicts: readonly Verdict[]): Outcome {
  return {
    put: new Map(verdicts.flatMap(({ put }) => [...put])),
    ranks: new Map(verdicts.flatMap(({ ranks }) => [...ranks])),
    evidence: new Map(verdicts.flatMap(({ evidence }) => [...evidence])),
    changes: verdicts.flatMap(({ changes }) => changes),
  };
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
