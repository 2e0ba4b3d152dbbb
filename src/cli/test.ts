/** `blockctl test`: what the rules see in each line, by itself, before any session or list of the never-banned. */
import type { ExitCode } from '../domain/errors.js';
import type { Match } from '../domain/event.js';
import { LineClock } from '../filter/clock.js';
import { Filter } from '../filter/filter.js';
import { loadRules, packagedFilters } from '../filter/load.js';
import { type Context, configOf } from './desk.js';
import { iso, plural, rounded } from './format.js';
import { type Log, openLog } from './lines.js';
import { readable } from './logtext.js';
import type { Output } from './output.js';
import { cut, json, safe, styled, table } from './terminal.js';

export async function test(
  names: readonly string[],
  options: { readonly all?: boolean },
  context: Context,
): Promise<ExitCode> {
  const { config } = configOf(context.globals);
  const rules = loadRules(packagedFilters(), config.log.filters, 'short');
  const filter = Filter.compile(rules, { points: config.points, reply: config.postfix.reply });
  const logs = (names.length === 0 ? ['-'] : names).map(openLog);
  const asJson = context.globals.json === true;
  if (logs.some(({ name }) => name === '-') && process.stdin.isTTY) {
    context.output.notice('reading log lines from standard input; end them with Ctrl-D');
  }
  const tally = new Tally();
  for (const log of logs) {
    const show = asJson
      ? jsonLine(log, logs.length > 1)
      : humanLine(log, logs.length > 1, context.output, options.all === true);
    const clock = new LineClock(log.writtenAt);
    let n = 0;
    for await (const line of log.lines()) {
      n++;
      const match = visible(filter.match(line, clock));
      tally.count(match);
      const shown = show(n, line, match);
      if (shown !== null) await context.output.line(shown);
      // A person who types or pastes lines sees each answer at once.
      if (log.name === '-' && process.stdin.isTTY) await context.output.flush();
    }
  }
  if (!asJson) await tally.print(context.output);
  return 0;
}

/** Lines that only end a session are nothing that counts. */
function visible(match: Match | null): Match | null {
  return match === null || match.kind === 'closed' ? null : match;
}

type Show = (n: number, line: string, match: Match | null) => string | null;

function jsonLine(log: Log, several: boolean): Show {
  const where = several ? { log: log.name } : {};
  return (n, _line, match) => {
    if (match === null) return json({ ...where, n, rule: null });
    const { rule, kind, ip, points, at } = match;
    return json({ ...where, n, rule, kind, ip, points: rounded(points), at: iso(at) });
  };
}

function humanLine(log: Log, several: boolean, { look }: Output, all: boolean): Show {
  const where = several ? `${safe(log.name)}:` : '';
  return (n, line, match) => {
    const place = `${where}${n}`.padStart(7);
    if (match === null)
      return all ? styled(look, 'dim', cut(`${place}  -  ${safe(readable(line))}`, look.width)) : null;
    const points = match.kind === 'offense' ? `+${rounded(match.points)}` : match.kind;
    const rule = styled(look, match.kind === 'offense' ? 'red' : 'green', match.rule.padEnd(34));
    return `${place}  ${rule}  ${points.padStart(13)}  ${match.ip}`;
  };
}

/** How often each rule matched. */
class Tally {
  readonly #rules = new Map<string, { rule: string; kind: string; lines: number; points: number }>();
  #lines = 0;
  #matched = 0;

  count(match: Match | null): void {
    this.#lines++;
    if (match === null) return;
    this.#matched++;
    const row = this.#rules.get(match.rule) ?? { rule: match.rule, kind: match.kind, lines: 0, points: 0 };
    row.lines++;
    row.points += match.points;
    this.#rules.set(match.rule, row);
  }

  async print(output: Output): Promise<void> {
    const rows = [...this.#rules.values()].sort((a, b) => b.lines - a.lines);
    const columns = [
      { title: 'RULE', text: (row: (typeof rows)[number]) => row.rule },
      { title: 'KIND', text: (row: (typeof rows)[number]) => row.kind },
      { title: 'LINES', text: (row: (typeof rows)[number]) => String(row.lines), right: true },
      {
        title: 'POINTS',
        text: (row: (typeof rows)[number]) => (row.kind === 'offense' ? String(rounded(row.points)) : '-'),
        right: true,
      },
    ];
    if (rows.length > 0) await output.print(`\n${table(output.look, columns, rows)}\n`);
    await output.line(
      `${plural(this.#lines, 'line')}: ${this.#matched} seen by a rule, ${this.#lines - this.#matched} by none`,
    );
  }
}
