/**
 * Loads the config: the file, then `--set`, then flags of their own, each over the one before.
 * Whatever is wrong is said at once, each with its place and, for a misspelt key, with the nearest known one.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isAbsolute, resolve } from 'node:path';
import { parse } from 'smol-toml';
import { formatDuration } from '../domain/duration.js';
import { reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import { distanceOf } from '../domain/spelling.js';
import { type Field, UNKNOWN_KEY } from './field.js';
import { type Config, configSchema } from './schema.js';
import { parseToml } from './toml.js';

export const DEFAULT_CONFIG_FILE = '/etc/blockd/blockd.toml';

export interface LoadOptions {
  /** The file to read; it must exist. Without it `DEFAULT_CONFIG_FILE` is read if there is one. */
  readonly file?: string | undefined;
  /** For a command that writes `file`: it need not exist yet. */
  readonly mayBeMissing?: boolean;
  /** `KEY=VALUE` each, as `--set` takes it. */
  readonly set?: readonly string[] | undefined;
  /** Flags of their own. */
  readonly overrides?: Overrides | undefined;
}

export interface Overrides {
  readonly log?: readonly string[] | undefined;
  readonly store?: string | undefined;
  readonly map?: string | undefined;
  readonly mode?: string | undefined;
  readonly filters?: string | undefined;
}

export interface LoadedConfig {
  readonly config: Config;
  /** The file that was read, or null. */
  readonly file: string | null;
  /** Dotted keys that the file, `--set` or a flag gave. */
  readonly explicit: ReadonlySet<string>;
  /** Those of them that `--set` or a flag gave. */
  readonly onCommandLine: ReadonlySet<string>;
}

/** @throws UsageError that lists everything wrong with the file, `--set` and the flags. */
export function loadConfig(options: LoadOptions = {}): LoadedConfig {
  const draft = new Draft();
  const file = options.file === undefined ? DEFAULT_CONFIG_FILE : resolve(options.file);
  const found = readToml(file, options.file !== undefined && options.mayBeMissing !== true);
  if (found !== null) draft.takeFile(file, found);
  for (const pair of options.set ?? []) draft.takeSet(pair);
  for (const [name, value] of Object.entries(options.overrides ?? {})) {
    const key = FLAG_KEYS[name];
    if (value !== undefined && key !== undefined) draft.take(key, value, `--${name}`);
  }
  const config = draft.read();
  return {
    config,
    file: found === null ? null : file,
    explicit: new Set(draft.keys(() => true)),
    onCommandLine: new Set(draft.keys(isCommandLine)),
  };
}

/** The settings that judging needs: the policy's `PolicySettings`. */
export function toPolicySettings(config: Config) {
  return {
    threshold: config.score.threshold,
    halfLifeMs: config.score.half_life,
    standing: config.score.standing,
    firstMs: config.ban.first,
    factor: config.ban.factor,
    maxMs: config.ban.max,
    strikesHalfLifeMs: config.ban.strikes_half_life,
    ipv6Prefix: config.ban.ipv6_prefix,
    networks: config.ban.networks,
    authenticatedForMs: config.allow.authenticated_for,
    dryRun: config.mode === 'dry-run',
  };
}

const FLAG_KEYS: Record<string, readonly string[] | undefined> = {
  log: ['log', 'files'],
  store: ['store', 'url'],
  map: ['postfix', 'map'],
  mode: ['mode'],
  filters: ['log', 'filters'],
};

type Key = readonly string[];
interface Problem {
  readonly key: Key;
  readonly sentence: string;
}

/** The values given so far, and who gave each. */
class Draft {
  readonly #values: Record<string, unknown> = {};
  /** Dotted key → where it came from: the file's name, `--set` or a flag. */
  readonly #origins = new Map<string, string>();
  readonly #problems: string[] = [];

