/**
 * Reads everything that an LMDB store holds, as a process of its own: what is damaged may end it by a signal.
 * `node lmdb-walk.js FOLDER`; says what is wrong on stderr, and exits 9
 * for damage, else 1.
 */
import { type Database, open } from 'lmdb';
import { DamagedError, reasonOf } from '../domain/errors.js';
import { requireWhole } from './lmdb-file.js';
import { requireSoundPages } from './lmdb-pages.js';
import { TABLES } from './lmdb-tables.js';
import { isNewer, SCHEMA } from './schema.js';

const [, , folder = ''] = process.argv;
// Until all has been read, nothing is known to be sound.
process.exitCode = 1;
void walk().catch((error: unknown) => {
  process.stderr.write(`${reasonOf(error)}\n`);
  process.exitCode = error instanceof DamagedError || error instanceof SyntaxError ? 9 : 1;
});

async function walk(): Promise<void> {
  requireWhole(folder);
  if (['x64', 'arm64'].includes(process.arch)) requireSoundPages(folder);
  const root = open({ path: folder, encoding: 'string', maxDbs: 16, noSubdir: false, readOnly: true });
  const notes: Database<string> | undefined = root.openDB({ name: 'notes', encoding: 'string' });
  // What a newer blockd has made is no damage, and not ours to judge.
  const told = notes?.get(SCHEMA);
  if (told !== undefined && isNewer(JSON.parse(told))) process.exit(0);
  const subjects: Database | undefined = root.openDB({ name: 'subjects', encoding: 'string' });
  for (const name of TABLES) {
    const table: Database<string> | undefined = root.openDB({ name, encoding: 'string' });
    // A store that has just been made lacks them.
    if (table === undefined) continue;
    const { entryCount } = table.getStats() as { readonly entryCount: number };
    let count = 0;
    for (const { key, value } of table.getRange()) {
      // Damaged branches may lead in circles.
      if (++count > entryCount) break;
      // By its key each entry is found on another way, over the branches.
      if (value === undefined || table.get(key) === undefined) throw new SyntaxError(`an entry of ${name} is lost`);
      if (name !== 'ranks') for (const line of value.split('\n')) JSON.parse(line);
      // The indexes name subjects that there are.
      const subject = Array.isArray(key) ? key[1] : undefined;
      if (subject !== undefined && subjects?.get(subject) === undefined) {
        throw new SyntaxError(`${name} names a subject that is lost`);
      }
    }
    // A damaged branch may end the walk early, without a word.
    if (count !== entryCount) throw new SyntaxError(`${name} does not hold the ${entryCount} entries that it counts`);
  }
  await root.close();
  process.exitCode = 0;
}
