import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseNetwork } from '../../src/domain/address.js';
import type { LogEvent } from '../../src/domain/event.js';
import { NetworkDraft } from '../../src/domain/network-set.js';
import { Allowlist, allowRules } from '../../src/policy/allowlist.js';
import { Lists } from '../../src/policy/lists.js';
import type { Verdict } from '../../src/policy/outcome.js';
import { Policy, type PolicySettings, TAKEN_BACK } from '../../src/policy/policy.js';
import type { SubjectState } from '../../src/policy/state.js';
import { UNKNOWN } from '../../src/policy/state.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const AT = Date.UTC(2026, 0, 1);
const SETTINGS: PolicySettings = {
  threshold: 5,
  halfLifeMs: 6 * HOUR,
  standing: true,
  firstMs: HOUR,
  factor: 2,
  maxMs: 7 * DAY,
  strikesHalfLifeMs: 14 * DAY,
  ipv6Prefix: 64,
  networks: 4,
  authenticatedForMs: 30 * DAY,
  dryRun: false,
};

type Rules = Partial<Parameters<typeof allowRules>[0]>;
/** A policy with the states that a store would keep. */
class Bench {
  readonly states = new Map<string, SubjectState>();
  policy: Policy;
  constructor(settings: Partial<PolicySettings> = {}, rules: Rules = {}) {
    this.policy = new Policy({ ...SETTINGS, ...settings }, this.#allowlist(rules));
  }
  allow(rules: Rules): void {
    this.policy = new Policy(this.policy.settings, this.#allowlist(rules));
  }
  judge(events: readonly LogEvent[], now = AT + 1_000 * DAY): Verdict {
    return this.keep(this.policy.judge(events, this.known(this.policy.subjectsOf(events.map(({ ip }) => ip))), now));
  }
  keep(verdict: Verdict): Verdict {
    for (const [subject, state] of verdict.put)
      state === null ? this.states.delete(subject) : this.states.set(subject, state);
    return verdict;
  }
  known(subjects: readonly string[]): Map<string, SubjectState> {
    return new Map(subjects.flatMap((one) => (this.states.has(one) ? [[one, this.of(one)] as const] : [])));
  }
  of(subject: string): SubjectState {
    return this.states.get(subject) ?? UNKNOWN;
  }
  #allowlist(rules: Rules): Allowlist {
    return new Allowlist(allowRules({ own: [], mynetworks: [], addresses: [], hostnames: [], people: [], ...rules }));
  }
}

const event = (part: Partial<LogEvent> = {}): LogEvent => ({
  kind: 'offense',
  rule: 'postfix/user-unknown',
  ip: '203.0.113.9',
  at: AT,
  host: null,
  points: 1,
  line: 'a reject line',
  ...part,
});
const probe = (count: number, part: Partial<LogEvent> = {}): LogEvent[] =>
  Array.from({ length: count }, (_, index) => event({ at: AT + index * 6_000, ...part }));

describe('a ban', () => {
  it('counts whom postscreen turns away for it as refused, and keeps the lines that led to it', () => {
    const bench = new Bench();
    bench.judge(probe(5));
    const knock = event({ rule: 'postscreen/denylisted', points: 0.5, at: AT + MINUTE });
    const { evidence } = bench.judge([knock, knock, knock]);
    expect(bench.of('203.0.113.9')).toMatchObject({ ban: { refused: 3 }, offenses: 5 });
    expect(bench.policy.scoreAt(bench.of('203.0.113.9'), AT + MINUTE)).toBeCloseTo(0.15, 9);
    expect(evidence.size).toBe(0);
    const other = bench.judge([event({ ...knock, ip: '203.0.113.10' })]);
    expect(other.evidence.get('203.0.113.10')?.slice(0)).toMatchObject([{ points: 0.5 }]);
  });

  it('that is over by the clock still held at the time of a line that is read later', () => {
    const bench = new Bench();
    bench.judge(probe(5));
    bench.keep(bench.policy.settle(['203.0.113.9'], bench.states, AT + DAY));
    expect(bench.of('203.0.113.9').releases).toMatchObject([{ how: 'expired', at: AT + HOUR + 24_000 }]);
    const during = { at: AT + 10 * MINUTE };
    expect(bench.judge([...probe(5, during), event({ ...during, kind: 'refused', points: 0.2 })]).changes).toEqual([]);
    expect(bench.of('203.0.113.9').releases).toMatchObject([{ ban: { refused: 1 } }]);
    expect(bench.policy.scoreAt(bench.of('203.0.113.9'), AT + 10 * MINUTE)).toBeCloseTo(0.7, 9);
  });

  it('never comes of a mistyped address', () => {
    const bench = new Bench();
    bench.judge(probe(2));
    expect(bench.of('203.0.113.9').ban).toBeNull();
  });

  it('comes of ten unknown users in a minute, at the line that reached the threshold', () => {
    const bench = new Bench();
    const { changes } = bench.judge(probe(10));
    expect(changes.map(({ type }) => type)).toEqual(['ban']);
    const ban = bench.of('203.0.113.9').ban;
    expect(ban).toMatchObject({
      subject: '203.0.113.9',
      since: AT + 24_000,
      until: AT + 24_000 + HOUR,
      by: 'score',
      strikes: 0,
    });
    expect(bench.policy.scoreAt(bench.of('203.0.113.9'), AT + MINUTE)).toBeLessThan(1);
  });

  it('is twice as long for each strike, up to the longest', () => {
    const bench = new Bench();
    const lengths: number[] = [];
    let at = AT;
    for (let round = 0; round < 9; round++) {
      bench.judge(Array.from({ length: 6 }, () => event({ at })));
      const ban = bench.of('203.0.113.9').ban;
      lengths.push(((ban?.until ?? 0) - (ban?.since ?? 0)) / HOUR);
      at = (ban?.until ?? 0) + 1_000;
    }
    expect(lengths[0]).toBe(1);
    expect(lengths[1]).toBeCloseTo(2, 0);
    expect(lengths[3]).toBeGreaterThan(6);
    expect(lengths[8]).toBeGreaterThan(lengths[7] ?? 0);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(168);
    const harsh = new Bench({ factor: 100 });
    harsh.judge(probe(6, { at: AT }));
    harsh.judge(probe(6, { at: AT + 2 * HOUR }));
    harsh.judge(probe(6, { at: AT + 5 * DAY }));
    expect(harsh.of('203.0.113.9').ban).toMatchObject({ since: AT + 5 * DAY, until: AT + 12 * DAY });
  });

  it('that is over by the time its line is read counts as a strike and is recorded as expired', () => {
    const bench = new Bench();
    bench.judge(probe(10));
    const settled = bench.policy.settle(['203.0.113.9'], bench.states, AT + 2 * HOUR);
    expect(settled.changes).toMatchObject([{ type: 'release', at: AT + 24_000 + HOUR, release: { how: 'expired' } }]);
    expect(bench.policy.strikesAt(bench.of('203.0.113.9'), AT + 2 * HOUR)).toBeCloseTo(1, 1);
  });

  it('is not repeated or prolonged while it lasts, but knocking on leads to a longer one', () => {
    const bench = new Bench();
    bench.judge(probe(6, { at: AT }));
    const refusals = Array.from({ length: 30 }, (_, i) => event({ kind: 'refused', points: 0.2, at: AT + i * MINUTE }));
    expect(bench.judge(refusals).changes).toEqual([]);
    expect(bench.of('203.0.113.9').ban?.refused).toBe(30);
    bench.judge([event({ at: AT + 61 * MINUTE })]);
    expect(bench.of('203.0.113.9').ban?.since).toBe(AT + 61 * MINUTE);
    expect(bench.of('203.0.113.9').releases[0]?.how).toBe('expired');
  });

  it('holds a whole IPv6 /64', () => {
    const bench = new Bench();
    bench.judge(Array.from({ length: 6 }, (_, i) => event({ ip: `2001:db8:1:2::${i + 1}` })));
    expect(bench.of('2001:db8:1:2::/64').ban?.subject).toBe('2001:db8:1:2::/64');
  });

  it('counts lines of the future as of now', () => {
    const bench = new Bench();
    bench.judge(probe(6, { at: AT + 400 * DAY }), AT);
    expect(bench.of('203.0.113.9').ban).toMatchObject({ since: AT, until: AT + HOUR });
  });

  it('in dry-run counts what it would have refused', () => {
    const bench = new Bench({ dryRun: true });
    bench.judge(probe(30, { at: AT }));
    expect(bench.of('203.0.113.9').ban?.refused).toBe(25);
  });
});

describe('the never-banned', () => {
  it('score, but are not banned, by address and by confirmed name', () => {
    const bench = new Bench({}, { mynetworks: ['203.0.113.0/24'], hostnames: ['partner.example'] });
    bench.judge(probe(30));
    bench.judge(probe(30, { ip: '198.51.100.7', host: 'mx.partner.example' }));
    expect(bench.of('203.0.113.9').ban).toBeNull();
    expect(bench.of('198.51.100.7').ban).toBeNull();
    expect(bench.policy.scoreAt(bench.of('198.51.100.7'), AT)).toBeGreaterThan(5);
    expect(bench.policy.protectedWhy('198.51.100.7', bench.of('198.51.100.7'), AT)).toContain('allow.hostnames');
  });

  it('include clients whose users logged in, as long as that is trusted', () => {
    const bench = new Bench();
    bench.judge([event({ kind: 'authenticated', points: 0 }), ...probe(30)]);
    expect(bench.of('203.0.113.9').ban).toBeNull();
    bench.judge(probe(30, { at: AT + 31 * DAY }));
    expect(bench.of('203.0.113.9').ban).not.toBeNull();
  });

  it('are released when they log in while banned, with a clean score', () => {
    const bench = new Bench();
    bench.judge(probe(10));
    const { changes } = bench.judge([event({ kind: 'authenticated', points: 0, at: AT + 10 * MINUTE })]);
    expect(changes).toMatchObject([{ type: 'release', release: { how: 'allowed' } }]);
    expect(bench.policy.scoreAt(bench.of('203.0.113.9'), AT + 10 * MINUTE)).toBe(0);
  });

  it('trust nobody for a login when that is switched off', () => {
    const bench = new Bench({ authenticatedForMs: 0 });
    bench.judge([event({ kind: 'authenticated', points: 0 }), ...probe(10)]);
    expect(bench.of('203.0.113.9').ban).not.toBeNull();
  });

  it('are released when they become so', () => {
    const bench = new Bench();
    bench.judge(probe(10));
    bench.allow({ people: ['203.0.113.0/28'] });
    const { changes } = bench.policy.releaseProtected(['203.0.113.9'], bench.states, AT + MINUTE);
    expect(changes).toMatchObject([{ type: 'release', release: { how: 'allowed' } }]);
  });
});

describe('standing', () => {
  const accepted = (count: number) => Array.from({ length: count }, () => event({ kind: 'accepted', points: 0 }));

  it('of a thousand accepted messages outweighs five dead mailboxes, one delivered spam does not', () => {
    const provider = new Bench();
    provider.judge([...accepted(1_000), ...probe(8)]);
    expect(provider.of('203.0.113.9').ban).toBeNull();
    const bot = new Bench();
    bot.judge([...accepted(1), ...probe(8)]);
    expect(bot.of('203.0.113.9').ban).not.toBeNull();
  });

  it('is capped, so that no sender may do anything it likes', () => {
    const bench = new Bench();
    bench.judge([...accepted(100_000), ...probe(40)]);
    expect(bench.of('203.0.113.9').ban).not.toBeNull();
  });

  it('counts nothing when it is switched off', () => {
    const bench = new Bench({ standing: false });
    bench.judge([...accepted(1_000), ...probe(8)]);
    expect(bench.of('203.0.113.9').ban).not.toBeNull();
  });
});

describe('a network', () => {
  const botnet = (hosts: number) =>
    Array.from({ length: hosts }, (_, h) => probe(6, { ip: `203.0.113.${h + 1}`, at: AT })).flat();

  it('is banned when enough of its addresses are, and not before', () => {
    const bench = new Bench();
    bench.judge(botnet(3));
    expect(bench.of('203.0.113.0/24').ban).toBeNull();
    bench.judge(probe(6, { ip: '203.0.113.99', at: AT + MINUTE }));
    expect(bench.of('203.0.113.0/24').ban).toMatchObject({ subject: '203.0.113.0/24', by: 'network' });
  });

  it('is not banned when the bans inside have ended', () => {
    const bench = new Bench();
    bench.judge(botnet(3));
    bench.judge(probe(6, { ip: '203.0.113.99', at: AT + 2 * HOUR }));
    expect(bench.of('203.0.113.0/24').ban).toBeNull();
  });

  it('is never banned when it holds an allowed or trusted client', () => {
    const trusted = new Bench();
    trusted.judge([event({ kind: 'authenticated', ip: '203.0.113.200', points: 0 }), ...botnet(9)]);
    expect(trusted.of('203.0.113.0/24').ban).toBeNull();
    const allowed = new Bench({}, { people: ['203.0.113.200'] });
    allowed.judge(botnet(9));
    expect(allowed.of('203.0.113.0/24').ban).toBeNull();
    const named = new Bench({}, { hostnames: ['partner.example'] });
    named.judge([event({ ip: '203.0.113.200', host: 'mx.partner.example' }), ...botnet(9)]);
    expect(named.of('203.0.113.0/24').ban).toBeNull();
  });

  it('is released when a user logs in from inside', () => {
    const bench = new Bench();
    bench.judge(botnet(4));
    const { changes } = bench.judge([
      event({ kind: 'authenticated', ip: '203.0.113.200', points: 0, at: AT + MINUTE }),
    ]);
    expect(changes).toMatchObject([
      { type: 'release', release: { how: 'allowed', ban: { subject: '203.0.113.0/24' } } },
    ]);
  });

  it('that is banned gives nobody points for being turned away with it', () => {
    const bench = new Bench();
    bench.judge(botnet(4));
    const knocks = Array.from({ length: 50 }, () =>
      event({ ip: '203.0.113.77', kind: 'refused', points: 0.2, at: AT + MINUTE }),
    );
    bench.judge(knocks);
    expect(bench.policy.scoreAt(bench.of('203.0.113.77'), AT + MINUTE)).toBe(0);
    expect(bench.of('203.0.113.0/24').ban?.refused).toBe(50);
  });

  it('is never banned when that is switched off', () => {
    const bench = new Bench({ networks: 0 });
    bench.judge(botnet(30));
    expect(bench.of('203.0.113.0/24').ban).toBeNull();
  });
});

describe('a person', () => {
  it('bans for a time, without a strike', () => {
    const bench = new Bench();
    bench.keep(bench.policy.ban('203.0.113.9', new Map(), { at: AT, forMs: 2 * HOUR, reason: 'asked for it' }));
    expect(bench.of('203.0.113.9').ban).toMatchObject({ until: AT + 2 * HOUR, by: 'person', reason: 'asked for it' });
    expect(bench.of('203.0.113.9').strikes.value).toBe(0);
  });

  it('unbans: the score is cleared, the strike taken back, the network that held it released', () => {
    const bench = new Bench();
    bench.judge(Array.from({ length: 4 }, (_, h) => probe(6, { ip: `203.0.113.${h + 1}`, at: AT })).flat());
    bench.judge([event({ ip: '203.0.113.1', kind: 'refused', points: 0.2, at: AT + MINUTE })]);
    const verdict = bench.keep(bench.policy.unban('203.0.113.1', bench.states, AT + 2 * MINUTE));
    const released = verdict.changes.map((change) =>
      change.type === 'release' ? change.release.ban.subject : change.type,
    );
    expect(released.sort()).toEqual(['203.0.113.0/24', '203.0.113.1']);
    const state = bench.of('203.0.113.1');
    expect(bench.policy.scoreAt(state, AT + 2 * MINUTE)).toBe(0);
    expect(bench.policy.strikesAt(state, AT + 2 * MINUTE)).toBeCloseTo(0, 3);
    expect(bench.of('203.0.113.2').ban).not.toBeNull();
  });

  it('unbans somebody who then no longer counts against his network', () => {
    const bench = new Bench();
    const botnet = (hosts: number[]) => hosts.flatMap((h) => probe(6, { ip: `203.0.113.${h}`, at: AT }));
    bench.judge(botnet([1, 2, 3]));
    bench.keep(bench.policy.unban('203.0.113.1', bench.states, AT + MINUTE));
    bench.judge(botnet([4]));
    expect(bench.of('203.0.113.0/24').ban).toBeNull();
    bench.judge(botnet([5]));
    expect(bench.of('203.0.113.0/24').ban).not.toBeNull();
  });

  it('unbanning what is not banned changes nothing but the score', () => {
    const bench = new Bench();
    bench.judge(probe(3));
    expect(bench.policy.unban('203.0.113.9', bench.states, AT).changes).toEqual([]);
    expect(bench.policy.unban('198.51.100.1', bench.states, AT).put.size).toBe(0);
  });
});

describe('a ban that the store has lost', () => {
  const lost = { subject: '203.0.113.9', until: AT + 3 * HOUR };
  const takeBack = (bench: Bench, at = AT) =>
    bench.keep(bench.policy.takeBack([lost], bench.known([lost.subject]), at)).changes;

  it('is taken back with its end, as an earlier ban of its subject', () => {
    const bench = new Bench();
    expect(bench.policy.hasLost(lost.until, undefined, AT)).toBe(true);
    expect(takeBack(bench)).toHaveLength(1);
    expect(bench.of(lost.subject).ban).toMatchObject({ until: lost.until, by: 'score', reason: TAKEN_BACK });
    expect(bench.policy.strikesAt(bench.of(lost.subject), AT)).toBe(1);
    expect(takeBack(bench)).toEqual([]);
    const { changes } = bench.keep(bench.policy.unban(lost.subject, bench.known([lost.subject]), AT));
    expect(changes).toHaveLength(1);
    expect(bench.policy.strikesAt(bench.of(lost.subject), AT)).toBe(0);
  });

  it('is none when a person has ended or replaced it, when it is over, or when its subject is allowed', () => {
    const unbanned = new Bench();
    takeBack(unbanned);
    unbanned.keep(unbanned.policy.unban(lost.subject, unbanned.known([lost.subject]), AT));
    expect(takeBack(unbanned)).toEqual([]);
    const replaced = new Bench();
    replaced.keep(replaced.policy.ban(lost.subject, new Map(), { at: AT, forMs: HOUR, reason: 'shorter' }));
    expect(takeBack(replaced)).toEqual([]);
    expect(takeBack(new Bench(), lost.until)).toEqual([]);
    expect(takeBack(new Bench({}, { people: [lost.subject] }))).toEqual([]);
  });

  it('takes the place of a shorter one that lines have brought about since', () => {
    const bench = new Bench();
    bench.judge(probe(6));
    expect(bench.of(lost.subject).ban?.until).toBeLessThan(lost.until);
    takeBack(bench, AT + 10 * MINUTE);
    expect(bench.of(lost.subject).ban?.until).toBe(lost.until);
  });
});

describe('replay', () => {
  const anyEvent = fc.record({
    kind: fc.constantFrom('offense', 'offense', 'offense', 'accepted', 'authenticated', 'refused') as fc.Arbitrary<
      LogEvent['kind']
    >,
    rule: fc.constantFrom('postfix/user-unknown', 'postfix/sasl-failed'),
    ip: fc.constantFrom(
      '203.0.113.1',
      '203.0.113.2',
      '203.0.113.3',
      '203.0.113.4',
      '203.0.113.5',
      '2001:db8::1',
      '2001:db8::2',
    ),
    at: fc.integer({ min: AT, max: AT + 3 * HOUR }),
    host: fc.constantFrom(null, 'a.example', 'b.example'),
    points: fc.constantFrom(0.2, 1, 2),
    line: fc.constant('a line'),
  });
  const ordered = fc.array(anyEvent, { maxLength: 120 }).map((list) => list.sort((a, b) => a.at - b.at));

  it('in pieces, cut anywhere, gives the same states as in one go', () => {
    fc.assert(
      fc.property(ordered, fc.array(fc.nat(120)), (events, cuts) => {
        const whole = new Bench();
        whole.judge(events);
        const pieces = new Bench();
        const edges = [0, ...cuts.filter((cut) => cut < events.length).sort((a, b) => a - b), events.length];
        for (const [index, edge] of edges.slice(0, -1).entries()) pieces.judge(events.slice(edge, edges[index + 1]));
        expect([...pieces.states]).toEqual([...whole.states]);
      }),
    );
  });

  it('changes nothing later in the states that it has given out, nor in those that it was given', () => {
    fc.assert(
      fc.property(ordered, fc.nat(120), (events, cut) => {
        const bench = new Bench({ dryRun: true });
        const { put } = bench.judge(events.slice(0, cut));
        const told = JSON.stringify([...put]);
        bench.judge(events.slice(cut));
        expect(JSON.stringify([...put])).toBe(told);
      }),
    );
  });

  it('keeps what a newer blockd has noted of a subject and of its ban', () => {
    const bench = new Bench({ dryRun: true });
    bench.judge(probe(6));
    const state = bench.of('203.0.113.9');
    bench.states.set('203.0.113.9', { ...state, ban: { ...state.ban, noted: 1 }, noted: 2 } as unknown as SubjectState);
    const { put } = bench.judge([event({ at: AT + MINUTE })]);
    expect(put.get('203.0.113.9')).toMatchObject({ noted: 2, ban: { noted: 1, refused: 2 } });
  });

  it('equals living through it: settling ended bans on time changes nothing but when it is noted', () => {
    fc.assert(
      fc.property(ordered, (events) => {
        const replayed = new Bench();
        replayed.judge(events);
        const lived = new Bench();
        for (const one of events) {
          lived.keep(lived.policy.settle([...lived.states.keys()], lived.states, one.at));
          lived.judge([one], one.at);
        }
        const end = AT + 400 * DAY;
        for (const bench of [replayed, lived])
          bench.keep(bench.policy.settle([...bench.states.keys()], bench.states, end));
        expect(new Map([...lived.states].sort())).toEqual(new Map([...replayed.states].sort()));
      }),
    );
  });

  it('equals catching up with it: ends that the clock has passed long before their lines are read change nothing', () => {
    fc.assert(
      fc.property(ordered, fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }), (spread, settlings) => {
        const end = AT + 400 * DAY;
        // As close together as in a probe, so that many of them fall into bans.
        const events = spread.map((one) => ({ ...one, at: AT + (one.at - AT) / 200 }));
        const inOneGo = new Bench();
        inOneGo.judge(events);
        const caughtUp = new Bench();
        for (const [index, one] of events.entries()) {
          caughtUp.judge([one]);
          if (settlings[index % settlings.length])
            caughtUp.keep(caughtUp.policy.settle([...caughtUp.states.keys()], caughtUp.states, end));
        }
        for (const bench of [inOneGo, caughtUp])
          bench.keep(bench.policy.settle([...bench.states.keys()], bench.states, end));
        expect(new Map([...caughtUp.states].sort())).toEqual(new Map([...inOneGo.states].sort()));
      }),
    );
  });

