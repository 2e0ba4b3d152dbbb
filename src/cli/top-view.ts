/** The picture of `blockctl top` as lines that fit a screen. Pure. */
import { formatDuration } from '../domain/duration.js';
import { localTime, plural, roughly, shortNumber } from './format.js';
import { bannerOf } from './mode.js';
import { logSentence, mapSentence } from './status.js';
import { type Column, columnsOf, cut, type Look, safe, styled, table } from './terminal.js';
import type { Offender, Picture, RecentBan } from './top-feed.js';

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  readonly look: Look;
  /** Does the terminal show more than ASCII? */
  readonly unicode: boolean;
}

/** `problem`: why there is no newer picture. */
export function topLines(
  picture: Picture | null,
  problem: string | null,
  now: number,
  { columns, rows, look, unicode }: Screen,
): string[] {
  const clip = (text: string) => cut(text, columns);
  const lines = [headLine(picture, now, columns, look)];
  if (problem !== null) lines.push(styled(look, 'red', clip(`${safe(problem.split('\n')[0] ?? '')}; trying again`)));
  if (picture === null) {
    if (problem === null) lines.push('looking …');
    return lines.slice(0, rows);
  }
  lines.push(...factLines(picture, clip, look, { columns, unicode }), '');
  const room = rows - lines.length;
  // A title and a heading each, and a blank line between the two.
  const forRows = Math.max(2, room - 5);
  const { bans, offenders } = picture;
  const banRows = Math.min(bans.length, Math.max(Math.ceil(forRows / 2), forRows - offenders.length));
  const narrow = { ...look, width: columns };
  lines.push(
    styled(look, 'bold', clip(`NEW BANS (${plural(picture.counts.banned, 'active ban')})`)),
    ...(bans.length === 0 ? ['none'] : rowsOf(table(narrow, banColumns(picture.at), bans.slice(0, banRows)))),
    '',
    styled(look, 'bold', clip('HIGHEST SCORES')),
    ...(offenders.length === 0
      ? ['nobody']
      : rowsOf(table(narrow, offenderColumns(unicode), offenders.slice(0, Math.max(1, forRows - banRows))))),
  );
  return lines.slice(0, rows);
}

function headLine(picture: Picture | null, now: number, columns: number, look: Look): string {
  const clock = localTime(now).slice(11);
  const mode = picture === null ? '' : (bannerOf(picture.desk.mode) ?? 'enforce: banned clients are refused');
  const title = cut(`blockd on ${safe(picture?.host ?? 'this host')}`, 30);
  const room = Math.max(0, columns - columnsOf(title) - clock.length - 4);
  const middle = cut(mode, room);
  const padding = ' '.repeat(Math.max(0, room - columnsOf(middle)));
  const shown = picture?.desk.mode === 'enforce' ? middle : styled(look, 'yellow', middle);
  return room === 0 ? cut(title, columns) : `${styled(look, 'bold', title)}  ${shown}${padding}  ${clock}`;
}

function factLines(
  picture: Picture,
  clip: (text: string) => string,
  look: Look,
  { columns, unicode }: { readonly columns: number; readonly unicode: boolean },
): string[] {
  const { desk, storeUrl, counts, rates, logs, map, at } = picture;
  const rate = rates.at(-1);
  const words = `rejects  ${rate === undefined ? '-' : shortNumber(rate)}/s`.padEnd(18);
  const line = sparkline(rates, Math.max(0, Math.min(60, columns - 36)), unicode);
  const peak = rates.length === 0 ? '' : `  most ${shortNumber(Math.max(...rates))}/s`;
  const store = desk.missing ? 'there is no store yet' : `${plural(counts.scored, 'subject')} known`;
  return [
    `${clip(words)}${styled(look, 'cyan', line)}${columns < 50 ? '' : peak}`,
    desk.running
      ? clip(`daemon   ${daemonWords(picture)}`)
      : styled(look, 'red', clip(`daemon   ${daemonWords(picture)}`)),
    ...logs.slice(0, 3).map((log) => clip(`log      ${logSentence(log, at)}`)),
    clip(`store    ${safe(storeUrl)}: ${store}`),
    clip(`map      ${map === null ? 'none: dry-run needs none' : mapSentence(map, at)}`),
  ];
}

function daemonWords({ desk: { note, running }, at }: Picture): string {
  if (note === null) return 'has not run on this host with this store';
  const { lines, offenses, bans, refused } = note.counters;
  if (running)
    return `up ${formatDuration(at - note.startedAt)}: ${plural(lines, 'line')}, ${plural(offenses, 'offense')}, ${plural(bans, 'ban')}, ${refused} refused`;
  return note.stoppedAt === null ? 'not running: it died without a word' : `stopped ${roughly(note.stoppedAt, at)}`;
}

/** The newest value on the right. */
function sparkline(values: readonly number[], width: number, unicode: boolean): string {
  const steps = unicode ? '▁▂▃▄▅▆▇█' : '_.:-=+*#';
  const shown = width === 0 ? [] : values.slice(-width);
  const most = Math.max(...shown, 1);
  return shown.map((value) => steps[Math.min(7, Math.round((value / most) * 7))] ?? '').join('');
}

function banColumns(at: number): Column<RecentBan>[] {
  const dimmed = ({ active }: RecentBan) => (active ? undefined : 'dim');
  return [
    { title: 'SUBJECT', text: ({ ban }) => ban.subject, style: ({ active }) => (active ? 'cyan' : 'dim') },
    { title: 'HOST', text: ({ ban }) => ban.host ?? '-', least: 10, spare: 1, style: dimmed },
    { title: 'SINCE', text: ({ ban }) => roughly(ban.since, at), style: dimmed },
    { title: 'ENDS', text: ({ ban, active }) => (active ? roughly(ban.until, at) : 'over'), style: dimmed },
    { title: 'REASON', text: ({ ban }) => ban.reason, least: 12, style: dimmed },
  ];
}

const BAR = 12;

function offenderColumns(unicode: boolean): Column<Offender>[] {
  const [full, empty] = unicode ? ['█', '░'] : ['#', '.'];
  const filled = ({ score, threshold }: Offender) => Math.max(0, Math.min(BAR, Math.round((score / threshold) * BAR)));
  return [
    { title: 'SUBJECT', text: ({ subject }) => subject, style: () => 'cyan' },
    { title: 'HOST', text: ({ host }) => host ?? '-', least: 10, spare: 1 },
    {
      title: 'TO A BAN',
      text: (row) => full.repeat(filled(row)) + empty.repeat(BAR - filled(row)),
      style: (row) =>
        row.protectedWhy !== null || row.bannedAs !== null ? 'dim' : filled(row) > BAR * 0.7 ? 'red' : 'yellow',
    },
    { title: 'SCORE', text: ({ score }) => shortNumber(score), right: true },
    { title: 'OF', text: ({ threshold }) => shortNumber(threshold), right: true },
    {
      title: 'STATE',
      text: stateOf,
      least: 12,
      style: ({ bannedAs }) => (bannedAs !== null ? 'dim' : 'green'),
    },
  ];
}

function rowsOf(text: string): string[] {
  return text.split('\n').slice(0, -1);
}

function stateOf({ subject, bannedAs, protectedWhy }: Offender): string {
  if (bannedAs !== null) return bannedAs === subject ? 'banned' : `in ${bannedAs}, banned`;
  return protectedWhy === null ? '' : `never: ${protectedWhy}`;
}
