/** The trade between policies, as a picture and a table of the page. */
import { formatDuration } from '../domain/duration.js';
import { inBothWidths, ticksUpTo } from './chart.js';
import { type Markup, markup } from './markup.js';
import { configLines, type TuneRow } from './tune.js';
import { number, percent } from './words.js';

export function tuneSection(rows: readonly TuneRow[]): Markup {
  const best = rows.find((row) => row.best);
  const advice =
    best === undefined
      ? markup`<p class="empty">None of these policies stops anything without costing wanted mail. Allow the clients under Collateral, and tune again.</p>`
      : best.current
        ? markup`<p class="lead">The policy in force is the best of them for these logs.</p>`
        : markup`<p class="lead">The best of them for these logs, to paste into the config. Logs of other weeks may differ: of two that are close, prefer the one with the higher threshold and the shorter bans.</p><pre class="config">${configLines(best)}</pre>`;
  return markup`<section id="tune"><h2>Other policies over the same logs</h2>
<p class="lead">${rows.length} policies. Up: more attempts stopped. Right: a larger map. Red: wanted mail would have been refused, the larger the more.</p>
<p class="key"><span style="--swatch:var(--banned)">in force</span><span style="--swatch:var(--stopped)">best without collateral</span><span style="--swatch:var(--soft)">no collateral</span><span style="--swatch:var(--bad)">costs wanted mail</span></p>
${picture(rows)}
<div class="scroll"><table><thead><tr><th class="n">Threshold</th><th>Half-life</th><th>First ban</th><th class="n">Stopped</th><th class="n">Refused</th><th class="n">At once</th><th></th></tr></thead><tbody>${rows.filter(isShown).map(tableRow)}</tbody></table></div>
${advice}</section>`;
}

function isShown({ frontier, current, best }: TuneRow): boolean {
  return frontier || current || best;
}

function tableRow(row: TuneRow): Markup {
  const chip = row.current ? markup`<span class="chip now">in force</span> ` : null;
  const best = row.best ? markup`<span class="chip good">best</span>` : null;
  return markup`<tr><td class="n">${row.threshold}</td><td>${formatDuration(row.halfLifeMs)}</td><td>${formatDuration(row.firstMs)}</td><td class="n">${percent(row.stopped, row.rejects)}</td><td class="n">${row.hurt > 0 ? markup`<span class="chip bad">${number(row.hurt)}</span>` : '0'}</td><td class="n">${number(row.bannedAtOnce)}</td><td>${chip}${best}</td></tr>`;
}

const LEFT = 46;
const RIGHT = 16;
const TOP = 14;
const BOTTOM = 40;

function picture(rows: readonly TuneRow[]): Markup {
  const xTicks = ticksUpTo(Math.max(1, ...rows.map(({ bannedAtOnce }) => bannedAtOnce)));
  const most = xTicks.at(-1) ?? 1;
  const shares = rows.map(({ stopped, rejects }) => (rejects === 0 ? 0 : (stopped / rejects) * 100));
  // From the round tenth below the worst, so that close ones lie apart.
  const least = Math.min(90, Math.floor(Math.min(...shares) / 10) * 10);
  return inBothWidths((frame, className) => {
    const { width } = frame;
    const height = frame.height + 60;
    const base = height - BOTTOM;
    const x = (value: number) => LEFT + (value / most) * (width - LEFT - RIGHT);
    const y = (share: number) => base - ((share - least) / (100 - least)) * (base - TOP);
    const percents = [0, 1, 2, 3, 4].map((i) => least + ((100 - least) * i) / 4);
    const grid = percents.map(
      (tick) =>
        markup`<line class="grid" x1="${LEFT}" x2="${width - RIGHT}" y1="${y(tick)}" y2="${y(tick)}"/><text class="tick" x="${LEFT - 7}" y="${y(tick) + 4}" text-anchor="end">${Math.round(tick)} %</text>`,
    );
    const sizes = xTicks.map(
      (tick) => markup`<text class="tick" x="${x(tick)}" y="${base + 18}" text-anchor="middle">${number(tick)}</text>`,
    );
    const dots = rows
      .map((row, i) => ({ row, cx: x(row.bannedAtOnce), cy: y(shares[i] ?? 0) }))
      .sort((a, b) => Number(a.row.current || a.row.best) - Number(b.row.current || b.row.best))
      .map(({ row, cx, cy }) => {
        const name = row.best ? 'dot best' : row.current ? 'dot current' : row.hurt > 0 ? 'dot hurt' : 'dot';
        const radius = row.best || row.current ? 7 : row.hurt > 0 ? Math.min(10, 4 + Math.sqrt(row.hurt)) : 4.5;
        const title = `threshold ${row.threshold}, half-life ${formatDuration(row.halfLifeMs)}, first ban ${formatDuration(row.firstMs)}: ${percent(row.stopped, row.rejects)} stopped, ${number(row.hurt)} messages refused, ${number(row.bannedAtOnce)} banned at once`;
        const words =
          row.best && row.current ? 'in force, and best' : row.best ? 'best' : row.current ? 'in force' : '';
        const left = cx > 140;
        const label =
          words === ''
            ? null
            : markup`<text class="mark" x="${left ? cx - 4 : cx + 4}" y="${cy - 9}" text-anchor="${left ? 'end' : 'start'}">${words}</text>`;
        return markup`<g><title>${title}</title><circle class="${name}" cx="${cx}" cy="${cy}" r="${radius}"/>${label}</g>`;
      });
    return markup`<svg class="${className}" viewBox="0 0 ${width} ${height}" role="img" aria-label="Attempts stopped and size of the map, by policy">${grid}${sizes}<text class="tick" x="${(LEFT + width) / 2}" y="${height - 6}" text-anchor="middle">banned at one time</text>${dots}</svg>`;
  });
}
