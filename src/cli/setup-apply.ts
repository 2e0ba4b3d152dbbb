/**
 * Carries out what setup planned, in an order in which Postfix never names a map that is not there: map, then main.cf,
 * then reload. The first step that fails takes all before it back.
 */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { BlockdError, reasonOf, UnavailableError } from '../domain/errors.js';
import { AccessMap } from '../postfix/access-map.js';
import { lookUp } from '../postfix/lookup.js';
import { checkPostfix, reloadPostfix } from '../postfix/reload.js';
import { readSettings } from '../postfix/settings.js';
import { missingTables, tablesOf } from '../postfix/wiring.js';
import { type FileChange, readText, type SetupPlan, type Target } from './setup-plan.js';
import { type ChangedMain, digestOf, readRecord, recordFile, type SetupRecord } from './setup-record.js';

/** RFC 5737: an address of nobody. */
const NOBODY = '192.0.2.1';

/** Says each step that is done. */
export type Say = (sentence: string) => Promise<void>;

/** @throws UnavailableError that says what failed, and that all is as it was. */
export async function applySetup(plan: SetupPlan, now: number, say: Say): Promise<void> {
  await withRollback(async (undo) => {
    const changed = plan.targets.filter(({ main }) => main.before !== main.after);
    for (const target of changed) await mustPass(target, plan, ' already before anything was changed; mend that first');
    await makeMap(plan, undo, say);
    // Before the deeds: should this process die among them, --undo knows of them.
    const mains = changed.map((target) => changeOf(target, now));
    writeRecord(plan, mains, { now, undo });
    if (plan.config !== null) await writeConfig(plan.config, plan, undo, say);
    for (const target of changed) await changeMain(target, plan, { backup: changeOf(target, now).backup, undo, say });
    if (mains.length > 0 || plan.makesMap) await reloadAll(plan, say);
  });
}

/** Actions that take a step back, the last one first. */
export type Undo = (what: string, action: () => unknown) => void;

