/** `blockctl tune`: many policies over the same logs, and which of them stops most without costing wanted mail. */
import { toPolicySettings } from '../config/load.js';
import { formatDuration } from '../domain/duration.js';
import { type ExitCode, UsageError } from '../domain/errors.js';
import { renderHtml } from '../report/html.js';
import type { Trial } from '../report/trial.js';
import { configLines, shortDuration, type TuneRow, tuneRows, tuneTrials } from '../report/tune.js';
import { tuneSection } from '../report/tune-section.js';
import { number, percent } from '../report/words.js';
import { type Context, configOf } from './desk.js';
import type { Output } from './output.js';
import { type ReportArguments, replay, writePage } from './report.js';
import { type Column, styled, table } from './terminal.js';

export async function tune(
  names: readonly string[],
  options: ReportArguments & { readonly all?: boolean },
  context: Context,
): Promise<ExitCode> {
  const { output, globals } = context;
  if (names.length === 0) throw new UsageError('tune wants a log, several of them, or - for standard input');
  let trials: readonly Trial[] = [];
  const report = await replay(names, options, context, (settings, allowlist, lists) => {
    trials = tuneTrials(settings, allowlist, lists);
    return trials;
  });
  const rows = tuneRows(trials, { ...toPolicySettings(configOf(globals).config), dryRun: true });
  if (options.html !== undefined) writePage(options.html, renderHtml(report, [tuneSection(rows)]));
  if (globals.json === true)
    await output.json({ lines: report.lines, accepted: report.accepted, policies: rows.map(rowJson) });
  else await print(rows, report.lines, options.all === true, output);
  if (options.html !== undefined) output.notice(`the page is in ${options.html}`);
  return 0;
}

function rowJson({ halfLifeMs, firstMs, ...row }: TuneRow) {
  return { ...row, halfLife: shortDuration(halfLifeMs), firstBan: shortDuration(firstMs) };
}

async function print(rows: readonly TuneRow[], lines: number, all: boolean, output: Output): Promise<void> {
  if (rows.every(({ rejects }) => rejects === 0)) {
    await output.line(`Nothing was rejected in ${number(lines)} lines: on these logs no policy differs from another.`);
    return;
  }
  const shown = rows.filter(({ frontier, current, best }) => all || frontier || current || best);
  const rest = all ? '' : `; shown are those that no other beats (--all shows all)`;
  await output.line(`${rows.length} policies over ${number(lines)} lines${rest}\n`);
  const columns: Column<TuneRow>[] = [
    { title: 'THRESHOLD', text: ({ threshold }) => String(threshold), right: true },
    { title: 'HALF-LIFE', text: ({ halfLifeMs }) => formatDuration(halfLifeMs) },
    { title: 'FIRST BAN', text: ({ firstMs }) => formatDuration(firstMs) },
    {
      title: 'STOPPED',
      text: ({ stopped, rejects }) => `${number(stopped)} (${percent(stopped, rejects)})`,
      right: true,
    },
    {
      title: 'WANTED MAIL REFUSED',
      text: ({ hurt }) => number(hurt),
      right: true,
      style: ({ hurt }) => (hurt > 0 ? 'red' : undefined),
    },
    { title: 'BANNED AT ONCE', text: ({ bannedAtOnce }) => number(bannedAtOnce), right: true },
    { title: 'BANS', text: ({ bans }) => number(bans), right: true, spare: 1 },
    {
      title: '',
      text: ({ current, best }) => [current && 'in force', best && 'best'].filter(Boolean).join(', '),
      style: ({ best }) => (best ? 'green' : 'yellow'),
    },
  ];
  await output.print(table(output.look, columns, shown));
  const best = rows.find((row) => row.best);
  if (best === undefined) {
    await output.line(
      '\nNone of them stops anything without costing wanted mail. "blockctl report" shows whose: allow those, and tune again.',
    );
    return;
  }
  if (best.current) {
    await output.line(`\n${styled(output.look, 'green', 'The policy in force is the best of them for these logs.')}`);
    return;
  }
  await output.line(
    '\nThe best for these logs, to paste into the config. Logs of other weeks may differ: of two that are close, prefer the\none with the higher threshold and the shorter bans.\n',
  );
  await output.line(configLines(best));
}
