/** What the store must hold at the end: the same lines, in the same order, counted in one go without any fault. */
import { loadConfig, toPolicySettings } from '../../src/config/load.js';
import { Counting } from '../../src/daemon/counting.js';
import { createLogger } from '../../src/daemon/log.js';
import { networkOf, subjectOf } from '../../src/domain/address.js';
import { ownAddresses } from '../../src/domain/own-addresses.js';
import { Filter } from '../../src/filter/filter.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import { Allowlist, allowRules } from '../../src/policy/allowlist.js';
import { valueAt } from '../../src/policy/decay.js';
import { Policy } from '../../src/policy/policy.js';
import type { Decayed, SubjectState } from '../../src/policy/state.js';
import { MemoryStore } from '../../src/store/memory.js';
import type { Store } from '../../src/store/store.js';
import type { LogLine, LogLines } from './log-lines.js';

export interface Verdict {
  readonly lost: readonly string[];
  readonly doubled: readonly string[];
  /** Subjects whose offenses are right and whose score, strikes or ban are not. */
  readonly wrong: readonly string[];
  readonly writersLosses: number;
}

const TOLERANCE = 1e-9;
const neverBanned = allowRules({ own: ownAddresses(), mynetworks: [], addresses: [], hostnames: [], people: [] });
const rules = loadRules(packagedFilters(), '/nonexistent');

/** Compares what `store` counted of `lines` with the truth. */
export async function reckon(lines: LogLines, store: Store, set: readonly string[]): Promise<Verdict> {
  const subjects = subjectsOf(lines);
  const expected = settled(await (await countedInOneGo(lines, set)).states(subjects), set);
  const counted = settled(await store.states(subjects), set);
  const verdict = { lost: [] as string[], doubled: [] as string[], wrong: [] as string[], writersLosses: 0 };
  for (const subject of subjects) {
    const own = lines.all.filter(({ offender }) => offender !== null && subjectOf(offender) === subject);
    const offenses = counted.get(subject)?.offenses ?? 0;
    const [only] = own;
    if (only?.fate === 'risky') {
      if (offenses > 1) verdict.doubled.push(`${subject}: ${offenses} for at most 1`);
      verdict.writersLosses += 1 - Math.min(1, offenses);
      continue;
    }
    const truth = own.filter(({ fate }) => fate === 'sure').length;
    verdict.writersLosses += own.length - truth;
    const reference = expected.get(subject);
    if ((reference?.offenses ?? 0) !== truth)
      verdict.wrong.push(`${subject}: the filter knows ${reference?.offenses} of ${truth}`);
    if (offenses !== truth) {
      const list = offenses < truth ? verdict.lost : verdict.doubled;
      list.push(`${subject}: ${offenses} for ${truth}${await missing(own, subject, store)}`);
      continue;
    }
    const difference = differenceOf(reference, counted.get(subject), set);
    if (difference !== null) verdict.wrong.push(`${subject}: ${difference}`);
  }
  return verdict;
}

export function subjectsOf(lines: LogLines): string[] {
  const subjects = [...lines.clients].map((client) => subjectOf(client));
  return [...new Set([...subjects, ...subjects.flatMap((subject) => networkOf(subject) ?? [])])].sort();
}

/** When the end of a ban is recorded depends on the hour, what it changes must not. */
function settled(states: ReadonlyMap<string, SubjectState>, set: readonly string[]): Map<string, SubjectState> {
  const { put } = policyOf(set).settle([...states.keys()], states, Date.now());
  return new Map([...states, ...put].flatMap(([subject, state]) => (state === null ? [] : [[subject, state]])));
}

function policyOf(set: readonly string[]): Policy {
  const { config } = loadConfig({ file: undefined, set: [...set], overrides: {} });
  return new Policy(toPolicySettings(config), new Allowlist(neverBanned));
}

async function countedInOneGo(lines: LogLines, set: readonly string[]): Promise<Store> {
  const store = new MemoryStore();
  const counting = new Counting({
    store,
    host: 'mx',
    logger: await createLogger({ level: 'fatal', format: 'json' }),
    filter: Filter.compile(rules),
    policy: policyOf(set),
    progress: new Map(),
    fallback: new Map(),
    birth: '',
    readBirth: async () => '',
    onEmptied: async () => undefined,
    onCommitted: () => undefined,
  });
  const { signal } = new AbortController();
  const text = lines.all
    .filter(({ fate }) => fate === 'sure')
    .map((line) => line.text)
    .join('');
  const position = { kind: 'journal', cursor: '' } as const;
  const read = { log: 'all', lines: Buffer.from(text, 'latin1'), position, writtenAt: Date.now(), lagBytes: 0 };
  counting.take(read);
  await counting.flush(signal);
  return store;
}

function differenceOf(
  expected: SubjectState | undefined,
  counted: SubjectState | undefined,
  set: readonly string[],
): string | null {
  if (expected === undefined || counted === undefined) {
    return expected === counted ? null : `known: ${expected !== undefined}, counted: ${counted !== undefined}`;
  }
  const { halfLifeMs, strikesHalfLifeMs } = policyOf(set).settings;
  const at = Math.max(
    ...[expected, counted].flatMap(({ score, strikes, accepted }) => [score.at, strikes.at, accepted.at]),
  );
  const off = (a: Decayed, b: Decayed, halfLife: number) =>
    !(Math.abs(valueAt(a, at, halfLife) - valueAt(b, at, halfLife)) <= TOLERANCE);
  if (off(expected.score, counted.score, halfLifeMs)) return `score ${JSON.stringify([expected.score, counted.score])}`;
  if (off(expected.strikes, counted.strikes, strikesHalfLifeMs))
    return `strikes ${JSON.stringify([expected.strikes, counted.strikes])}`;
  if (off(expected.accepted, counted.accepted, strikesHalfLifeMs))
    return `accepted ${JSON.stringify([expected.accepted, counted.accepted])}`;
  const [a, b] = [expected, counted].map(({ ban, releases }) => JSON.stringify({ ban, releases }));
  return a === b ? null : `bans ${a} ${b}`;
}

/** Which numbers the store has no line of, as far as it keeps lines. */
async function missing(own: readonly LogLine[], subject: string, store: Store): Promise<string> {
  const kept = (await store.evidence(subject)).map(({ line }) => Number(/\bn(\d+)@/.exec(line)?.[1]));
  const numbers = own.map(({ n }) => n);
  return ` (lines ${numbers.join(' ')}; kept ${kept.reverse().join(' ')})`;
}
