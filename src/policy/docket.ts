/** The states at hand, and all that is done to them. What was read is never changed: the first change makes a copy. */
import type { Ban, Release, ReleaseHow } from '../domain/ban.js';
import type { EventList, LogEvent } from '../domain/event.js';
import { addTo, NOTHING, type RunningSum, rankOf } from './decay.js';
import type { Change, Spared, Verdict } from './outcome.js';
import { Scored, ScoredEvents } from './scored.js';
import { type Decayed, MAX_RELEASES, type SubjectState, UNKNOWN } from './state.js';

const MAX_MEMBERS = 256;

/** What the docket has of one subject. */
export interface Case {
  readonly subject: string;
  /** As it stands now. */
  readonly state: SubjectState;
}

interface OpenCase extends Case {
  state: SubjectState;
  /** The same, once it is a copy. */
  draft: Draft | null;
  /** Copies of sums, which grow with each event. */
  score: RunningSum | null;
  accepted: RunningSum | null;
  evidence: Scored | null;
  /** The copy of a ban in which refusals are counted. */
  counted: Counted | null;
}

type Draft = { -readonly [Key in keyof SubjectState]: SubjectState[Key] };
type Counted = { -readonly [Key in keyof Ban]: Ban[Key] };

export class Docket {
  readonly #states: ReadonlyMap<string, SubjectState>;
  readonly #scored: ScoredEvents;
  readonly #halfLifeMs: number;
  readonly #strikesHalfLifeMs: number;
  readonly #cases = new Map<string, OpenCase>();
  readonly #drafts = new Map<string, SubjectState>();
  readonly #evidence = new Map<string, Scored>();
  readonly #changes: Change[] = [];
  readonly #spared: Spared[] = [];

  constructor(
    states: ReadonlyMap<string, SubjectState>,
    { halfLifeMs, strikesHalfLifeMs }: { readonly halfLifeMs: number; readonly strikesHalfLifeMs: number },
    events: EventList = [],
  ) {
    this.#states = states;
    this.#scored = new ScoredEvents(events);
    this.#halfLifeMs = halfLifeMs;
    this.#strikesHalfLifeMs = strikesHalfLifeMs;
  }

  of(subject: string): Case {
    const known = this.#cases.get(subject);
    if (known !== undefined) return known;
    const state = this.#states.get(subject) ?? UNKNOWN;
    const opened: OpenCase = {
      subject,
      state,
      draft: null,
      score: null,
      accepted: null,
      evidence: null,
      counted: null,
    };
    this.#cases.set(subject, opened);
    return opened;
  }

