/** The daemon's history by the hour: the same, wherever one commit ends and the next begins. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Traffic } from '../../src/demo/traffic.js';
import { type LogEvent, toEvent } from '../../src/domain/event.js';
import { LineClock } from '../../src/filter/clock.js';
import { Sessions } from '../../src/policy/session.js';
import type { SubjectState } from '../../src/policy/state.js';
import { foldHours, type Hour } from '../../src/report/hours.js';
import { FILTER, NOON, policyOf } from './support.js';

const policy = policyOf({});

function eventsOf(seed: number): LogEvent[] {
  const traffic = new Traffic({ seed, startAt: NOON - 8_000_000, perSecond: 0.3, attackShare: 0.6 });
  const sessions = new Sessions();
  const events: LogEvent[] = [];
  const text = [...traffic.lines(3_000)].map((line) => `${line.text}\n`).join('');
  FILTER.scan(text, new LineClock(NOON), (match) => {
    const event = toEvent(match, sessions.weigh(match));
    if (event !== null) events.push(event);
  });
  return events;
}

/** Commits end behind the events of these numbers; in between the clock, far ahead of the lines, may end all bans. */
function folded(events: readonly LogEvent[], ends: readonly number[], clockEndsBans = false): Hour[] {
  const states = new Map<string, SubjectState>();
  const hours = new Map<number, Hour>();
  let from = 0;
  for (const end of [...ends, events.length]) {
    const part = events.slice(from, end);
    from = Math.max(from, end);
    const subjects = policy.subjectsOf(part.map(({ ip }) => ip));
    const before = new Map(
      subjects.flatMap((one) => (states.has(one) ? [[one, states.get(one)]] : [])) as [string, SubjectState][],
    );
    const verdict = policy.judge(part, new Map(before), Number.POSITIVE_INFINITY);
    for (const [at, hour] of foldHours(hours, { events: part, before, verdict, policy, enforced: false, banned: 0 }))
      hours.set(at, hour);
    for (const [subject, state] of verdict.put) if (state !== null) states.set(subject, state);
    if (!clockEndsBans) continue;
    const { put } = policy.settle([...states.keys()], states, NOON + 30 * 86_400_000);
    for (const [subject, state] of put) if (state !== null) states.set(subject, state);
  }
  return [...hours.values()].sort((a, b) => a.at - b.at);
}

test.each([9, 12, 15, 18])(
  'wherever commits end, and whenever the ends of bans are recorded, the hours are the same (log %d)',
  (seed) => {
    const events = eventsOf(seed);
    const whole = folded(events, []);
    expect(whole.reduce((sum, { stopped }) => sum + stopped, 0)).toBeGreaterThan(100);
    fc.assert(
      fc.property(fc.array(fc.nat(events.length), { maxLength: 30 }), fc.boolean(), (ends, clockEndsBans) => {
        const inOrder = ends.sort((a, b) => a - b);
        expect(folded(events, inOrder, clockEndsBans)).toEqual(whole);
      }),
      { numRuns: 60 },
    );
  },
  60_000,
);

test('what was known is not changed: a commit may be asked for again', () => {
  const events = eventsOf(10).slice(0, 400);
  const [hour] = folded(events, []);
  if (hour === undefined) throw new Error('no hour');
  const known = new Map([[hour.at, hour]]);
  const copy = structuredClone(hour);
  const verdict = policy.judge(events, new Map(), Number.POSITIVE_INFINITY);
  const judged = { events, before: new Map(), verdict, policy, enforced: false, banned: 0 };
  const once = foldHours(known, judged);
  expect(hour).toEqual(copy);
  expect(foldHours(known, judged)).toEqual(once);
});

test('the seconds in which an open session is left alone count from the same instant, in one commit or two', () => {
  const offense = (at: number): LogEvent => ({
    kind: 'offense',
    rule: 'postfix/user-unknown',
    ip: '203.0.113.9',
    at,
    host: null,
    points: 5,
    line: '2026-11-24T12:00:00Z mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[203.0.113.9]: 550 5.1.1 x',
  });
  // The ban begins on a whole second, nine tenths of one before the line that led to it.
  const events = [offense(NOON + 900), offense(NOON + 10_500)];
  const [once] = folded(events, []);
  expect(folded(events, [1])).toEqual([once]);
  expect(once?.stopped).toBe(1);
});
