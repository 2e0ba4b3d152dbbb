/** Reads Prometheus's text format as strictly as its documentation has it, and throws at whatever is not so. */

export interface Metric {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly {
    readonly name: string;
    readonly labels: Record<string, string>;
    readonly value: number;
  }[];
}

export function parseExposition(text: string): Map<string, Metric> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const metrics = new Map<string, { type: string; help: string; samples: Metric['samples'][number][] }>();
  const seen = new Set<string>();
  let open: string | null = null;
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP ([a-zA-Z_:][\w:]*) (\S.*)$/.exec(line);
    if (help !== null) {
      open = help[1] ?? '';
      if (metrics.has(open)) throw new Error(`${open} comes twice`);
      metrics.set(open, { help: help[2] ?? '', type: '', samples: [] });
      continue;
    }
    const metric = metrics.get(open ?? '');
    if (metric === undefined || open === null) throw new Error(`before any HELP: ${line}`);
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) {
      if (type[1] !== open || metric.type !== '' || metric.samples.length > 0) throw new Error(`out of place: ${line}`);
      metric.type = type[2] ?? '';
      continue;
    }
    const sample =
      /^([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/.exec(
        line,
      );
    if (sample === null || metric.type === '') throw new Error(`no sample: ${line}`);
    const [, name = '', pairs = '', value] = sample;
    const suffixes = metric.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    if (!suffixes.some((suffix) => name === open + suffix)) throw new Error(`${line} is none of ${open}`);
    if ((metric.type === 'counter') !== open.endsWith('_total')) throw new Error(`${open} is a ${metric.type}`);
    if (seen.has(name + pairs)) throw new Error(`twice: ${line}`);
    seen.add(name + pairs);
    const labels: Record<string, string> = {};
    for (const [, label = '', raw = ''] of pairs.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g))
      labels[label] = raw.replace(/\\(.)/g, (_, char) => (char === 'n' ? '\n' : char));
    metric.samples.push({ name, labels, value: Number(value) });
  }
  for (const [name, { type, samples }] of metrics) {
    if (samples.length === 0) throw new Error(`${name} has no samples`);
    if (type !== 'histogram') continue;
    const buckets = samples.filter((one) => one.name.endsWith('_bucket'));
    const counts = buckets.map(({ value }) => value);
    if (counts.some((count, i) => count < (counts[i - 1] ?? 0))) throw new Error(`${name}: buckets shrink`);
    const last = buckets.at(-1);
    if (last?.labels['le'] !== '+Inf' || last.value !== samples.find((one) => one.name === `${name}_count`)?.value)
      throw new Error(`${name}: its last bucket does not hold all`);
  }
  return metrics;
}

/** The value of the sample with these labels; undefined when there is none. */
export function sampleOf(
  metrics: ReadonlyMap<string, Metric>,
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  return metrics
    .get(name)
    ?.samples.find((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))?.value;
}
