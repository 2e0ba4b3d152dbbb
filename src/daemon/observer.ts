/** What happens in the daemon, for those who count it or tell of it. Nothing here may wait, fail, or change anything. */
import type { EventList } from '../domain/event.js';
import type { Change } from '../policy/outcome.js';
import type { PublishResult } from '../postfix/access-map.js';
import type { Outcome } from '../store/store.js';

export interface Observer {
  /** Events of the log were judged and stored, with this outcome. */
  counted(events: EventList, outcome: Outcome): void;
  /** This daemon banned and released. */
  changed(changes: readonly Change[]): void;
  /** The store told of changes that any process made, this one included. */
  heard(changes: readonly Change[]): void;
  published(result: PublishResult, tookMs: number): void;
  /** The access map can't be published, also for the second time and the third. */
  notPublished(reason: string): void;
}

/** What is always at hand about the daemon. */
export interface Vitals {
  readonly startedAt: number;
  /** Lines taken in since then. */
  readonly lines: number;
  /** The longest that the event loop was kept from its work in the last minute or two, milliseconds. */
  readonly loopDelayMs: number;
}

/** Takes no notice. */
export const NOBODY: Observer = {
  counted: () => undefined,
  changed: () => undefined,
  heard: () => undefined,
  published: () => undefined,
  notPublished: () => undefined,
};
