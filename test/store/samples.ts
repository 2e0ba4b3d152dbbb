/** States, bans and outcomes for the store's tests. */
import type { Ban } from '../../src/domain/ban.js';
import type { Change } from '../../src/policy/outcome.js';
import type { Evidence, SubjectState } from '../../src/policy/state.js';
import type { Progress } from '../../src/store/store.js';

export const T = Date.UTC(2026, 4, 11, 4);

export function stateOf(score: number, more: Partial<SubjectState> = {}): SubjectState {
  return {
    score: { value: score, at: T },
    strikes: { value: 0, at: 0 },
    accepted: { value: 0, at: 0 },
    offenses: score,
    host: null,
    authenticatedAt: null,
    ban: null,
    releases: [],
    ...more,
  };
}

export function banOf(subject: string, until: number, more: Partial<Ban> = {}): Ban {
  return { subject, since: T, until, reason: 'test', strikes: 0, host: null, by: 'score', refused: 0, ...more };
}

export function changeOf(subject: string, until = T + 3_600_000): Change {
  return { type: 'ban', at: T, ban: banOf(subject, until) };
}

export function evidenceOf(line: string, at = T): Evidence {
  return { at, rule: 'postfix/user-unknown', points: 1, line };
}

export function progressOf(commit: string, after: string | null, more: Partial<Progress> = {}): Progress {
  return {
    host: 'mx1',
    log: '/var/log/mail.log',
    position: { kind: 'file', file: { dev: 1, ino: 2, head: 3, fingerprint: 'f' }, offset: 4 },
    carry: [],
    commit,
    after,
    at: T,
    lastLineAt: T,
    ...more,
  };
}
