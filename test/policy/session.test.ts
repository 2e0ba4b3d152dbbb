import { describe, expect, it } from 'vitest';
import { type Match, toEvent } from '../../src/domain/event.js';
import { Sessions, type SessionsCarry } from '../../src/policy/session.js';

const AT = Date.UTC(2026, 0, 1);
const match = (part: Partial<Match>): Match => ({
  kind: 'offense',
  rule: 'postfix/user-unknown',
  ip: '203.0.113.9',
  at: AT,
  host: null,
  points: 1,
  line: 'a line',
  process: 'postfix/smtpd[7]',
  echo: false,
  closes: false,
  ...part,
});
const worth = (sessions: Sessions, matches: readonly Match[]) => matches.map((one) => sessions.weigh(one));

describe('one misdeed counts once', () => {
  it('an echo of a counted failure adds nothing', () => {
    const sessions = new Sessions();
    const failure = match({ rule: 'postfix/sasl-failed', points: 2 });
    const echo = match({ rule: 'postfix/disconnect-auth', echo: true, closes: true });
    expect(worth(sessions, [failure, echo])).toEqual([2, 0]);
  });

  it('a line that is usually an echo counts when nothing was counted before it', () => {
    const sessions = new Sessions();
    const echo = match({ echo: true, closes: true });
    expect(worth(sessions, [echo, echo, echo])).toEqual([1, 1, 1]);
  });

  it('two echoes of nothing in one session count once', () => {
    const sessions = new Sessions();
    expect(worth(sessions, [match({ echo: true }), match({ echo: true, closes: true })])).toEqual([1, 0]);
  });

  it('a dictionary in one session counts fully at first, then little, and still reaches 5', () => {
    const points = worth(
      new Sessions(),
      Array.from({ length: 10 }, () => match({})),
    );
    expect(points.slice(0, 5)).toEqual([1, 1, 1, 1, 1]);
    expect(points[9]).toBe(0.25);
    expect(points.reduce((total, one) => total + one, 0)).toBeGreaterThan(5);
  });

  it('a new session starts anew: by disconnect, by another client, by long silence', () => {
    const many = Array.from({ length: 6 }, () => match({}));
    for (const between of [match({ kind: 'closed', closes: true }), match({ ip: '198.51.100.1' })]) {
      const sessions = new Sessions();
      worth(sessions, many);
      sessions.weigh(between);
      expect(worth(sessions, [match({})])).toEqual([1]);
    }
    const sessions = new Sessions();
    worth(sessions, many);
    expect(worth(sessions, [match({ at: AT + 11 * 60_000 })])).toEqual([1]);
  });

  it('other processes with the same client are other sessions', () => {
    const sessions = new Sessions();
    worth(
      sessions,
      Array.from({ length: 6 }, () => match({})),
    );
    expect(worth(sessions, [match({ process: 'postfix/smtpd[8]' })])).toEqual([1]);
  });

  it('our own refusals of one visit count once, however many recipients it names', () => {
    const refusal = match({ kind: 'refused', rule: 'postfix/refused', points: 0.2 });
    expect(worth(new Sessions(), [refusal, refusal, refusal])).toEqual([0.2, 0, 0]);
  });

  it('a line that only ends a session is no event', () => {
    const closed = match({ kind: 'closed', closes: true });
    expect(toEvent(closed, new Sessions().weigh(closed))).toBeNull();
  });

  it('goes on after a restart between any two lines as if there had been none', () => {
    const lines = [
      ...Array.from({ length: 7 }, () => match({})),
      match({ echo: true }),
      match({ kind: 'closed', closes: true }),
      match({ echo: true, rule: 'postfix/lost-connection', points: 0.2 }),
      match({ kind: 'refused', points: 0.2 }),
      match({ kind: 'refused', points: 0.2 }),
    ];
    const whole = worth(new Sessions(), lines);
    for (let cut = 0; cut <= lines.length; cut++) {
      const first = new Sessions();
      const before = worth(first, lines.slice(0, cut));
      const carried = JSON.parse(JSON.stringify(first.carry())) as SessionsCarry;
      expect([...before, ...worth(new Sessions(carried), lines.slice(cut))]).toEqual(whole);
    }
  });

  it('remembers a bounded number of sessions, the newest, and the same ones after a restart', () => {
    const whole = new Sessions();
    let restarted = new Sessions();
    for (let pid = 0; pid < 5_000; pid++) {
      // One of three says goodbye.
      for (const one of [
        match({ process: `smtpd[${pid}]` }),
        match({ process: `smtpd[${pid}]`, closes: pid % 3 === 0 }),
      ]) {
        whole.weigh(one);
        restarted.weigh(one);
      }
      if (pid % 777 === 0) restarted = new Sessions(JSON.parse(JSON.stringify(restarted.carry())) as SessionsCarry);
    }
    const kept = whole.carry().map(([process]) => process);
    expect(restarted.carry()).toEqual(whole.carry());
    const open = Array.from({ length: 5_000 }, (_, pid) => pid).filter((pid) => pid % 3 !== 0);
    expect(kept).toEqual(open.slice(-kept.length).map((pid) => `smtpd[${pid}]`));
    expect(kept.length).toBeGreaterThan(1_400);
    expect(kept.length).toBeLessThanOrEqual(2_000);
  });

  it('remembers as many where every process says goodbye', () => {
    const sessions = new Sessions();
    const stays = match({ process: 'postscreen[1]' });
    expect(worth(sessions, [stays, stays, stays])).toEqual([1, 1, 1]);
    for (let pid = 0; pid < 9_000; pid++) sessions.weigh(match({ process: `smtpd[${pid}]`, closes: true }));
    expect(sessions.carry()).toEqual([['postscreen[1]', '203.0.113.9', 3, 0, AT]]);
    expect(worth(sessions, [stays, stays, stays])).toEqual([1, 1, 0.25]);
  });
});
