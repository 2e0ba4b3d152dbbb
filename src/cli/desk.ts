/**
 * What the commands work at: the config, the store, and what is in force on this host. They work alike whether the
 * daemon runs or not; the note that it keeps in the store tells its mode and map.
 */
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { type LoadedConfig, loadConfig, toPolicySettings } from '../config/load.js';
import { type Config, DEFAULT_MAP_PATH, type Mode } from '../config/schema.js';
import { type ExitCode, reasonOf, UnavailableError } from '../domain/errors.js';
import { ownAddresses } from '../domain/own-addresses.js';
import type { Allowlist, AllowRules } from '../policy/allowlist.js';
import type { Policy, PolicySettings } from '../policy/policy.js';
import type { AccessMap } from '../postfix/access-map.js';
import type { PostscreenMap } from '../postfix/postscreen-map.js';
import { type DaemonNote, daemonNoteName, isRunning } from '../store/daemon-note.js';
import { openStore } from '../store/open.js';
import type { Store } from '../store/store.js';
import type { Output } from './output.js';
import { becomeOwnerAtOnce, becomeOwnerOf } from './owner.js';

/** Options that every command takes. */
export interface Globals {
  readonly config?: string;
  readonly store?: string;
  readonly map?: string;
  readonly set?: readonly string[];
  readonly json?: boolean;
}

/** What a command gets: its surroundings, beside its own arguments. */
export interface Context {
  readonly globals: Globals;
  readonly output: Output;
}

export function configOf({ config, set, store, map }: Globals): LoadedConfig {
  return loadConfig({ file: config, set, overrides: { store, map } });
}

/**
 * Opens the store, does `work`, closes it. A command that only looks (`create: false`) leaves no empty store behind;
 * one that publishes the map (`publishes`) first puts back into the store what it has lost and the map still holds.
 */
export async function atDesk(
  context: Context,
  options: {
    readonly create: boolean;
    readonly publishes?: boolean;
    /** Says nothing of a store that is not there. */
    readonly quiet?: boolean;
  },
  work: (desk: Desk) => Promise<ExitCode>,
): Promise<ExitCode> {
  const loaded = configOf(context.globals);
  const { store, missing } = await openFor(loaded.config, options, context.output);
  try {
    const note = ((await store.note(daemonNoteName(loaded.config.store.host))) ?? null) as DaemonNote | null;
    const desk = new Desk(loaded, { store, missing, note }, context.output);
    if (options.publishes === true) await desk.takeBackLost();
    return await work(desk);
  } finally {
    await store.close();
  }
}

export class Desk {
  readonly config: Config;
  readonly store: Store;
  /** There is no store yet, and an empty one stands in for it. */
  readonly missing: boolean;
  /** What the daemon of this host last said of itself. */
  readonly note: DaemonNote | null;
  readonly running: boolean;
  /** In force: what the command line says, else the running daemon, else the file, else what last ran. */
  readonly mode: Mode;
  readonly now = Date.now();
  readonly #loaded: LoadedConfig;
  readonly #output: Output;

  constructor(loaded: LoadedConfig, state: Pick<Desk, 'store' | 'missing' | 'note'>, output: Output) {
    const { store, missing, note } = state;
    this.config = loaded.config;
    this.store = store;
    this.missing = missing;
    this.note = note;
    this.running = note !== null && isRunning(note, this.now);
    this.#loaded = loaded;
    this.#output = output;
    this.mode = this.#inForce('mode', loaded.config.mode, note?.mode);
  }

  /** What the daemon would run in after a reload. */
  get configuredMode(): Mode {
    return this.#loaded.explicit.has('mode') ? this.config.mode : this.mode;
  }

  get dryRun(): boolean {
    return this.mode === 'dry-run';
  }

  /** The policy as this host's daemon judges, with everybody who is never banned. */
  async policy(): Promise<Policy> {
    return this.policyWith((await this.store.allowed()).map(({ entry }) => entry));
  }

  /** The same with other entries of people than the stored ones. */
  async policyWith(people: readonly string[]): Promise<Policy> {
    const { Allowlist } = await import('../policy/allowlist.js');
    return this.#policyOf(new Allowlist(await this.allowRules(people)));
  }

