/**
 * What a policy would have done with an admin's own logs, whom it would have stopped, and whose mail it would have
 * cost: known before anything is blocked. Lines go through the same filter, session and policy code as in the daemon.
 */
import { networkOf } from '../domain/address.js';
import type { Filter } from '../filter/filter.js';
import type { Policy, PolicySettings } from '../policy/policy.js';
import { Findings } from './findings.js';
import type { ReportLog } from './logs.js';
import type { MailTotals } from './mail.js';
import type { ReasonRow } from './rejects.js';
import { Replay, type ShadowLoss } from './replay.js';
import type { Shape } from './shapes.js';
import { stepsOf, type Term, type Trial } from './trial.js';

export interface Report {
  /** Names of the logs read, in the order of their first lines; empty for the daemon's own history. */
  readonly logs: readonly string[];
  /** Null for the daemon's own history, which knows only of lines that rules match. */
  readonly lines: number | null;
  /** First and last time stamp, milliseconds; null when no line has one. */
  readonly from: number | null;
  readonly to: number | null;
  readonly mail: MailTotals | null;
  readonly reasons: readonly ReasonRow[];
  readonly networks: readonly NetworkRow[];
  readonly settings: PolicySettings;
  readonly policy: PolicyOutcome;
  /** Messages taken from clients by smtpd. */
  readonly accepted: number;
  readonly collateral: readonly CollateralRow[];
  readonly offenders: readonly Offender[];
  readonly timeline: Timeline;
  /** `losses` is null where single messages are not known. */
  readonly shadow: { readonly wouldRefuse: number; readonly losses: readonly ShadowLoss[] | null };
  readonly unmatched: { readonly count: number; readonly shapes: readonly Shape[] };
}

/** Of logs, which tell more. */
export interface LogReport extends Report {
  readonly lines: number;
  readonly mail: MailTotals;
}

export interface NetworkRow {
  readonly network: string;
  readonly rejects: number;
  readonly stopped: number;
}

export interface PolicyOutcome {
  readonly bans: number;
  readonly subjects: number;
  /** Attempts that the server refused, by whatever rule of its own. */
  readonly rejects: number;
  /** Those of them that the map would have turned away before. */
  readonly stopped: number;
  /** Accepted messages that it would have refused. */
  readonly hurt: number;
  /** Most bans that would have held at one time: the map's size. */
  readonly bannedAtOnce: number;
  readonly bannedAtEnd: number;
  /** Subjects banned more than once. */
  readonly repeatOffenders: number;
  readonly medianBanMs: number;
  readonly longestBanMs: number;
  /** Bans by their length: how many lasted up to `uptoMs`. */
  readonly lengths: readonly { readonly uptoMs: number; readonly bans: number }[];
}

/** A client of whom a ban would have cost something, or whom something kept from being banned. */
export interface CollateralRow {
  readonly subject: string;
  readonly host: string | null;
  /** Messages accepted from it in all. */
  readonly accepted: number;
  /** Before its first ban; null where that is not known. */
  readonly before: number | null;
  /** Of them, those while it would have been banned. */
  readonly refused: number;
  readonly after: number | null;
  readonly loggedIn: boolean;
  readonly bans: number;
  /** Why it is never banned, or null. */
  readonly protected: string | null;
  /** Lines that scored. */
  readonly offenses: readonly string[];
  /** Lines of mail that would have been refused. */
  readonly lost: readonly string[];
}

export interface Offender {
  readonly subject: string;
  readonly host: string | null;
  readonly reason: string;
  readonly bans: number;
  readonly stopped: number;
  readonly firstAt: number | null;
  readonly lastUntil: number | null;
  readonly strikes: number | null;
  /** Its score over time: a decaying sum, spent by each ban. */
  readonly curve: Curve;
  readonly lines: readonly string[];
}

export interface Curve {
  /** Offenses: when, and how many points. */
  readonly offenses: readonly { readonly at: number; readonly points: number }[];
  /** Its own, and those of the network around it. */
  readonly bans: readonly { readonly at: number; readonly until: number; readonly ofNetwork: boolean }[];
}

export interface Timeline {
  readonly stepMs: number;
  readonly buckets: readonly Bucket[];
}

export interface Bucket {
  readonly at: number;
  readonly stopped: number;
  readonly passed: number;
  readonly accepted: number;
  /** Most bans that held at one time within. */
  readonly banned: number;
}

