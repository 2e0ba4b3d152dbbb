/** What a benchmark part finds out, and how it is shown. */

export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** What the figure should be; absent for what is only told. */
  readonly goal?: { readonly least: number } | { readonly most: number };
  /** Said behind the figure: what it was measured beside. */
  readonly note?: string;
}

export interface Part {
  readonly name: string;
  readonly title: string;
  run(form: Form): Promise<Figure[]>;
}

export interface Form {
  /** Lines of the large log. */
  readonly lines: number;
  /** Each command is run so often, in turn with what it is compared with. */
  readonly rounds: number;
  /** Numbers of bans at which the map's costs are measured. */
  readonly bans: readonly number[];
  /** Numbers of scored addresses at which memory is measured. */
  readonly scored: readonly number[];
  /** Attackers' lines whose way into the map is timed. */
  readonly samples: number;
  readonly idleSeconds: number;
}

export function isMet({ value, goal }: Figure): boolean | null {
  if (goal === undefined) return null;
  return 'least' in goal ? value >= goal.least : value <= goal.most;
}

export function table(figures: readonly Figure[]): string {
  const width = Math.max(...figures.map(({ what }) => what.length));
  const rows = figures.map((figure) => {
    const { what, value, unit, goal, note } = figure;
    const wanted = goal === undefined ? '' : 'least' in goal ? `≥ ${shown(goal.least)}` : `≤ ${shown(goal.most)}`;
    const met = isMet(figure);
    const mark = met === null ? ' ' : met ? '✓' : '✗';
    const row = `  ${mark} ${what.padEnd(width)}  ${`${shown(value)} ${unit}`.padStart(18)}  ${wanted.padStart(11)}`;
    return note === undefined ? row.trimEnd() : `${row}  ${note}`;
  });
  return rows.join('\n');
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

function shown(value: number): string {
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString('en').replaceAll(',', ' ');
  return String(Number(value.toPrecision(3)));
}
