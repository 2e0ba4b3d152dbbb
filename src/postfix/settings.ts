/** What one Postfix instance is set to, as its own postconf(1) tells: never our reading of main.cf against its. */
import { UnavailableError } from '../domain/errors.js';
import type { PostconfOptions } from './postconf.js';
import { complaintOf, run } from './run.js';

/** One line of master.cf. */
export interface Service {
  /** As `postconf -P` names it: `submission/inet`. */
  readonly name: string;
  readonly type: string;
  readonly chroot: boolean;
  /** The program: `smtpd`. */
  readonly command: string;
  /** Parameters that `-o` sets for this service alone. */
  readonly overrides: ReadonlyMap<string, string>;
}

export interface Settings {
  /** Such as `3.7.11`. */
  readonly version: string;
  readonly mapTypes: readonly string[];
  /** All parameters, defaults included, with `$name` expanded. */
  readonly values: ReadonlyMap<string, string>;
  /** Names that main.cf sets. */
  readonly explicit: ReadonlySet<string>;
  readonly services: readonly Service[];
  /** What postconf warns of, without its `warning: `. */
  readonly warnings: readonly string[];
}

/** @throws UnavailableError when Postfix can't be asked. */
export async function readSettings(options: PostconfOptions): Promise<Settings> {
  const [types, all, set, master, overrides] = await Promise.all([
    ask(options, '-m'),
    ask(options, '-x'),
    ask(options, '-n'),
    ask(options, '-M'),
    ask(options, '-Px'),
  ]);
  const values = parameters(all.stdout);
  return {
    version: values.get('mail_version') ?? '',
    mapTypes: types.stdout.split(/\s+/).filter((type) => type !== ''),
    values,
    explicit: new Set(parameters(set.stdout).keys()),
    services: parseServices(master.stdout, overrides.stdout),
    warnings: [...new Set([...set.stderr.split('\n'), ...master.stderr.split('\n')].flatMap(warningOf))],
  };
}

/** The value as main.cf has it, with its `$name` and on one line. @throws UnavailableError */
export async function rawValue(name: string, options: PostconfOptions): Promise<string> {
  return (await ask(options, '-h', name)).stdout.trim();
}

/** The folder with main.cf. @throws UnavailableError */
export async function configDirectoryOf(options: PostconfOptions): Promise<string> {
  return options.configDirectory ?? (await ask(options, '-hx', 'config_directory')).stdout.trim();
}

/** Is `version` at least `major.minor`? An unknown one counts as new. */
export function isAtLeast(version: string, major: number, minor: number): boolean {
  const numbers = /^(\d+)\.(\d+)/.exec(version);
  if (numbers === null) return true;
  const [have, haveMinor] = [Number(numbers[1]), Number(numbers[2])];
  return have > major || (have === major && haveMinor >= minor);
}

/** From `postconf -M` and `postconf -P`. */
export function parseServices(master: string, overrides: string): Service[] {
  const own = [...parameters(overrides)];
  return master.split('\n').flatMap((line) => {
    const [name, type, , , chroot, , , command] = line.trim().split(/\s+/);
    if (name === undefined || type === undefined || command === undefined) return [];
    const prefix = `${name}/${type}/`;
    const mine = own.filter(([key]) => key.startsWith(prefix));
    return [
      {
        name: `${name}/${type}`,
        type,
        chroot: chroot === 'y',
        command,
        overrides: new Map(mine.map(([key, value]) => [key.slice(prefix.length), value] as const)),
      },
    ];
  });
}

/** What `service` works with: its own setting, else that of main.cf. */
export function valueFor(settings: Settings, service: Service, name: string): string {
  return service.overrides.get(name) ?? settings.values.get(name) ?? '';
}

/** Services that take mail from the network: smtpd itself, or behind postscreen. */
export function smtpServices({ services }: Settings): Service[] {
  return services.filter(({ command, type }) => command === 'smtpd' && (type === 'inet' || type === 'pass'));
}

async function ask({ postconf, configDirectory }: PostconfOptions, ...args: readonly string[]) {
  const where = configDirectory === undefined ? [] : ['-c', configDirectory];
  const result = await run([postconf, ...where, ...args]);
  if (result.code !== 0) throw new UnavailableError(`${postconf} ${args[0]} failed: ${complaintOf(result)}`);
  return result;
}

function parameters(text: string): Map<string, string> {
  return new Map(
    text.split('\n').flatMap((line) => {
      const found = /^(\S+) =(?: (.*))?$/.exec(line);
      return found?.[1] === undefined ? [] : [[found[1], (found[2] ?? '').trim()] as const];
    }),
  );
}

function warningOf(line: string): string[] {
  const text = /\bwarning: (.*)$/.exec(line)?.[1];
  return text === undefined ? [] : [text];
}