export interface ReportOptions {
  readonly filter: Filter;
  readonly policy: Policy;
  /** Only lines from then on, and before, milliseconds. */
  readonly since?: number;
  readonly until?: number;
  readonly onProgress?: (replay: Replay) => void;
  /** Other policies that go by the same log. */
  readonly trials?: readonly Trial[];
}

/** Reads all `logs`. @throws UsageError when one can't be read to its end. */
export async function makeReport(logs: readonly ReportLog[], options: ReportOptions): Promise<LogReport> {
  const { filter, policy, since, until, onProgress, trials = [] } = options;
  const findings = new Findings(policy);
  const replay = new Replay({
    filter,
    ipv6Prefix: policy.settings.ipv6Prefix,
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
    onBatch: (batch) => {
      findings.trial.take(batch);
      for (const trial of trials) trial.take(batch);
    },
  });
  for (const log of logs) await replay.read(log, () => onProgress?.(replay));
  replay.flush();
  return reportOf(
    logs.map(({ name }) => name),
    replay,
    findings,
  );
}

const TOP_NETWORKS = 15;
const TOP_OFFENDERS = 12;
const CURVE_OFFENSES = 600;

function reportOf(logs: readonly string[], replay: Replay, findings: Findings): LogReport {
  const { trial } = findings;
  const from = Number.isFinite(replay.fromAt) ? replay.fromAt : null;
  const to = Number.isFinite(replay.toAt) ? replay.toAt : null;
  return {
    logs,
    lines: replay.lines,
    from,
    to,
    mail: replay.mail.totals(),
    reasons: replay.refusals.rows(),
    networks: networksOf(replay, findings),
    settings: trial.policy.settings,
    policy: outcomeOf(trial, to),
    accepted: findings.messages,
    collateral: collateralOf(findings),
    offenders: offendersOf(findings),
    timeline: timelineOf(findings, from, to),
    shadow: { wouldRefuse: replay.wouldRefuse, losses: replay.shadowLosses },
    unmatched: { count: replay.unmatched.count, shapes: replay.unmatched.top() },
  };
}

function networksOf(replay: Replay, findings: Findings): NetworkRow[] {
  const stopped = new Map(findings.stoppedByNetwork.top(Number.POSITIVE_INFINITY).map((one) => [one.name, one.count]));
  return replay.networks
    .top(TOP_NETWORKS)
    .map(({ name, count }) => ({ network: name, rejects: count, stopped: stopped.get(name) ?? 0 }));
}

export function outcomeOf(trial: Trial, to: number | null): PolicyOutcome {
  const { terms, termsBySubject } = trial;
  return {
    bans: terms.length,
    subjects: termsBySubject.size,
    rejects: trial.attempts,
    stopped: trial.stopped,
    hurt: trial.hurt,
    bannedAtOnce: trial.mostAtOnce(),
    bannedAtEnd: to === null ? 0 : terms.filter(({ at, endedAt }) => at <= to && endedAt > to).length,
    repeatOffenders: [...termsBySubject.values()].filter((bans) => bans.length > 1).length,
    ...lengthsOf(terms.map(({ ban }) => ban.until - ban.since)),
  };
}

/** How bans of these lengths spread. */
export function lengthsOf(all: readonly number[]): Pick<PolicyOutcome, 'medianBanMs' | 'longestBanMs' | 'lengths'> {
  const lengths = [...all].sort((a, b) => a - b);
  return {
    medianBanMs: lengths[Math.floor(lengths.length / 2)] ?? 0,
    longestBanMs: lengths.at(-1) ?? 0,
    lengths: LENGTHS_MS.map((uptoMs, i) => ({
      uptoMs,
      bans: lengths.filter((ms) => ms <= uptoMs && ms > (LENGTHS_MS[i - 1] ?? 0)).length,
    })).filter(({ bans }) => bans > 0),
  };
}

const HOUR_MS = 3_600_000;
/** Up to a little more than the doubled first bans, since bans end on whole seconds. */
const LENGTHS_MS = [0.25, 1, 2, 4, 8, 24, 72, 168, 8_760].map((hours) => hours * HOUR_MS + 1_000);

