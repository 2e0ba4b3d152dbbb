/**
 * The daemon's own history, an hour a piece: what its live events came to, in the words of the report. Pure; where it
 * is kept, and that each event counts once, is the daemon's.
 */
import type { EventList, LogEvent } from '../domain/event.js';
import type { Verdict } from '../policy/outcome.js';
import type { Policy } from '../policy/policy.js';
import type { SubjectState } from '../policy/state.js';

/** JSON-safe. Lists of clients are bounded: the first ones of the hour are kept. */
export interface Hour {
  /** Its begin, milliseconds. */
  readonly at: number;
  /** Refused by the server, as far as rules see it, or by the map. */
  attempts: number;
  /** Those of them that met a ban, or would have. */
  stopped: number;
  accepted: number;
  /** Accepted messages that a ban would have refused. */
  hurt: number;
  logins: number;
  bans: number;
  /** Most bans at one time. */
  banned: number;
  /** Lines of shadow mode. */
  wouldRefuse: number;
  readonly rules: Record<string, number>;
  /** Network → rejects, stopped. */
  readonly networks: Record<string, [number, number]>;
  readonly subjects: Record<string, HourSubject>;
  /** Messages by client. */
  readonly delivered: Record<string, number>;
}

export interface HourSubject {
  host: string | null;
  bans: number;
  stopped: number;
  refused: number;
  reason: string | null;
  longestMs: number;
  /** Why it was not banned, or null. */
  spared: string | null;
  /** Last line that scored, and last of mail that a ban would have refused. */
  scored: string | null;
  lost: string | null;
}

/** What one commit judges. */
export interface Judged {
  readonly events: EventList;
  readonly before: ReadonlyMap<string, SubjectState>;
  readonly verdict: Verdict;
  readonly policy: Policy;
  /** Bans are really enforced: offenses during one come from sessions that were open, and were not stopped. */
  readonly enforced: boolean;
  /** Bans that hold after it. */
  readonly banned: number;
}

export const HOUR_MS = 3_600_000;
const MOST_SUBJECTS = 200;
const MOST_NETWORKS = 60;
const LONGEST_LINE = 300;
/** A session that was open when the ban began keeps its answer; the events don't tell when theirs began. */
const OPEN_SESSION_MS = 10_000;
/** Behind the header: `postfix/smtpd[123]: NOQUEUE: reject: `. */
const REJECT =
  /^[^:]*(?::\d\d){2}\S* \S+ postfix[\w./-]*\/(smtpd|postscreen|cleanup)\[\d+\]: (?:\w+: )?(?:milter-|proxy-)?reject: /;

export function hourOf(at: number): number {
  return Math.floor(at / HOUR_MS) * HOUR_MS;
}

export function emptyHour(at: number): Hour {
  const nothing = { attempts: 0, stopped: 0, accepted: 0, hurt: 0, logins: 0, bans: 0, banned: 0, wouldRefuse: 0 };
  return { at, ...nothing, rules: {}, networks: {}, subjects: {}, delivered: {} };
}

/** The hours that change, with what was judged added; `known` stays as it is. */
export function foldHours(known: ReadonlyMap<number, Hour>, judged: Judged): Map<number, Hour> {
  const hours = new OpenHours(known);
  const { events, verdict, policy, enforced, banned } = judged;
  const terms = termsOf(judged);
  events.forEach((event) => {
    tell(hours.at(event.at), event, terms, policy, enforced);
  });
  for (const change of verdict.changes) {
    if (change.type !== 'ban') continue;
    const { subject, host, reason, since, until } = change.ban;
    const hour = hours.at(change.at);
    hour.bans++;
    const row = subjectIn(hour, subject);
    if (row === null) continue;
    row.bans++;
    row.host = host ?? row.host;
    row.reason = reason;
    row.longestMs = Math.max(row.longestMs, until - since);
    row.scored =
      verdict.evidence
        .get(subject)
        ?.findLast(({ at }) => at <= change.at)
        ?.line.slice(0, LONGEST_LINE) ?? row.scored;
  }
  for (const [subject, state] of verdict.put) if (state !== null) noteSpared(subject, state, policy, hours);
  for (const hour of hours.changed.values()) hour.banned = Math.max(hour.banned, banned);
  return hours.changed;
}

/** Copies of the hours that are added to. */
class OpenHours {
  readonly changed = new Map<number, Hour>();
  readonly #known: ReadonlyMap<number, Hour>;
  /** The one asked for last: lines come in order. */
  #last: Hour | null = null;

  constructor(known: ReadonlyMap<number, Hour>) {
    this.#known = known;
  }

