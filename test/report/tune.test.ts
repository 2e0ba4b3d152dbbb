/** Many policies over one reading: the same figures as one at a time, and the best of those that cost no wanted mail. */
import { parse } from 'smol-toml';
import { afterAll, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { Allowlist } from '../../src/policy/allowlist.js';
import { configLines, shortDuration, tuneRows, tuneTrials } from '../../src/report/tune.js';
import { tuneSection } from '../../src/report/tune-section.js';
import { Folder, policyOf, Scribe } from './support.js';

const folder = new Folder();
afterAll(() => folder.remove());
const SETTINGS = policyOf({}).settings;
const NOBODY = new Allowlist({ addresses: [], hostnames: [] });
const HOUR_MS = 3_600_000;

/** A botnet that comes back every two hours, and a list server with four stale members in each issue. */
function log(): readonly string[] {
  const scribe = new Scribe();
  for (let round = 0; round < 6; round++) {
    for (let i = 1; i <= 6; i++) {
      scribe.visit(`unknown[203.0.113.${i}]`, (visit) => {
        for (let n = 0; n < 3; n++) visit.reject();
      });
      scribe.visit(`unknown[203.0.113.${i}]`, (visit) => {
        for (let n = 0; n < 4; n++) visit.reject();
      });
    }
    scribe.visit('lists.good.example[198.51.100.7]', (visit) => {
      visit.deliver();
      for (let n = 0; n < 4; n++) visit.reject();
    });
    scribe.wait(60_000).visit('lists.good.example[198.51.100.7]', (visit) => visit.deliver());
    scribe.wait(2 * HOUR_MS);
  }
  return scribe.lines;
}

test('each of the policies gives what it gives alone', async () => {
  const trials = tuneTrials(SETTINGS, NOBODY);
  await folder.report(log(), { trials });
  const rows = tuneRows(trials, SETTINGS);
  expect(rows.length).toBe(60);
  for (const row of [rows[0], rows[20], rows[59]]) {
    if (row === undefined) throw new Error('too few rows');
    const { threshold, halfLifeMs, firstMs } = row;
    const { policy } = await folder.report(log(), { settings: { threshold, halfLifeMs, firstMs } });
    expect(policy).toMatchObject({
      stopped: row.stopped,
      hurt: row.hurt,
      bans: row.bans,
      bannedAtOnce: row.bannedAtOnce,
      rejects: row.rejects,
    });
  }
});

test('the best costs no wanted mail, and no other that costs none stops more; the present one is marked', async () => {
  const trials = tuneTrials(SETTINGS, NOBODY);
  await folder.report(log(), { trials });
  const rows = tuneRows(trials, SETTINGS);
  expect(rows.filter(({ current }) => current)).toMatchObject([
    { threshold: 5, halfLifeMs: 6 * HOUR_MS, firstMs: HOUR_MS },
  ]);
  const [best, another] = rows.filter((row) => row.best);
  expect(another).toBeUndefined();
  expect(best).toMatchObject({ hurt: 0, frontier: true });
  const harmless = rows.filter(({ hurt }) => hurt === 0);
  expect(best?.stopped).toBe(Math.max(...harmless.map(({ stopped }) => stopped)));
  expect(rows.some(({ hurt }) => hurt > 0)).toBe(true);
});

test('a policy that is none of those tried is tried too', () => {
  const own = { ...SETTINGS, threshold: 4.5 };
  const trials = tuneTrials(own, NOBODY);
  expect(trials.length).toBe(61);
  expect(trials[0]?.policy.settings).toEqual(own);
});

test('a longest ban below a first ban is not tried', () => {
  const trials = tuneTrials({ ...SETTINGS, maxMs: 2 * HOUR_MS }, NOBODY);
  expect(trials.every(({ policy }) => policy.settings.firstMs <= 2 * HOUR_MS)).toBe(true);
});

test('the lines for the config are read back as they were meant', () => {
  const lines = configLines({ threshold: 3, halfLifeMs: 24 * HOUR_MS, firstMs: 15 * 60_000 });
  expect(parse(lines)).toEqual({ score: { threshold: 3, half_life: '24h' }, ban: { first: '15m' } });
  const { config } = loadConfig({ file: folder.log('blockd.toml', lines) });
  expect([config.score.half_life, config.ban.first]).toEqual([24 * HOUR_MS, 15 * 60_000]);
  expect([90_000, HOUR_MS, 7 * 24 * HOUR_MS].map(shortDuration)).toEqual(['90s', '1h', '7d']);
});

test('the picture has a mark for each policy, and says so where none is harmless', async () => {
  const trials = tuneTrials(SETTINGS, NOBODY);
  await folder.report(log(), { trials });
  const rows = tuneRows(trials, SETTINGS);
  const { text } = tuneSection(rows);
  expect(text.match(/<circle/g)?.length).toBe(2 * rows.length);
  expect(text).not.toMatch(/NaN|Infinity|undefined/);
  expect(text).toContain('[score]\nthreshold = ');
  expect(tuneSection(rows.filter(({ hurt }) => hurt > 0)).text).toContain('None of these policies');
});
