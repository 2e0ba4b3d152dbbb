import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from '../../src/domain/duration.js';

describe('a duration', () => {
  it('is read as admins write it', () => {
    expect(parseDuration('90s')).toBe(90_000);
    expect(parseDuration('15m')).toBe(900_000);
    expect(parseDuration('6h')).toBe(21_600_000);
    expect(parseDuration('7d')).toBe(604_800_000);
    expect(parseDuration('1.5h')).toBe(5_400_000);
    for (const text of ['', '6', 'h', '-1h', '6 hours', '6h30m', '1e3s', 'Infinityd', '6H', '٣h', '9999999999d']) {
      expect(parseDuration(text), text).toBeNull();
    }
  });

  it('is said in its one or two largest units', () => {
    expect(formatDuration(45_000)).toBe('45 s');
    expect(formatDuration(90_000)).toBe('1 min 30 s');
    expect(formatDuration(12 * 60_000)).toBe('12 min');
    expect(formatDuration(3 * 3_600_000 + 20 * 60_000)).toBe('3 h 20 min');
    expect(formatDuration(7 * 86_400_000)).toBe('7 d');
    expect(formatDuration(-5)).toBe('0 s');
  });

  it('of whole seconds survives being written in seconds', () => {
    fc.assert(
      fc.property(fc.nat(999_999_999), (seconds) => {
        expect(parseDuration(`${seconds}s`)).toBe(seconds * 1_000);
      }),
    );
  });
});
