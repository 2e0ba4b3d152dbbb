/** Takes out what setup did: its words in main.cf, the map once nothing names it, the config as setup wrote it. */
import { existsSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { reasonOf, UnavailableError } from '../domain/errors.js';
import { withoutTables } from '../postfix/main-cf.js';
import { checkPostfix, reloadPostfix } from '../postfix/reload.js';
import { filesOfMap, replaceFile, type Say, withRollback } from './setup-apply.js';
import { type FileChange, readText, realPath, type SetupPlan } from './setup-plan.js';
import { digestOf, readRecord, recordFile, type SetupRecord } from './setup-record.js';

export interface UndoPlan {
  readonly mains: readonly (FileChange & {
    readonly before: string;
    readonly configDirectory: string;
    /** The copy that setup kept, where it is of no more use. */
    readonly backup: string | null;
  })[];
  /** `after` is empty where the file goes. */
  readonly config: FileChange | null;
  readonly removesMap: boolean;
  readonly record: SetupRecord | null;
  readonly notes: readonly string[];
}

/** What setup's own record says that there is to take out. What others wrote into main.cf stays. */
export function planUndo({ targets, map }: SetupPlan): UndoPlan {
  const record = readRecord(map.path);
  const isThere = (directory: string) => existsSync(join(directory, 'main.cf'));
  const mains = (record?.mains ?? [])
    .filter(({ configDirectory }) => isThere(configDirectory))
    .map(({ configDirectory, backup, after, tables }) => {
      const file = realPath(join(configDirectory, 'main.cf'));
      const before = readText(file);
      // The copy is the same to the last blank, where nobody has changed anything since.
      const copy = digestOf(before) === after && existsSync(backup) ? readText(backup) : null;
      return {
        file,
        configDirectory,
        before,
        after: withoutTables(copy ?? before, tables),
        backup: copy === null ? null : backup,
      };
    });
  const directories = [...targets, ...mains].map(({ configDirectory }) => configDirectory);
  const changed = mains.filter(({ before, after }) => before !== after);
  const still = [...new Set(directories)].flatMap((directory) => {
    const main = mains.find(({ configDirectory }) => configDirectory === directory);
    const textOf = (name: string) => {
      const file = join(directory, name);
      return name === 'main.cf' && main !== undefined ? main.after : existsSync(file) ? readText(file) : '';
    };
    return ['main.cf', 'master.cf']
      .filter((name) => textOf(name).includes(map.path))
      .map((name) => join(directory, name));
  });
  const notes = (record === null ? [] : still).map(
    (file) => `${file} still names ${map.path}, so the map stays: take that out by hand, then run --undo again.`,
  );
  const config = record?.config ?? null;
  const now = config !== null && existsSync(config.file) ? readFileSync(config.file, 'latin1') : null;
  const isOurs = config !== null && now === config.after;
  if (config !== null && now !== null && !isOurs)
    notes.push(`${config.file} has been changed since, and stays as it is.`);
  return {
    mains: changed,
    config: isOurs && config !== null ? { file: config.file, before: now, after: config.before ?? '' } : null,
    removesMap: record?.madeMap === true && still.length === 0,
    record,
    notes,
  };
}

/** @throws UnavailableError that says what failed, and that Postfix is as it was. */
export async function applyUndo(undoPlan: UndoPlan, { loaded, map }: SetupPlan, say: Say): Promise<void> {
  const { mains, config, removesMap, record } = undoPlan;
  const { reload } = loaded.config.postfix;
  await withRollback(async (undo) => {
    for (const { file, before, after, configDirectory } of mains) {
      if (readText(file) !== before)
        throw new UnavailableError(`${file} has changed since the plan was made: run it again`);
      undo(`restore ${file}`, () => replaceFile(file, before));
      replaceFile(file, after);
      const problem = await checkPostfix({ reload, configDirectory });
      if (problem !== null) throw new UnavailableError(problem);
      await say(`changed ${file} back`);
    }
    for (const { configDirectory } of mains) {
      const problem = await reloadPostfix({ reload, configDirectory });
      if (problem !== null) throw new UnavailableError(problem);
    }
    if (mains.length > 0) await say('reloaded Postfix');
  });
  // From here on Postfix asks the map no more.
  if (config !== null && record?.config?.before === null) rmSync(config.file, { force: true });
  else if (config !== null) replaceFile(config.file, config.after);
  if (config !== null) await say(`${record?.config?.before === null ? 'removed' : 'changed back'} ${config.file}`);
  for (const { backup } of mains) if (backup !== null) rmSync(backup, { force: true });
  if (removesMap) {
    const folder = dirname(map.path);
    if (existsSync(folder)) for (const name of filesOfMap(map.path)) rmSync(join(folder, name), { force: true });
    await say(`removed the map ${map.path}`);
  }
  if (record === null || (!removesMap && record.madeMap)) return;
  rmSync(recordFile(map.path), { force: true });
  for (const folder of [...record.folders].reverse()) removeEmpty(folder);
}

/** A folder in which something else lies by now stays. */
function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'ENOENT' && code !== 'EEXIST') {
      throw new UnavailableError(`can't remove the folder ${folder}: ${reasonOf(error)}`, { cause: error });
    }
  }
}
