/** The report for a terminal: the verdict first, then what it rests on. */
import { formatDuration } from '../domain/duration.js';
import type { Counted } from '../report/counter.js';
import type { ReasonRow } from '../report/rejects.js';
import type { CollateralRow, Offender, Report } from '../report/report.js';
import { lengthWords, linesWords, mailRows, number, percent, sourceWords, verdictOf } from '../report/words.js';
import { localTime, plural, rounded } from './format.js';
import { readable } from './logtext.js';
import type { Output } from './output.js';
import { type Column, cut, safe, styled, table } from './terminal.js';

const REASONS_SHOWN = 20;
const COLLATERAL_SHOWN = 15;
const SHAPES_SHOWN = 10;
const LOSSES_SHOWN = 10;

export async function printReport(report: Report, output: Output): Promise<void> {
  await output.line(headOf(report));
  await verdict(report, output);
  await mail(report, output);
  await reasons(report, output);
  await policy(report, output);
  await collateral(report, output);
  await shadow(report, output);
  await unmatched(report, output);
}

function headOf(report: Report): string {
  const { from, to } = report;
  const time =
    from === null || to === null ? '' : `${localTime(from)} to ${localTime(to)} (${formatDuration(to - from)})`;
  const parts = [linesWords(report), time].filter((part) => part !== '').join('; ');
  return safe(`${sourceWords(report, 3)}${parts === '' ? '' : `: ${parts}`}`);
}

async function title(output: Output, text: string): Promise<void> {
  await output.line(`\n${styled(output.look, 'bold', text)}`);
}

async function verdict(report: Report, output: Output): Promise<void> {
  const { level, headline, sentences } = verdictOf(report);
  const style = level === 'good' ? 'green' : level === 'careful' ? 'red' : 'yellow';
  await output.line(`\n${styled(output.look, style, headline)}`);
  for (const sentence of sentences) await output.line(sentence);
}

async function mail(report: Report, output: Output): Promise<void> {
  if (report.mail === null) return;
  await title(output, 'Mail');
  for (const [count, what] of mailRows(report.mail)) await output.line(`${count.padStart(11)}  ${what}`);
}

async function reasons(report: Report, output: Output): Promise<void> {
  if (report.reasons.length === 0) return;
  await title(output, 'Rejected, by stage and reason');
  const columns: Column<ReasonRow>[] = [
    { title: 'COUNT', text: ({ count }) => number(count), right: true },
    { title: 'STAGE', text: ({ stage }) => stage },
    { title: 'REASON', text: ({ reason }) => readable(reason), least: 24 },
    { title: 'MOST FROM', text: ({ clients }) => first(clients), spare: 1, least: 18 },
    { title: 'NETWORK', text: ({ networks }) => first(networks), spare: 3, least: 18 },
    { title: 'MOST TO', text: ({ recipients }) => readable(first(recipients)), spare: 2, least: 14 },
  ];
  const rows = report.reasons.slice(0, REASONS_SHOWN);
  const told = columns.filter(({ text }) => rows.some((row) => text(row) !== ''));
  await output.print(table(output.look, told, rows));
  await more(output, report.reasons.length - REASONS_SHOWN, 'reason');
}

function first([top]: readonly Counted[]): string {
  return top === undefined || top.name === '' ? '' : `${top.name} (${number(top.count)})`;
}

async function policy(report: Report, output: Output): Promise<void> {
  const { policy: outcome, settings, offenders } = report;
  await title(output, 'What the policy would have done');
  const row = (label: string, text: string) => output.line(`  ${label.padEnd(16)}${text}`);
  await row(
    'policy',
    `banned at ${settings.threshold} points, which halve in ${formatDuration(settings.halfLifeMs)}; first ban ${formatDuration(settings.firstMs)}`,
  );
  await row(
    'bans',
    `${number(outcome.bans)}, of ${plural(outcome.subjects, 'client or network', 'clients or networks')}`,
  );
  await row(
    'attempts',
    `${number(outcome.rejects)} would have been ${number(outcome.rejects - outcome.stopped)}: ${number(outcome.stopped)} stopped (${percent(outcome.stopped, outcome.rejects)})`,
  );
  await row('banned at once', `${number(outcome.bannedAtOnce)} at most, ${number(outcome.bannedAtEnd)} at the end`);
  await row('banned again', `${number(outcome.repeatOffenders)} of them`);
  if (outcome.bans > 0) {
    const parts = outcome.lengths.map(({ uptoMs, bans }) => `${lengthWords(uptoMs)}: ${number(bans)}`);
    await row('ban lengths', `${parts.join(', ')}; median ${formatDuration(outcome.medianBanMs)}`);
  }
  if (offenders.length === 0) return;
  await output.line('');
  const columns: Column<Offender>[] = [
    { title: 'WOULD BE BANNED', text: ({ subject }) => subject, style: () => 'cyan' },
    { title: 'HOST', text: ({ host }) => host ?? '-', least: 12, spare: 1 },
    { title: 'BANS', text: ({ bans }) => number(bans), right: true },
    { title: 'STOPPED', text: ({ stopped }) => number(stopped), right: true },
    {
      title: 'STRIKES',
      text: ({ strikes }) => (strikes === null ? '-' : String(rounded(Math.round(strikes * 10) / 10))),
      right: true,
      spare: 2,
    },
    { title: 'REASON', text: ({ reason }) => reason, least: 16 },
  ];
  await output.print(table(output.look, columns, offenders));
}

