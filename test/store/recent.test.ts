/** What the store for several hosts remembers of what it last saw. */
import { describe, expect, it, vi } from 'vitest';
import { Recent } from '../../src/store/recent.js';

describe('what was last seen', () => {
  it('is remembered and replaced by its name, also that there was nothing', () => {
    const recent = new Recent<number | null>();
    recent.set('a', 1);
    recent.set('a', 2);
    recent.set('b', 3);
    recent.set('b', null);
    expect([recent.get('a'), recent.get('b'), recent.get('c')]).toEqual([2, null, undefined]);
  });

  it('stays for those who come again and again, and goes with the rest, however many come', () => {
    const recent = new Recent<number>();
    recent.set('regular', -1);
    recent.set('once', -1);
    for (let i = 0; i < 100_000; i++) {
      recent.set(`passer-by ${i}`, i);
      if (i % 100 === 0) expect(recent.get('regular')).toBe(-1);
    }
    expect(recent.get('once')).toBeUndefined();
    expect(recent.get('passer-by 99999')).toBe(99_999);
    expect(recent.size).toBeLessThanOrEqual(20_000);
  });

  it('is given up when it was wrong, and nothing is remembered for a while', () => {
    const now = vi.spyOn(performance, 'now').mockReturnValue(1_000);
    try {
      const recent = new Recent<number>();
      recent.set('a', 1);
      recent.wrong();
      expect(recent.get('a')).toBeUndefined();
      recent.set('a', 2);
      expect(recent.get('a')).toBeUndefined();
      now.mockReturnValue(1_000_000);
      recent.set('a', 3);
      expect(recent.get('a')).toBe(3);
    } finally {
      now.mockRestore();
    }
  });
});
