/** `blockctl import fail2ban`: its jails and filters as rule files and a config, with a line on all that is left behind. */
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type ExitCode, reasonOf, UsageError } from '../domain/errors.js';
import { readJails } from '../fail2ban/jails.js';
import { carryOver } from '../fail2ban/rules.js';
import { baseJail, measureOf, pointsFor, suggest } from '../fail2ban/suggest.js';
import { loadRules, packagedFilters } from '../filter/load.js';
import type { Context } from './desk.js';
import { plural } from './format.js';
import { type BansOptions, DEFAULT_DATABASE, importBans } from './import-bans.js';
import { safe } from './terminal.js';

export interface Fail2banOptions extends BansOptions {
  readonly write?: string;
  readonly force?: boolean;
  readonly bans?: string | boolean;
}

export async function importFail2ban(
  directory: string | undefined,
  options: Fail2banOptions,
  context: Context,
): Promise<ExitCode> {
  if (options.bans !== undefined) {
    if (options.write !== undefined) throw new UsageError('import fail2ban takes --bans or --write, not both');
    return importBans(typeof options.bans === 'string' ? options.bans : DEFAULT_DATABASE, options, context);
  }
  return importConfig(resolve(directory ?? '/etc/fail2ban'), options, context);
}

async function importConfig(
  directory: string,
  { write, force = false }: Fail2banOptions,
  { output, globals }: Context,
): Promise<ExitCode> {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw new UsageError(`${directory} is no folder of fail2ban's config: name the one that holds jail.conf`);
  const { mail, remarks } = readJails(directory);
  const say = (all: typeof remarks) => {
    for (const { file, line, sentence } of all)
      output.notice(`${file}${line > 0 ? `, line ${line}` : ''}: ${sentence}`);
  };
  const base = baseJail(mail);
  if (base === undefined) {
    say(remarks);
    output.error(`No enabled jail in ${directory} is about mail, so there is nothing to carry over.`);
    return 1;
  }
  const measure = measureOf(base);
  const rules = carryOver(mail, loadRules(packagedFilters(), null, 'own'), (jail) =>
    pointsFor(measureOf(jail), measure),
  );
  const target = write === undefined ? null : resolve(write);
  const config = suggest(mail, target === null ? null : join(target, 'filters'), rules.heavier);
  const files = [
    { name: 'blockd.toml', text: config.text },
    ...rules.files.map(({ name, text }) => ({ name: join('filters', name), text })),
  ];
  if (target !== null) writeAll(target, files, force);
  const all = [...remarks, ...rules.remarks, ...config.remarks];
  if (globals.json === true) {
    await output.json({
      jails: mail.map(({ name }) => name),
      rules: rules.count,
      written: target,
      files,
      remarks: all,
    });
    return 0;
  }
  say(all);
  const summary = `${plural(mail.length, 'jail')} about mail: ${plural(rules.count, 'rule')} carried over, ${plural(all.length, 'remark')}`;
  if (target === null) {
    for (const { name, text } of files) await output.print(`# ==> ${name}\n${text.split('\n').map(safe).join('\n')}\n`);
    output.notice(`${summary}; --write DIR writes these files`);
  } else {
    for (const { name } of files) await output.line(`wrote ${safe(join(target, name))}`);
    await output.line(
      `${summary}. Look it through, then: blockctl --config ${safe(join(target, 'blockd.toml'))} check`,
    );
  }
  return 0;
}

/** All of them, or none when one is there already. @throws UsageError */
function writeAll(
  target: string,
  files: readonly { readonly name: string; readonly text: string }[],
  force: boolean,
): void {
  const there = files.map(({ name }) => join(target, name)).filter((path) => existsSync(path));
  if (there.length > 0 && !force)
    throw new UsageError(
      `${there.join(', ')}: there already, so nothing is written; name another folder, or overwrite with --force`,
    );
  for (const { name, text } of files) {
    const path = join(target, name);
    try {
      // Also without a rule to hold: the config names it.
      mkdirSync(join(target, 'filters'), { recursive: true });
      writeFileSync(path, text, { flag: force ? 'w' : 'wx' });
    } catch (error) {
      throw new UsageError(`${path} can't be written: ${reasonOf(error)}`, { cause: error });
    }
  }
}