function collateralOf(findings: Findings): CollateralRow[] {
  const { trial, saved, deliverers, misdeeds } = findings;
  const subjects = new Set([...deliverers.keys(), ...saved.keys(), ...trial.terms.map(({ subject }) => subject)]);
  const rows: CollateralRow[] = [];
  for (const subject of subjects) {
    const delivered = deliverers.get(subject);
    const network = networkOf(subject);
    const terms = [...trial.termsOf(subject), ...(network === null ? [] : trial.termsOf(network))];
    const savedBy = saved.get(subject);
    const loggedIn = (trial.state(subject)?.authenticatedAt ?? null) !== null;
    const matters = terms.length > 0 ? delivered !== undefined || loggedIn : savedBy !== undefined;
    if (!matters) continue;
    const { messages = 0, before = 0, refused = 0, lines = [] } = delivered ?? {};
    rows.push({
      subject,
      host: delivered?.host ?? savedBy?.host ?? trial.state(subject)?.host ?? null,
      accepted: messages,
      before,
      refused,
      after: messages - before - refused,
      loggedIn,
      bans: terms.length,
      protected: savedBy?.why ?? null,
      offenses: misdeeds.get(subject)?.lines ?? [],
      lost: lines,
    });
  }
  return rows.sort((a, b) => b.refused - a.refused || b.accepted - a.accepted || (a.subject < b.subject ? -1 : 1));
}

function offendersOf(findings: Findings): Offender[] {
  const { trial, misdeeds } = findings;
  const ranked = [...trial.termsBySubject].map(([subject, terms]) => ({ subject, terms, stopped: sumOf(terms) }));
  ranked.sort((a, b) => b.stopped - a.stopped || b.terms.length - a.terms.length || (a.subject < b.subject ? -1 : 1));
  return ranked.slice(0, TOP_OFFENDERS).flatMap(({ subject, terms, stopped }) => {
    const [first] = terms;
    const last = terms.at(-1);
    if (first === undefined || last === undefined) return [];
    const known = misdeeds.get(subject);
    const network = networkOf(subject);
    const around = network === null ? [] : trial.termsOf(network);
    return [
      {
        subject,
        host: last.ban.host,
        reason: last.ban.reason,
        bans: terms.length,
        stopped,
        firstAt: first.at,
        lastUntil: last.endedAt,
        strikes: last.ban.strikes,
        curve: {
          offenses: known?.at.map((at, i) => ({ at, points: known.points[i] ?? 0 })).slice(-CURVE_OFFENSES) ?? [],
          bans: [...terms, ...around]
            .map((term) => ({ at: term.at, until: term.endedAt, ofNetwork: term.subject !== subject }))
            .sort((a, b) => a.at - b.at),
        },
        lines: known?.lines ?? [],
      },
    ];
  });
}

function sumOf(terms: readonly Term[]): number {
  return terms.reduce((sum, { stopped }) => sum + stopped, 0);
}

const MINUTE_MS = 60_000;
const STEPS_MS = [1, 5, 10, 30, 60, 180, 360, 720, 1_440, 10_080].map((minutes) => minutes * MINUTE_MS);
const MOST_BUCKETS = 120;
/** A damaged time stamp must not make a chart of a million empty hours. */
const MOST_EMPTY_BUCKETS = 4_000;

function timelineOf({ minutes, trial }: Findings, from: number | null, to: number | null): Timeline {
  const stepMs =
    STEPS_MS.find((step) => from !== null && to !== null && (to - from) / step <= MOST_BUCKETS) ?? 10_080 * MINUTE_MS;
  if (from === null || to === null || (to - from) / stepMs > MOST_EMPTY_BUCKETS) return { stepMs, buckets: [] };
  const start = Math.floor(from / stepMs) * stepMs;
  const buckets = Array.from({ length: Math.floor((to - start) / stepMs) + 1 }, (_, i) => ({
    at: start + i * stepMs,
    stopped: 0,
    passed: 0,
    accepted: 0,
    banned: 0,
  }));
  for (const [at, { stopped, passed, accepted }] of minutes) {
    const bucket = buckets[Math.floor((at - start) / stepMs)];
    if (bucket === undefined) continue;
    bucket.stopped += stopped;
    bucket.passed += passed;
    bucket.accepted += accepted;
  }
  const steps = stepsOf(trial.terms);
  let next = 0;
  let banned = 0;
  for (const bucket of buckets) {
    bucket.banned = banned;
    for (let step = steps[next]; step !== undefined && step[0] < bucket.at + stepMs; step = steps[++next]) {
      banned += step[1];
      bucket.banned = Math.max(bucket.banned, banned);
    }
  }
  return { stepMs, buckets };
}
