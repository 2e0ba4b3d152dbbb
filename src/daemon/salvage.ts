/**
 * Bans that the access map still holds and the store has lost: it was emptied, put back to an earlier state, or begun
 * anew. They stay in the map, and go back into the store with their ends, once all lines that may bring them back by
 * themselves are read.
 */
import type { Policy } from '../policy/policy.js';
import type { AccessMap, MapEntry } from '../postfix/access-map.js';
import type { Outcome, Store } from '../store/store.js';
import type { Logger } from './log.js';

/** Subjects that one commit takes back. */
const BATCH = 1_000;

export class Salvage {
  readonly #store: Store;
  readonly #logger: Logger;
  #lost: readonly MapEntry[] = [];

  constructor(options: { readonly store: Store; readonly logger: Logger }) {
    this.#store = options.store;
    this.#logger = options.logger;
  }

  get isNeeded(): boolean {
    return this.#lost.length > 0;
  }

  /** Looks what `map` holds and the store does not know. A map that somebody has edited is no witness. */
  async look(map: AccessMap, policy: Policy): Promise<void> {
    const now = Date.now();
    if (!(await map.intact())) return;
    const { entries } = await map.read();
    const active = entries.filter(({ until }) => until > now);
    const states = await this.#store.states(active.map(({ subject }) => subject));
    const lost = active.filter(({ subject, until }) => policy.hasLost(until, states.get(subject), now));
    const isNews = lost.length > this.#lost.length;
    this.#lost = lost.map(({ subject, until }) => ({ subject, until, reason: '' }));
    if (!isNews) return;
    this.#logger.error(
      { event: 'bans-lost', bans: lost.length },
      `store ${this.#store.url} has lost ${lost.length} bans that the access map still holds: they stay in force until their end, and go back into the store when the log is read`,
    );
  }

  /** The store's bans, in order of their end, with those that it has lost. */
  with(bans: readonly MapEntry[], now: number): readonly MapEntry[] {
    if (this.#lost.length === 0) return bans;
    const known = new Set(bans.map(({ subject }) => subject));
    const lost = this.#lost.filter(({ subject, until }) => until > now && !known.has(subject));
    return [...bans, ...lost].sort((a, b) => a.until - b.until);
  }

  /** When the first of those bans, or of the lost ones, ends. */
  soonestEnd(ofTheStore: number): number {
    const now = Date.now();
    const ahead = this.#lost.filter(({ until }) => until > now);
    return ahead.reduce((soonest, { until }) => Math.min(soonest, until), ofTheStore);
  }

  /** Puts what is still lost back into the store. */
  async takeBack(policy: Policy): Promise<Outcome[]> {
    const now = Date.now();
    const outcomes: Outcome[] = [];
    for (let from = 0; from < this.#lost.length; from += BATCH) {
      const lost = this.#lost.slice(from, from + BATCH);
      const subjects = lost.map(({ subject }) => subject);
      outcomes.push(await this.#store.commit(subjects, (states) => policy.takeBack(lost, states, now)));
    }
    const bans = outcomes.reduce((sum, { changes }) => sum + (changes ?? []).length, 0);
    this.#lost = [];
    this.#logger.warn({ event: 'bans-taken-back', bans }, `${bans} bans taken back from the access map into the store`);
    return outcomes;
  }
}
