/** The programs of a release to come: as they are built now, but with the next version of the store's schema. */
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Puts them into `folder`, which has to be there, and returns where they are. */
export function upgradedPrograms(folder: string): string {
  for (const name of ['dist', 'filters', 'package.json'])
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const file = join(folder, 'dist/store/schema.js');
  const source = readFileSync(file, 'utf8');
  const upgraded = source.replace(
    /SCHEMA_VERSION = (\d+);/,
    (_, version) => `SCHEMA_VERSION = ${Number(version) + 1};`,
  );
  if (upgraded === source) throw new Error(`${file} names no version`);
  writeFileSync(file, upgraded);
  return join(folder, 'dist');
}