  it('never yields a ban without end, of no length, or of a protected client', () => {
    fc.assert(
      fc.property(ordered, (events) => {
        const bench = new Bench({}, { people: ['203.0.113.1'] });
        for (const change of bench.judge(events).changes) {
          if (change.type !== 'ban') continue;
          expect(change.ban.until - change.ban.since).toBeGreaterThan(0);
          expect(change.ban.until - change.ban.since).toBeLessThanOrEqual(SETTINGS.maxMs + 1_000);
          expect(change.ban.subject).not.toBe('203.0.113.1');
          expect(change.ban.subject).not.toBe('203.0.113.0/24');
        }
      }),
    );
  });
});

describe('forgetting', () => {
  it('spares what still says something and takes what no longer does', () => {
    const bench = new Bench();
    bench.judge(probe(10));
    const keep = 30 * DAY;
    const state = () => bench.of('203.0.113.9');
    expect(bench.policy.isIdle(state(), AT + MINUTE, keep)).toBe(false);
    bench.keep(bench.policy.settle(['203.0.113.9'], bench.states, AT + 2 * HOUR));
    expect(bench.policy.isIdle(state(), AT + 29 * DAY, keep)).toBe(false);
    expect(bench.policy.isIdle(state(), AT + 365 * DAY, keep)).toBe(true);
    expect(bench.policy.isIdle(UNKNOWN, AT, keep)).toBe(true);
  });
});

