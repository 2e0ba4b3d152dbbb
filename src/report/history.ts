/** The daemon's history as a report: read from the store, added up over the time asked for. */
import type { PolicySettings } from '../policy/policy.js';
import { Counter } from './counter.js';
import { HOUR_MS, type Hour, type HourSubject } from './hours.js';
import { type CollateralRow, lengthsOf, type NetworkRow, type Offender, type Report } from './report.js';

const TOP_NETWORKS = 15;
const TOP_OFFENDERS = 12;

export function historyReport(hours: readonly Hour[], settings: PolicySettings, now: number): Report {
  const sum = (figure: 'attempts' | 'stopped' | 'accepted' | 'hurt' | 'bans' | 'wouldRefuse') =>
    hours.reduce((total, hour) => total + hour[figure], 0);
  const subjects = subjectsOf(hours);
  const banned = [...subjects].filter(([, { bans }]) => bans > 0);
  const last = hours.at(-1);
  return {
    logs: [],
    lines: null,
    from: hours[0]?.at ?? null,
    to: last === undefined ? null : Math.min(last.at + HOUR_MS, now),
    mail: null,
    reasons: reasonsOf(hours),
    networks: networksOf(hours),
    settings,
    policy: {
      bans: sum('bans'),
      subjects: banned.length,
      rejects: sum('attempts'),
      stopped: sum('stopped'),
      hurt: sum('hurt'),
      bannedAtOnce: Math.max(0, ...hours.map((hour) => hour.banned)),
      bannedAtEnd: last?.banned ?? 0,
      repeatOffenders: banned.filter(([, { bans }]) => bans > 1).length,
      ...lengthsOf(banned.map(([, { longestMs }]) => longestMs)),
    },
    accepted: sum('accepted'),
    collateral: collateralOf(subjects, deliveredBy(hours)),
    offenders: offendersOf(banned),
    timeline: { stepMs: HOUR_MS, buckets: bucketsOf(hours) },
    shadow: { wouldRefuse: sum('wouldRefuse'), losses: null },
    unmatched: { count: 0, shapes: [] },
  };
}

function subjectsOf(hours: readonly Hour[]): Map<string, HourSubject> {
  const all = new Map<string, HourSubject>();
  for (const hour of hours) {
    for (const [subject, one] of Object.entries(hour.subjects)) {
      const known = all.get(subject);
      if (known === undefined) {
        all.set(subject, { ...one });
        continue;
      }
      known.bans += one.bans;
      known.stopped += one.stopped;
      known.refused += one.refused;
      known.host = one.host ?? known.host;
      known.reason = one.reason ?? known.reason;
      known.longestMs = Math.max(known.longestMs, one.longestMs);
      known.spared = one.spared ?? known.spared;
      known.scored = one.scored ?? known.scored;
      known.lost = one.lost ?? known.lost;
    }
  }
  return all;
}

function deliveredBy(hours: readonly Hour[]): Map<string, number> {
  const all = new Map<string, number>();
  for (const { delivered } of hours)
    for (const [subject, count] of Object.entries(delivered)) all.set(subject, (all.get(subject) ?? 0) + count);
  return all;
}

function reasonsOf(hours: readonly Hour[]) {
  const rules = new Counter();
  for (const hour of hours) for (const [rule, count] of Object.entries(hour.rules)) rules.add(rule, count);
  return rules.top(100).map(({ name, count }) => ({
    stage: name.split('/')[0] ?? '',
    reason: name,
    count,
    clients: [],
    networks: [],
    recipients: [],
  }));
}

function networksOf(hours: readonly Hour[]): NetworkRow[] {
  const rejects = new Counter();
  const stopped = new Map<string, number>();
  for (const hour of hours) {
    for (const [network, [all, met]] of Object.entries(hour.networks)) {
      rejects.add(network, all);
      stopped.set(network, (stopped.get(network) ?? 0) + met);
    }
  }
  return rejects
    .top(TOP_NETWORKS)
    .map(({ name, count }) => ({ network: name, rejects: count, stopped: stopped.get(name) ?? 0 }));
}

function collateralOf(
  subjects: ReadonlyMap<string, HourSubject>,
  delivered: ReadonlyMap<string, number>,
): CollateralRow[] {
  const rows = [...subjects].flatMap(([subject, one]): CollateralRow[] => {
    const accepted = Math.max(delivered.get(subject) ?? 0, one.refused);
    if (one.spared === null && accepted === 0) return [];
    return [
      {
        subject,
        host: one.host,
        accepted,
        before: null,
        refused: one.refused,
        after: null,
        loggedIn: one.spared?.includes('logged in') ?? false,
        bans: one.bans,
        protected: one.spared,
        offenses: one.scored === null ? [] : [one.scored],
        lost: one.lost === null ? [] : [one.lost],
      },
    ];
  });
  return rows.sort((a, b) => b.refused - a.refused || b.accepted - a.accepted || (a.subject < b.subject ? -1 : 1));
}

function offendersOf(banned: readonly (readonly [string, HourSubject])[]): Offender[] {
  return [...banned]
    .sort((a, b) => b[1].stopped - a[1].stopped || b[1].bans - a[1].bans || (a[0] < b[0] ? -1 : 1))
    .slice(0, TOP_OFFENDERS)
    .map(([subject, { host, reason, bans, stopped, scored }]) => ({
      subject,
      host,
      reason: reason ?? '',
      bans,
      stopped,
      firstAt: null,
      lastUntil: null,
      strikes: null,
      curve: { offenses: [], bans: [] },
      lines: scored === null ? [] : [scored],
    }));
}

/** Every hour from the first to the last, also those in which nothing happened. */
function bucketsOf(hours: readonly Hour[]) {
  const [first] = hours;
  const last = hours.at(-1);
  if (first === undefined || last === undefined) return [];
  const byStart = new Map(hours.map((hour) => [hour.at, hour]));
  return Array.from({ length: (last.at - first.at) / HOUR_MS + 1 }, (_, i) => {
    const at = first.at + i * HOUR_MS;
    const { attempts = 0, stopped = 0, accepted = 0, banned = 0 } = byStart.get(at) ?? {};
    return { at, stopped, passed: attempts - stopped, accepted, banned };
  });
}
