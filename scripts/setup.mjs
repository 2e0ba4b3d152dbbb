// Makes a fresh clone ready: packages, compiled programs and, for the tests, the real servers they talk to.
// Plain Node without packages. Quick and silent when there is nothing to do.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MODULES = join(ROOT, 'node_modules');
const SOURCES = join(ROOT, 'src');
const DIST = join(ROOT, 'dist');
/** The inner loop of the filter, without and with vector instructions: compiled before all else, and used from here by the tests. */
const SCANNERS = [
  { file: join(SOURCES, 'filter/scanner.wasm'), features: [] },
  { file: join(SOURCES, 'filter/scanner-simd.wasm'), features: ['--enable', 'simd'] },
];
const LOCK = join(DIST, '.setup.lock');
const LONGEST_WAIT_MS = 300_000;
/** What the tests run for real: a file that proves it is there, and the Debian package that brings it. */
const SERVERS = [
  ['/usr/sbin/postfix', 'postfix'],
  ['/usr/lib/postfix/postfix-lmdb.so', 'postfix-lmdb'],
  ['/usr/lib/postfix/postfix-cdb.so', 'postfix-cdb'],
  ['/usr/bin/redis-server', 'redis-server'],
  ['/usr/bin/openssl', 'openssl'],
  ['/usr/bin/minisign', 'minisign'],
  ['/usr/sbin/nft', 'nftables'],
  ['/usr/sbin/ip', 'iproute2'],
  ['/usr/bin/mount', 'mount'],
  ['/usr/lib/systemd/systemd-journal-remote', 'systemd-journal-remote'],
  ['/usr/bin/flock', 'util-linux'],
  ['/usr/bin/faketime', 'faketime'],
  ['/usr/sbin/pflogsumm', 'pflogsumm'],
  ['/usr/bin/chromium', 'chromium'],
  ['/usr/bin/xz', 'xz-utils'],
  ['/usr/bin/zstd', 'zstd'],
  ['/usr/bin/tmux', 'tmux'],
  ['/usr/bin/systemd-analyze', 'systemd'],
  ['/usr/bin/perl', 'perl'],
  ['/usr/bin/sqlite3', 'sqlite3'],
  ['/usr/sbin/debootstrap', 'debootstrap'],
  ['/usr/share/keyrings/debian-archive-keyring.gpg', 'debian-archive-keyring'],
];

const forTests = process.argv.includes('--for-tests');
requireNode();
if (!packagesAreInstalled() || !programsAreBuilt()) {
  alone(() => {
    if (!packagesAreInstalled()) installPackages();
    if (!programsAreBuilt()) build();
  });
}
if (forTests && missingServers().length > 0) provideServers();

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  fail(`blockd needs Node.js 20.19 or newer, and this is ${process.versions.node}: see https://nodejs.org/en/download`);
}

function packagesAreInstalled() {
  return readOr(join(MODULES, '.blockd-installed')) === packagesDigest();
}

function packagesDigest() {
  return digest([join(ROOT, 'package-lock.json')]);
}

function installPackages() {
  say('installing the npm packages');
  // The compiler is among the development packages, which NODE_ENV=production would leave out.
  run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'], 'ignore');
  writeFileSync(join(MODULES, '.blockd-installed'), packagesDigest());
}

function programsAreBuilt() {
  return SCANNERS.every(({ file }) => existsSync(file)) && readOr(join(DIST, '.blockd-built')) === sourcesDigest();
}

function sourcesDigest() {
  return digest([join(ROOT, 'tsconfig.json'), join(ROOT, 'package-lock.json'), ...sources()]);
}

function sources() {
  return filesUnder(SOURCES).filter((name) => !SCANNERS.some(({ file }) => file === name));
}

