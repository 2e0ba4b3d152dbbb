import fc from 'fast-check';
import { expect, it } from 'vitest';
import { eachInTurns, numbersInTurns, sortedInTurns } from '../../src/domain/turns.js';

it('sorts as sort() does, however long', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string({ maxLength: 4 }), { maxLength: 50 }), async (few) => {
      const texts = Array.from({ length: 20_000 }, (_, i) => `${few[i % (few.length || 1)] ?? ''}${i % 977}`);
      expect(await sortedInTurns(texts)).toEqual(texts.toSorted());
    }),
    { numRuns: 10 },
  );
});

it('sorts numbers, however many', async () => {
  for (const count of [0, 1, 65_536, 65_537, 300_001]) {
    const numbers = Float64Array.from({ length: count }, (_, i) => (i * 7_919) % 100_003);
    expect(await numbersInTurns(numbers.slice())).toEqual(numbers.sort());
  }
});

it('lets others run in between', async () => {
  let others = 0;
  const timer = setInterval(() => others++, 0);
  const seen: number[] = [];
  await eachInTurns(
    Array.from({ length: 400_000 }, (_, i) => i),
    (item) => seen.push(item),
  );
  clearInterval(timer);
  expect(seen.length).toBe(400_000);
  expect(others).toBeGreaterThan(0);
});
