/** Figures in the words of people: never flattering, never wrong in the singular. */
import { afterAll, expect, test } from 'vitest';
import { bytes, number, percent, verdictOf } from '../../src/report/words.js';
import { Folder, Scribe } from './support.js';

const folder = new Folder();
afterAll(() => folder.remove());

test('numbers are grouped, shares are never rounded to all or nothing', () => {
  expect([0, 999, 1_000, 1_234_567, null].map(number)).toEqual(['0', '999', '1,000', '1,234,567', '-']);
  expect(percent(0, 0)).toBe('0 %');
  expect(percent(0, 10)).toBe('0 %');
  expect(percent(1, 1_000)).toBe('under 1 %');
  expect(percent(9_999, 10_000)).toBe('99.9 %');
  expect(percent(10, 10)).toBe('100 %');
  expect([512, 2_048, 5_242_880, 3_221_225_472].map(bytes)).toEqual(['512 B', '2.0 KiB', '5.0 MiB', '3.0 GiB']);
});

test('the verdict is good, careful or idle, and says why', async () => {
  const scribe = new Scribe();
  const verdict = async () => verdictOf(await folder.report(scribe.lines));
  scribe.visit('mx.b.example[198.51.100.7]', (visit) => visit.deliver());
  expect(await verdict()).toEqual({ level: 'idle', headline: 'Nobody would have been banned.', sentences: [] });

  scribe.visit('unknown[203.0.113.9]', (visit) => {
    for (let i = 0; i < 5; i++) visit.reject();
  });
  expect(await verdict()).toEqual({
    level: 'good',
    headline: 'None of 1 accepted messages would have been refused.',
    sentences: [
      'Of 5 rejected attempts, 0 (0 %) would have been turned away before the recipient check: 5 would have been 5.',
      '1 ban of 1 client or network, at most 1 at one time, the longest for 1 h.',
    ],
  });

  scribe.wait(60_000).visit('unknown[203.0.113.9]', (visit) => visit.deliver());
  const careful = await verdict();
  expect(careful).toMatchObject({ level: 'careful', headline: '1 of 2 accepted messages would have been refused.' });
  expect(careful.sentences[0]).toBe('From 1 client: look below at why, and allow who is wanted, before you enforce.');
});