  at(at: number): Hour {
    const start = hourOf(at);
    if (this.#last?.at === start) return this.#last;
    const open = this.changed.get(start) ?? copyOf(this.#known.get(start) ?? emptyHour(start));
    this.changed.set(start, open);
    this.#last = open;
    return open;
  }

  /** As it stands, without opening it. */
  peek(at: number): Hour | undefined {
    const start = hourOf(at);
    return this.changed.get(start) ?? this.#known.get(start);
  }
}

/** For rows of flat values this takes half the time of structuredClone. */
function copyOf(hour: Hour): Hour {
  const networks: Hour['networks'] = {};
  for (const [network, [rejects, stopped]] of Object.entries(hour.networks)) networks[network] = [rejects, stopped];
  const subjects: Hour['subjects'] = {};
  for (const [subject, row] of Object.entries(hour.subjects)) subjects[subject] = { ...row };
  return { ...hour, rules: { ...hour.rules }, networks, subjects, delivered: { ...hour.delivered } };
}

interface Term {
  readonly from: number;
  until: number;
}

/**
 * Bans of the subjects at hand: those that held before, and those that the verdict makes. Of those that have ended too:
 * the clock may have recorded it while lines from within them are still to be read.
 */
function termsOf({ before, verdict }: Judged): ReadonlyMap<string, Term[]> {
  const terms = new Map<string, Term[]>();
  for (const [subject, { ban, releases }] of before) {
    const held = releases
      .map(({ at, ban: { since, until } }) => ({ from: since, until: Math.min(until, at) }))
      .reverse();
    if (ban !== null) held.push({ from: ban.since, until: ban.until });
    if (held.length > 0) terms.set(subject, held);
  }
  for (const change of verdict.changes) {
    if (change.type === 'ban') {
      // As it is read back by the next commit, so that it is all the same where one ends.
      const { subject, since, until } = change.ban;
      const known = terms.get(subject);
      if (known === undefined) terms.set(subject, [{ from: since, until }]);
      else known.push({ from: since, until });
    } else if (change.type === 'release') {
      const last = terms.get(change.release.ban.subject)?.at(-1);
      if (last !== undefined) last.until = Math.min(last.until, change.release.at);
    }
  }
  return terms;
}

function tell(
  hour: Hour,
  event: LogEvent,
  terms: ReadonlyMap<string, Term[]>,
  policy: Policy,
  enforced: boolean,
): void {
  const { subject, network } = policy.placeOf(event.ip);
  const isBanned =
    !enforced && (meets(terms.get(subject), event.at) || (network !== null && meets(terms.get(network), event.at)));
  if (event.kind === 'accepted' || event.kind === 'authenticated') {
    if (event.kind === 'authenticated') hour.logins++;
    if (!event.line.includes(': client=')) return;
    hour.accepted++;
    const delivered = hour.delivered[subject];
    if (delivered !== undefined) hour.delivered[subject] = delivered + 1;
    else if (hasRoom(hour.delivered, MOST_SUBJECTS)) enter(hour.delivered, subject, 1);
    if (!isBanned) return;
    hour.hurt++;
    const row = subjectIn(hour, subject);
    if (row === null) return;
    row.refused++;
    row.host = event.host ?? row.host;
    row.lost = event.line.slice(0, LONGEST_LINE);
    return;
  }
  if (event.rule === 'postfix/would-refuse') {
    hour.wouldRefuse++;
    return;
  }
  const isOurs = event.kind === 'refused';
  if (!isOurs && event.points <= 0) return;
  hour.rules[event.rule] = (hour.rules[event.rule] ?? 0) + 1;
  const service = REJECT.exec(event.line.slice(0, 400))?.[1];
  const isStopped = isOurs || (isBanned && service !== undefined && service !== 'postscreen');
  const around = network ?? subject;
  const known = hour.networks[around];
  const row = known ?? [0, 0];
  if (known === undefined && hasRoom(hour.networks, MOST_NETWORKS)) enter(hour.networks, around, row);
  row[0]++;
  if (service === undefined && !isOurs) return;
  hour.attempts++;
  if (!isStopped) return;
  hour.stopped++;
  row[1]++;
  const met = subjectIn(hour, subject);
  if (met !== null) met.stopped++;
}

function meets(terms: readonly Term[] | undefined, at: number): boolean {
  return terms?.some(({ from, until }) => from + OPEN_SESSION_MS <= at && at < until) ?? false;
}

/** How many entries lists have: counting them anew for each event would be most of the work. */
const sizes = new WeakMap<object, number>();

function sizeOf(list: Readonly<Record<string, unknown>>): number {
  const known = sizes.get(list);
  if (known !== undefined) return known;
  const size = Object.keys(list).length;
  sizes.set(list, size);
  return size;
}

function hasRoom(list: Readonly<Record<string, unknown>>, most: number): boolean {
  return sizeOf(list) < most;
}

/** Adds what is not in the list yet. */
function enter<Entry>(list: Record<string, Entry>, name: string, entry: Entry): void {
  sizes.set(list, sizeOf(list) + 1);
  list[name] = entry;
}

/** One that scored enough for a ban and has none is never banned; why is looked up once an hour. */
function noteSpared(subject: string, state: SubjectState, policy: Policy, hours: OpenHours): void {
  const { value, at } = state.score;
  if (state.ban !== null || value < policy.settings.threshold || value < policy.thresholdAt(state, at)) return;
  const hour = hours.peek(at);
  const known = hour?.subjects[subject];
  if (known === undefined && hour !== undefined && !hasRoom(hour.subjects, MOST_SUBJECTS)) return;
  const why = known?.spared ?? policy.protectedWhy(subject, state, at);
  const row = why === null ? null : subjectIn(hours.at(at), subject);
  if (row === null) return;
  row.spared = why;
  row.host = state.host ?? row.host;
}

function subjectIn(hour: Hour, subject: string): HourSubject | null {
  const known = hour.subjects[subject];
  if (known !== undefined) return known;
  if (!hasRoom(hour.subjects, MOST_SUBJECTS)) return null;
  const made: HourSubject = {
    host: null,
    bans: 0,
    stopped: 0,
    refused: 0,
    reason: null,
    longestMs: 0,
    spared: null,
    scored: null,
    lost: null,
  };
  enter(hour.subjects, subject, made);
  return made;
}
