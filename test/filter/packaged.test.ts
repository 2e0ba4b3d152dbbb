import { expect, test } from 'vitest';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import { runSamples } from '../../src/filter/samples.js';

test('every packaged rule matches its samples and ignores what it must', () => {
  expect(runSamples(loadRules(packagedFilters(), null))).toEqual([]);
});
