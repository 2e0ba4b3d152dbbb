/** A store whose faults are noticed: every verb goes through it, so that whoever meets one, it is known. */
import { UnavailableError } from '../domain/errors.js';
import type { Outcome, Store } from '../store/store.js';

export interface StoreWatcher {
  storeAnswered(): void;
  /** Called for each verb that failed. */
  storeFailed(reason: string): void;
}

/** `store` itself in all it does. */
export function watchedStore(store: Store, watcher: StoreWatcher): Store {
  // A full disk lets everybody read: only what was written tells that writing works again.
  const writing = { fails: false };
  const reading = { fails: false };
  const watch = async <T>(side: typeof writing, work: Promise<T>): Promise<T> => {
    try {
      const result = await work;
      side.fails = false;
      if (side === writing) reading.fails = false;
      if (!writing.fails && !reading.fails) watcher.storeAnswered();
      return result;
    } catch (error) {
      if (error instanceof UnavailableError) {
        side.fails = true;
        watcher.storeFailed(error.message);
      }
      throw error;
    }
  };
  /** What the store returned, by what was made of it here. */
  const begun = new WeakMap<Promise<Outcome>, Promise<Outcome>>();
  const watchCommit = (commit: Promise<Outcome>): Promise<Outcome> => {
    const watched = watch(writing, commit);
    begun.set(watched, commit);
    return watched;
  };
  const { commitBehind } = store;
  return {
    url: store.url,
    commit: (subjects, decide) => watchCommit(store.commit(subjects, decide)),
    ...(commitBehind && {
      commitBehind: (before, subjects, decide) =>
        watchCommit(commitBehind.call(store, begun.get(before) ?? before, subjects, decide)),
    }),
    states: (subjects) => watch(reading, store.states(subjects)),
    evidence: (subject) => watch(reading, store.evidence(subject)),
    bans: (since) => watch(reading, store.bans(since)),
    endedBans: (at, limit) => watch(reading, store.endedBans(at, limit)),
    allowed: () => watch(reading, store.allowed()),
    progress: (host) => watch(reading, store.progress(host)),
    hosts: () => watch(reading, store.hosts()),
    changesSince: (cursor) => watch(reading, store.changesSince(cursor)),
    watch: (onChange) => store.watch(onChange),
    history: (limit) => watch(reading, store.history(limit)),
    counts: (at) => watch(reading, store.counts(at)),
    top: (limit) => watch(reading, store.top(limit)),
    prune: (idle, at, keepMs) => watch(writing, store.prune(idle, at, keepMs)),
    rewrite: (convert) => watch(writing, store.rewrite(convert)),
    note: (name) => watch(reading, store.note(name)),
    setNote: (name, value) => watch(writing, store.setNote(name, value)),
    risks: () => watch(reading, store.risks()),
    close: () => store.close(),
  };
}
