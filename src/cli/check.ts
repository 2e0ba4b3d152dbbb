/** `blockctl check`: is the config right, are the rules safe, and do they see what their samples say. */
import type { Config } from '../config/schema.js';
import type { ExitCode } from '../domain/errors.js';
import { UsageError } from '../domain/errors.js';
import { Filter } from '../filter/filter.js';
import { loadRules, missingFilters, packagedFilters } from '../filter/load.js';
import type { Rule } from '../filter/rule.js';
import { runSamples } from '../filter/samples.js';
import { type Context, configOf } from './desk.js';
import { plural } from './format.js';
import { readable } from './logtext.js';
import { styled } from './terminal.js';

/** A wrong config is told by `configOf` itself, with exit code 2. */
export async function check(context: Context): Promise<ExitCode> {
  const { globals, output } = context;
  const { config, file } = configOf(globals);
  const problems: string[] = [];
  let rules: readonly Rule[] = [];
  const filters = config.log.filters;
  const missing = missingFilters(filters);
  if (missing !== null) problems.push(missing);
  try {
    rules = loadRules(packagedFilters(), filters);
    Filter.compile(rules, { points: config.points, reply: config.postfix.reply });
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    problems.push(...error.message.split('\n'));
  }
  for (const { rule, file: where, line, problem } of runSamples(rules)) {
    problems.push(`${where}, rule "${rule}": ${problem}: ${readable(line)}`);
  }
  const lists = await checkLists(config, problems);
  const samples = rules.reduce((sum, rule) => sum + rule.matches.length + rule.ignores.length, 0);
  if (globals.json === true) {
    await output.json({ ok: problems.length === 0, config: file, rules: rules.length, samples, lists, problems });
    return problems.length === 0 ? 0 : 1;
  }
  await output.line(`config   ${file ?? 'none: the defaults hold'}`);
  const own = rules.filter((rule) => rule.file.startsWith(`${filters}/`)).length;
  const origin = own === 0 ? 'all packaged' : `${own} of them from ${filters}`;
  await output.line(
    `filters  ${rules.length === 0 ? 'not usable, see below' : `${plural(rules.length, 'rule')}, ${origin}; ${plural(samples, 'sample line')}`}`,
  );
  for (const { name, entries, bogus, tooWide } of lists) {
    const odd = `${bogus > 0 ? `, ${plural(bogus, 'line')} not understood` : ''}${tooWide > 0 ? `, ${tooWide} too wide` : ''}`;
    const isFile = config.lists.some((list) => list.name === name && list.file !== undefined);
    const missing = isFile ? "can't be read, see below" : 'not fetched yet; the daemon does that';
    const what = entries === null ? missing : plural(entries, 'network') + odd;
    await output.line(`list     ${name}: ${what}`);
  }
  if (problems.length === 0) {
    await output.line(styled(output.look, 'green', 'All is well.'));
    return 0;
  }
  await output.flush();
  for (const problem of problems) output.error(problem);
  output.error(plural(problems.length, 'problem'));
  return 1;
}

interface CheckedList {
  readonly name: string;
  /** Null for a URL of which no copy is kept here. */
  readonly entries: number | null;
  /** Lines that name no network. */
  readonly bogus: number;
  readonly tooWide: number;
}

/** Files are read; of a URL what is kept, since checking asks nobody. */
async function checkLists(config: Config, problems: string[]): Promise<CheckedList[]> {
  if (config.lists.length === 0) return [];
  const { readLists } = await import('../lists/lists.js');
  const { listsFolder } = await import('../lists/kept-list.js');
  return (await readLists(config, listsFolder(config))).map(({ config: { name, file }, got, problem }) => {
    if (file !== undefined && problem !== null) problems.push(`list ${name} ${readable(problem)}`);
    const { entries = null, bogus = 0, tooWide = 0 } = got?.text ?? {};
    return { name, entries, bogus, tooWide };
  });
}