  /** Who is never banned, and why, with these entries of people. */
  async allowRules(people: readonly string[]): Promise<AllowRules> {
    const { allowRules } = await import('../policy/allowlist.js');
    const { addresses, hostnames } = this.config.allow;
    return allowRules({ own: ownAddresses(), mynetworks: await this.#mynetworks(), addresses, hostnames, people });
  }

  /** The policy for orders that no allowlist can refuse. */
  async policyWithoutAllowlist(): Promise<Policy> {
    const { Allowlist } = await import('../policy/allowlist.js');
    return this.#policyOf(new Allowlist({ addresses: [], hostnames: [] }));
  }

  async #policyOf(allowlist: Allowlist): Promise<Policy> {
    const { Policy } = await import('../policy/policy.js');
    // Stored sums halve as the daemon that stored them was told, whatever this call's config says.
    const stored = (await this.store.note('half-lives')) as
      | Pick<PolicySettings, 'halfLifeMs' | 'strikesHalfLifeMs'>
      | null
      | undefined;
    return new Policy({ ...toPolicySettings(this.config), ...stored, dryRun: this.dryRun }, allowlist);
  }

  /** Type and path of the access map in force, or null when dry-run has none. */
  async mapSpec(): Promise<MapSpec | null> {
    const noted = this.note?.map ?? null;
    const named = this.#inForce(
      'postfix.map',
      this.config.postfix.map,
      noted === null ? undefined : `${noted.type}:${noted.path}`,
    );
    if (named !== undefined) return specOf(named);
    return this.dryRun ? null : defaultSpec(this.config);
  }

  /** How many bans the access map takes. */
  get maxEntries(): number {
    return this.#inForce('postfix.max_entries', this.config.postfix.max_entries, this.note?.postfix.maxEntries);
  }

  async map(): Promise<AccessMap | null> {
    const spec = await this.mapSpec();
    if (spec === null) return null;
    return openMap(spec, this.#mapOptions, this.mode, this.#output);
  }

  get #mapOptions(): MapOptions {
    const { postfix } = this.config;
    const noted = this.note?.postfix;
    const configDirectory = this.#inForce(
      'postfix.config_directory',
      postfix.config_directory,
      noted?.configDirectory ?? undefined,
    );
    return {
      reply: this.#inForce('postfix.reply', postfix.reply, noted?.reply),
      postmap: this.#inForce('postfix.postmap', postfix.postmap, noted?.postmap),
      reload: this.#inForce('postfix.reload', postfix.reload, noted?.reload),
      maxEntries: this.maxEntries,
      ...(configDirectory !== undefined && { configDirectory }),
    };
  }

  /** A daemon at work sees to that by itself. */
  async takeBackLost(): Promise<void> {
    const map = this.running || this.dryRun ? null : await this.map();
    if (map === null) return;
    const { takeBackLost } = await import('./lost.js');
    const count = await takeBackLost(map, this.store, await this.policyWithoutAllowlist(), this.now);
    if (count === 0) return;
    this.#output.notice(`the store had lost ${count} of the access map's bans: they are taken back from there`);
  }

  /**
   * Has the map follow what a command has just stored, unless nobody is to be refused.
   * @throws UnavailableError that says what is stored and what is not done.
   */
  async publishChange(): Promise<void> {
    if (this.dryRun) return;
    try {
      const map = await this.map();
      await map?.publish(() => this.store.bans(Date.now()));
      await this.publishPostscreen();
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      const then = this.running
        ? 'the daemon tries again every few seconds'
        : 'run "blockctl sync" when that is mended';
      throw new UnavailableError(`The change is stored, but not yet in the access map (${then}): ${error.message}`, {
        cause: error,
      });
    }
  }

  /** A daemon sees to its front line by itself; without one the kernel lets nobody in before the ban's own end. */
  remindOfSets(released: readonly string[]): void {
    const { nftables, table, nft } = this.config.frontline;
    if (!nftables || this.running || this.mode !== 'enforce' || released.length === 0) return;
    const [first = ''] = released;
    const what =
      released.length > 1
        ? `delete table inet ${table}`
        : `delete element inet ${table} ${first.includes(':') ? 'banned6' : 'banned4'} { ${first} }`;
    this.#output.notice(
      `no daemon runs, so the nftables sets still hold ${released.length > 1 ? 'them' : first}: start it, or as root: ${nft} '${what}'`,
    );
  }

  /** postscreen's table, brought in step at once; resolves with its entries, null where there is none. */
  async publishPostscreen(): Promise<number | null> {
    const { postscreen_map, postscreen_every } = this.config.postfix;
    const noted = this.note?.postfix;
    const path = this.#inForce('postfix.postscreen_map', postscreen_map, noted?.postscreenMap ?? undefined);
    if (path === undefined) return null;
    const leadMs = this.#inForce('postfix.postscreen_every', postscreen_every, noted?.postscreenEveryMs);
    const map = await openPostscreenMap(path, leadMs, this.#mapOptions);
    const enforced = this.mode === 'enforce';
    const now = Date.now();
    const { entries, notReloaded } = await map.publish(async () => (enforced ? this.store.bans(now) : []), now);
    if (notReloaded !== null)
      this.#output.notice(`${notReloaded}: postscreen sees the change when Postfix is reloaded`);
    return entries;
  }

  async #mynetworks(): Promise<string[]> {
    if (!this.config.allow.mynetworks) return [];
    const { mynetworks } = await import('../postfix/postconf.js');
    const { postconf, config_directory } = this.config.postfix;
    const configDirectory = this.#inForce(
      'postfix.config_directory',
      config_directory,
      this.note?.postfix.configDirectory ?? undefined,
    );
    try {
      return await mynetworks({ postconf, ...(configDirectory !== undefined && { configDirectory }) });
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#output.notice(
        `mynetworks of Postfix can't be read, so they are not known to be never banned: ${error.message}`,
      );
      return [];
    }
  }

  #inForce<T>(key: string, configured: T, noted: T | undefined): T {
    const { explicit, onCommandLine } = this.#loaded;
    if (noted === undefined || onCommandLine.has(key)) return configured;
    return this.running || !explicit.has(key) ? noted : configured;
  }
}

