/** Charts as plain SVG, drawn here: the page needs no script. Colours are the page's, by class. */
import { type Markup, markup } from './markup.js';
import { number } from './words.js';

/** A picture for one width; the page shows the one that fits. */
export interface Frame {
  readonly width: number;
  readonly height: number;
}

export interface TimeSpan {
  readonly from: number;
  readonly to: number;
}

export const WIDE: Frame = { width: 960, height: 250 };
export const NARROW: Frame = { width: 400, height: 220 };

const LEFT = 46;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 26;

/** The part of a frame where data is, with its scales. */
export class Plot {
  readonly frame: Frame;
  readonly span: TimeSpan;
  /** Upper end of the y axis. */
  readonly most: number;
  readonly #ticks: readonly number[];

  constructor(frame: Frame, span: TimeSpan, most: number) {
    this.frame = frame;
    this.span = { from: span.from, to: Math.max(span.to, span.from + 1_000) };
    this.#ticks = ticksUpTo(most);
    this.most = Math.max(most, this.#ticks.at(-1) ?? 1);
  }

  x(at: number): number {
    const { from, to } = this.span;
    return LEFT + ((at - from) / (to - from)) * (this.frame.width - LEFT - RIGHT);
  }

  y(value: number): number {
    return this.base - (value / this.most) * (this.base - TOP);
  }

  get base(): number {
    return this.frame.height - BOTTOM;
  }

  /** The picture: `marks` over grid and axes. */
  picture(className: string, label: string, marks: readonly Markup[]): Markup {
    const { width, height } = this.frame;
    const grid = this.#ticks.map(
      (tick) =>
        markup`<line class="grid" x1="${LEFT}" x2="${width - RIGHT}" y1="${this.y(tick)}" y2="${this.y(tick)}"/><text class="tick" x="${LEFT - 7}" y="${this.y(tick) + 4}" text-anchor="end">${number(tick)}</text>`,
    );
    const times = timeTicks(this.span, width < 600 ? 4 : 9).map(({ at, label: text }) => {
      const x = this.x(at);
      const anchor = x < LEFT + 18 ? 'start' : x > width - RIGHT - 18 ? 'end' : 'middle';
      return markup`<line class="grid" x1="${x}" x2="${x}" y1="${this.base}" y2="${this.base + 4}"/><text class="tick" x="${x}" y="${height - 8}" text-anchor="${anchor}">${text}</text>`;
    });
    return markup`<svg class="${className}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">${grid}${times}${marks}<line class="axis" x1="${LEFT}" x2="${width - RIGHT}" y1="${this.base}" y2="${this.base}"/></svg>`;
  }
}

/** The same chart for a wide window, and for a phone. */
export function inBothWidths(draw: (frame: Frame, className: string) => Markup): Markup {
  return markup`${draw(WIDE, 'wide')}${draw(NARROW, 'narrow')}`;
}

/** An SVG path through points. */
export function path(points: readonly (readonly [number, number])[]): string {
  return points.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${rounded(x)} ${rounded(y)}`).join('');
}

export function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Round numbers from 0 to at least `most`. */
export function ticksUpTo(most: number): number[] {
  const rough = Math.max(1, most) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power);
  const ticks: number[] = [];
  for (let tick = 0; tick < most + step; tick += step) ticks.push(tick);
  return ticks;
}

const MINUTE_MS = 60_000;
const TIME_STEPS_MINUTES = [1, 5, 15, 30, 60, 120, 180, 360, 720, 1_440, 2_880, 7_200, 10_080, 20_160, 43_200, 129_600];

/** Round local times, at most `most` of them. */
function timeTicks({ from, to }: TimeSpan, most: number): { readonly at: number; readonly label: string }[] {
  const stepMs =
    (TIME_STEPS_MINUTES.find((minutes) => (to - from) / (minutes * MINUTE_MS) <= most) ?? 525_600) * MINUTE_MS;
  const offsetMs = new Date(from).getTimezoneOffset() * MINUTE_MS;
  const first = Math.ceil((from - offsetMs) / stepMs) * stepMs + offsetMs;
  const ticks: { at: number; label: string }[] = [];
  for (let at = first; at <= to; at += stepMs) ticks.push({ at, label: timeLabel(at, stepMs) });
  return ticks;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

function timeLabel(at: number, stepMs: number): string {
  const date = new Date(at);
  const time = `${String(date.getHours()).padStart(2, '0')}:${String(date.getMinutes()).padStart(2, '0')}`;
  return stepMs >= 1_440 * MINUTE_MS || time === '00:00' ? `${date.getDate()} ${MONTHS[date.getMonth()]}` : time;
}
