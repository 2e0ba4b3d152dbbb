/** The report's claims against the truth of two weeks of traffic, and fail2ban on the same lines. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { networkOf } from '../../src/domain/address.js';
import { formatDuration } from '../../src/domain/duration.js';
import type { LogReport } from '../../src/report/report.js';
import { Trial } from '../../src/report/trial.js';
import { type Bans, fail2ban } from './fail2ban.js';
import { Folder, policyOf, reportOn } from './support.js';
import { type Act, DAY_MS, DAYS, type Truth, truth } from './truth.js';

const startAt = Date.UTC(2026, 4, 3);
const folder = new Folder();
let world: Truth;
let report: LogReport;
const trial = new Trial(policyOf({}));

beforeAll(async () => {
  world = truth(20_260_503, startAt);
  const log = folder.log('weeks.log', `${world.lines.map(({ text }) => text).join('\n')}\n`, startAt + DAYS * DAY_MS);
  report = await reportOn([log], { trials: [trial] });
}, 240_000);
afterAll(() => folder.remove());

type IsBanned = (act: Act) => boolean;

const byBlockd: IsBanned = ({ ip, at, sessionAt }) =>
  [ip, networkOf(ip) ?? ip].some((subject) =>
    trial.termsOf(subject).some((term) => term.at < sessionAt && at < term.endedAt),
  );

const byFail2ban =
  (bans: Bans): IsBanned =>
  ({ ip, at, sessionAt }) =>
    (bans.get(ip) ?? []).some(({ from, until }) => from < sessionAt && at < until);

interface Score {
  readonly stopped: number;
  readonly attempts: number;
  readonly refused: number;
  readonly wanted: number;
  /** Longest time from a new owner's first visit until he was served. */
  readonly handoverMs: number;
}

function score(isBanned: IsBanned): Score {
  const attempts = world.acts.filter(({ attack, what }) => attack && what !== 'message');
  const wanted = world.acts.filter(({ attack, what, actor }) => !attack && what === 'message' && actor !== 'new owner');
  const owners = groupBy(
    world.acts.filter(({ actor }) => actor === 'new owner'),
    ({ ip }) => ip,
  );
  const waits = [...owners.values()].map(
    (acts) => (acts.find((act) => !isBanned(act))?.at ?? Infinity) - (acts[0]?.at ?? 0),
  );
  return {
    attempts: attempts.length,
    stopped: attempts.filter(isBanned).length,
    wanted: wanted.length,
    refused: wanted.filter(isBanned).length,
    handoverMs: Math.max(...waits),
  };
}

test('the log has what it claims: attacks and wanted mail, by the thousand, every kind of actor', () => {
  expect(new Set(world.acts.map(({ actor }) => actor)).size).toBe(12);
  const { attempts, wanted } = score(byBlockd);
  expect(attempts).toBeGreaterThan(20_000);
  expect(wanted).toBeGreaterThan(10_000);
});

test('the report says what the labels say: attempts, stopped, accepted, refused', () => {
  const rejects = world.acts.filter(({ what }) => what === 'reject');
  expect(report.policy.rejects).toBe(rejects.length);
  expect(report.policy.stopped).toBe(rejects.filter(byBlockd).length);
  const messages = world.acts.filter(({ what }) => what === 'message');
  expect(report.accepted).toBe(messages.length);
  expect(report.policy.hurt).toBe(messages.filter(byBlockd).length);
});

test('with the defaults no wanted message would have been refused, and most of the attack stopped, more than by fail2ban', () => {
  const rows: [string, Score][] = [
    ['blockd, defaults', score(byBlockd)],
    ...(['default', 'aggressive'] as const).flatMap((mode) =>
      [false, true].map((increment): [string, Score] => [
        `fail2ban, ${mode}${increment ? ', bantime.increment' : ''}`,
        score(byFail2ban(fail2ban(world.lines, { mode, increment }))),
      ]),
    ),
  ];
  for (const [name, { stopped, attempts, refused, wanted, handoverMs }] of rows)
    console.log(
      `${name.padEnd(40)} stopped ${((stopped / attempts) * 100).toFixed(1)} % of ${attempts}, refused ${refused} of ${wanted}, new owner served after ${formatDuration(handoverMs)}`,
    );
  for (const actor of new Set(world.acts.filter(({ attack }) => attack).map((act) => act.actor))) {
    const acts = world.acts.filter((act) => act.actor === actor);
    console.log(`  ${actor}: ${((acts.filter(byBlockd).length / acts.length) * 100).toFixed(0)} % of ${acts.length}`);
  }
  const [[, own] = ['', null], ...others] = rows;
  if (own === null) throw new Error('no rows');
  expect(own.refused).toBe(0);
  expect(own.stopped / own.attempts).toBeGreaterThan(0.8);
  for (const [name, { stopped }] of others) expect(own.stopped, name).toBeGreaterThan(stopped);
  expect(own.handoverMs).toBeLessThanOrEqual(7 * DAY_MS);
});

test('all of it is deterministic', () => {
  expect(truth(1, startAt).lines.slice(0, 500)).toEqual(truth(1, startAt).lines.slice(0, 500));
});

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}