describe('another half-life', () => {
  it("keeps today's score, strikes and order", () => {
    const bench = new Bench();
    bench.judge(probe(4));
    const now = AT + 5 * HOUR;
    const before = bench.policy.scoreAt(bench.of('203.0.113.9'), now);
    const other = new Policy({ ...SETTINGS, halfLifeMs: HOUR }, bench.policy.allowlist);
    const { state, rank } = other.convert(bench.of('203.0.113.9'), now, SETTINGS);
    expect(other.scoreAt(state, now)).toBeCloseTo(before, 9);
    expect(other.scoreAt(state, now + HOUR)).toBeCloseTo(before / 2, 9);
    expect(rank).toBeCloseTo(Math.log2(before) + now / HOUR, 6);
  });
});

describe('a ban whose stored end no ban made now could have', () => {
  const stored = (until: unknown, by = 'score') => {
    const bench = new Bench();
    bench.judge([event({ at: AT, points: 5 })], AT);
    const state = bench.of('203.0.113.9');
    bench.states.set('203.0.113.9', { ...state, ban: { ...state.ban, until, by } as never });
    const { ban } = bench.of('203.0.113.9');
    if (ban === null) throw new Error('not banned');
    return { bench, ban, isLong: bench.policy.outlasts(ban, AT) };
  };
  const curtailed = ({ bench }: { bench: Bench }) =>
    bench.keep(bench.policy.curtail(['203.0.113.9'], bench.states, AT)).changes;

  it('a year ahead, is cut down to ban.max', () => {
    const found = stored(AT + 365 * DAY);
    expect(found.isLong).toBe(true);
    expect(curtailed(found)).toMatchObject([{ type: 'ban', ban: { until: AT + 7 * DAY } }]);
  });

  it.each([null, 'tomorrow', Number.NaN, 9e15])('that is no date (%s) ends now', (until) => {
    const found = stored(until);
    expect(found.isLong).toBe(true);
    expect(curtailed(found)).toMatchObject([{ type: 'release', release: { how: 'expired', ban: { until: AT } } }]);
    expect(found.bench.of('203.0.113.9').ban).toBeNull();
  });

  it('is left alone where a person may order it, or where clocks of hosts differ a little', () => {
    expect(stored(AT + 365 * DAY, 'person').isLong).toBe(false);
    expect(stored(AT + 7 * DAY + 30_000).isLong).toBe(false);
  });
});

