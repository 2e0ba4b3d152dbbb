import fc from 'fast-check';
import { expect, it } from 'vitest';
import { exposition, Histogram } from '../../src/daemon/exposition.js';
import { parseExposition } from '../support/exposition.js';

it('brings every label and number over as it is, whatever is in it', () => {
  const label = fc.string({ unit: 'binary' }).map((text) => text.replace(/\r/g, ''));
  fc.assert(
    fc.property(
      fc.uniqueArray(label, { minLength: 1 }),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      (labels, value) => {
        const samples = labels.map((log) => ({ labels: { log, other: 'x' }, value }));
        const text = exposition([{ name: 'blockd_x', help: 'A \\ line\nand more.', type: 'gauge', samples }]);
        const read = parseExposition(text).get('blockd_x');
        expect(read?.samples.map((sample) => sample.labels['log'])).toEqual(labels);
        expect(read?.samples.every((sample) => sample.value === value || (sample.value === 0 && value === 0))).toBe(
          true,
        );
      },
    ),
  );
});

it('counts a duration in its bucket and in all above', () => {
  const histogram = new Histogram([0.1, 1]);
  for (const seconds of [0.05, 0.1, 0.5, 7]) histogram.observe(seconds);
  expect(
    histogram.samples.map(({ suffix, labels, value }) => [suffix, labels?.['le'], Number(value.toFixed(3))]),
  ).toEqual([
    ['_bucket', '0.1', 2],
    ['_bucket', '1', 3],
    ['_bucket', '+Inf', 4],
    ['_sum', undefined, 7.65],
    ['_count', undefined, 4],
  ]);
});
