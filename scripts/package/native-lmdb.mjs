// LMDB's binary for one Debian architecture: as npm has installed it for this machine, or its package from the npm
// registry, compared with the lock file. It is made against Node-API, so one file serves every version of Node.js.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const NPM_NAMES = { amd64: 'x64', arm64: 'arm64' };
const BINARY = 'node.napi.glibc.node';

/** The file's path; null, and a sentence that says so, when it can't be had. */
export function nativeLmdb({ root, arch, work }) {
  const cpu = NPM_NAMES[arch];
  if (cpu === undefined) throw new Error(`no LMDB for "${arch}": choose of ${Object.keys(NPM_NAMES).join(', ')}`);
  const name = `@lmdb/lmdb-linux-${cpu}`;
  const installed = join(root, 'node_modules', name, BINARY);
  if (existsSync(installed)) return installed;
  const { version, integrity } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages[
    `node_modules/${name}`
  ];
  const folder = join(work, `lmdb-${cpu}`);
  mkdirSync(folder);
  const pack = spawnSync('npm', ['pack', '--silent', '--prefer-offline', `${name}@${version}`], {
    cwd: folder,
    encoding: 'utf8',
    timeout: 120_000,
  });
  const archive = join(folder, pack.stdout?.trim() ?? '');
  if (pack.status !== 0 || !existsSync(archive)) {
    process.stderr.write(`${arch} left out: ${name} ${version} can't be had from the npm registry (offline?)\n`);
    return null;
  }
  const found = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
  if (found !== integrity) throw new Error(`${name} ${version} is not what package-lock.json says: ${found}`);
  const unpacked = spawnSync('tar', ['-xzf', archive, '-C', folder, `package/${BINARY}`]);
  if (unpacked.status !== 0) throw new Error(`${name} ${version} has no ${BINARY}`);
  return join(folder, 'package', BINARY);
}