describe('a client that reaches the threshold and is never banned', () => {
  const spared = (bench: Bench, count: number, part: Partial<LogEvent> = {}) =>
    bench.judge(Array.from({ length: count }, (_, i) => event({ at: AT + i * 1_000, ...part }))).spared;

  it('is told of once, with the reason, and again only when it gets there anew', () => {
    const bench = new Bench({}, { addresses: ['203.0.113.0/24'] });
    expect(spared(bench, 4)).toEqual([]);
    const [one, ...more] = spared(bench, 20);
    expect(more).toEqual([]);
    expect(one).toMatchObject({ subject: '203.0.113.9', rule: 'postfix/user-unknown', host: null });
    expect(one?.why).toBe('allow.addresses in the config');
    expect(spared(bench, 5)).toEqual([]);
    expect(spared(bench, 8, { at: AT + 30 * DAY }).length).toBe(1);
    expect(bench.of('203.0.113.9').ban).toBe(null);
  });

  it('is told of by its confirmed name too, and by a login of its user', () => {
    const named = new Bench({}, { hostnames: ['partner.example'] });
    expect(spared(named, 6, { host: 'mx.partner.example' })).toMatchObject([{ host: 'mx.partner.example' }]);
    const trusted = new Bench();
    trusted.judge([event({ kind: 'authenticated', points: 0 })]);
    expect(spared(trusted, 6)).toMatchObject([{ why: 'a user logged in from here' }]);
  });

  it('is not told of below the threshold, and nobody who is banned is', () => {
    expect(spared(new Bench({}, { addresses: ['203.0.113.9'] }), 4)).toEqual([]);
    const bench = new Bench();
    expect(spared(bench, 20)).toEqual([]);
    expect(bench.of('203.0.113.9').ban).not.toBe(null);
  });
});

