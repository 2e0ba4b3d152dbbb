/**
 * Who is banned, for how long, and what ends it. Pure: states, events and the time come in, a verdict goes out.
 * The store keeps it, the access map enforces it.
 */
import { networkOf, subjectOf } from '../domain/address.js';
import type { Ban, ReleaseHow } from '../domain/ban.js';
import type { LogEvent } from '../domain/event.js';
import type { Allowlist } from './allowlist.js';
import { add, NOTHING, rankOf, rebase, valueAt } from './decay.js';
import type { Change, Verdict } from './outcome.js';
import { type Evidence, MAX_RELEASES, type SubjectState } from './state.js';

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
/** Five offenses of one point within minutes are five points to a person, though the first has decayed a little. */
const NEAR_ENOUGH = 0.99;
/** Standing: accepted messages at which the threshold doubles, and how far it can grow. */
const STANDING_MESSAGES = 8;
const STANDING_CAP = 6;
const MAX_MEMBERS = 256;
/** Below this a decayed sum says nothing any more. */
const NEGLIGIBLE = 0.01;
const MAX_EVIDENCE_LINE = 500;
/** Reason of a ban that the store had lost. */
export const TAKEN_BACK = 'taken back from the access map';

export class Policy {
  readonly settings: PolicySettings;
  readonly allowlist: Allowlist;

  constructor(settings: PolicySettings, allowlist: Allowlist) {
    this.settings = settings;
    this.allowlist = allowlist;
  }

  /** The subjects whose states judging needs: those of the events, and the networks around them. */
  subjectsOf(events: readonly LogEvent[]): string[] {
    const subjects = new Set<string>();
    for (const event of events) {
      const subject = subjectOf(event.ip, this.settings.ipv6Prefix);
      if (subjects.has(subject)) continue;
      for (const one of this.subjectsFor(subject)) subjects.add(one);
    }
    return [...subjects];
  }

  /** The subject and the network that may be banned around it. */
  subjectsFor(subject: string): string[] {
    const network = networkOf(subject);
    return network === null ? [subject] : [subject, network];
  }

  /** Judges events in their order. Events from the future are taken as of `now`. */
  judge(events: readonly LogEvent[], states: ReadonlyMap<string, SubjectState>, now: number): Verdict {
    const docket = new Docket(states, this.settings);
    for (const event of events) this.#judgeOne(docket, event, Math.min(event.at, now));
    return docket.verdict();
  }

  /** Records the ends of bans that are over at `at`. */
  settle(subjects: readonly string[], states: ReadonlyMap<string, SubjectState>, at: number): Verdict {
    const docket = new Docket(states, this.settings);
    for (const subject of subjects) docket.settle(subject, at);
    return docket.verdict();
  }

  /** A person bans a subject; an active ban is replaced, and counts no strike. */
  ban(
    subject: string,
    states: ReadonlyMap<string, SubjectState>,
    order: { readonly at: number; readonly forMs: number; readonly reason: string },
  ): Verdict {
    const docket = new Docket(states, this.settings);
    docket.settle(subject, order.at);
    const state = docket.state(subject);
    docket.ban(subject, order.at, order.forMs, {
      reason: order.reason,
      by: 'person',
      strikes: valueAt(state.strikes, order.at, this.settings.strikesHalfLifeMs),
      host: state.host,
    });
    return docket.verdict();
  }

  /**
   * A person ends a subject's ban, and that of the network which holds it too. The score is cleared, and the strike
   * of the ban is taken back: it was a mistake. No change of type `release` in the verdict: it was not banned.
   */
  unban(subject: string, states: ReadonlyMap<string, SubjectState>, at: number): Verdict {
    const docket = new Docket(states, this.settings);
    for (const one of this.subjectsFor(subject)) {
      docket.settle(one, at);
      const banned = docket.state(one).ban !== null;
      const byScore = banned && docket.state(one).ban?.by !== 'person';
      if (banned) docket.release(one, at, 'unbanned');
      if (!banned && one !== subject) docket.leave(one, subject);
      if (!banned && (one !== subject || !states.has(one))) continue;
      const { strikesHalfLifeMs } = this.settings;
      const state = docket.state(one);
      const strikes = Math.max(0, valueAt(state.strikes, at, strikesHalfLifeMs) - (byScore ? 1 : 0));
      docket.put(one, {
        ...state,
        score: NOTHING,
        strikes: { value: strikes, at },
        ...(state.members && { members: {} }),
      });
    }
    return docket.verdict();
  }