  /** Dotted keys whose origin is `wanted`. */
  keys(wanted: (origin: string) => boolean): string[] {
    return [...this.#origins].filter(([, origin]) => wanted(origin)).map(([key]) => key);
  }

  takeFile(file: string, values: Record<string, unknown>): void {
    for (const [key, value] of leaves(values, [])) this.take(key, value, file);
  }

  takeSet(pair: string): void {
    const cut = pair.indexOf('=');
    const key = cut < 1 ? null : keyOf(pair.slice(0, cut).trim());
    if (key === null) {
      this.#problems.push(`--set ${pair}: wants KEY=VALUE, such as score.threshold=3`);
      return;
    }
    const raw = pair.slice(cut + 1).trim();
    // A text may be given without quotes, and a list of one text without brackets.
    const candidates = [tomlValue(raw), raw, [raw]].filter((value) => value !== undefined);
    const fitting = candidates.find((value) => problemsOf(nested(key, value), process.cwd()).length === 0);
    const value = fitting ?? candidates[0];
    if (!isTable(value)) this.take(key, value, '--set');
    else for (const [below, one] of leaves(value, key)) this.take(below, one, '--set');
  }

  take(key: Key, value: unknown, origin: string): void {
    let table = this.#values;
    for (const part of key.slice(0, -1)) {
      const below = Object.hasOwn(table, part) ? table[part] : undefined;
      const next = isTable(below) ? below : {};
      define(table, part, next);
      table = next;
    }
    define(table, key.at(-1) ?? '', value);
    this.#origins.set(dotted(key), origin);
  }

  /** @throws UsageError */
  read(): Config {
    const problems: Problem[] = [];
    const config = configSchema.read(this.#values, [], {
      problem: (key, sentence) => problems.push({ key, sentence }),
      baseOf: (key) => (isCommandLine(this.#origin(key)) ? process.cwd() : null),
    });
    const wrong = [...problems, ...(problems.length === 0 ? crossProblems(config) : [])];
    const said = [...this.#problems, ...wrong.map((problem) => this.#sentence(problem))];
    if (said.length > 0) throw new UsageError(said.join('\n'));
    return config;
  }

  /** Of a key, or of what stands above or below it. */
  #origin(key: Key): string {
    const name = dotted(key);
    const exact = this.#origins.get(name);
    if (exact !== undefined) return exact;
    for (const [other, origin] of this.#origins) if (other.startsWith(`${name}.`)) return origin;
    // In an array of tables nothing but the whole array was given by somebody.
    return key.length > 1 ? this.#origin(key.slice(0, -1)) : 'config';
  }

  #sentence({ key, sentence }: Problem): string {
    const origin = this.#origin(key);
    const where = origin === '--set' ? '--set' : `${origin}:`;
    if (sentence !== UNKNOWN_KEY)
      return origin === '--set' ? `--set ${dotted(key)}: ${sentence}` : `${where} ${dotted(key)} ${sentence}`;
    const nearest = nearestKey(dotted(key));
    const hint = nearest === null ? '' : `; did you mean ${nearest}?`;
    return `${where} unknown key ${dotted(key)}${hint}`;
  }
}

/** Files are named by absolute paths, so that no file's name looks like a flag. */
function isCommandLine(origin: string): boolean {
  return origin.startsWith('--');
}

/** Settings that are each right and don't fit together. */
function crossProblems(config: Config): Problem[] {
  const problems: Problem[] = [];
  const { ban, handover, report, notify } = config;
  problems.push(...listProblems(config), ...postscreenProblems(config));
  if (ban.first > ban.max) {
    const lengths = `${formatDuration(ban.first)} against ${formatDuration(ban.max)}`;
    problems.push({
      key: ['ban', 'first'],
      sentence: `is longer than ban.max (${lengths}): the first ban is the shortest`,
    });
  }
  if (ban.networks === 1) {
    problems.push({
      key: ['ban', 'networks'],
      sentence: 'would ban a whole network for one address: write 0 (never), or 2 and more',
    });
  }
  if (!isCron(handover.every))
    problems.push({
      key: ['handover', 'every'],
      sentence: cronSentence(handover.every),
    });
  if (report.schedule !== undefined && !isCron(report.schedule)) {
    problems.push({
      key: ['report', 'schedule'],
      sentence: cronSentence(report.schedule),
    });
  }
  if (report.schedule !== undefined && report.mail_to === undefined && report.html_dir === undefined) {
    problems.push({
      key: ['report', 'schedule'],
      sentence: 'has nowhere to go: set report.mail_to or report.html_dir too',
    });
  }
  const [program] = notify.command;
  if (program !== undefined && !isAbsolute(program)) {
    problems.push({
      key: ['notify', 'command'],
      sentence: `begins with "${program}", which is a relative path: write the program's from / on`,
    });
  }
  return problems;
}

function listProblems({ lists, score }: Config): Problem[] {
  return lists.flatMap(({ name, file, url, points }, index) => {
    const problem = (key: string, sentence: string) => ({ key: ['lists', String(index + 1), key], sentence });
    const problems: Problem[] = [];
    if (name === '') problems.push(problem('name', 'is missing: every list has a name of its own'));
    else if (lists.findIndex((one) => one.name === name) < index)
      problems.push(problem('name', `"${name}" is the name of a list above: every list has its own`));
    if ((file === undefined) === (url === undefined))
      problems.push(problem('file', 'or url is needed, and not both: it says where the list is'));
    if (points === 0) problems.push(problem('points', 'is missing: write a number above 0'));
    else if (points >= score.threshold) {
      const numbers = `${points} against ${score.threshold}`;
      problems.push(
        problem(
          'points',
          `must be below score.threshold (${numbers}): a list alone never bans, own offenses must do the rest`,
        ),
      );
    }
    return problems;
  });
}

function postscreenProblems({ postfix }: Config): Problem[] {
  const map = postfix.map?.replace(/^\w+:/, '');
  const clash = postfix.postscreen_map !== undefined && [map, `${map}.cidr`].includes(postfix.postscreen_map);
  return clash ? [{ key: ['postfix', 'postscreen_map'], sentence: 'is the access map itself: name another file' }] : [];
}

function cronSentence(text: string): string {
  return `"${text}" is no cron expression: write five fields, such as "17 * * * *" (minute hour day month weekday)`;
}

/** node-cron is loaded only for an expression that isn't the default: most calls of `blockctl` need none of it. */
function isCron(text: string): boolean {
  if (text === '17 * * * *') return true;
  const { validate } = createRequire(import.meta.url)('node-cron') as typeof import('node-cron');
  return validate(text);
}

function readToml(file: string, mustExist: boolean): Record<string, unknown> | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!mustExist && code === 'ENOENT') return null;
    if (code === 'EACCES') {
      throw new UnavailableError(`The config file ${file} can't be read: permission denied`, { cause: error });
    }
    throw new UsageError(`The config file ${file} can't be read: ${reasonOf(error)}.`, { cause: error });
  }
  return parseToml(bytes, file, true);
}

