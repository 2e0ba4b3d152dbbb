/**
 * Reads everything that an LMDB store holds, as a process of its own: what is damaged may end it by a signal.
 * `node lmdb-walk.js FOLDER`; says what is wrong on stderr, and exits 9
 * for damage, else 1.
 */
import { open } from 'lmdb';
import { DamagedError, reasonOf } from '../domain/errors.js';
import { requireWhole, TABLES } from './lmdb.js';

const [, , folder = ''] = process.argv;
try {
  requireWhole(folder);
  const root = open({ path: folder, encoding: 'json', maxDbs: 16, noSubdir: false, readOnly: true });
  for (const name of TABLES) {
    const table = root.openDB({ name, encoding: 'json' });
    // A store that has just been made lacks them.
    if (table === undefined) continue;
    for (const { value } of table.getRange())
      if (value === undefined) throw new SyntaxError(`a value of ${name} is missing`);
  }
  await root.close();
} catch (error) {
  process.stderr.write(`${reasonOf(error)}\n`);
  process.exitCode = error instanceof DamagedError || error instanceof SyntaxError ? 9 : 1;
}