  /** Ends the bans of those `subjects` that are never to be banned (any more). */
  releaseProtected(subjects: readonly string[], states: ReadonlyMap<string, SubjectState>, at: number): Verdict {
    const docket = new Docket(states, this.settings);
    for (const subject of subjects) {
      docket.settle(subject, at);
      const state = docket.state(subject);
      if (state.ban !== null && this.protectedWhy(subject, state, at) !== null) docket.release(subject, at, 'allowed');
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
      docket.settle(subject, at);
      const state = docket.state(subject);
      if (!this.hasLost(until, state, at) || this.protectedWhy(subject, state, at) !== null) continue;
      const { strikesHalfLifeMs } = this.settings;
      docket.ban(subject, at, until - at, {
        reason: TAKEN_BACK,
        by: isNetwork(subject) ? 'network' : 'score',
        strikes: valueAt(state.strikes, at, strikesHalfLifeMs),
        host: state.host,
      });
      // As the ban that it was once did: the next one is longer.
      docket.put(subject, { ...docket.state(subject), strikes: add(state.strikes, 1, at, strikesHalfLifeMs) });
    }
    return docket.verdict();
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
    const why = this.allowlist.why(subject, state?.host ?? null);
    if (why !== null || state === undefined) return why;
    if (this.#recent(state.authenticatedAt, at)) return 'a user logged in from here';
    if (this.#recent(state.guardedAt ?? null, at)) return 'it holds an allowed or logged-in client';
    return null;
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

  #judgeOne(docket: Docket, event: LogEvent, at: number): void {
    const subject = subjectOf(event.ip, this.settings.ipv6Prefix);
    const network = networkOf(subject);
    const allowedWhy = this.allowlist.why(event.ip, event.host);
    docket.settle(subject, at);
    if (network !== null) docket.settle(network, at);
    if (allowedWhy !== null) this.#guard(docket, network, at);

    if (event.kind === 'accepted') {
      if (allowedWhy === null) docket.accept(subject, event.host, at);
      return;
    }
    if (event.kind === 'authenticated') {
      if (this.settings.authenticatedForMs === 0) return;
      docket.authenticate(subject, event.host, at);
      this.#guard(docket, network, at);
      return;
    }
    const inNetworkBan = network !== null && docket.state(network).ban !== null;
    const ownBan = docket.state(subject).ban !== null;
    const duringBan = ownBan || inNetworkBan;
    if (duringBan && (event.kind === 'refused' || this.settings.dryRun)) {
      docket.countRefusal(ownBan || network === null ? subject : network);
    }
    // A refusal says nothing of one who is turned away only for his network, or by a ban that has just ended.
    if (event.points <= 0 || (event.kind === 'refused' && !ownBan)) return;
    docket.offend(subject, event, at, event.kind === 'offense' && duringBan ? event.points * DURING_BAN : event.points);
    if (!duringBan) this.#banIfDue(docket, subject, event, at);
  }

  #banIfDue(docket: Docket, subject: string, event: LogEvent, at: number): void {
    const state = docket.state(subject);
    if (this.scoreAt(state, at) < NEAR_ENOUGH * this.thresholdAt(state, at)) return;
    if (this.allowlist.why(event.ip, event.host) !== null || this.protectedWhy(subject, state, at) !== null) return;
    this.#banByScore(docket, subject, at, event.rule, 'score');
    const network = networkOf(subject);
    if (network === null || this.settings.networks === 0) return;
    docket.join(network, subject, at);
    const around = docket.state(network);
    const members = Object.keys(around.members ?? {}).length;
    if (members < this.settings.networks || around.ban !== null) return;
    if (this.protectedWhy(network, around, at) !== null) return;
    this.#banByScore(docket, network, at, `${members} banned addresses in this network`, 'network');
  }

  #banByScore(docket: Docket, subject: string, at: number, reason: string, by: 'score' | 'network'): void {
    const { firstMs, factor, maxMs, strikesHalfLifeMs } = this.settings;
    const state = docket.state(subject);
    const strikes = valueAt(state.strikes, at, strikesHalfLifeMs);
    const lengthMs = Math.min(maxMs, firstMs * factor ** strikes);
    docket.ban(subject, at, lengthMs, { reason, by, strikes, host: state.host });
    const spent = docket.state(subject);
    docket.put(subject, { ...spent, score: NOTHING, strikes: add(spent.strikes, 1, at, strikesHalfLifeMs) });
  }

  /** An allowed or logged-in client was seen: the network around it is not banned, and not for a while. */
  #guard(docket: Docket, network: string | null, at: number): void {
    if (network === null) return;
    const state = docket.state(network);
    docket.put(network, { ...state, guardedAt: Math.max(state.guardedAt ?? at, at) });
    if (state.ban !== null) docket.release(network, at, 'allowed');
  }

  #recent(seenAt: number | null, at: number): boolean {
    return seenAt !== null && at - seenAt < this.settings.authenticatedForMs;
  }
}

