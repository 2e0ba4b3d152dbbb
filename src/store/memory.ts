/**
 * A store in memory, gone with the process: for replay and tests. It keeps no evidence: who explains a ban is another
 * process, and can't ask it.
 */
import type { Ban } from '../domain/ban.js';
import type { Change } from '../policy/outcome.js';
import type { AllowEntry, Evidence, SubjectState } from '../policy/state.js';
import { MAX_CHANGES, type Outcome, type Progress, StaleProgressError, type Store } from './store.js';

/** How often watchers look; a memory store has one process, so this is only a delay. */
const WATCH_MS = 20;

export class MemoryStore implements Store {
  readonly url = 'memory:';
  readonly #subjects = new Map<string, SubjectState>();
  readonly #ranks = new Map<string, number>();
  readonly #allow = new Map<string, AllowEntry>();
  readonly #progress = new Map<string, Progress>();
  readonly #notes = new Map<string, string>();
  readonly #watchers = new Set<() => void>();
  #changes: Change[] = [];
  #sequence = 0;

  async commit(
    subjects: readonly string[],
    decide: (states: ReadonlyMap<string, SubjectState>) => Outcome,
  ): Promise<Outcome> {
    // No `await` between reading and writing: that is what makes it one step.
    const outcome = decide(this.#known(subjects));
    for (const one of outcome.progress ?? []) {
      const stored = this.#progress.get(progressKey(one.host, one.log));
      if ((stored?.commit ?? null) !== one.after) throw new StaleProgressError(one.log);
    }
    outcome.put?.forEach((state, subject) => {
      if (state === null) this.#forget(subject);
      else this.#put(subject, state, outcome.ranks?.get(subject));
    });
    for (const entry of outcome.allow ?? []) this.#allow.set(entry.entry, entry);
    for (const entry of outcome.disallow ?? []) this.#allow.delete(entry);
    for (const one of outcome.progress ?? []) this.#progress.set(progressKey(one.host, one.log), one);
    for (const [name, value] of outcome.notes ?? []) {
      if (value === null) this.#notes.delete(name);
      else this.#notes.set(name, JSON.stringify(value));
    }
    this.#announce(outcome.changes ?? []);
    return outcome;
  }

  async states(subjects: readonly string[]): Promise<Map<string, SubjectState>> {
    return this.#known(subjects);
  }

  async evidence(): Promise<Evidence[]> {
    return [];
  }

  async bans(since: number): Promise<Ban[]> {
    return this.#banned().filter(({ until }) => until > since);
  }

  async endedBans(at: number, limit: number): Promise<string[]> {
    return this.#banned()
      .filter(({ until }) => until <= at)
      .slice(0, limit)
      .map(({ subject }) => subject);
  }

  async allowed(): Promise<AllowEntry[]> {
    return [...this.#allow.values()];
  }

  async progress(host: string): Promise<Map<string, Progress>> {
    const own = [...this.#progress.values()].filter((one) => one.host === host);
    return new Map(own.map((one) => [one.log, one]));
  }

  async hosts(): Promise<string[]> {
    return [...new Set([...this.#progress.values()].map(({ host }) => host))];
  }

  async changesSince(cursor: string | null) {
    const present = String(this.#sequence);
    if (cursor === null) return { changes: [], cursor: present, gap: false };
    const missing = this.#sequence - Number(cursor);
    const gap = !(missing >= 0 && missing <= this.#changes.length);
    return { changes: gap || missing === 0 ? [] : this.#changes.slice(-missing), cursor: present, gap };
  }

  watch(onChange: () => void): () => Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const wake = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        onChange();
      }, WATCH_MS);
    };
    this.#watchers.add(wake);
    return async () => {
      this.#watchers.delete(wake);
      clearTimeout(timer);
    };
  }

  async history(limit: number): Promise<Change[]> {
    return this.#changes.slice(-limit).reverse();
  }

  async counts(at: number) {
    return { scored: this.#subjects.size, banned: (await this.bans(at)).length };
  }

  async top(limit: number): Promise<string[]> {
    return [...this.#ranks]
      .sort((a, b) => b[1] - a[1])
      .slice(0, limit)
      .map(([subject]) => subject);
  }

  async prune(idle: (subject: string, state: SubjectState) => boolean, at: number, keepMs: number): Promise<number> {
    let forgotten = 0;
    for (const [subject, state] of this.#subjects) {
      if (!idle(subject, state)) continue;
      this.#forget(subject);
      forgotten++;
    }
    // All but the newest, as they came: the first that stays ends it.
    const stays = this.#changes.findIndex((change, i) => change.at > at - keepMs || i === this.#changes.length - 1);
    this.#changes = this.#changes.slice(Math.max(0, stays));
    return forgotten;
  }

  async rewrite(
    convert: (state: SubjectState) => { readonly state: SubjectState; readonly rank: number },
  ): Promise<void> {
    for (const [subject, before] of this.#subjects) {
      const { state, rank } = convert(before);
      this.#put(subject, state, rank);
    }
  }

  async note(name: string): Promise<unknown> {
    const text = this.#notes.get(name);
    return text === undefined ? null : JSON.parse(text);
  }

  async setNote(name: string, value: unknown): Promise<void> {
    this.#notes.set(name, JSON.stringify(value));
  }

  async risks() {
    return [];
  }

  async close(): Promise<void> {
    this.#watchers.clear();
  }

  #known(subjects: readonly string[]): Map<string, SubjectState> {
    const states = new Map<string, SubjectState>();
    for (const subject of subjects) {
      const state = this.#subjects.get(subject);
      if (state !== undefined) states.set(subject, state);
    }
    return states;
  }

  #put(subject: string, state: SubjectState, rank: number | undefined): void {
    this.#subjects.set(subject, state);
    if (rank === undefined || rank === Number.NEGATIVE_INFINITY) this.#ranks.delete(subject);
    else this.#ranks.set(subject, rank);
  }

  #forget(subject: string): void {
    this.#subjects.delete(subject);
    this.#ranks.delete(subject);
  }

  /** Stored bans, in order of their end. */
  #banned(): Ban[] {
    const bans = [...this.#subjects.values()].flatMap(({ ban }) => (ban === null ? [] : [ban]));
    return bans.sort((a, b) => a.until - b.until || (a.subject < b.subject ? -1 : 1));
  }

  #announce(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    this.#sequence += changes.length;
    this.#changes = [...this.#changes, ...changes].slice(-MAX_CHANGES);
    for (const wake of this.#watchers) wake();
  }
}

function progressKey(host: string, log: string): string {
  return JSON.stringify([host, log]);
}
