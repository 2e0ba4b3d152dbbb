import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Throttle } from '../../src/daemon/throttle.js';

describe('of one kind at most one in a time', () => {
  const told: string[] = [];
  const throttle = () =>
    new Throttle<{ event: string; text: string }>(60_000, ({ text }, suppressed) =>
      told.push(`${text} +${suppressed}`),
    );
  beforeEach(() => {
    told.length = 0;
    vi.useFakeTimers();
  });
  afterEach(() => vi.useRealTimers());

  it('the first is told at once, then the latest of those that came meanwhile, with how many others there were', () => {
    const one = throttle();
    for (const text of ['a', 'b', 'c', 'd']) one.tell({ event: 'wave', text });
    expect(told).toEqual(['a +0']);
    vi.advanceTimersByTime(60_000);
    expect(told).toEqual(['a +0', 'd +2']);
    vi.advanceTimersByTime(59_999);
    one.tell({ event: 'wave', text: 'e' });
    expect(told.length).toBe(2);
    vi.advanceTimersByTime(1);
    expect(told.at(-1)).toBe('e +0');
  });

  it('kinds do not wait for each other, and after a quiet time the next is told at once', () => {
    const one = throttle();
    one.tell({ event: 'wave', text: 'a' });
    one.tell({ event: 'store', text: 'b' });
    expect(told).toEqual(['a +0', 'b +0']);
    vi.advanceTimersByTime(60_001);
    one.tell({ event: 'wave', text: 'c' });
    expect(told.at(-1)).toBe('c +0');
  });

  it('what was over before it was told is not told, only counted', () => {
    const one = throttle();
    one.tell({ event: 'store', text: 'a' });
    expect(one.withdraw('store')).toBe(false);
    one.tell({ event: 'store', text: 'b' });
    expect(one.withdraw('store')).toBe(true);
    vi.advanceTimersByTime(200_000);
    expect(told).toEqual(['a +0']);
    one.tell({ event: 'store', text: 'c' });
    expect(told.at(-1)).toBe('c +1');
  });

  it('nothing is told after the end', () => {
    const one = throttle();
    one.tell({ event: 'wave', text: 'a' });
    one.tell({ event: 'wave', text: 'b' });
    one.close();
    vi.advanceTimersByTime(200_000);
    expect(told).toEqual(['a +0']);
  });
});
