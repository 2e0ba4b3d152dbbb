/**
 * Who is banned, for how long, and what ends it. Pure: states, events and the time come in, a verdict goes out.
 * The store keeps it, the access map enforces it.
 */
import { networkOf, subjectOf } from '../domain/address.js';
import { type Ban, type Listing, LONGEST_ORDER_MS } from '../domain/ban.js';
import type { EventList, LogEvent } from '../domain/event.js';
import type { Allowlist } from './allowlist.js';
import { add, NOTHING, rankOf, rebase, valueAt } from './decay.js';
import { type Case, Docket, isDate } from './docket.js';
import { type Lists, NO_LISTS } from './lists.js';
import type { Verdict } from './outcome.js';
import type { SubjectState } from './state.js';

export interface PolicySettings {
  /** Points at which a subject without standing is banned. */
  readonly threshold: number;
  readonly halfLifeMs: number;
  /** Does accepted mail raise the threshold? */
  readonly standing: boolean;
  readonly firstMs: number;
  readonly factor: number;
  readonly maxMs: number;
  readonly strikesHalfLifeMs: number;
  readonly ipv6Prefix: number;
  /** Banned subjects of one network that ban it as a whole; 0: never. */
  readonly networks: number;
  readonly authenticatedForMs: number;
  /** Nobody is turned away: offenses during a ban are what it would have refused. */
  readonly dryRun: boolean;
}

/** Offenses during a ban: what it did not stop, such as a session already open, counts little. */
const DURING_BAN = 0.1;
/** The rule by which postscreen turned away whom its access list names: while a ban holds, for that ban. */
const DENYLISTED = 'postscreen/denylisted';
/** Five offenses of one point within minutes are five points to a person, though the first has decayed a little. */
const NEAR_ENOUGH = 0.99;
/** Standing: accepted messages at which the threshold doubles, and how far it can grow. */
const STANDING_MESSAGES = 8;
const STANDING_CAP = 6;
/** Below this a decayed sum says nothing any more. */
const NEGLIGIBLE = 0.01;
/** How far the clocks of several hosts may differ without one of them taking another's ban for too long. */
const CLOCK_SKEW_MS = 60_000;
const MAX_PLACES = 16_384;

/** Where an address belongs. */
export interface Place {
  readonly subject: string;
  readonly network: string | null;
  /** Why it is never banned, or null. */
  readonly allowedWhy: string | null;
}

/** The client of an event before the docket. */
interface Party {
  readonly ip: string;
  /** Why its address is never banned, or null. */
  readonly allowedWhy: string | null;
  readonly one: Case;
  readonly around: Case | null;
}

const NOWHERE: Place = { subject: '', network: null, allowedWhy: null };
/** Reason of a ban that the store had lost. */
export const TAKEN_BACK = 'taken back from the access map';

export class Policy {
  readonly settings: PolicySettings;
  readonly allowlist: Allowlist;
  readonly lists: Lists;
  /** The addresses judged last: most events are about few of them. */
  readonly #places = new Map<string, Place>();
  /** Why subjects that came up to their threshold are never banned by their address, as asked last. */
  readonly #whys = new Map<string, string | null>();
  #lastIp = '';
  #lastPlace: Place = NOWHERE;

  constructor(settings: PolicySettings, allowlist: Allowlist, lists: Lists = NO_LISTS) {
    this.settings = settings;
    this.allowlist = allowlist;
    this.lists = lists;
  }

  /** The subjects whose states judging needs: those of the events' addresses, and the networks around them. */
  subjectsOf(addresses: Iterable<string>): string[] {
    const subjects = new Set<string>();
    for (const ip of addresses) {
      const { subject, network } = this.placeOf(ip);
      subjects.add(subject);
      if (network !== null) subjects.add(network);
    }
    return [...subjects];
  }

  /** The subject and the network that may be banned around it. */
  subjectsFor(subject: string): string[] {
    const network = networkOf(subject);
    return network === null ? [subject] : [subject, network];
  }

