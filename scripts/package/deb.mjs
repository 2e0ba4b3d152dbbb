// Lays out a Debian package and has dpkg-deb build it.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { NATIVE_FILE } from './bundle.mjs';

const DEBIAN = fileURLToPath(new URL('debian', import.meta.url));
const LIB = 'usr/lib/blockd';
const DOC = 'usr/share/doc/blockd';
/** Commands, by the folder they belong to. */
const COMMANDS = { blockctl: 'usr/bin', blockd: 'usr/sbin' };

export function buildDeb({ root, programs, manual, native, licences, version, arch, builtAt, stage, deb }) {
  const at = (...names) => join(stage, ...names);
  const put = (target, content, mode = 0o644) => {
    mkdirSync(dirname(at(target)), { recursive: true });
    writeFileSync(at(target), content);
    chmodSync(at(target), mode);
  };
  const copy = (source, target) => put(target, readFileSync(source));

  for (const file of filesUnder(programs)) {
    const isCommand = basename(file, '.js') in COMMANDS;
    const text = readFileSync(file);
    // Debian's own Node.js, whatever else is in somebody's PATH.
    const content = isCommand ? text.toString().replace(/^#!.*/, '#!/usr/bin/node') : text;
    put(join(LIB, 'dist', basename(file)), content, isCommand ? 0o755 : 0o644);
  }
  copy(native, join(LIB, 'dist', NATIVE_FILE));
  put(join(LIB, 'package.json'), `${JSON.stringify({ name: 'blockd', version }, null, 2)}\n`);
  for (const file of filesUnder(join(root, 'filters'))) copy(file, join(LIB, 'filters', basename(file)));
  for (const [name, folder] of Object.entries(COMMANDS)) {
    mkdirSync(at(folder), { recursive: true });
    symlinkSync(relative(`/${folder}`, `/${LIB}/dist/${name}.js`), at(folder, name));
  }

  copy(join(root, 'systemd/blockd.toml'), 'etc/blockd/blockd.toml');
  mkdirSync(at('etc/blockd/filters'), { recursive: true });
  for (const file of filesUnder(join(root, 'systemd')).filter((name) => /\.(service|timer)$/.test(name)))
    copy(file, join('usr/lib/systemd/system', basename(file)));
  copy(join(DEBIAN, 'sysusers'), 'usr/lib/sysusers.d/blockd.conf');
  copy(join(DEBIAN, 'tmpfiles'), 'usr/lib/tmpfiles.d/blockd.conf');

  for (const name of ['README.md', 'README.ja.md', 'SECURITY.md']) copy(join(root, name), join(DOC, name));
  put(join(DOC, 'changelog.gz'), packed(readFileSync(join(root, 'CHANGELOG.md'))));
  put(join(DOC, 'copyright'), copyright(readFileSync(join(root, 'LICENSE'), 'utf8'), licences));
  putManuals(manual, put);
  putCompletions(manual, copy);

  const size = Math.ceil(filesUnder(stage).reduce((sum, file) => sum + statSync(file).size, 0) / 1_024);
  const sums = filesUnder(stage).map((file) => `${md5(file)}  ${relative(stage, file)}\n`);
  put('DEBIAN/md5sums', sums.join(''));
  put('DEBIAN/conffiles', '/etc/blockd/blockd.toml\n');
  const control = readFileSync(join(DEBIAN, 'control'), 'utf8');
  const fields = { VERSION: version, ARCH: arch, SIZE: String(size) };
  put(
    'DEBIAN/control',
    control.replace(/@([A-Z]+)@/g, (_whole, name) => fields[name]),
  );
  for (const name of ['postinst', 'prerm', 'postrm']) put(`DEBIAN/${name}`, readFileSync(join(DEBIAN, name)), 0o755);
  copy(join(DEBIAN, 'triggers'), 'DEBIAN/triggers');

  for (const path of [stage, ...everythingUnder(stage)]) {
    if (statSync(path).isDirectory()) chmodSync(path, 0o755);
    lutimesSync(path, builtAt, builtAt);
  }
  const built = spawnSync('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', stage, deb], {
    // Of several threads' work the bytes depend on how many there were.
    env: { ...process.env, SOURCE_DATE_EPOCH: String(builtAt), DPKG_DEB_THREADS_MAX: '1' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (built.error) throw new Error(`can't run dpkg-deb (apt-get install dpkg): ${built.error.message}`);
  if (built.status !== 0) throw new Error(`dpkg-deb failed for ${deb}; what it says stands above`);
}

/** Manual pages: man/NAME.SECTION. */
function putManuals(manual, put) {
  for (const file of filesUnder(join(manual, 'man')).filter((name) => /\.[1-8]$/.test(name))) {
    put(join('usr/share/man', `man${file.at(-1)}`, `${basename(file)}.gz`), packed(readFileSync(file)));
  }
}

/** Completions: completions/NAME.bash, completions/_NAME for zsh, completions/NAME.fish. */
function putCompletions(manual, copy) {
  for (const file of filesUnder(join(manual, 'completions'))) {
    const name = basename(file);
    if (name.endsWith('.bash')) copy(file, join('usr/share/bash-completion/completions', name.slice(0, -5)));
    else if (name.endsWith('.fish')) copy(file, join('usr/share/fish/vendor_completions.d', name));
    else if (name.startsWith('_')) copy(file, join('usr/share/zsh/vendor-completions', name));
  }
}

/** https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/ would want each file's; this tells each package's. */
function copyright(own, licences) {
  const parts = licences.map(
    ({ name, version, license, text }) =>
      `${name} ${version}, ${license}\n\n${(text ?? `Licence: ${license}`).trim()}\n`,
  );
  return [`blockd\n\n${own.trim()}\n`, 'The programs contain these packages from npm:\n', ...parts].join(
    `\n${'-'.repeat(78)}\n\n`,
  );
}

/** Smallest, and without a time stamp. */
function packed(bytes) {
  return gzipSync(bytes, { level: 9 });
}

function md5(file) {
  return createHash('md5').update(readFileSync(file)).digest('hex');
}

function everythingUnder(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .map((name) => join(folder, name))
    .sort();
}

function filesUnder(folder) {
  return everythingUnder(folder).filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isFile());
}
