// Makes a fresh clone ready: packages, compiled programs and, for the tests, the real servers they talk to.
// Plain Node without packages. Quick and silent when there is nothing to do.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MODULES = join(ROOT, 'node_modules');
const DIST = join(ROOT, 'dist');
/** What the tests run for real: a program that proves it is there, and the Debian package that brings it. */
const SERVERS = [
  ['/usr/sbin/postfix', 'postfix'],
  ['/usr/lib/postfix/postfix-lmdb.so', 'postfix-lmdb'],
  ['/usr/lib/postfix/postfix-cdb.so', 'postfix-cdb'],
  ['/usr/bin/redis-server', 'redis-server'],
  ['/usr/lib/systemd/systemd-journal-remote', 'systemd-journal-remote'],
  ['/usr/bin/flock', 'util-linux'],
];

process.chdir(ROOT);
requireNode();
installPackages();
build();
if (process.argv.includes('--for-tests')) installServers();

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  fail(`blockd needs Node.js 20.19 or newer; this is ${process.versions.node}`);
}

function installPackages() {
  const wanted = digest([join(ROOT, 'package-lock.json')]);
  const stamp = join(MODULES, '.blockd-installed');
  if (readOr(stamp) === wanted) return;
  say('installing the npm packages');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  writeFileSync(stamp, wanted);
}

function build() {
  const sources = filesUnder(join(ROOT, 'src'));
  const wanted = digest([join(ROOT, 'tsconfig.json'), join(ROOT, 'package-lock.json'), ...sources]);
  const stamp = join(DIST, '.blockd-built');
  if (readOr(stamp) === wanted) return;
  say('compiling');
  // tsc's own bookkeeping would trust outputs that somebody deleted.
  const incremental = existsSync(join(DIST, 'blockd.js')) ? [] : ['--incremental', 'false', '--tsBuildInfoFile', 'null'];
  run(process.execPath, [join(MODULES, 'typescript', 'bin', 'tsc'), ...incremental]);
  for (const file of sources.filter((name) => name.endsWith('.lua'))) {
    const copy = join(DIST, relative(join(ROOT, 'src'), file));
    mkdirSync(dirname(copy), { recursive: true });
    copyFileSync(file, copy);
  }
  writeFileSync(stamp, wanted);
}

function installServers() {
  const missing = SERVERS.filter(([file]) => !found(file)).map(([, name]) => name);
  if (missing.length === 0) return;
  const names = missing.join(' ');
  const may = process.getuid?.() === 0 && existsSync('/usr/bin/apt-get');
  if (may) {
    say(`installing for the tests: ${names}`);
    // RUNLEVEL tells Debian's service scripts that this is no time to start anything.
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
    const install = () => spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    if (install().status === 0) return;
    spawnSync('apt-get', ['update', '-qq'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    if (install().status === 0) return;
  }
  const sentence = `the tests need ${names}: ${may ? 'apt-get could not install them' : `run "apt-get install ${names}" as root`}`;
  if (process.env.CI === 'true') fail(sentence);
  say(`${sentence}; those that need them will fail`);
}

/** Debian merged /lib into /usr/lib at different times, and puts Postfix's modules where it is told. */
function found(file) {
  return [file, file.replace(/^\/usr/, '')].some((path) => existsSync(path));
}

function filesUnder(folder) {
  return readdirSync(folder, { recursive: true })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .sort();
}

function digest(files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${file}\0`).update(readFileSync(file)).update('\0');
  return hash.digest('hex');
}

function readOr(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : null;
}

function run(program, args) {
  const { status, error } = spawnSync(program, args, { stdio: ['ignore', process.stderr, 'inherit'] });
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