  change(one: Case, what: Partial<SubjectState>): void {
    Object.assign(this.#draft(one), what);
  }

  settle(one: Case, at: number): void {
    const { ban } = one.state;
    if (ban === null) return;
    // An end that is no date is none to wait for.
    if (!isDate(ban.until)) this.release(one, at, 'expired');
    else if (ban.until <= at) this.release(one, ban.until, 'expired');
  }

  curtail(one: Case, at: number, longestMs: number): void {
    const { ban } = one.state;
    if (ban === null) return;
    const lengthMs = ban.until - ban.since;
    const leftMs = lengthMs > 0 ? Math.min(lengthMs, longestMs) : longestMs;
    const shorter = { ...ban, until: Math.ceil((at + leftMs) / 1_000) * 1_000 };
    this.change(one, { ban: shorter });
    this.#changes.push({ type: 'ban', at, ban: shorter });
  }

  /**
   * A line that is read late may be of a time when a ban held that is over by now: after a downtime, or from another
   * host. So that it counts as it would have then, it does not matter whether that end has been recorded yet.
   */
  isBannedAt({ state: { ban, releases } }: Case, at: number): boolean {
    return ban !== null || (releases[0] !== undefined && isWithin(releases[0], at));
  }

  release(one: Case, at: number, how: ReleaseHow): void {
    const { ban, releases } = one.state;
    if (ban === null) {
      const last = releases[0];
      // It is known by now that this ban ran to its end; the line that ended it sooner was read late.
      if (last !== undefined && isWithin(last, at))
        this.change(one, { releases: [{ ...last, at, how }, ...releases.slice(1)] });
      return;
    }
    // What others hear of stays as it is now.
    this.#open(one).counted = null;
    const release = { at, how, ban: isDate(ban.until) ? ban : { ...ban, until: at } };
    this.change(one, { ban: null, releases: [release, ...releases].slice(0, MAX_RELEASES) });
    this.#changes.push({ type: 'release', at, release });
  }

  ban(
    one: Case,
    at: number,
    { lengthMs, strikes }: { readonly lengthMs: number; readonly strikes: number },
    { reason, by, listed }: Pick<Ban, 'reason' | 'by' | 'listed'>,
  ): void {
    const { subject } = one;
    const { host } = one.state;
    const since = Math.floor(at / 1_000) * 1_000;
    const until = Math.ceil((at + lengthMs) / 1_000) * 1_000;
    const ban: Counted = { subject, since, until, reason, by, strikes, host, refused: 0 };
    if (listed !== undefined) ban.listed = listed;
    this.change(one, { ban });
    this.#changes.push({ type: 'ban', at, ban });
  }

  spare(spared: Spared): void {
    this.#spared.push(spared);
  }

  accept(one: Case, host: string | null, at: number): void {
    const open = this.#open(one);
    const draft = this.#draft(one);
    open.accepted = ownCopy(draft.accepted, open.accepted);
    addTo(open.accepted, 1, at, this.#strikesHalfLifeMs);
    draft.accepted = open.accepted;
    if (host !== null) draft.host = host;
  }

  authenticate(one: Case, host: string | null, at: number): void {
    const draft = this.#draft(one);
    draft.authenticatedAt = Math.max(draft.authenticatedAt ?? at, at);
    draft.score = NOTHING;
    if (host !== null) draft.host = host;
    this.release(one, at, 'allowed');
  }

  /** An allowed or logged-in client was seen in the network: it is not banned, and not for a while. */
  guard(network: Case, at: number): void {
    const draft = this.#draft(network);
    draft.guardedAt = Math.max(draft.guardedAt ?? at, at);
    this.release(network, at, 'allowed');
  }

  /** Of the ban that holds, or of the one that ended last. */
  countRefusal(one: Case): void {
    const open = this.#open(one);
    const draft = this.#draft(one);
    const ban = draft.ban ?? draft.releases[0]?.ban;
    if (ban === undefined) return;
    if (open.counted === null || open.counted !== ban) {
      open.counted = countedOf(ban);
      if (draft.ban !== null) draft.ban = open.counted;
      else draft.releases = draft.releases.map((each, i) => (i === 0 ? { ...each, ban: open.counted ?? ban } : each));
    }
    open.counted.refused++;
  }

  /** @param number Of the event. */
  offend(one: Case, event: LogEvent, number: number, at: number, points: number, isRefusal: boolean): void {
    const open = this.#open(one);
    const draft = this.#draft(one);
    open.score = ownCopy(draft.score, open.score);
    addTo(open.score, points, at, this.#halfLifeMs);
    draft.score = open.score;
    if (event.host !== null) draft.host = event.host;
    // Our own refusals are counted in the ban; as evidence they would only push out what led to it.
    if (isRefusal) return;
    draft.offenses++;
    if (open.evidence === null) {
      open.evidence = new Scored(this.#scored);
      this.#evidence.set(one.subject, open.evidence);
    }
    open.evidence.add(number, at, points);
  }

  /** Notes a newly banned subject in its network. */
  join(network: Case, { subject, state: { ban } }: Case, at: number): void {
    if (ban === null) return;
    const before = Object.entries(network.state.members ?? {});
    const active = before.filter(([other, until]) => until > at && other !== subject);
    const members = Object.fromEntries([...active.slice(1 - MAX_MEMBERS), [subject, ban.until]]);
    this.change(network, { members });
  }

  /** Somebody let in again says nothing against the others of its network. */
  leave(network: Case, subject: string): void {
    const { members } = network.state;
    if (members?.[subject] === undefined) return;
    const { [subject]: _gone, ...others } = members;
    this.change(network, { members: others });
  }

  verdict(): Verdict {
    const ranks = new Map<string, number>();
    this.#drafts.forEach(({ score }, subject) => {
      const rank = rankOf(score, this.#halfLifeMs);
      if (rank > Number.NEGATIVE_INFINITY) ranks.set(subject, rank);
    });
    return { put: this.#drafts, ranks, evidence: this.#evidence, changes: this.#changes, spared: this.#spared };
  }

  #draft(one: Case): Draft {
    const open = this.#open(one);
    if (open.draft !== null) return open.draft;
    const draft = draftOf(open.state);
    open.draft = draft;
    open.state = draft;
    this.#drafts.set(open.subject, draft);
    return draft;
  }

  /** Cases come from `of`, which opened them. */
  #open(one: Case): OpenCase {
    return one as OpenCase;
  }
}

/**
 * V8 gives what a spread makes a hidden class of its own, and a copy of that copy another one: with each batch the states
 * would be of more classes, and each look into them slower. What begins with the same words has the same class.
 */
function draftOf(state: SubjectState): Draft {
  const { score, strikes, accepted, offenses, host, authenticatedAt, ban, releases } = state;
  const known = { score, strikes, accepted, offenses, host, authenticatedAt, ban, releases };
  // And what only some have.
  return Object.assign(known, state);
}

/** The same of a ban. */
function countedOf(ban: Ban): Counted {
  const { subject, since, until, reason, by, strikes, host, refused } = ban;
  return Object.assign({ subject, since, until, reason, by, strikes, host, refused }, ban);
}

/** `sum` as a copy that may be changed, which `own` may be already. */
function ownCopy(sum: Decayed, own: RunningSum | null): RunningSum {
  return own !== null && own === sum ? own : { value: sum.value, at: sum.at };
}

/** Is the instant before the end of a ban that ended by itself? */
function isWithin({ how, ban }: Release, at: number): boolean {
  return how === 'expired' && at < ban.until;
}

/** ECMA-262, 21.4.1.1. */
const LAST_DATE = 8.64e15;

/** Whatever a store may hold: instants that no calendar has would end the daemon when it logs them. */
export function isDate(at: number): boolean {
  return typeof at === 'number' && Math.abs(at) <= LAST_DATE;
}
