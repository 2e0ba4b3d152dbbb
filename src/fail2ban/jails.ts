/** fail2ban's jails that are about mail, each with its filter's patterns filled in for it. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { SourceLine, Value } from './ini.js';
import { type Lookup, Settings, textOf, withTags } from './settings.js';

export interface Jail {
  readonly name: string;
  /** File in filter.d, without its end. */
  readonly filter: string;
  readonly failregex: Value;
  readonly ignoreregex: Value;
  readonly prefregex: string | null;
  /** Pattern of the programs that it reads. */
  readonly daemon: string | null;
  /** How many lines a pattern may go over. */
  readonly maxLines: number;
  /** An option as it is set for this jail, or null. */
  option(name: string): Value | null;
}

/** One line of the report: something that is not carried over, or not as it was. */
export interface Remark {
  readonly file: string;
  /** 0 when it is about the whole file. */
  readonly line: number;
  readonly sentence: string;
}

export interface Jails {
  readonly mail: readonly Jail[];
  readonly remarks: readonly Remark[];
}

/** @throws UsageError when a file can't be read. */
export function readJails(directory: string): Jails {
  const settings = Settings.read(jailFiles(directory));
  const mail: Jail[] = [];
  const remarks: Remark[] = [];
  for (const name of settings.names) {
    const enabled = settings.lines(name, 'enabled');
    if (enabled === null || !TRUE.test(textOf(enabled).trim())) continue;
    const place = enabled[0] ?? { file: directory, line: 0 };
    const remark = (sentence: string) => remarks.push({ file: place.file, line: place.line, sentence });
    const [, filter = '', parameters = ''] =
      /^([^[]*)(?:\[(.*)\])?$/s.exec(settings.text(name, 'filter') ?? name) ?? [];
    const file = join(directory, 'filter.d', `${filter.trim()}.conf`);
    const files = [file, file.replace(/\.conf$/, '.local')];
    if (name === 'recidive') {
      remark("jail recidive is left out: blockd's own bans grow with each earlier one (ban.factor)");
      continue;
    }
    const isSafeName = /^[\w.-]+$/.test(filter.trim());
    const definitions = Settings.read(isSafeName ? files : []);
    if (!isAboutMail(name, filter, settings, definitions)) {
      remark(`jail ${name} is left out: it is not about mail, and stays with fail2ban`);
      continue;
    }
    if (!isSafeName || !files.some((one) => existsSync(one))) {
      remark(`jail ${name} is left out: its filter "${filter.trim()}" is not in filter.d`);
      continue;
    }
    mail.push(jailOf(name, filter.trim(), parametersOf(parameters), settings, definitions));
  }
  return { mail, remarks };
}

const TRUE = /^(?:true|yes|on|1)$/i;

/** In the order in which fail2ban reads them, jail.conf(5). */
function jailFiles(directory: string): string[] {
  const folder = join(directory, 'jail.d');
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  const ending = (end: string) => names.filter((name) => name.endsWith(end)).map((name) => join(folder, name));
  return [join(directory, 'jail.conf'), ...ending('.conf'), join(directory, 'jail.local'), ...ending('.local')];
}

function isAboutMail(name: string, filter: string, settings: Settings, definitions: Settings): boolean {
  if (/postfix|dovecot|postscreen|sasl/i.test(`${name} ${filter}`)) return true;
  const logs = (settings.text(name, 'logpath') ?? '').split(/\s+/).map((path) => path.replace(/^.*\//, ''));
  if (logs.some((log) => /^(?:mail|dovecot)(?:log)?\b/.test(log))) return true;
  const about = `${definitions.text('Definition', '_daemon')} ${definitions.text('Definition', 'journalmatch')}`;
  return /postfix|dovecot/.test(about);
}

function parametersOf(text: string): Map<string, string> {
  const found = text.matchAll(/([\w.\-?=/]+?)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^,\]]*))(?:\s*,|\s*\]\s*\[|\s*$)/gs);
  return new Map([...found].map(([, key = '', a, b, c]) => [key.trim().toLowerCase(), (a ?? b ?? c ?? '').trim()]));
}

function jailOf(
  name: string,
  filter: string,
  parameters: ReadonlyMap<string, string>,
  settings: Settings,
  definitions: Settings,
): Jail {
  const defined = (option: string): Value | null =>
    definitions.lines('Init', option) ?? definitions.lines('Definition', option);
  const tag: Lookup = (key) => {
    if (/^(?:[A-Z]|\/)/.test(key)) return null;
    const slash = key.indexOf('/');
    if (slash > 0) return definitions.lines(key.slice(0, slash), key.slice(slash + 1).toLowerCase());
    const given = parameters.get(key.toLowerCase());
    if (given !== undefined) return [{ text: given, file: '', line: 0 }];
    return definitions.lines('Init', key.toLowerCase()) ?? defined(key.toLowerCase());
  };
  const own = new Set(['failregex', 'ignoreregex', 'prefregex', 'maxlines']);
  /** What the jail says over its filter: `failregex = %(known/failregex)s` adds to it. */
  const patterns = (option: string): Value => {
    const ofJail = own.has(option) ? settings.lines(name, option, (key) => definitions.lines('Definition', key)) : null;
    return placed(
      withTags(ofJail ?? definitions.lines('Definition', option) ?? [], tag),
      ofJail ?? defined(option) ?? [],
    );
  };
  const oneLine = (option: string) => {
    const text = textOf(patterns(option)).replaceAll('\n', '');
    return text === '' ? null : text;
  };
  return {
    name,
    filter,
    failregex: patterns('failregex').filter(({ text }) => text.trim() !== ''),
    ignoreregex: patterns('ignoreregex').filter(({ text }) => text.trim() !== ''),
    prefregex: oneLine('prefregex'),
    daemon: oneLine('_daemon'),
    maxLines: Number(oneLine('maxlines') ?? 1),
    option: (option) => settings.lines(name, option),
  };
}

/** A parameter of the jail has no place of its own: its lines are where the option stands. */
function placed(lines: Value, option: Value): Value {
  const [first] = option;
  return lines.map(
    (line): SourceLine =>
      line.file === '' && first !== undefined ? { ...line, file: first.file, line: first.line } : line,
  );
}