describe('lists of others', () => {
  const draft = new NetworkDraft();
  for (const text of ['203.0.113.0/28', '2001:db8:1:2::/64']) draft.add(parseNetwork(text) ?? { base: '', prefix: 0 });
  /** A policy with a list worth two points, refreshed at `AT`, and one worth more that is too old. */
  const listed = async (settings: Partial<PolicySettings> = {}, rules: Rules = {}) => {
    const networks = await draft.settle();
    const drop = { name: 'drop', source: '/etc/drop.txt', points: 2, refreshedAt: AT, maxAgeMs: 7 * DAY, networks };
    const old = { ...drop, name: 'old', points: 4, refreshedAt: AT - 8 * DAY };
    const weak = { ...drop, name: 'weak', points: 1 };
    const bench = new Bench(settings, rules);
    bench.policy = new Policy(bench.policy.settings, bench.policy.allowlist, new Lists([weak, drop, old]));
    return bench;
  };

  it('are a head start: two points less of its own ban whom one names, once, however many name it', async () => {
    const bench = await listed();
    expect(bench.judge(probe(2)).changes).toEqual([]);
    const { changes } = bench.judge([event({ at: AT + 12_000 })]);
    expect(changes).toMatchObject([
      {
        type: 'ban',
        ban: {
          reason: 'postfix/user-unknown',
          by: 'score',
          listed: { list: 'drop', source: '/etc/drop.txt', points: 2 },
        },
      },
    ]);
    const other = await listed();
    expect(other.judge(probe(4, { ip: '203.0.113.99' })).changes).toEqual([]);
  });

  it('add nothing to the score, so that hosts with other lists, or none, count the same', async () => {
    const bench = await listed();
    bench.judge(probe(2));
    expect(bench.policy.scoreAt(bench.of('203.0.113.9'), AT + 6_000)).toBeCloseTo(2, 2);
    bench.policy = new Policy(bench.policy.settings, bench.policy.allowlist);
    expect(bench.judge(probe(2)).changes).toEqual([]);
  });

  it('are not named where the own points suffice', async () => {
    const bench = await listed();
    const [change] = bench.judge([event({ points: 6 })]).changes;
    expect(change).toMatchObject({ type: 'ban', ban: { subject: '203.0.113.9' } });
    expect(change?.type === 'ban' && change.ban.listed).toBeUndefined();
  });

  it('do nothing to whom they name and who does nothing, nor to one who delivers mail', async () => {
    const bench = await listed();
    const good = Array.from({ length: 20 }, (_, i) => event({ kind: 'accepted', points: 0, at: AT + i * MINUTE }));
    expect(bench.judge(good).changes).toEqual([]);
    expect(bench.judge(probe(3)).changes).toEqual([]);
  });

  it('hold for the whole IPv6 subject', async () => {
    const bench = await listed();
    expect(bench.judge(probe(3, { ip: '2001:db8:1:2::7' })).changes).toMatchObject([
      { ban: { subject: '2001:db8:1:2::/64', listed: { list: 'drop' } } },
    ]);
  });

  it('count no longer when they were not refreshed for long', async () => {
    const bench = await listed();
    expect(bench.judge(probe(4, { at: AT + 7 * DAY + MINUTE })).changes).toEqual([]);
  });

  it('leave the allowed and those who logged in alone, and tell once that they would have been banned', async () => {
    const bench = await listed({}, { addresses: ['203.0.113.9'] });
    const { changes, spared } = bench.judge(probe(8));
    expect(changes).toEqual([]);
    expect(spared).toMatchObject([{ subject: '203.0.113.9', why: 'allow.addresses in the config' }]);
    const other = await listed();
    other.judge([event({ kind: 'authenticated', points: 0 })]);
    expect(other.judge(probe(4, { at: AT + MINUTE })).changes).toEqual([]);
  });
});