async function collateral(report: Report, output: Output): Promise<void> {
  await title(output, 'Collateral: would-be bans of clients that also sent wanted mail or logged in');
  const { collateral: rows } = report;
  if (rows.length === 0) {
    await output.line('  None: no client that scored enough for a ban had accepted mail or a login.');
    return;
  }
  const columns: Column<CollateralRow>[] = [
    { title: 'CLIENT', text: ({ subject }) => subject, style: ({ refused }) => (refused > 0 ? 'red' : 'cyan') },
    { title: 'HOST', text: ({ host }) => host ?? '-', least: 12, spare: 1 },
    { title: 'ACCEPTED', text: ({ accepted }) => number(accepted), right: true },
    { title: 'BEFORE', text: ({ before }) => number(before), right: true, spare: 3 },
    { title: 'REFUSED', text: ({ refused }) => number(refused), right: true },
    { title: 'AFTER', text: ({ after }) => number(after), right: true, spare: 2 },
    { title: 'LOGIN', text: ({ loggedIn }) => (loggedIn ? 'yes' : '-') },
    { title: 'BANS', text: ({ bans }) => number(bans), right: true },
    { title: 'SPARED BY', text: (row) => row.protected ?? '-', least: 12 },
  ];
  await output.print(table(output.look, columns, rows.slice(0, COLLATERAL_SHOWN)));
  await more(output, rows.length - COLLATERAL_SHOWN, 'client');
  for (const row of rows.filter(({ refused }) => refused > 0).slice(0, 5)) {
    await output.line(`\n  ${styled(output.look, 'red', row.subject)}: scored by, and would have lost`);
    for (const line of [...row.offenses.slice(-2), ...row.lost.slice(-2)])
      await output.line(styled(output.look, 'dim', `    ${cut(safe(readable(line)), output.look.width - 4)}`));
  }
}

async function shadow({ shadow: { wouldRefuse, losses } }: Report, output: Output): Promise<void> {
  if (wouldRefuse === 0 || losses === null) return;
  await title(output, 'Shadow mode: mail that Postfix took and, enforcing, would have refused');
  if (losses.length === 0)
    await output.line(`  None in ${plural(wouldRefuse, 'line')} that tell of a would-be refusal.`);
  for (const { subject, at, line } of losses.slice(-LOSSES_SHOWN)) {
    await output.line(`  ${localTime(at)}  ${styled(output.look, 'red', subject)}`);
    await output.line(styled(output.look, 'dim', `    ${cut(safe(readable(line)), output.look.width - 4)}`));
  }
}

async function unmatched({ unmatched: { count, shapes } }: Report, output: Output): Promise<void> {
  if (count === 0) return;
  await title(output, 'Lines that look like a reject and that no rule matches');
  await output.line('  Temporary refusals (greylisting, faults of your own server) score nothing on purpose.');
  for (const { program, shape, count: times, temporary } of shapes.slice(0, SHAPES_SHOWN)) {
    const text = `${number(times).padStart(7)}  ${safe(readable(`${program}: ${shape}`))}`;
    await output.line(styled(output.look, temporary ? 'dim' : 'yellow', cut(text, output.look.width)));
  }
  await more(output, shapes.length - SHAPES_SHOWN, 'shape');
}

async function more(output: Output, count: number, what: string): Promise<void> {
  if (count > 0) await output.line(`  and ${plural(count, `more ${what}`, `more ${what}s`)} (--json has them)`);
}
