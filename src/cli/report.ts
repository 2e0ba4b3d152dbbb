/** `blockctl report`: what a policy would have done with these logs, whom it would have stopped, and whose mail it would have cost. */
import { realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { toPolicySettings } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { type ExitCode, reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import { Filter } from '../filter/filter.js';
import { loadRules, packagedFilters } from '../filter/load.js';
import { Allowlist, type AllowRules } from '../policy/allowlist.js';
import type { Lists } from '../policy/lists.js';
import { Policy, type PolicySettings } from '../policy/policy.js';
import { historyReport } from '../report/history.js';
import { readHours } from '../report/kept-hours.js';
import { openLogs } from '../report/logs.js';
import { type LogReport, makeReport, type Report } from '../report/report.js';
import type { Trial } from '../report/trial.js';
import { MemoryStore } from '../store/memory.js';
import { atDesk, type Context, configOf, Desk } from './desk.js';
import { listsAtHand } from './lists.js';
import { Progress } from './progress.js';
import { reportJson } from './report-json.js';
import { printReport } from './report-text.js';
import { timeFrom } from './time.js';

export interface ReportArguments {
  readonly html?: string;
  readonly since?: string;
  readonly until?: string;
}

export async function report(names: readonly string[], options: ReportArguments, context: Context): Promise<ExitCode> {
  const { output, globals } = context;
  const found = names.length === 0 ? await history(options, context) : await replay(names, options, context);
  if (options.html !== undefined) {
    const { renderHtml } = await import('../report/html.js');
    writePage(options.html, renderHtml(found));
  }
  if (globals.json === true) await output.json(reportJson(found));
  else await printReport(found, output);
  if (options.html !== undefined) output.notice(`the page is in ${options.html}`);
  return 0;
}

/** What the daemon of this host counted itself, since yesterday unless told. */
async function history(options: ReportArguments, context: Context): Promise<Report> {
  const now = Date.now();
  const { since = now - DAY_MS, until = now } = rangeOf(options);
  let found: Report | null = null;
  await atDesk(context, { create: false }, async (desk) => {
    const hours = await readHours(desk.store, desk.config.store.host, since, until);
    if (hours.length === 0) {
      throw new UsageError(
        `blockd has counted nothing on ${desk.config.store.host} in that time: name a log to report on, such as /var/log/mail.log, or a longer time (--since 7d)`,
      );
    }
    found = historyReport(hours, toPolicySettings(desk.config), desk.now);
    return 0;
  });
  if (found === null) throw new Error('a report was asked for and none was made');
  return found;
}

const DAY_MS = 86_400_000;

/** Reads the logs; `trialsFor` names other policies that go by them at the same time. */
export async function replay(
  names: readonly string[],
  options: Pick<ReportArguments, 'since' | 'until'>,
  context: Context,
  trialsFor: (settings: PolicySettings, allowlist: Allowlist, lists: Lists) => readonly Trial[] = () => [],
): Promise<LogReport> {
  const { output } = context;
  const { config } = configOf(context.globals);
  const range = rangeOf(options);
  if (names.includes('-') && process.stdin.isTTY) {
    output.notice('reading log lines from standard input; end them with Ctrl-D');
  }
  const logs = await openLogs(names);
  const allowlist = new Allowlist(await allowRulesOf(context));
  const lists = await listsAtHand(config, null, output);
  const settings = { ...toPolicySettings(config), dryRun: true };
  const progress = new Progress(process.stderr, logs);
  try {
    const report = await makeReport(logs, {
      filter: filterOf(config),
      policy: new Policy(settings, allowlist, lists),
      ...range,
      trials: trialsFor(settings, allowlist, lists),
      onProgress: ({ lines }) => progress.show(lines),
    });
    progress.clear();
    const odd = oddity(report, range);
    if (odd !== null) output.notice(odd);
    return report;
  } finally {
    progress.clear();
  }
}

/** Why a report holds nothing, so that nobody takes it for good news; null where it holds something. */
function oddity({ lines, from }: LogReport, { since, until }: { since?: number; until?: number }): string | null {
  if (from !== null) return null;
  if (lines > 0) return 'no line begins with a date, as those of a mail log do: is it the right file?';
  return since === undefined && until === undefined ? null : 'no line of it lies in that time';
}

function filterOf(config: Config): Filter {
  const rules = loadRules(packagedFilters(), config.log.filters, 'short');
  return Filter.compile(rules, { points: config.points, reply: config.postfix.reply });
}

function rangeOf({ since, until }: Pick<ReportArguments, 'since' | 'until'>): { since?: number; until?: number } {
  const now = Date.now();
  const range = {
    ...(since !== undefined && { since: timeFrom(since, '--since', now) }),
    ...(until !== undefined && { until: timeFrom(until, '--until', now) }),
  };
  if (range.since !== undefined && range.until !== undefined && range.since >= range.until)
    throw new UsageError('--since must lie before --until');
  return range;
}

/** Who is never banned; without the store, all but those whom people allowed. */
async function allowRulesOf(context: Context): Promise<AllowRules> {
  const found: AllowRules[] = [];
  const ask = async (desk: Desk): Promise<ExitCode> => {
    found.push(await desk.allowRules((await desk.store.allowed()).map(({ entry }) => entry)));
    return 0;
  };
  try {
    await atDesk(context, { create: false, quiet: true }, ask);
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    context.output.notice(`the entries of "blockctl allow" are not known to this report: ${error.message}`);
    const store = new MemoryStore();
    await ask(new Desk(configOf(context.globals), { store, missing: true, note: null }, context.output));
  }
  return found[0] ?? { addresses: [], hostnames: [] };
}

/** Whole or not at all: a full disk leaves the page of last time. What is no file, such as a pipe, is written to as it is. */
export function writePage(path: string, page: string): void {
  try {
    const known = statSync(path, { throwIfNoEntry: false });
    if (known !== undefined && !known.isFile()) writeFileSync(path, page);
    else replaceFile(known === undefined ? path : realpathSync(path), page);
  } catch (error) {
    throw new UsageError(`The page ${path} can't be written: ${reasonOf(error)}`, { cause: error });
  }
}

function replaceFile(path: string, content: string): void {
  const aside = `${path}.${process.pid}.new`;
  try {
    writeFileSync(aside, content, { flag: 'wx' });
    renameSync(aside, path);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
}