function build() {
  say('compiling');
  const built = sourcesDigest();
  for (const { file, features } of SCANNERS) {
    run(process.execPath, [
      join(MODULES, 'assemblyscript/bin/asc.js'),
      ...[join(SOURCES, 'filter/scanner/scan.ts'), '--baseDir', join(SOURCES, 'filter/scanner'), '--outFile', file],
      // It has nothing to allocate and nothing to abort; its addresses are numbers of 32 bits, which AS201 warns of.
      ...['-O3', '--runtime', 'stub', '--noAssert', '--use', 'abort=', '--importMemory', '--disableWarning', '201'],
      ...features,
    ]);
  }
  // Not incremental: the compiler's own bookkeeping trusts outputs that somebody deleted.
  run(process.execPath, [join(MODULES, 'typescript/bin/tsc'), '--incremental', 'false', '--tsBuildInfoFile', 'null']);
  for (const file of [...SCANNERS.map(({ file }) => file), ...sources().filter((name) => name.endsWith('.lua'))]) {
    const copy = join(DIST, relative(SOURCES, file));
    mkdirSync(dirname(copy), { recursive: true });
    copyFileSync(file, copy);
  }
  writeFileSync(join(DIST, '.blockd-built'), built);
}

/** Debian merged /lib into /usr/lib at different times. */
function missingServers() {
  return SERVERS.filter(([file]) => !existsSync(file) && !existsSync(file.replace(/^\/usr/, ''))).map(
    ([, name]) => name,
  );
}

function provideServers() {
  const may = process.getuid?.() === 0 && existsSync('/usr/bin/apt-get');
  if (may) alone(installServers);
  const missing = missingServers();
  if (missing.length === 0) return;
  const names = missing.join(' ');
  const remedy = may ? 'apt-get could not install them' : `run "apt-get install ${names}" as root`;
  if (process.env.CI === 'true') fail(`the tests need ${names}: ${remedy}`);
  say(`the tests need ${names}: ${remedy}; those that need them will fail`);
}

function installServers() {
  const missing = missingServers();
  if (missing.length === 0) return;
  say(`installing for the tests: ${missing.join(' ')}`);
  aptGet(['install', ...missing], 'ignore');
  if (missingServers().length === 0) return;
  // Its list of packages may be missing, or too old to find them by.
  aptGet(['update'], 'inherit');
  aptGet(['install', ...missing], 'inherit');
}

function aptGet(args, stderr) {
  // RUNLEVEL tells Debian's service scripts that this is no time to start anything.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const options = ['-y', '-qq', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=120'];
  spawnSync('apt-get', [...options, ...args], { env, stdio: ['ignore', 'ignore', stderr] });
}

/** Two at once would install into, and compile over, each other. The second waits, and then finds all done. */
function alone(work) {
  const release = () => rmSync(LOCK, { force: true });
  const deadline = Date.now() + LONGEST_WAIT_MS;
  while (!takeLock()) {
    if (Date.now() > deadline) fail(`another set-up (pid ${readOr(LOCK)}) does not end; if it hangs, end it`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
  // What fails ends the process on the spot.
  process.once('exit', release);
  work();
  process.off('exit', release);
  release();
}

function takeLock() {
  try {
    mkdirSync(DIST, { recursive: true });
    writeFileSync(LOCK, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') fail(`can't write in ${DIST}: ${error.message}; run it as the owner of the folder`);
  }
  const holder = Number(readOr(LOCK));
  if (holder > 0 && !isAlive(holder)) rmSync(LOCK, { force: true });
  return false;
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function filesUnder(folder) {
  return readdirSync(folder, { recursive: true })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .sort();
}

function digest(files) {
  const hash = createHash('sha256');
  for (const file of files)
    hash
      .update(`${relative(ROOT, file)}\0`)
      .update(readFileSync(file))
      .update('\0');
  return hash.digest('hex');
}

function readOr(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : null;
}

function run(program, args, stdout = process.stderr) {
  const { status, error } = spawnSync(program, args, { cwd: ROOT, stdio: ['ignore', stdout, 'inherit'] });
  if (error) fail(`can't run ${program}: ${error.message}`);
  if (status !== 0) fail(`${program} failed; what it says stands above`);
}

function say(what) {
  process.stderr.write(`blockd set-up: ${what}\n`);
}

function fail(why) {
  say(why);
  process.exit(1);
}
