/**
 * Looks whether banned addresses still belong to whom they were banned for: the name that Postfix had verified when the
 * ban was made, against the verified names of today. A different one twice in a row, and the ban ends.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAddress } from '../domain/address.js';
import type { Ban } from '../domain/ban.js';
import type { Policy } from '../policy/policy.js';
import type { Outcome, Store } from '../store/store.js';
import type { Logger } from './log.js';
import type { NamesOf } from './names.js';

/** Younger bans are of the one who earned them. */
const LEAST_AGE_MS = 3_600_000;
/** One question after another, so that nobody's name servers feel it. */
const GAP_MS = 100;
/** What one round looks at; the others come first in the next. */
const MOST_A_ROUND = 10_000;

/** Then the round ends: it is the name servers that are away, not those of one zone. */
const MOST_UNANSWERED = 10;

interface Sight {
  /** Of the ban that it was seen for. */
  readonly since: number;
  /** The different name that the last look found, null when it found none. */
  readonly name: string | null;
}

export interface HandoverOptions {
  readonly store: Store;
  readonly policy: () => Policy;
  readonly namesOf: NamesOf;
  readonly logger: Logger;
  /** Runs a commit where it meets no other of this process. */
  readonly serially: <T>(work: () => Promise<T>) => Promise<T | undefined>;
  readonly onReleased: (outcome: Outcome) => void;
  readonly gapMs?: number;
  readonly clock?: () => number;
}

export class Handover {
  readonly #options: HandoverOptions;
  /** What was seen of each banned address, those looked at longest ago first. */
  readonly #sights = new Map<string, Sight>();
  /** No name server answered in the last round, and it was said. */
  #isBlind = false;

  constructor(options: HandoverOptions) {
    this.#options = options;
  }

  /** One round of looks; ends early by `signal`. @throws UnavailableError when the store is away. */
  async look(signal: AbortSignal): Promise<void> {
    const { namesOf, gapMs = GAP_MS, clock = Date.now } = this.#options;
    let unanswered = 0;
    for (const ban of await this.#due(clock())) {
      if (signal.aborted) return;
      const names = await namesOf(ban.subject);
      // A name server that is silent changes nothing, not even what was seen before.
      unanswered = names === null ? unanswered + 1 : 0;
      if (names !== null) await this.#see(ban, names);
      if (unanswered === MOST_UNANSWERED) {
        this.#complain();
        return;
      }
      if (unanswered === 0) this.#isBlind = false;
      if (gapMs > 0) await sleep(gapMs, undefined, { signal }).catch(() => undefined);
    }
  }

  #complain(): void {
    if (this.#isBlind) return;
    this.#isBlind = true;
    this.#options.logger.warn(
      { event: 'handover-blind' },
      `no name server answers (${MOST_UNANSWERED} questions in a row): bans end on time, but not sooner when an address changes hands; name one in handover.servers, and let the service reach it (IPAddressAllow= in its unit)`,
    );
  }

  /** Those never looked at first, then those looked at longest ago. */
  async #due(now: number): Promise<Ban[]> {
    const { store, policy } = this.#options;
    const active = (await store.bans(now)).filter(
      ({ subject, by, host, since }) =>
        by === 'score' && host !== null && now - since >= LEAST_AGE_MS && parseAddress(subject) !== null,
    );
    const bySubject = new Map(active.map((ban) => [ban.subject, ban]));
    for (const subject of this.#sights.keys()) if (!bySubject.has(subject)) this.#sights.delete(subject);
    const again = [...this.#sights.keys()].flatMap((subject) => bySubject.get(subject) ?? []);
    const due = [...active.filter(({ subject }) => !this.#sights.has(subject)), ...again].slice(0, MOST_A_ROUND);
    const states = await store.states(due.map(({ subject }) => subject));
    return due.filter(({ subject }) => {
      const state = states.get(subject);
      return state !== undefined && policy().mayHandOver(state, now);
    });
  }

  async #see(ban: Ban, names: readonly string[]): Promise<void> {
    const { subject, since, host } = ban;
    const seen = this.#sights.get(subject);
    const before = seen?.since === since ? seen.name : null;
    const isSame = host !== null && names.includes(host.toLowerCase());
    // The same different name twice: one that flaps among many is a pool's, not an owner's.
    const name = isSame ? null : (names.find((one) => one === before) ?? names[0] ?? null);
    this.#sights.delete(subject);
    this.#sights.set(subject, { since, name });
    if (name === null || name !== before) return;
    await this.#release(ban, name);
  }

  async #release({ subject, host }: Ban, name: string): Promise<void> {
    const { store, policy, serially, onReleased, logger, clock = Date.now } = this.#options;
    const now = clock();
    const outcome = await serially(() =>
      store.commit(policy().subjectsFor(subject), (states) =>
        policy().handOver(new Map([[subject, name]]), states, now),
      ),
    );
    if (outcome === undefined || (outcome.changes ?? []).length === 0) return;
    this.#sights.delete(subject);
    logger.info(
      { event: 'handover', subject, was: host, is: name },
      `${subject} has changed hands: it was ${host}, and is ${name} now`,
    );
    onReleased(outcome);
  }
}
