/**
 * Keeps what the live events came to, hour by hour, in the step that stores their points: an event that counts twice or
 * not at all in the scores can't in the history either.
 */
import type { EventList } from '../domain/event.js';
import type { Verdict } from '../policy/outcome.js';
import { foldHours, type Hour, hourOf, type Judged } from '../report/hours.js';
import { historyNote, hourNote } from '../report/kept-hours.js';
import type { Outcome, Store } from '../store/store.js';

/** Hours held in memory: a backlog goes through them in order. */
const MOST_HOURS = 72;
const ENDED_EVERY_MS = 60_000;

export class History {
  readonly #store: Store;
  readonly #host: string;
  readonly #hours = new Map<number, Hour>();
  /** Begins of all hours that are kept. */
  #index: readonly number[] | null = null;
  /** Bans that hold, subject → until. */
  #active: Map<string, number> | null = null;
  #endedAt = 0;
  /** Batches made ready so far, and by hour which of them was the last to need it. */
  #batches = 0;
  readonly #neededBy = new Map<number, number>();

  constructor(store: Store, host: string) {
    this.#store = store;
    this.#host = host;
  }

  /** Makes ready what `notes` needs. @throws UnavailableError */
  async prepare(events: EventList, now: number): Promise<void> {
    this.#index ??= indexOf(await this.#store.note(historyNote(this.#host)));
    this.#active ??= new Map((await this.#store.bans(now)).map(({ subject, until }) => [subject, until]));
    if (now - this.#endedAt > ENDED_EVERY_MS) {
      this.#endedAt = now;
      for (const [subject, until] of this.#active) if (until <= now) this.#active.delete(subject);
    }
    this.#batches++;
    for (const at of hoursOf(events)) {
      this.#neededBy.set(at, this.#batches);
      if (this.#hours.has(at) || !this.#index.includes(at)) continue;
      const stored = (await this.#store.note(hourNote(this.#host, at))) as Hour | null;
      if (stored !== null) this.#hours.set(at, stored);
    }
  }

  /**
   * What the commit is to store beside the verdict. Changes nothing here: the commit may be asked for it again. `before`
   * is a commit that will have been applied when this one is.
   */
  notes(judged: Omit<Judged, 'banned'>, before: Pick<Outcome, 'notes' | 'changes'> = {}): ReadonlyMap<string, unknown> {
    const { changes } = judged.verdict;
    if (judged.events.length === 0 && changes.length === 0) return new Map();
    const banned = Math.max(0, (this.#active?.size ?? 0) + more(before.changes) + more(changes));
    const { known, index } = this.#behind(before.notes);
    const hours = foldHours(known, { ...judged, banned });
    const notes = new Map<string, unknown>([...hours].map(([at, hour]) => [hourNote(this.#host, at), hour]));
    const added = [...hours.keys()].filter((at) => !index.includes(at));
    if (added.length > 0) notes.set(historyNote(this.#host), { hours: [...index, ...added].sort((a, b) => a - b) });
    return notes;
  }

  /** The commit was applied with these notes; without them nobody here knows what was stored, and it is read anew. */
  adopt(notes: ReadonlyMap<string, unknown> | undefined, changes: Verdict['changes'] | undefined): void {
    if (notes === undefined) {
      this.#hours.clear();
      this.#index = null;
      this.#active = null;
      return;
    }
    for (const [name, value] of notes) {
      if (name === historyNote(this.#host)) this.#index = indexOf(value);
      else this.#hours.set((value as Hour).at, value as Hour);
    }
    for (const change of changes ?? []) {
      if (change.type === 'ban') this.#active?.set(change.ban.subject, change.ban.until);
      else if (change.type === 'release') this.#active?.delete(change.release.ban.subject);
    }
    this.#letGo();
  }

  /** The oldest hours, but none that a batch needs that may still be asked for its notes: the last one, and one behind it. */
  #letGo(): void {
    if (this.#hours.size <= MOST_HOURS) return;
    const done = [...this.#hours.keys()].filter((at) => (this.#neededBy.get(at) ?? 0) < this.#batches - 1);
    for (const at of done.sort((a, b) => a - b).slice(0, this.#hours.size - MOST_HOURS)) {
      this.#hours.delete(at);
      this.#neededBy.delete(at);
    }
  }

  /** Forgets hours before `since`, and all of a host that has counted nothing since then: it may be gone for good. */
  async prune(since: number): Promise<void> {
    await this.#pruneOwn(since);
    for (const host of await this.#store.hosts()) {
      if (host === this.#host) continue;
      const hours = indexOf(await this.#store.note(historyNote(host)));
      if (hours.length === 0 || hours.some((at) => at >= since)) continue;
      const gone = [historyNote(host), ...hours.map((at) => hourNote(host, at))];
      await this.#store.commit([], () => ({ notes: new Map(gone.map((name) => [name, null])) }));
    }
  }

  async #pruneOwn(since: number): Promise<void> {
    const index = indexOf(await this.#store.note(historyNote(this.#host)));
    const gone = index.filter((at) => at < since);
    if (gone.length === 0) return;
    const kept = index.filter((at) => at >= since);
    const notes = new Map<string, unknown>(gone.map((at) => [hourNote(this.#host, at), null]));
    notes.set(historyNote(this.#host), { hours: kept });
    await this.#store.commit([], () => ({ notes }));
    this.#index = kept;
    for (const at of gone) {
      this.#hours.delete(at);
      this.#neededBy.delete(at);
    }
  }

  /** The hours held, and which there are, as `notes` will leave them. */
  #behind(notes: ReadonlyMap<string, unknown> = new Map()) {
    const known = new Map(this.#hours);
    let index = this.#index ?? [];
    for (const [name, value] of notes) {
      if (name === historyNote(this.#host)) index = indexOf(value);
      else known.set((value as Hour).at, value as Hour);
    }
    return { known, index };
  }
}

function hoursOf(events: EventList): Set<number> {
  const hours = new Set<number>();
  events.forEach(({ at }) => {
    hours.add(hourOf(at));
  });
  return hours;
}

/** How many bans hold more than before. */
function more(changes: Verdict['changes'] = []): number {
  let banned = 0;
  for (const { type } of changes) {
    if (type === 'ban') banned++;
    else if (type === 'release') banned--;
  }
  return banned;
}

function indexOf(note: unknown): readonly number[] {
  return (note as { readonly hours?: readonly number[] } | null)?.hours ?? [];
}
