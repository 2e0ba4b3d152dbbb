/** The packaged rules on a large mixed log whose truth is known. */
import { expect, test } from 'vitest';
import { LineClock } from '../../src/filter/clock.js';
import { Filter } from '../../src/filter/filter.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import { corpus, VICTIM } from './corpus.js';

const LINES = 100_000;
const filter = Filter.compile(loadRules(packagedFilters(), null));

test.each([
  ['traditional', 20],
  ['RFC 3339', 21],
])('finds at least 99 % of the offenders in a log with %s stamps, and blames nobody else', (_, seed) => {
  const missed: string[] = [];
  const blamed: string[] = [];
  const misread: string[] = [];
  let offenses = 0;
  for (const { line, offender, kind } of corpus({ seed, lines: LINES, attack: 0.4 })) {
    const bytes = Buffer.from(line, 'utf8').toString('latin1');
    const match = filter.match(bytes, new LineClock(Date.UTC(2026, 4, 10)));
    const accused = match !== null && match.kind === 'offense' ? match.ip : null;
    if (offender !== null) offenses++;
    if (offender !== null && accused === null) missed.push(line);
    if (accused !== null && accused !== offender) blamed.push(line);
    if (match?.ip === VICTIM) blamed.push(line);
    if (offender === null && (match?.kind ?? undefined) !== kind) misread.push(line);
  }
  expect(blamed).toEqual([]);
  expect(misread).toEqual([]);
  expect(missed.slice(0, offenses * 0.01 < missed.length ? 20 : 0)).toEqual([]);
});
