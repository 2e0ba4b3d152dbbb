// The programs as the package has them, for this machine: `node scripts/package/programs.mjs FOLDER`. What is measured
// is what people install.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundle, NATIVE_FILE } from './bundle.mjs';
import { nativeLmdb } from './native-lmdb.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DEBIAN_NAMES = { x64: 'amd64', arm64: 'arm64' };
const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('which folder?');

const dist = join(resolve(folder), 'dist');
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
await bundle({ root: ROOT, into: dist });
const work = mkdtempSync(join(tmpdir(), 'blockd-programs-'));
try {
  const arch = DEBIAN_NAMES[process.arch] ?? process.arch;
  copyFileSync(nativeLmdb({ root: ROOT, arch, work }), join(dist, NATIVE_FILE));
} finally {
  rmSync(work, { recursive: true, force: true });
}
copyFileSync(join(ROOT, 'package.json'), join(resolve(folder), 'package.json'));
cpSync(join(ROOT, 'filters'), join(resolve(folder), 'filters'), { recursive: true });
// As the package's installation does.
spawnSync(process.execPath, [join(dist, 'warm-up.js')], { stdio: 'inherit' });