  /** Judges events in their order. Events from the future are taken as of `now`. */
  judge(events: EventList, states: ReadonlyMap<string, SubjectState>, now: number): Verdict {
    const docket = new Docket(states, this.settings, events);
    this.#judgeAll(docket, new Map(), events, now);
    return docket.verdict();
  }

  /** Apart, since V8 gives up what it has made of a long loop when what stands before it is seldom run. */
  #judgeAll(docket: Docket, parties: Map<string, Party>, events: EventList, now: number): void {
    let party: Party | undefined;
    for (let number = 0; number < events.length; number++) {
      const event = events.at(number);
      if (event === undefined) continue;
      // Lines of one client come in runs.
      if (event.ip !== party?.ip) party = parties.get(event.ip) ?? this.#enter(event.ip, docket, parties);
      this.#judgeOne(docket, party, event, number, Math.min(event.at, now));
    }
  }

  /** Records the ends of bans that are over at `at`. */
  settle(subjects: readonly string[], states: ReadonlyMap<string, SubjectState>, at: number): Verdict {
    const docket = new Docket(states, this.settings);
    for (const subject of subjects) docket.settle(docket.of(subject), at);
    return docket.verdict();
  }

  /** Does the ban end later than any made now could: by a clock that was wrong, under an older `ban.max`, by nonsense? */
  outlasts(ban: Ban, now: number): boolean {
    return !isDate(ban.until) || ban.until > now + this.#longest(ban) + CLOCK_SKEW_MS;
  }

  /** Brings the ends of bans that `outlasts` finds back to what the settings allow from now on. */
  curtail(subjects: readonly string[], states: ReadonlyMap<string, SubjectState>, now: number): Verdict {
    const docket = new Docket(states, this.settings);
    for (const subject of subjects) {
      const one = docket.of(subject);
      docket.settle(one, now);
      const { ban } = one.state;
      if (ban !== null && this.outlasts(ban, now)) docket.curtail(one, now, this.#longest(ban));
    }
    return docket.verdict();
  }

  /** May the ban end because the address changed hands? Once in a strikes' half-life: who owns a zone may say anything. */
  mayHandOver(state: SubjectState, at: number): boolean {
    const { ban, releases } = state;
    if (ban === null || ban.by !== 'score' || ban.host === null || ban.until <= at) return false;
    const since = at - this.settings.strikesHalfLifeMs;
    return !releases.some(({ how, at: releasedAt }) => how === 'handover' && releasedAt > since);
  }

  /**
   * Ends the bans of subjects that visibly belong to somebody else now. `hosts` has their new verified names. Half the
   * threshold stays as score, and all strikes.
   */
  handOver(hosts: ReadonlyMap<string, string>, states: ReadonlyMap<string, SubjectState>, at: number): Verdict {
    const docket = new Docket(states, this.settings);
    for (const [subject, host] of hosts) {
      const one = docket.of(subject);
      docket.settle(one, at);
      if (!this.mayHandOver(one.state, at) || one.state.ban?.host === host) continue;
      docket.release(one, at, 'handover');
      docket.change(one, { host, score: { value: this.settings.threshold / 2, at } });
      const network = networkOf(subject);
      if (network !== null) docket.leave(docket.of(network), subject);
    }
    return docket.verdict();
  }

  #longest({ by }: Ban): number {
    return by === 'person' ? Math.max(LONGEST_ORDER_MS, this.settings.maxMs) : this.settings.maxMs;
  }

  /** A person bans a subject; an active ban is replaced, and counts no strike. */
  ban(
    subject: string,
    states: ReadonlyMap<string, SubjectState>,
    order: { readonly at: number; readonly forMs: number; readonly reason: string },
  ): Verdict {
    const docket = new Docket(states, this.settings);
    const one = docket.of(subject);
    docket.settle(one, order.at);
    const strikes = this.strikesAt(one.state, order.at);
    docket.ban(one, order.at, { lengthMs: order.forMs, strikes }, { reason: order.reason, by: 'person' });
    return docket.verdict();
  }

  /**
   * A person ends a subject's ban, and that of the network which holds it too. The score is cleared, and the strike
   * of the ban is taken back: it was a mistake. No change of type `release` in the verdict: it was not banned.
   */
  unban(subject: string, states: ReadonlyMap<string, SubjectState>, at: number): Verdict {
    return this.unbanAll([subject], states, at);
  }

  /** The same for several, one after the other. */
  unbanAll(subjects: readonly string[], states: ReadonlyMap<string, SubjectState>, at: number): Verdict {
    const docket = new Docket(states, this.settings);
    for (const subject of subjects) {
      for (const name of this.subjectsFor(subject)) {
        const one = docket.of(name);
        docket.settle(one, at);
        const { ban } = one.state;
        const byScore = ban !== null && ban.by !== 'person';
        if (ban !== null) docket.release(one, at, 'unbanned');
        if (ban === null && name !== subject) docket.leave(one, subject);
        if (ban === null && (name !== subject || !states.has(name))) continue;
        const { strikesHalfLifeMs } = this.settings;
        const { state } = one;
        const strikes = Math.max(0, valueAt(state.strikes, at, strikesHalfLifeMs) - (byScore ? 1 : 0));
        docket.change(one, {
          score: NOTHING,
          strikes: { value: strikes, at },
          ...(state.members && { members: {} }),
        });
      }
    }
    return docket.verdict();
  }

  /** Ends the bans of those `subjects` that are never to be banned (any more). */
  releaseProtected(subjects: readonly string[], states: ReadonlyMap<string, SubjectState>, at: number): Verdict {
    const docket = new Docket(states, this.settings);
    for (const subject of subjects) {
      const one = docket.of(subject);
      docket.settle(one, at);
      const { state } = one;
      if (state.ban !== null && this.protectedWhy(subject, state, at) !== null) docket.release(one, at, 'allowed');
    }
    return docket.verdict();
  }

  /** Is there nothing of a ban that ends at `until` in `state`: neither itself, nor its release, nor what replaced it? */
  hasLost(until: number, state: SubjectState | undefined, at: number): boolean {
    if (until <= at) return false;
    if (state === undefined) return true;
    const replaced = state.ban !== null && (state.ban.until >= until || state.ban.by === 'person');
    return !replaced && !state.releases.some(({ ban }) => ban.until === until);
  }

  /** Takes back bans that the access map still holds and the store has lost, each with its own end. */
  takeBack(
    lost: readonly Pick<Ban, 'subject' | 'until'>[],
    states: ReadonlyMap<string, SubjectState>,
    at: number,
  ): Verdict {
    const docket = new Docket(states, this.settings);
    for (const { subject, until } of lost) {
      const one = docket.of(subject);
      docket.settle(one, at);
      const { state } = one;
      if (!this.hasLost(until, state, at) || this.protectedWhy(subject, state, at) !== null) continue;
      const strikes = this.strikesAt(state, at);
      docket.ban(
        one,
        at,
        { lengthMs: until - at, strikes },
        { reason: TAKEN_BACK, by: isNetwork(subject) ? 'network' : 'score' },
      );
      // As the ban that it was once did: the next one is longer.
      docket.change(one, { strikes: add(state.strikes, 1, at, this.settings.strikesHalfLifeMs) });
    }
    return docket.verdict();
  }

  /** Where an address belongs; the ones asked for last are remembered. */
  placeOf(ip: string): Place {
    if (ip === this.#lastIp) return this.#lastPlace;
    const known = this.#places.get(ip);
    if (known !== undefined) {
      this.#lastIp = ip;
      this.#lastPlace = known;
      return known;
    }
    if (this.#places.size >= MAX_PLACES) this.#places.clear();
    const subject = subjectOf(ip, this.settings.ipv6Prefix);
    const place = { subject, network: networkOf(subject), allowedWhy: this.allowlist.why(ip, null) };
    this.#places.set(ip, place);
    return place;
  }

  scoreAt(state: SubjectState, at: number): number {
    return valueAt(state.score, at, this.settings.halfLifeMs);
  }

  strikesAt(state: SubjectState, at: number): number {
    return valueAt(state.strikes, at, this.settings.strikesHalfLifeMs);
  }

  /** Score at which the subject is banned: higher for one that delivers accepted mail. */
  thresholdAt(state: SubjectState, at: number): number {
    if (!this.settings.standing) return this.settings.threshold;
    const accepted = valueAt(state.accepted, at, this.settings.strikesHalfLifeMs);
    return this.settings.threshold * Math.min(STANDING_CAP, 1 + Math.log2(1 + accepted / STANDING_MESSAGES));
  }

  /** Why the subject is never banned, or null. */
  protectedWhy(subject: string, state: SubjectState | undefined, at: number): string | null {
    const why = this.allowlist.whyName(state?.host ?? null) ?? this.#whyByAddress(subject);
    if (why !== null || state === undefined) return why;
    if (this.#recent(state.authenticatedAt, at)) return 'a user logged in from here';
    if (this.#recent(state.guardedAt ?? null, at)) return 'it holds an allowed or logged-in client';
    return null;
  }

  #whyByAddress(subject: string): string | null {
    const known = this.#whys.get(subject);
    if (known !== undefined) return known;
    if (this.#whys.size >= MAX_PLACES) this.#whys.clear();
    const why = this.allowlist.why(subject, null);
    this.#whys.set(subject, why);
    return why;
  }

  /** May everything known of the subject be forgotten? */
  isIdle(state: SubjectState, at: number, keepMs: number): boolean {
    if (state.ban !== null && state.ban.until > at) return false;
    if (this.#recent(state.authenticatedAt, at) || this.#recent(state.guardedAt ?? null, at)) return false;
    if (Object.values(state.members ?? {}).some((until) => until > at)) return false;
    const last = state.releases[0];
    if (last !== undefined && at - last.at < keepMs) return false;
    const { halfLifeMs, strikesHalfLifeMs } = this.settings;
    return (
      valueAt(state.score, at, halfLifeMs) < NEGLIGIBLE &&
      valueAt(state.strikes, at, strikesHalfLifeMs) < NEGLIGIBLE &&
      valueAt(state.accepted, at, strikesHalfLifeMs) < 0.1
    );
  }

  /** The state as it stands at `at` under other half-lives, carried over into this policy's. */
  convert(
    state: SubjectState,
    at: number,
    from: Pick<PolicySettings, 'halfLifeMs' | 'strikesHalfLifeMs'>,
  ): { state: SubjectState; rank: number } {
    const score = rebase(state.score, at, from.halfLifeMs);
    const strikes = rebase(state.strikes, at, from.strikesHalfLifeMs);
    const accepted = rebase(state.accepted, at, from.strikesHalfLifeMs);
    return { state: { ...state, score, strikes, accepted }, rank: rankOf(score, this.settings.halfLifeMs) };
  }

  #enter(ip: string, docket: Docket, parties: Map<string, Party>): Party {
    const { subject, network, allowedWhy } = this.placeOf(ip);
    const one = docket.of(subject);
    const party = { ip, allowedWhy, one, around: network === null ? null : docket.of(network) };
    parties.set(ip, party);
    return party;
  }

  #judgeOne(docket: Docket, party: Party, event: LogEvent, number: number, at: number): void {
    const { one, around } = party;
    const allowedWhy = party.allowedWhy ?? this.allowlist.whyName(event.host);
    const allowed = allowedWhy !== null;
    docket.settle(one, at);
    if (around !== null) docket.settle(around, at);
    if (allowed) {
      if (around !== null) docket.guard(around, at);
      // By its name: it has come to an address that was banned. What a person ordered, a person ends.
      if (one.state.ban?.by === 'score') docket.release(one, at, 'allowed');
    }

    if (event.kind === 'accepted') {
      if (!allowed) docket.accept(one, event.host, at);
      return;
    }
    if (event.kind === 'authenticated') {
      if (this.settings.authenticatedForMs === 0) return;
      docket.authenticate(one, event.host, at);
      if (around !== null) docket.guard(around, at);
      return;
    }
    const ownBan = docket.isBannedAt(one, at);
    const duringBan = ownBan || (around !== null && docket.isBannedAt(around, at));
    const atTheDoor = duringBan && event.rule === DENYLISTED;
    const isRefusal = event.kind === 'refused' || atTheDoor;
    if (duringBan && (isRefusal || this.settings.dryRun)) docket.countRefusal(ownBan || around === null ? one : around);
    // A refusal says nothing of one who is turned away only for his network, or by a ban that has just ended.
    if (event.points <= 0 || (isRefusal && !ownBan)) return;
    const points = event.kind === 'offense' && duringBan ? event.points * DURING_BAN : event.points;
    docket.offend(one, event, number, at, points, isRefusal);
    if (!duringBan) this.#banIfDue(docket, one, around, allowedWhy, event, at);
  }

  #banIfDue(
    docket: Docket,
    one: Case,
    around: Case | null,
    allowedWhy: string | null,
    event: LogEvent,
    at: number,
  ): void {
    const { subject, state } = one;
    const score = this.scoreAt(state, at);
    // Standing only raises the threshold.
    if (score < NEAR_ENOUGH * this.settings.threshold && this.lists.isEmpty) return;
    const due = NEAR_ENOUGH * this.thresholdAt(state, at);
    // Whose own points suffice is banned for them alone.
    const listed = score < due ? this.#listing(subject, at) : null;
    if (score + (listed?.points ?? 0) < due) return;
    const why = allowedWhy ?? this.protectedWhy(subject, state, at);
    if (why !== null) {
      // Its score goes on growing; what is told is that it got there.
      const headStart = (listed ?? this.#listing(subject, at))?.points ?? 0;
      if (score + headStart - event.points < due)
        docket.spare({ subject, at, why, rule: event.rule, host: state.host });
      return;
    }
    this.#banByScore(docket, one, at, { reason: event.rule, by: 'score', ...(listed !== null && { listed }) });
    if (around === null || this.settings.networks === 0) return;
    docket.join(around, one, at);
    const members = Object.keys(around.state.members ?? {}).length;
    if (members < this.settings.networks || around.state.ban !== null) return;
    if (this.protectedWhy(around.subject, around.state, at) !== null) return;
    this.#banByScore(docket, around, at, { reason: `${members} banned addresses in this network`, by: 'network' });
  }

  #listing(subject: string, at: number): Listing | null {
    return this.lists.isEmpty ? null : this.lists.strongest(subject, at);
  }

  #banByScore(docket: Docket, one: Case, at: number, why: Pick<Ban, 'reason' | 'by' | 'listed'>): void {
    const { firstMs, factor, maxMs, strikesHalfLifeMs } = this.settings;
    const strikes = valueAt(one.state.strikes, at, strikesHalfLifeMs);
    const lengthMs = Math.min(maxMs, firstMs * factor ** strikes);
    docket.ban(one, at, { lengthMs, strikes }, why);
    docket.change(one, { score: NOTHING, strikes: add(one.state.strikes, 1, at, strikesHalfLifeMs) });
  }

  #recent(seenAt: number | null, at: number): boolean {
    return seenAt !== null && at - seenAt < this.settings.authenticatedForMs;
  }
}

/** As `networkOf` names them: an IPv6 subject is itself a network, a /64. */
function isNetwork(subject: string): boolean {
  return networkOf(subject) === null;
}
