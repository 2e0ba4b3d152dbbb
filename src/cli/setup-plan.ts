/** What setup found on this machine, and what it would change. Looks only. */
import { existsSync, readFileSync, realpathSync, type Stats, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { DEFAULT_CONFIG_FILE, type LoadedConfig, loadConfig } from '../config/load.js';
import { DEFAULT_MAP_PATH } from '../config/schema.js';
import { reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import { parseMapSpec } from '../postfix/access-map.js';
import { type Instance, instancesOf } from '../postfix/instances.js';
import { findMailLog, type MailLog } from '../postfix/mail-log.js';
import { withTables } from '../postfix/main-cf.js';
import { MapFiles } from '../postfix/map-files.js';
import { chooseType } from '../postfix/map-type.js';
import { readSettings, type Settings, smtpServices } from '../postfix/settings.js';
import { type MapName, missingTables, overridingServices, tablesOf } from '../postfix/wiring.js';
import type { Globals } from './desk.js';
import { type ConfigEntry, newConfig, settingOf, withMap } from './setup-config.js';

export interface SetupOptions {
  readonly mode?: string;
  readonly instance?: string;
}

/** A text file as it is (null: none) and as it is to be. */
export interface FileChange {
  readonly file: string;
  readonly before: string | null;
  readonly after: string;
}

export interface Target extends Instance {
  readonly settings: Settings;
  /** The map's tables that main.cf does not ask yet. */
  readonly missing: readonly string[];
  /** `before` and `after` are alike when nothing is missing. */
  readonly main: FileChange & { readonly before: string };
}

export interface SetupPlan {
  readonly targets: readonly Target[];
  readonly map: MapName;
  /** Some file of the map is missing. */
  readonly makesMap: boolean;
  /** None of it is there. */
  readonly mapIsNew: boolean;
  /** Who shall own the map: the owner of the nearest folder that is there. */
  readonly owner: Pick<Stats, 'uid' | 'gid'>;
  /** Folders to make, the outermost first: for the map, which are its owner's, and for the config. */
  readonly mapFolders: readonly string[];
  readonly configFolders: readonly string[];
  readonly log: MailLog;
  /** Null when there is nothing to write. */
  readonly config: FileChange | null;
  readonly loaded: LoadedConfig;
  /** What setup leaves to the admin. */
  readonly notes: readonly string[];
}

/** @throws UsageError, UnavailableError when there is no telling what to do. */
export async function planSetup(globals: Globals, options: SetupOptions, now: number): Promise<SetupPlan> {
  const { config: file, set, store, map: mapFlag } = globals;
  const { mode } = options;
  const loaded = loadConfig({ file, set, overrides: { store, map: mapFlag, mode }, mayBeMissing: true });
  const { postconf, config_directory } = loaded.config.postfix;
  const primary = { postconf, ...(config_directory !== undefined && { configDirectory: config_directory }) };
  const chosen = choose(await instancesOf(primary), options.instance, config_directory);
  const settings = new Map<Instance, Settings>();
  for (const one of chosen) {
    settings.set(one, await readSettings({ postconf, configDirectory: one.configDirectory }));
  }
  const [first] = settings.values();
  if (first === undefined) throw new UsageError('there is no Postfix instance to set up');
  const map = mapOf(loaded, first);
  const targets = [...settings].map(([one, its]) => targetOf(one, its, map));
  const log = findMailLog(first, now);
  const folder = dirname(map.path);
  const mapFolders = missingFolders(folder);
  const files = new MapFiles(map.type, map.path).all;
  const configDirectory =
    options.instance === undefined && config_directory !== undefined
      ? config_directory
      : await unlessDefault(chosen, postconf);
  const config = configChange(globals, { loaded, map, log, configDirectory });
  return {
    targets,
    map,
    makesMap: files.some((one) => !existsSync(one)),
    mapIsNew: files.every((one) => !existsSync(one)),
    owner: nearestOwner(folder),
    mapFolders,
    configFolders:
      config === null ? [] : missingFolders(dirname(config.file)).filter((one) => !mapFolders.includes(one)),
    log,
    config,
    loaded,
    notes: [...notesOn(targets, map), ...configNotes(loaded, config, log)],
  };
}

/** The folder of the first instance, unless it is the one that postconf means when nobody names one. */
async function unlessDefault([first]: readonly Instance[], postconf: string): Promise<string | undefined> {
  const [usual] = await instancesOf({ postconf });
  return first?.configDirectory === usual?.configDirectory ? undefined : first?.configDirectory;
}

function choose(all: readonly Instance[], wanted: string | undefined, configured: string | undefined): Instance[] {
  if (wanted === 'all') return [...all];
  if (wanted === undefined && (all.length === 1 || configured !== undefined)) return all.slice(0, 1);
  const found = all.filter(({ name, configDirectory }) => wanted === name || wanted === configDirectory);
  if (found.length === 1) return found;
  const names = all.map(
    ({ name, configDirectory }) => `  ${name === '-' ? configDirectory : name}  (${configDirectory})`,
  );
  const why =
    wanted === undefined
      ? `this host has ${all.length} Postfix instances`
      : `"${wanted}" is none of its Postfix instances`;
  throw new UsageError(`${why}: choose one with --instance NAME, or --instance all\n${names.join('\n')}`);
}

function mapOf({ config }: LoadedConfig, settings: Settings): MapName {
  if (config.postfix.map !== undefined) {
    const named = parseMapSpec(config.postfix.map);
    if (settings.mapTypes.includes(named.type)) return named;
    throw new UsageError(
      `postfix.map is ${config.postfix.map}, and this Postfix (${settings.version}) has no maps of type ${named.type}: name another with --map TYPE:PATH; "postconf -m" lists the types`,
    );
  }
  const type = chooseType(settings);
  if (type === null) {
    throw new UsageError(
      'this Postfix has none of the types of map that blockd can write (hash, btree, lmdb, cdb): install postfix-lmdb',
    );
  }
  return { type, path: DEFAULT_MAP_PATH };
}

function targetOf(instance: Instance, settings: Settings, map: MapName): Target {
  const file = realPath(join(instance.configDirectory, 'main.cf'));
  const before = readText(file);
  const missing = missingTables(settings, map);
  const after = missing.length === 0 ? before : withTables(before, tablesOf(map), missing);
  return { ...instance, settings, missing, main: { file, before, after } };
}

function configChange(
  { config: file, set = [], store, map: mapFlag }: Globals,
  found: {
    readonly loaded: LoadedConfig;
    readonly map: MapName;
    readonly log: MailLog;
    readonly configDirectory: string | undefined;
  },
): FileChange | null {
  const { loaded, map, log, configDirectory } = found;
  const path = resolve(file ?? DEFAULT_CONFIG_FILE);
  const spec = `${map.type}:${map.path}`;
  if (loaded.file !== null) {
    const before = readText(path);
    if (loaded.explicit.has('postfix.map') && !loaded.onCommandLine.has('postfix.map')) return null;
    const own = loadConfig({ file: path });
    if (own.explicit.has('postfix.map')) {
      if (own.config.postfix.map === spec) return null;
      throw new UsageError(`${path} names another map than --map ${spec}: change postfix.map there`);
    }
    return { file: path, before, after: withMap(before, spec, path) };
  }
  if (loaded.config.mode === 'enforce') {
    throw new UsageError(
      'setup begins in dry-run or shadow; set mode = "enforce" in the config when you have seen whom it would ban',
    );
  }
  const entries = new Map<string, unknown>([['mode', loaded.config.mode]]);
  if (log.log === 'journal') entries.set('log.journal', true);
  else if (log.log !== null) entries.set('log.files', [log.log]);
  entries.set('postfix.map', spec);
  if (configDirectory !== undefined) entries.set('postfix.config_directory', configDirectory);
  if (store !== undefined) entries.set('store.url', loaded.config.store.url);
  for (const [key, value] of set.map((pair): ConfigEntry => settingOf(pair))) {
    if (key === 'mode') continue;
    entries.set(key, key === 'log.files' ? loaded.config.log.files : value);
    if (key === 'log.files') entries.delete('log.journal');
    if (key === 'log.journal') entries.delete('log.files');
  }
  if (mapFlag !== undefined) entries.set('postfix.map', spec);
  return { file: path, before: null, after: newConfig([...entries]) };
}

function notesOn(targets: readonly Target[], map: MapName): string[] {
  const notes: string[] = [];
  for (const { settings } of targets) {
    const without = overridingServices(settings).filter(
      ({ overrides }) => !tablesOf(map).every((table) => overrides.get('smtpd_client_restrictions')?.includes(table)),
    );
    for (const { name } of without) {
      notes.push(
        `master.cf gives ${name} smtpd_client_restrictions of its own (-o smtpd_client_restrictions=…): the map is not asked there. setup does not touch master.cf; "blockctl doctor" says what to write.`,
      );
    }
    if (smtpServices(settings).length === 0) notes.push('master.cf has no smtpd service: nothing will ask the map.');
  }
  return [...new Set(notes)];
}

function configNotes({ config, file }: LoadedConfig, change: FileChange | null, log: MailLog): string[] {
  const notes: string[] = [];
  if (file !== null && config.mode === 'enforce') notes.push(`mode stays "enforce", as ${file} says.`);
  const logs = config.log.files;
  if (
    change?.before !== null &&
    log.log !== null &&
    log.log !== 'journal' &&
    logs.length > 0 &&
    !logs.includes(log.log)
  ) {
    notes.push(`${file} reads ${logs.join(', ')}, but Postfix seems to log to ${log.log} (${log.why}).`);
  }
  if (log.log === null && logs.length === 0 && !config.log.journal) {
    notes.push(`no mail log was found (${log.why}): name it as log.files in the config.`);
  }
  return notes;
}

function missingFolders(folder: string): string[] {
  const missing: string[] = [];
  for (let one = folder; !existsSync(one); one = dirname(one)) missing.unshift(one);
  return missing;
}

function nearestOwner(folder: string): Pick<Stats, 'uid' | 'gid'> {
  for (let one = folder; ; one = dirname(one)) {
    const stat = statSync(one, { throwIfNoEntry: false });
    if (stat !== undefined) return { uid: stat.uid, gid: stat.gid };
  }
}

/** A symbolic link stays one. */
export function realPath(file: string): string {
  try {
    return realpathSync(file);
  } catch (error) {
    throw new UnavailableError(`can't read ${file}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Latin-1, so that each byte that is not changed stays as it is. */
export function readText(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    throw new UnavailableError(`can't read ${file}: ${reasonOf(error)}`, { cause: error });
  }
}
