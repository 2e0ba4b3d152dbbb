/** Stores and maps full of bans and scores, made in one go. */

import type { SubjectState } from '../../src/policy/state.js';
import type { MapEntry } from '../../src/postfix/access-map.js';
import { LmdbStore } from '../../src/store/lmdb.js';

const BATCH = 5_000;
const NOTHING = { value: 0, at: 0 };

/** The `index`th address of 100.64.0.0/10, which RFC 6598 keeps for providers, and of what follows it. */
export function address(index: number): string {
  return `100.${64 + ((index >> 16) & 63)}.${(index >> 8) & 255}.${index & 255}`;
}

export function mapEntries(count: number, until: number): MapEntry[] {
  return Array.from({ length: count }, (_, index) => ({
    subject: address(index),
    until,
    reason: 'postfix/user-unknown',
  }));
}

/** An embedded store in `folder` that holds `count` scored addresses, banned until `until` unless that is null. */
export async function filledStore(folder: string, count: number, until: number | null): Promise<void> {
  const store = LmdbStore.open(folder);
  const at = Date.now();
  for (let from = 0; from < count; from += BATCH) {
    const subjects = Array.from({ length: Math.min(BATCH, count - from) }, (_, index) => address(from + index));
    await store.commit(subjects, () => ({
      put: new Map(subjects.map((subject, index) => [subject, stateOf(subject, at, index, until)])),
      ranks: new Map(subjects.map((subject, index) => [subject, index / 1_000])),
      evidence: new Map(
        subjects.map((subject) => [
          subject,
          [{ at, rule: 'postfix/user-unknown', points: 1, line: `a line of ${subject}` }],
        ]),
      ),
    }));
  }
  await store.close();
}

function stateOf(subject: string, at: number, index: number, until: number | null): SubjectState {
  const ban = {
    subject,
    since: at,
    until: until ?? 0,
    reason: 'postfix/user-unknown',
    strikes: 0,
    host: null,
    by: 'score' as const,
    refused: 0,
  };
  return {
    score: { value: 0.5 + index / 10_000, at },
    strikes: NOTHING,
    accepted: NOTHING,
    offenses: 3,
    host: null,
    authenticatedAt: null,
    ban: until === null ? null : ban,
    releases: [],
  };
}
