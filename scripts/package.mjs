// `npm run package`: builds var/packages/blockd_VERSION_ARCH.deb, which needs nothing but Debian's nodejs: no compiler, no
// npm, nothing to download. The same commit gives the same bytes. `--arch amd64` builds that one only.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeManual } from './manual.mjs';
import { bundle } from './package/bundle.mjs';
import { buildDeb } from './package/deb.mjs';
import { nativeLmdb } from './package/native-lmdb.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const ARCHITECTURES = ['amd64', 'arm64'];
const { values } = parseArgs({ options: { arch: { type: 'string', multiple: true }, out: { type: 'string' } } });
const folder = values.out ?? join(ROOT, 'var/packages');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const builtAt = sourceDate();

const work = mkdtempSync(join(tmpdir(), 'blockd-package-'));
try {
  mkdirSync(folder, { recursive: true });
  const programs = join(work, 'programs');
  const licences = await bundle({ root: ROOT, into: programs });
  const manual = join(work, 'manual');
  await makeManual(manual);
  for (const arch of values.arch ?? ARCHITECTURES) {
    const native = nativeLmdb({ root: ROOT, arch, work });
    if (native === null) continue;
    const deb = join(folder, `blockd_${version}_${arch}.deb`);
    buildDeb({ root: ROOT, programs, manual, native, licences, version, arch, builtAt, stage: join(work, arch), deb });
    process.stdout.write(`${deb}\n`);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Seconds since the epoch, https://reproducible-builds.org/specs/source-date-epoch/; the commit's, where there is one. */
function sourceDate() {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given !== undefined && /^\d+$/.test(given)) return Number(given);
  const git = spawnSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, encoding: 'utf8' });
  return git.status === 0 && git.stdout.trim() !== '' ? Number(git.stdout) : Date.UTC(2026, 0, 1) / 1_000;
}