/** The key of `--set`: dotted, with a rule's name whole after `points.`; null when there is none. */
function keyOf(text: string): Key | null {
  const points = /^points\.(.+)$/.exec(text)?.[1];
  const parts = points === undefined ? text.split('.') : ['points', points.replace(/^(["'])(.*)\1$/, '$2')];
  return parts.includes('') ? null : parts;
}

function tomlValue(text: string): unknown {
  if (text.includes('\n')) return undefined;
  try {
    return parse(`value = ${text}`).value;
  } catch {
    return undefined;
  }
}

function nested(key: Key, value: unknown): Record<string, unknown> {
  let inner: unknown = value;
  for (const part of [...key].reverse()) inner = define({}, part, inner);
  return inner as Record<string, unknown>;
}

function problemsOf(values: unknown, base: string): string[] {
  const problems: string[] = [];
  configSchema.read(values, [], {
    problem: (_, sentence) => problems.push(sentence),
    baseOf: () => base,
  });
  return problems;
}

/** Sets an own property, also one named `__proto__`. */
function define(table: Record<string, unknown>, name: string, value: unknown): Record<string, unknown> {
  return Object.defineProperty(table, name, {
    value,
    enumerable: true,
    writable: true,
    configurable: true,
  });
}

function* leaves(table: Record<string, unknown>, key: Key): Generator<[Key, unknown]> {
  for (const [name, value] of Object.entries(table)) {
    if (isTable(value) && Object.keys(value).length > 0) yield* leaves(value, [...key, name]);
    else yield [[...key, name], value];
  }
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** The key as the admin would write it: parts that TOML wants quoted are. */
function dotted(key: Key): string {
  return key.map((part) => (/^[A-Za-z0-9_-]+$/.test(part) ? part : JSON.stringify(part))).join('.');
}

/** The known key that `unknown` probably meant, or null. */
function nearestKey(unknown: string): string | null {
  let best: string | null = null;
  let bestDistance = 1 + Math.min(4, Math.floor(unknown.length / 3));
  const last = unknown.split('.').at(-1) ?? unknown;
  for (const known of knownKeys(configSchema, [])) {
    // A known key in the wrong section is as near as one with a letter wrong.
    const misplaced = known.split('.').at(-1) === last ? 1 : Number.POSITIVE_INFINITY;
    const distance = Math.min(misplaced, distanceOf(unknown, known));
    if (distance < bestDistance) [best, bestDistance] = [known, distance];
  }
  return best;
}

/** All keys that may be set, sections included, dotted. */
export function knownKeys(field: Field<unknown>, key: Key): string[] {
  const here = key.length === 0 ? [] : [dotted(key)];
  return [...here, ...Object.entries(field.keys ?? {}).flatMap(([name, below]) => knownKeys(below, [...key, name]))];
}