/** The access map from the config alone, for a command that must not need the store. */
export async function mapFromConfig({ config }: LoadedConfig, output: Output): Promise<AccessMap> {
  const { map, reply, postmap, reload, config_directory } = config.postfix;
  const configDirectory = config_directory === undefined ? {} : { configDirectory: config_directory };
  const spec = map === undefined ? await defaultSpec(config) : specOf(map);
  return openMap(spec, { reply, postmap, reload, ...configDirectory }, config.mode, output);
}

/** postscreen's table from the config alone, for a command that must not need the store; null where there is none. */
export async function postscreenMapFromConfig({ config }: LoadedConfig): Promise<PostscreenMap | null> {
  const { postscreen_map: path, postscreen_every: leadMs, reload, config_directory } = config.postfix;
  const configDirectory = config_directory === undefined ? {} : { configDirectory: config_directory };
  return path === undefined ? null : openPostscreenMap(path, leadMs, { reload, ...configDirectory });
}

async function openPostscreenMap(
  path: string,
  leadMs: number,
  options: Pick<MapOptions, 'reload' | 'maxEntries' | 'configDirectory'>,
): Promise<PostscreenMap> {
  becomeOwnerOf(dirname(path));
  const { PostscreenMap } = await import('../postfix/postscreen-map.js');
  return new PostscreenMap({ path, leadMs, ...options });
}

interface MapSpec {
  readonly type: string;
  /** Absolute. */
  readonly path: string;
}

interface MapOptions {
  readonly reply: string;
  readonly postmap: string;
  readonly reload: readonly string[];
  readonly maxEntries?: number;
  readonly configDirectory?: string;
}

async function openMap(spec: MapSpec, options: MapOptions, mode: Mode, output: Output): Promise<AccessMap> {
  becomeOwnerOf(dirname(spec.path));
  const { AccessMap } = await import('../postfix/access-map.js');
  return new AccessMap({
    ...spec,
    ...options,
    action: mode === 'shadow' ? 'warn' : 'reject',
    onNotice: (level, message) => {
      if (level !== 'info') output.notice(message);
    },
  });
}

/** Of a map as the config or a note names it, which are known to be right. */
function specOf(named: string): MapSpec {
  const colon = named.indexOf(':');
  return { type: named.slice(0, colon), path: named.slice(colon + 1) };
}

async function defaultSpec(config: Config): Promise<MapSpec> {
  const { defaultMapType } = await import('../postfix/postconf.js');
  const { parseMapSpec } = await import('../postfix/access-map.js');
  const { postconf, config_directory } = config.postfix;
  const configDirectory = config_directory === undefined ? {} : { configDirectory: config_directory };
  const type = await defaultMapType({ postconf, ...configDirectory });
  // Postfix may have a default that blockd can't write.
  return parseMapSpec(`${type}:${DEFAULT_MAP_PATH}`);
}

/** The store that the config names; `missing` when nothing was ever stored there and nothing is to be made. */
export async function openFor(
  config: Config,
  { create, quiet = false }: { readonly create: boolean; readonly quiet?: boolean },
  output: Output,
): Promise<Pick<Desk, 'store' | 'missing'>> {
  const { url, prefix, password_file: passwordFile, ca_file: caFile } = config.store;
  const onNotice = (level: string, message: string) => {
    if (level !== 'info') output.notice(message);
  };
  const folder = url.startsWith('lmdb:') ? url.slice('lmdb:'.length) : null;
  if (folder !== null) becomeOwnerOf(folder);
  else becomeOwnerAtOnce(dirname((config.postfix.map ?? DEFAULT_MAP_PATH).replace(/^\w+:/, '')));
  if (folder === null || create || exists(folder))
    return { store: await openStore(url, { prefix, passwordFile, caFile, onNotice }), missing: false };
  if (!quiet) {
    output.notice(
      `there is no store at ${folder} yet: blockd makes it when it first runs (--store or --config names another)`,
    );
  }
  return { store: await openStore('memory:', { prefix, onNotice }), missing: true };
}

function exists(folder: string): boolean {
  try {
    statSync(folder);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw new UnavailableError(`The store ${folder} can't be opened: ${reasonOf(error)}`, { cause: error });
  }
}
