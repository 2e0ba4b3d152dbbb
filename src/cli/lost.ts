/** Bans that the access map still holds and the store has lost go back into it before an order is carried out. */
import type { Policy } from '../policy/policy.js';
import type { AccessMap } from '../postfix/access-map.js';
import type { Store } from '../store/store.js';

/** How many there were. A map that somebody has edited is no witness. */
export async function takeBackLost(map: AccessMap, store: Store, policy: Policy, now: number): Promise<number> {
  const { entries } = await map.read();
  const active = entries.filter(({ until }) => until > now);
  const states = await store.states(active.map(({ subject }) => subject));
  const lost = active.filter(({ subject, until }) => policy.hasLost(until, states.get(subject), now));
  if (lost.length === 0 || !(await map.intact())) return 0;
  const subjects = lost.map(({ subject }) => subject);
  const { changes = [] } = await store.commit(subjects, (known) => policy.takeBack(lost, known, now));
  return changes.filter(({ type }) => type === 'ban').length;
}
