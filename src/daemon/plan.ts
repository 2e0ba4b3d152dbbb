/** What a config asks for, made ready: compiled rules, the logs to follow, the access map. */
import { existsSync, type Stats, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Config, DEFAULT_MAP_PATH } from '../config/schema.js';
import { reasonOf, UsageError } from '../domain/errors.js';
import { Filter } from '../filter/filter.js';
import { loadRules, missingFilters, packagedFilters } from '../filter/load.js';
import { AccessMap, parseMapSpec } from '../postfix/access-map.js';
import { defaultMapType } from '../postfix/postconf.js';
import { PostscreenMap } from '../postfix/postscreen-map.js';
import { openSource } from '../source/open.js';
import type { Source, SourceOptions } from '../source/source.js';
import type { Logger } from './log.js';
import { OwnNetworks } from './own-networks.js';

export interface Plan {
  readonly config: Config;
  readonly filter: Filter;
  readonly ownNetworks: OwnNetworks;
  /** Absolute paths, or `journal`. */
  readonly logs: readonly string[];
  /** Null in dry-run when the config names none. */
  readonly map: AccessMap | null;
  /** Null when the config names none. */
  readonly postscreenMap: PostscreenMap | null;
  openSource(options: SourceOptions): Source;
}

interface PlanOptions {
  readonly once: boolean;
  readonly logger: Logger;
}

/** Where Debian and Red Hat keep the mail log. */
const USUAL_LOGS = ['/var/log/mail.log', '/var/log/maillog'];

/** @throws UsageError when rules, logs or map can't be used; UnavailableError when Postfix must be asked and can't. */
export async function makePlan(config: Config, options: PlanOptions): Promise<Plan> {
  const files = logFiles(config);
  for (const file of files) checkLog(file, options.once);
  // Postfix answers while the rules are read.
  const ownNetworks = new OwnNetworks(config, options.logger);
  const missing = missingFilters(config.log.filters);
  if (missing !== null) options.logger.warn({ event: 'filters-missing' }, missing);
  const rules = loadRules(packagedFilters(), config.log.filters, 'short');
  const filter = Filter.compile(rules, {
    points: config.points,
    reply: config.postfix.reply,
    onSlow: ({ name, file }, message) => options.logger.error({ event: 'rule-off', rule: name, file }, message),
  });
  return {
    config,
    filter,
    ownNetworks,
    logs: config.log.journal ? [...files, 'journal'] : files,
    map: await accessMap(config, options),
    postscreenMap: postscreenMap(config),
    openSource: (source) => openSource({ files, journal: config.log.journal }, source),
  };
}

function logFiles(config: Config): string[] {
  if (config.log.files.length > 0) return [...new Set(config.log.files.map((file) => resolve(file)))];
  if (config.log.journal) return [];
  const usual = USUAL_LOGS.find((file) => existsSync(file));
  if (usual !== undefined) return [usual];
  throw new UsageError(
    `no mail log: neither ${USUAL_LOGS.join(' nor ')} exists. Name it with --log FILE or log.files, or read the journal with --set log.journal=true`,
  );
}

function checkLog(file: string, mustExist: boolean): void {
  const stat = statOf(file);
  if (stat?.isDirectory()) throw new UsageError(`--log ${file}: this is a directory; name the mail log itself`);
  if (stat === undefined && mustExist) throw new UsageError(`--log ${file}: no such file`);
}

function statOf(file: string): Stats | undefined {
  try {
    return statSync(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // What may not be looked at yet is told, and tried again, by the one who follows it.
    if (code === 'ENOENT' || code === 'EACCES') return undefined;
    throw new UsageError(`--log ${file}: ${reasonOf(error)}`, { cause: error });
  }
}

async function accessMap(config: Config, { logger, once }: PlanOptions): Promise<AccessMap | null> {
  const { postfix, mode } = config;
  if (postfix.map === undefined && mode === 'dry-run') return null;
  const configDirectory = postfix.config_directory === undefined ? {} : { configDirectory: postfix.config_directory };
  const spec =
    postfix.map === undefined
      ? { type: await defaultMapType({ postconf: postfix.postconf, ...configDirectory }), path: DEFAULT_MAP_PATH }
      : parseMapSpec(postfix.map);
  return new AccessMap({
    ...spec,
    ...configDirectory,
    reply: postfix.reply,
    action: mode === 'shadow' ? 'warn' : 'reject',
    postmap: postfix.postmap,
    reload: postfix.reload,
    maxEntries: postfix.max_entries,
    keepsSpare: !once,
    onNotice: (level, message) => logger[level]({ event: 'map' }, message),
  });
}

function postscreenMap({ postfix }: Config): PostscreenMap | null {
  const { postscreen_map: path, postscreen_every: leadMs, reload, max_entries: maxEntries, config_directory } = postfix;
  if (path === undefined) return null;
  const where = config_directory === undefined ? {} : { configDirectory: config_directory };
  return new PostscreenMap({ path, leadMs, reload, maxEntries, ...where });
}
