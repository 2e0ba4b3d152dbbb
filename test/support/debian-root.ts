/** A fresh Debian 13 in a folder of its own, with its own Node.js and Postfix, and processes and mounts of its own. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const exec = promisify(execFile);

const SUITE = 'trixie';
const PACKAGES = ['nodejs', 'postfix'];
/** What was fetched once: half of the time. debootstrap compares it with the mirror's own list of sums. */
const CACHE = fileURLToPath(new URL(`../../node_modules/.cache/debian-${SUITE}`, import.meta.url));
const LONGEST_BUILD_MS = 480_000;
const LONGEST_COMMAND_MS = 60_000;

export interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class DebianRoot {
  readonly folder: string;
  readonly #first: ChildProcess;
  readonly #pid: number;

  private constructor(folder: string, first: ChildProcess, pid: number) {
    this.folder = folder;
    this.#first = first;
    this.#pid = pid;
  }

  /** A minute or so. @throws Error in one line, when there is no mirror to take it from. */
  static async build(): Promise<DebianRoot> {
    const folder = mkdtempSync(join(tmpdir(), 'blockd-debian-'));
    // Everybody's own root folder.
    chmodSync(folder, 0o755);
    try {
      await debootstrap(folder, await mirror());
      // Process 1: takes in what is left of others, and whose end ends all of them.
      const script =
        'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; exec chroot "$0" bash -c "while :; do sleep 1; done"';
      const options = ['--mount', '--pid', '--uts', '--fork', '--kill-child', 'bash', '-c', script, folder];
      const first = spawn('unshare', options, { stdio: 'ignore' });
      return new DebianRoot(folder, first, await childOf(first, folder));
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Runs a line of shell inside. */
  async sh(line: string): Promise<Said> {
    const argv = ['-t', String(this.#pid), '-m', '-p', '-u', '-r', '-w', 'env', '-i'];
    const environment = ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL=C.UTF-8', 'DEBIAN_FRONTEND=noninteractive'];
    try {
      const { stdout, stderr } = await exec('nsenter', [...argv, ...environment, 'bash', '-c', line], {
        timeout: LONGEST_COMMAND_MS,
      });
      return { code: 0, stdout, stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
      return { code: typeof code === 'number' ? code : -1, stdout: stdout ?? '', stderr: stderr ?? String(error) };
    }
  }

  /** The same for what must succeed; its output, without the last line's end. */
  async must(line: string): Promise<string> {
    const { code, stdout, stderr } = await this.sh(line);
    if (code !== 0) throw new Error(`in Debian, "${line}" ended with ${code}:\n${stdout}${stderr}`);
    return stdout.trimEnd();
  }

  read(path: string): string {
    return readFileSync(join(this.folder, path), 'utf8');
  }

  /** Puts a file into its /root; the path there. */
  take(file: string): string {
    const path = `/root/${basename(file)}`;
    cpSync(file, join(this.folder, path));
    return path;
  }

  async remove(): Promise<void> {
    this.#first.kill('SIGKILL');
    // The mounts are gone with the last process.
    for (let tries = 0; tries < 50 && existsSync(`/proc/${this.#pid}`); tries++) await sleep(100);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Where this machine's own packages of Debian come from. */
async function mirror(): Promise<string> {
  const format = '$(SITE)';
  const { stdout } = await exec('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']);
  const sites = [...new Set(stdout.split('\n').map((site) => site.replace(/\/+$/, '')))];
  const site = sites.find((one) => /\/debian$/.test(one));
  if (site === undefined) throw new Error("no Debian mirror: none of this machine's apt sources is one");
  return site;
}

async function debootstrap(folder: string, site: string): Promise<void> {
  mkdirSync(CACHE, { recursive: true });
  const options = ['--variant=minbase', `--cache-dir=${CACHE}`, `--include=${PACKAGES.join(',')}`];
  try {
    // In namespaces of its own, so that one which is ended leaves no mount and no process behind.
    await exec(
      'unshare',
      ['--mount', '--pid', '--fork', '--kill-child', 'debootstrap', ...options, SUITE, folder, site],
      { timeout: LONGEST_BUILD_MS, killSignal: 'SIGKILL', maxBuffer: 16 * 1_024 * 1_024 },
    );
  } catch (error) {
    const { stdout, stderr, killed } = error as { stdout?: string; stderr?: string; killed?: boolean };
    const said = `${stdout ?? ''}${stderr ?? ''}`
      .trim()
      .split('\n')
      .filter((line) => /^[EW]:/.test(line))
      .at(-1);
    const why =
      killed === true ? `not done after ${LONGEST_BUILD_MS / 1_000} s` : (said ?? String(error).split('\n')[0]);
    throw new Error(`debootstrap can't make a Debian ${SUITE} from this machine's mirror: ${why}`);
  }
}

/** The process that unshare has forked, once it lives in its root. */
async function childOf(parent: ChildProcess, folder: string): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const file = `/proc/${parent.pid}/task/${parent.pid}/children`;
    const child = Number(existsSync(file) ? readFileSync(file, 'utf8').trim().split(' ')[0] : '');
    if (child > 0) {
      const { stdout } = await exec('readlink', [`/proc/${child}/root`]).catch(() => ({ stdout: '' }));
      if (stdout.trim() === folder) return child;
    }
    await sleep(50);
  }
  throw new Error(`can't start processes in ${folder}: unshare(1) and chroot(1) need root`);
}
