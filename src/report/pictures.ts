/** The pictures of a report. */
import { valueAt } from '../policy/decay.js';
import { inBothWidths, Plot, path, rounded } from './chart.js';
import { type Markup, markup } from './markup.js';
import type { Bucket, Offender, Report } from './report.js';
import { number } from './words.js';

/** Rejected attempts over time: those that bans would have stopped, and those that go on. */
export function attemptsPicture({ timeline: { stepMs, buckets } }: Report): Markup {
  const most = Math.max(1, ...buckets.map(({ stopped, passed }) => stopped + passed));
  return inBothWidths((frame, className) => {
    const plot = new Plot(frame, spanOf(buckets, stepMs), most);
    const bars = buckets.map((bucket) => {
      const { at, stopped, passed } = bucket;
      const x = plot.x(at);
      const width = Math.max(0.6, plot.x(at + stepMs) - x - (buckets.length > 100 ? 0.5 : 1.5));
      const bar = (name: string, from: number, to: number) =>
        to > from
          ? markup`<rect class="${name}" x="${x}" width="${width}" y="${plot.y(to)}" height="${plot.y(from) - plot.y(to)}"/>`
          : null;
      return markup`<g>${titleOf(at, `${number(stopped)} stopped, ${number(passed)} not`)}${bar('passed', 0, passed)}${bar('stopped', passed, passed + stopped)}</g>`;
    });
    return plot.picture(className, 'Rejected attempts over time, stopped and not stopped', bars);
  });
}

/** How many would have been banned at one time: the map's size. */
export function bannedPicture({ timeline: { stepMs, buckets } }: Report): Markup {
  const most = Math.max(1, ...buckets.map(({ banned }) => banned));
  return inBothWidths((frame, className) => {
    const plot = new Plot({ ...frame, height: frame.height - 60 }, spanOf(buckets, stepMs), most);
    const steps = buckets.flatMap(({ at, banned }): [number, number][] => [
      [plot.x(at), plot.y(banned)],
      [plot.x(at + stepMs), plot.y(banned)],
    ]);
    const [first] = steps;
    const last = steps.at(-1);
    if (first === undefined || last === undefined) return plot.picture(className, 'Nobody banned', []);
    const area = `${path(steps)}L${rounded(last[0])} ${plot.base}L${rounded(first[0])} ${plot.base}Z`;
    return plot.picture(className, 'Banned at one time', [
      markup`<path class="area" d="${area}"/><path class="line" d="${path(steps)}"/>`,
      ...buckets.map(
        ({ at, banned }) =>
          markup`<rect class="hit" x="${plot.x(at)}" width="${plot.x(at + stepMs) - plot.x(at)}" y="0" height="${plot.base}">${titleOf(at, `${number(banned)} banned`)}</rect>`,
      ),
    ]);
  });
}

const CURVE = { width: 400, height: 130 };
/** Points of a falling curve between two offenses, where they lie apart. */
const SAMPLES = 8;

/** A client's score over time, with the threshold, and its bans shaded. */
export function scorePicture({ curve: { offenses, bans }, subject }: Offender, { settings, to }: Report): Markup {
  const { threshold, halfLifeMs } = settings;
  // Of one that never ends only the latest offenses are known.
  const start = offenses[0]?.at ?? bans[0]?.at ?? 0;
  const seen = bans.filter(({ until }) => until > start);
  const end = Math.max(offenses.at(-1)?.at ?? 0, Math.min(bans.at(-1)?.until ?? 0, Math.max(to ?? 0, start)));
  const margin = Math.max(60_000, (end - start) * 0.02);
  const points: [number, number][] = [];
  let score = { value: 0, at: start };
  const coming = seen.filter((ban) => ban.at >= start && !ban.ofNetwork);
  for (const { at, points: earned } of offenses) {
    const samples = at - score.at > halfLifeMs / 20 ? SAMPLES : 1;
    for (let i = 1; i <= samples && score.value > 0; i++) {
      const between = score.at + ((at - score.at) * i) / samples;
      points.push([between, valueAt(score, between, halfLifeMs)]);
    }
    score = { value: valueAt(score, at, halfLifeMs) + earned, at };
    points.push([at, score.value]);
    // Spent by the ban that it led to.
    if (coming[0] !== undefined && coming[0].at <= at) {
      coming.shift();
      score = { value: 0, at };
      points.push([at, 0]);
    }
  }
  const most = Math.max(threshold * 1.15, ...points.map(([, value]) => value));
  const plot = new Plot(CURVE, { from: start - margin, to: end + margin }, most);
  const shades = seen.map(({ at, until, ofNetwork }) => {
    const x = plot.x(Math.max(at, plot.span.from));
    return markup`<rect class="${ofNetwork ? 'ban around' : 'ban'}" x="${x}" width="${Math.max(1, Math.min(plot.x(until), CURVE.width - 8) - x)}" y="10" height="${plot.base - 10}">${titleOf(at, `${ofNetwork ? 'its network ' : ''}banned until ${stampOf(until)}`)}</rect>`;
  });
  return plot.picture('curve', `Score of ${subject}`, [
    ...shades,
    markup`<line class="threshold" x1="46" x2="${CURVE.width - 8}" y1="${plot.y(threshold)}" y2="${plot.y(threshold)}"/>`,
    markup`<path class="line" d="${path(points.map(([at, value]) => [plot.x(at), plot.y(value)]))}"/>`,
  ]);
}

function spanOf(buckets: readonly Bucket[], stepMs: number) {
  const from = buckets[0]?.at ?? 0;
  return { from, to: (buckets.at(-1)?.at ?? from) + stepMs };
}

function titleOf(at: number, text: string): Markup {
  return markup`<title>${stampOf(at)}: ${text}</title>`;
}

/** Local time to the minute. */
export function stampOf(at: number): string {
  const date = new Date(at);
  const two = (value: number) => String(value).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
