import fc from 'fast-check';
import { expect, it } from 'vitest';
import { contains, parseNetwork } from '../../src/domain/address.js';
import { NetworkDraft } from '../../src/domain/network-set.js';

const setOf = async (...texts: readonly string[]) => {
  const draft = new NetworkDraft();
  for (const text of texts) {
    const network = parseNetwork(text);
    if (network === null) throw new Error(text);
    draft.add(network);
  }
  return draft.settle();
};

/** Few bits differ, so that networks often lie in each other. */
const byte = fc.constantFrom(0, 1, 127, 128, 255);
const v4 = fc
  .tuple(byte, byte, byte, byte, fc.integer({ min: 0, max: 32 }))
  .map(([a, b, c, d, prefix]) => `${a}.${b}.${c}.${d}/${prefix}`);
const group = fc.constantFrom('0', '1', '7fff', '8000', 'ffff');
const v6 = fc
  .tuple(fc.array(group, { minLength: 8, maxLength: 8 }), fc.integer({ min: 0, max: 128 }))
  .map(([groups, prefix]) => `${groups.join(':')}/${prefix}`);
const network = fc
  .oneof(v4, v6)
  .map((text) => parseNetwork(text))
  .filter((one) => one !== null)
  .map(({ base, prefix }) => `${base}/${prefix}`);

it('holds what one of its networks holds, and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(network, { maxLength: 30 }),
      fc.array(network, { minLength: 1, maxLength: 10 }),
      async (all, asked) => {
        const set = await setOf(...all);
        for (const one of [...asked, ...all]) {
          expect(set.holds(one), one).toBe(all.some((outer) => contains(outer, one)));
        }
      },
    ),
    { numRuns: 500 },
  );
});

it('counts what lies in another once', async () => {
  const set = await setOf('203.0.113.0/24', '203.0.113.9', '203.0.113.0/24', '2001:db8::/32', '2001:db8:1::/48');
  expect(set.size).toBe(2);
  expect([set.holds('203.0.113.9'), set.holds('2001:db8:1:2::/64'), set.holds('203.0.114.0')]).toEqual([
    true,
    true,
    false,
  ]);
});

it('is built of hundreds of thousands without keeping others from their work, and answers in microseconds', async () => {
  const draft = new NetworkDraft();
  for (let i = 0; i < 300_000; i++) {
    const at = (i * 2_654_435_761) >>> 0;
    draft.add({ base: [at >>> 24, (at >>> 16) & 255, (at >>> 8) & 255, at & 255].join('.'), prefix: 32 });
  }
  let others = 0;
  const timer = setInterval(() => others++, 0);
  const set = await draft.settle();
  clearInterval(timer);
  expect(set.size).toBe(300_000);
  expect(others).toBeGreaterThan(10);
  const begunAt = performance.now();
  let held = 0;
  for (let i = 0; i < 100_000; i++) if (set.holds(`${i & 255}.${(i >> 8) & 255}.3.4`)) held++;
  expect((performance.now() - begunAt) / 100_000).toBeLessThan(0.05);
  expect(held).toBeLessThan(100_000);
});
