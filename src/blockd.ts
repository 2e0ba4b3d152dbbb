#!/usr/bin/env node
/** The daemon's program: arguments in, exit code out. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommanderError } from 'commander';
import { loadConfig, type Overrides } from './config/load.js';
import { Daemon } from './daemon/daemon.js';
import { createLogger, type Logger } from './daemon/log.js';
import { Observation } from './daemon/observation.js';
import { makePlan } from './daemon/plan.js';
import { blockdProgram } from './daemon/program.js';
import { expectShortRun } from './daemon/short-run.js';
import { watchedStore } from './daemon/watched-store.js';
import { BlockdError, type ExitCode, NewerStoreError, UnavailableError, UsageError } from './domain/errors.js';
import { acquireLock, type Lock } from './domain/lock.js';
import { openStore } from './store/open.js';

interface Flags {
  readonly config?: string;
  readonly log?: string[];
  readonly store?: string;
  readonly map?: string;
  readonly mode?: string;
  readonly filters?: string;
  readonly set?: string[];
  readonly once?: boolean;
  readonly fromStart?: boolean;
}

const version = (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string })
  .version;

const LONG_END_MS = 8_000;
const LEAVE_MS = 2_000;
/** The exit code until it is known how it went. */
const UNFINISHED = 3;

const program = blockdProgram(version);

// Whatever ends the process before this is known, systemd takes it for no success.
process.exitCode = UNFINISHED;
void begin();

/** No await of the module's own: the package has it as CommonJS, which Node loads sooner. */
async function begin(): Promise<void> {
  try {
    program.parse();
    if (program.args.length > 0)
      throw new UsageError(`unexpected argument "${program.args[0]}": blockd takes only options, see blockd --help`);
    await main(program.opts<Flags>());
    // What could not be done in one go has said so.
    if (process.exitCode === UNFINISHED) process.exitCode = 0;
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
    else if (error instanceof BlockdError) {
      process.stderr.write(`blockd: ${error.message.replaceAll('\n', '\nblockd: ')}\n`);
      process.exitCode = exitCodeOf(error, program.opts<Flags>().once === true);
    } else throw error;
  }
}

async function main(flags: Flags): Promise<void> {
  const { log, store: storeUrl, map, mode, filters } = flags;
  const overrides: Overrides = { log, store: storeUrl, map, mode, filters };
  const load = () => loadConfig({ file: flags.config, set: flags.set, overrides });
  const { config } = load();
  const logger = await createLogger(config.log_output);
  const once = flags.once === true;
  const plan = await makePlan(config, { once, logger });
  const folder = lmdbFolder(config.store.url);
  const lock = folder === null ? null : await takeStateFolder(folder, logger);
  const observation = new Observation(config, logger);
  const opened = await openStore(config.store.url, {
    prefix: config.store.prefix,
    passwordFile: config.store.password_file,
    caFile: config.store.ca_file,
    ownThread: true,
    onNotice: (level, message) => logger[level]({ event: 'store' }, message),
  });
  const store = watchedStore(opened, observation);
  let isSound = false;
  try {
    const daemon = new Daemon({
      plan,
      store,
      logger,
      version,
      once,
      fromStart: flags.fromStart === true,
      positionsFile: folder === null ? null : join(folder, 'positions.json'),
      reload: async () => makePlan(load().config, { once, logger }),
      observer: observation,
      onReloaded: (next) => observation.reload(next.config, scene),
    });
    const scene = { version, store, vitals: () => daemon.vitals, once };
    const end = (signal: string) => {
      daemon.stop(signal);
      setTimeout(() => {
        const kept = [...new Set(process.getActiveResourcesInfo())].join(', ');
        logger.warn({ event: 'still-ending' }, `not ended ${LONG_END_MS / 1_000} s after ${signal}; at work: ${kept}`);
      }, LONG_END_MS).unref();
    };
    process.on('SIGTERM', () => end('SIGTERM'));
    process.on('SIGINT', () => end('SIGINT'));
    process.on('SIGHUP', () => void daemon.reload());
    await observation.open(scene);
    if (once) expectShortRun();
    await daemon.run();
    isSound = true;
    if (once && daemon.mapProblem !== null)
      throw new UnavailableError(`all is read and stored, but the access map is not published: ${daemon.mapProblem}`);
  } finally {
    await observation.close();
    await store.close();
    // Who ends by what the store did may have found it damaged: then the next start reads all of it.
    if (folder !== null && isSound) (await import('./store/lmdb-mend.js')).noteClosed(folder);
    await lock?.release();
    // All is done and stored: no connection that is still winding down keeps the process for long.
    setTimeout(() => process.exit(), LEAVE_MS).unref();
  }
}

/** A service that would find the same again is not started again: see RestartPreventExitStatus in blockd.service. */
function exitCodeOf(error: BlockdError, once: boolean): ExitCode {
  return error instanceof NewerStoreError && !once ? 2 : error.exitCode;
}

function lmdbFolder(storeUrl: string): string | null {
  return storeUrl.startsWith('lmdb:') ? storeUrl.slice('lmdb:'.length) : null;
}

/**
 * One daemon a state folder: two would count every line twice. With Redis the stored positions tell them apart. What
 * is damaged in it is set aside before anybody reads it.
 */
async function takeStateFolder(folder: string, logger: Logger): Promise<Lock> {
  const { makeFolder } = await import('./store/lmdb-file.js');
  makeFolder(folder);
  const lock = await acquireLock(join(folder, 'daemon.lock'), { waitMs: 0 });
  if (lock === null) {
    throw new UnavailableError(
      `another blockd already uses the state folder ${folder}: end it first, or give this one its own --store`,
    );
  }
  const { mendLmdb } = await import('./store/lmdb-mend.js');
  const damage = mendLmdb(folder, Date.now());
  if (damage !== null) logger.error({ event: 'store-damaged' }, damage);
  return lock;
}