/** The states at hand, and all that is done to them. */
class Docket {
  readonly #states: Map<string, SubjectState>;
  readonly #settings: PolicySettings;
  readonly #touched = new Set<string>();
  readonly #evidence = new Map<string, Evidence[]>();
  readonly #changes: Change[] = [];

  constructor(states: ReadonlyMap<string, SubjectState>, settings: PolicySettings) {
    this.#states = new Map(states);
    this.#settings = settings;
  }

  state(subject: string): SubjectState {
    return this.#states.get(subject) ?? UNKNOWN;
  }

  put(subject: string, state: SubjectState): void {
    this.#states.set(subject, state);
    this.#touched.add(subject);
  }

  settle(subject: string, at: number): void {
    const ban = this.#states.get(subject)?.ban;
    if (ban && ban.until <= at) this.release(subject, ban.until, 'expired');
  }

  release(subject: string, at: number, how: ReleaseHow): void {
    const state = this.state(subject);
    if (state.ban === null) return;
    const release = { at, how, ban: state.ban };
    this.put(subject, { ...state, ban: null, releases: [release, ...state.releases].slice(0, MAX_RELEASES) });
    this.#changes.push({ type: 'release', at, release });
  }

  ban(subject: string, at: number, lengthMs: number, why: Pick<Ban, 'reason' | 'by' | 'strikes' | 'host'>): void {
    const since = Math.floor(at / 1_000) * 1_000;
    const until = Math.ceil((at + lengthMs) / 1_000) * 1_000;
    const ban: Ban = { subject, since, until, ...why, refused: 0 };
    this.put(subject, { ...this.state(subject), ban });
    this.#changes.push({ type: 'ban', at, ban });
  }

  accept(subject: string, host: string | null, at: number): void {
    const state = this.state(subject);
    const accepted = add(state.accepted, 1, at, this.#settings.strikesHalfLifeMs);
    this.put(subject, { ...state, accepted, host: host ?? state.host });
  }

  authenticate(subject: string, host: string | null, at: number): void {
    const state = this.state(subject);
    const authenticatedAt = Math.max(state.authenticatedAt ?? at, at);
    this.put(subject, { ...state, authenticatedAt, score: NOTHING, host: host ?? state.host });
    this.release(subject, at, 'allowed');
  }

  countRefusal(subject: string): void {
    const state = this.state(subject);
    if (state.ban !== null) this.put(subject, { ...state, ban: { ...state.ban, refused: state.ban.refused + 1 } });
  }

  offend(subject: string, event: LogEvent, at: number, points: number): void {
    const state = this.state(subject);
    this.put(subject, {
      ...state,
      score: add(state.score, points, at, this.#settings.halfLifeMs),
      offenses: state.offenses + (event.kind === 'offense' ? 1 : 0),
      host: event.host ?? state.host,
    });
    // Our own refusals are counted in the ban; as evidence they would only push out what led to it.
    if (event.kind === 'refused') return;
    const lines = this.#evidence.get(subject) ?? [];
    lines.push({ at, rule: event.rule, points, line: event.line.slice(0, MAX_EVIDENCE_LINE) });
    this.#evidence.set(subject, lines);
  }

  /** Notes a newly banned subject in its network. */
  join(network: string, subject: string, at: number): void {
    const state = this.state(network);
    const ban = this.state(subject).ban;
    if (ban === null) return;
    const active = Object.entries(state.members ?? {}).filter(([other, until]) => until > at && other !== subject);
    const members = Object.fromEntries([...active.slice(1 - MAX_MEMBERS), [subject, ban.until]]);
    this.put(network, { ...state, members });
  }

  /** Somebody let in again says nothing against the others of its network. */
  leave(network: string, subject: string): void {
    const state = this.state(network);
    if (state.members?.[subject] === undefined) return;
    const { [subject]: _gone, ...members } = state.members;
    this.put(network, { ...state, members });
  }

  verdict(): Verdict {
    const put = new Map<string, SubjectState>();
    const ranks = new Map<string, number>();
    for (const subject of this.#touched) {
      const state = this.state(subject);
      put.set(subject, state);
      const rank = rankOf(state.score, this.#settings.halfLifeMs);
      if (rank > Number.NEGATIVE_INFINITY) ranks.set(subject, rank);
    }
    return { put, ranks, evidence: this.#evidence, changes: this.#changes };
  }
}

/** As `networkOf` names them: an IPv6 subject is itself a network, a /64. */
function isNetwork(subject: string): boolean {
  return networkOf(subject) === null;
}

export const UNKNOWN: SubjectState = {
  score: NOTHING,
  strikes: NOTHING,
  accepted: NOTHING,
  offenses: 0,
  host: null,
  authenticatedAt: null,
  ban: null,
  releases: [],
};
