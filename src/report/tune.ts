/** Many policies over one reading of the logs: what each stops, what wanted mail it costs, and how large its map grows. */
import type { Allowlist } from '../policy/allowlist.js';
import { type Lists, NO_LISTS } from '../policy/lists.js';
import { Policy, type PolicySettings } from '../policy/policy.js';
import { Trial } from './trial.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const THRESHOLDS = [2, 3, 5, 8, 12];
const HALF_LIVES_MS = [HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS];
const FIRST_BANS_MS = [15 * MINUTE_MS, HOUR_MS, 4 * HOUR_MS, 24 * HOUR_MS];

export interface TuneRow {
  readonly threshold: number;
  readonly halfLifeMs: number;
  readonly firstMs: number;
  readonly rejects: number;
  readonly stopped: number;
  /** Accepted messages that would have been refused. */
  readonly hurt: number;
  readonly bans: number;
  readonly bannedAtOnce: number;
  /** The policy as configured. */
  readonly current: boolean;
  /** Of those that cost no wanted mail the one that stops most; of such the one with the smallest map. */
  readonly best: boolean;
  /** No other stops as much at the same cost of wanted mail and with as small a map. */
  readonly frontier: boolean;
}

/** The policies to try, the present one first. */
export function tuneTrials(current: PolicySettings, allowlist: Allowlist, lists: Lists = NO_LISTS): Trial[] {
  // A list alone never bans.
  const thresholds = THRESHOLDS.filter((one) => one > lists.mostPoints);
  const others = thresholds
    .flatMap((threshold) =>
      HALF_LIVES_MS.flatMap((halfLifeMs) => FIRST_BANS_MS.map((firstMs) => ({ threshold, halfLifeMs, firstMs }))),
    )
    .filter((one) => !isSame(one, current));
  // A first ban longer than the longest would be cut to it.
  return [current, ...others.filter(({ firstMs }) => firstMs <= current.maxMs)].map(
    (one) => new Trial(new Policy({ ...current, ...one }, allowlist, lists)),
  );
}

/** What came of them, those that cost least wanted mail and stop most first. */
export function tuneRows(trials: readonly Trial[], current: PolicySettings): TuneRow[] {
  const rows = trials.map((trial) => {
    const { threshold, halfLifeMs, firstMs } = trial.policy.settings;
    return {
      threshold,
      halfLifeMs,
      firstMs,
      rejects: trial.attempts,
      stopped: trial.stopped,
      hurt: trial.hurt,
      bans: trial.terms.length,
      bannedAtOnce: trial.mostAtOnce(),
      current: isSame(trial.policy.settings, current),
    };
  });
  rows.sort(
    (a, b) =>
      a.hurt - b.hurt ||
      b.stopped - a.stopped ||
      a.bannedAtOnce - b.bannedAtOnce ||
      b.threshold - a.threshold ||
      a.halfLifeMs - b.halfLifeMs ||
      a.firstMs - b.firstMs,
  );
  return rows.map((row, i) => ({
    ...row,
    best: i === 0 && row.hurt === 0 && row.stopped > 0,
    frontier: !rows.some((other) => isBetter(other, row)),
  }));
}

type Choice = Pick<PolicySettings, 'threshold' | 'halfLifeMs' | 'firstMs'>;
type Outcome = Pick<TuneRow, 'hurt' | 'stopped' | 'bannedAtOnce'>;

/** The keys of the config, to paste. */
export function configLines({ threshold, halfLifeMs, firstMs }: Choice): string {
  return `[score]\nthreshold = ${threshold}\nhalf_life = "${shortDuration(halfLifeMs)}"\n\n[ban]\nfirst = "${shortDuration(firstMs)}"`;
}

/** As the config has it: `90s`, `15m`, `6h`, `7d`. */
export function shortDuration(ms: number): string {
  for (const [unit, size] of UNITS) if (ms % size === 0 && (unit !== 'd' || ms > size)) return `${ms / size}${unit}`;
  return `${ms}ms`;
}

const UNITS = [
  ['d', 24 * HOUR_MS],
  ['h', HOUR_MS],
  ['m', MINUTE_MS],
  ['s', 1_000],
] as const;

function isSame(a: Choice, b: Choice): boolean {
  return a.threshold === b.threshold && a.halfLifeMs === b.halfLifeMs && a.firstMs === b.firstMs;
}

function isBetter(a: Outcome, b: Outcome): boolean {
  const asGood = a.hurt <= b.hurt && a.stopped >= b.stopped && a.bannedAtOnce <= b.bannedAtOnce;
  return asGood && (a.hurt < b.hurt || a.stopped > b.stopped || a.bannedAtOnce < b.bannedAtOnce);
}