/** Runs `work`; when it fails, takes back what it has done so far. @throws UnavailableError */
export async function withRollback(work: (undo: Undo) => Promise<void>): Promise<void> {
  const actions: { what: string; action: () => unknown }[] = [];
  // Half done would be the worst: a Ctrl-C waits. The tools run meanwhile get it too, and fail.
  for (const signal of SIGNALS) process.on(signal, wait);
  try {
    await work((what, action) => actions.unshift({ what, action }));
  } catch (error) {
    const left: string[] = [];
    for (const { what, action } of actions) {
      try {
        await action();
      } catch (problem) {
        left.push(`${what} (${reasonOf(problem)})`);
      }
    }
    const outcome =
      left.length === 0
        ? 'Everything is as it was before.'
        : `Not taken back, please do it by hand:\n${left.map((one) => `  ${one}`).join('\n')}`;
    const why = error instanceof BlockdError ? error.message : reasonOf(error);
    throw new UnavailableError(`${why}\n${outcome}`, { cause: error });
  } finally {
    for (const signal of SIGNALS) process.off(signal, wait);
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const wait = () => undefined;

/** Replaces a file whole, with the mode and owner that it had; a new one is readable for all unless `mode` says less. */
export function replaceFile(file: string, text: string, mode = 0o644): void {
  const before = statSync(file, { throwIfNoEntry: false });
  const aside = join(dirname(file), `.${basename(file)}.blockd-${process.pid}`);
  try {
    writeFileSync(aside, text, { encoding: 'latin1', mode: 0o600, flush: true });
    if (before !== undefined) chownSync(aside, before.uid, before.gid);
    chmodSync(aside, before === undefined ? mode : before.mode & 0o7777);
    renameSync(aside, file);
  } catch (error) {
    rmSync(aside, { force: true });
    throw new UnavailableError(`can't write ${file}: ${reasonOf(error)}`, { cause: error });
  }
}

async function makeMap(
  { map, makesMap, mapFolders, owner, loaded, targets }: SetupPlan,
  undo: Undo,
  say: Say,
): Promise<void> {
  const folder = dirname(map.path);
  const configDirectory = targets[0]?.configDirectory ?? '/etc/postfix';
  for (const one of mapFolders) {
    make(one);
    undo(`remove the folder ${one}`, () => rmdirSync(one));
    chownSync(one, owner.uid, owner.gid);
  }
  const { postmap } = loaded.config.postfix;
  if (makesMap) {
    const there = new Set(readdirSync(folder));
    undo(`remove the files ${map.path}*`, () => {
      for (const name of filesOfMap(map.path)) if (!there.has(name)) rmSync(join(folder, name), { force: true });
    });
    const { reply, reload } = loaded.config.postfix;
    const table = new AccessMap({ ...map, reply, reload, postmap, configDirectory, action: 'reject' });
    const kept = (await table.read()).entries.map((entry) => ({ ...entry, reason: 'kept' }));
    await table.publish(async () => kept);
    for (const name of filesOfMap(map.path)) if (!there.has(name)) chownSync(join(folder, name), owner.uid, owner.gid);
    await say(`${kept.length === 0 ? 'made the map, empty' : 'completed the map'}: ${map.type}:${map.path}`);
  }
  // Nobody may be refused because of a table that can't be asked.
  for (const table of tablesOf(map)) await lookUp(table, NOBODY, { postmap, configDirectory });
}

/** The map's own files by name: none of a map with a longer name. */
export function filesOfMap(path: string): string[] {
  const name = basename(path);
  const mine = ['', '.db', '.lmdb', '.cdb', '.cidr', '.state', '.lock'].map((suffix) => name + suffix);
  return readdirSync(dirname(path)).filter((one) => mine.includes(one));
}

function make(folder: string): void {
  try {
    mkdirSync(folder, { mode: 0o755 });
    chmodSync(folder, 0o755);
  } catch (error) {
    throw new UnavailableError(`can't make the folder ${folder}: ${reasonOf(error)}`, { cause: error });
  }
}

async function writeConfig(
  { file, before, after }: FileChange,
  { configFolders }: SetupPlan,
  undo: Undo,
  say: Say,
): Promise<void> {
  for (const folder of configFolders) {
    make(folder);
    undo(`remove the folder ${folder}`, () => rmdirSync(folder));
  }
  undo(`restore ${file}`, () => (before === null ? rmSync(file, { force: true }) : replaceFile(file, before)));
  // A password in the URL of the store is nobody else's business.
  replaceFile(file, after, /:\/\/[^"/]*:[^"/]*@/.test(after) ? 0o600 : 0o644);
  await say(`${before === null ? 'wrote' : 'added the map to'} ${file}`);
}

function changeOf({ configDirectory, main, missing }: Target, now: number): ChangedMain {
  const stamp = new Date(now).toISOString().replace(/\D/g, '').slice(0, 14);
  const backup = `${main.file}.before-blockd-${stamp}`;
  return { configDirectory, backup, after: digestOf(main.after), tables: missing };
}

async function changeMain(
  target: Target,
  plan: SetupPlan,
  { backup, undo, say }: { readonly backup: string; readonly undo: Undo; readonly say: Say },
): Promise<void> {
  const { configDirectory, main } = target;
  if (readText(main.file) !== main.before) {
    throw new UnavailableError(`${main.file} has changed since the plan was made: run it again`);
  }
  replaceFile(backup, main.before, statSync(main.file).mode & 0o7777);
  undo(`remove ${backup}`, () => rmSync(backup, { force: true }));
  await say(`kept a copy of main.cf: ${backup}`);
  // The last one first: restored, then reloaded.
  undo('run "postfix reload"', async () => {
    const problem = await reloadPostfix(reloadOf(plan, configDirectory));
    if (problem !== null) throw new Error(problem);
  });
  undo(`restore ${main.file} from ${backup}`, () => replaceFile(main.file, main.before));
  replaceFile(main.file, main.after);
  const { postconf } = plan.loaded.config.postfix;
  const missing = missingTables(await readSettings({ postconf, configDirectory }), plan.map);
  if (missing.length > 0) {
    throw new UnavailableError(
      `${main.file} was changed, but Postfix does not read ${missing.join(' and ')} there; add it to smtpd_client_restrictions by hand`,
    );
  }
  await mustPass(target, plan, '');
  await say(`changed ${main.file}; "postfix check" finds nothing wrong`);
}

async function mustPass({ configDirectory }: Target, plan: SetupPlan, when: string): Promise<void> {
  const problem = await checkPostfix(reloadOf(plan, configDirectory));
  if (problem !== null) throw new UnavailableError(`${problem}${when}`);
}

async function reloadAll(plan: SetupPlan, say: Say): Promise<void> {
  for (const { configDirectory } of plan.targets) {
    const problem = await reloadPostfix(reloadOf(plan, configDirectory));
    if (problem !== null) throw new UnavailableError(problem);
  }
  await say('reloaded Postfix');
}

function reloadOf({ loaded }: Pick<SetupPlan, 'loaded'>, configDirectory: string) {
  return { reload: loaded.config.postfix.reload, configDirectory };
}

/** Together with what an earlier run did. */
function writeRecord(
  plan: SetupPlan,
  mains: readonly ChangedMain[],
  { now, undo }: { readonly now: number; readonly undo: Undo },
): void {
  const before = readRecord(plan.map.path);
  const { config } = plan;
  const first = before?.config ?? null;
  const earlier = before?.mains ?? [];
  const tablesOfEarlier = (directory: string) =>
    earlier.find(({ configDirectory }) => configDirectory === directory)?.tables ?? [];
  const changed = new Set(mains.map(({ configDirectory }) => configDirectory));
  const record: SetupRecord = {
    version: 1,
    doneAt: now,
    config:
      config === null
        ? first
        : { file: config.file, before: first === null ? config.before : first.before, after: config.after },
    mains: [
      ...earlier.filter(({ configDirectory }) => !changed.has(configDirectory)),
      ...mains.map((one) => ({ ...one, tables: [...tablesOfEarlier(one.configDirectory), ...one.tables] })),
    ],
    madeMap: plan.mapIsNew || (before?.madeMap ?? false),
    folders: [...(before?.folders ?? []), ...plan.mapFolders, ...plan.configFolders],
  };
  if (config === null && mains.length === 0 && !plan.makesMap) return;
  const file = recordFile(plan.map.path);
  const write = (content: SetupRecord) => replaceFile(file, `${JSON.stringify(content, null, 2)}\n`, 0o600);
  undo(`take back ${file}`, () => (before === null ? rmSync(file, { force: true }) : write(before)));
  write(record);
}
