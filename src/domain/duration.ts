/** Durations as admins write them: `90s`, `15m`, `6h`, `7d`; inside blockd always milliseconds. */

const UNIT_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Milliseconds of `text`, or null when it is no duration. Accepts one number with one unit. */
export function parseDuration(text: string): number | null {
  const parts = /^(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d|w)$/.exec(text.trim());
  const unit = UNIT_MS[parts?.[2] ?? ''];
  return unit === undefined ? null : Math.round(Number(parts?.[1]) * unit);
}

/** The duration for a person, in its one or two largest units: `3 h 20 min`, `45 s`, `7 d`. */
export function formatDuration(durationMs: number): string {
  const seconds = Math.max(0, Math.round(durationMs / 1_000));
  for (const [size, name, smaller, smallerName] of SCALES) {
    if (seconds < size) continue;
    const whole = Math.floor(seconds / size);
    const rest = Math.floor((seconds % size) / smaller);
    return rest > 0 && whole < 10 ? `${whole} ${name} ${rest} ${smallerName}` : `${whole} ${name}`;
  }
  return `${seconds} s`;
}

const SCALES = [
  [86_400, 'd', 3_600, 'h'],
  [3_600, 'h', 60, 'min'],
  [60, 'min', 1, 's'],
] as const;
