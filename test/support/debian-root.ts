/**
 * A fresh Debian 13 in a folder of its own: booted, with its own systemd, Node.js and Postfix, and processes, mounts and
 * control groups of its own. It shares the network, so that a test is a client of its Postfix.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const exec = promisify(execFile);

const SUITE = 'trixie';
const PACKAGES = ['nodejs', 'postfix', 'systemd', 'nftables'];
/** What was fetched once: half of the time. debootstrap compares it with the mirror's own list of sums. */
const CACHE = fileURLToPath(new URL(`../../node_modules/.cache/debian-${SUITE}`, import.meta.url));
const LONGEST_BUILD_MS = 260_000;
const LONGEST_COMMAND_MS = 60_000;
const MIRROR_REST_MS = 10_000;

export interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class DebianRoot {
  readonly folder: string;
  readonly #group: string;
  readonly #first: ChildProcess;
  readonly #pid: number;

  private constructor(folder: string, group: string, first: ChildProcess, pid: number) {
    this.folder = folder;
    this.#group = group;
    this.#first = first;
    this.#pid = pid;
  }

  /** A minute or so. @throws Error in one line, when there is no mirror to take it from. */
  static async build(): Promise<DebianRoot> {
    const folder = mkdtempSync(join(tmpdir(), 'blockd-debian-'));
    // Everybody's own root folder.
    chmodSync(folder, 0o755);
    try {
      const site = await mirror();
      // A mirror may be away for a moment; what has come is in the cache.
      await debootstrap(folder, site).catch(async () => {
        await sleep(MIRROR_REST_MS);
        for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true });
        await debootstrap(folder, site);
      });
      const root = await DebianRoot.#boot(folder);
      await root.#untilBooted().catch(async (error: unknown) => {
        await root.remove();
        throw error;
      });
      return root;
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  static async #boot(folder: string): Promise<DebianRoot> {
    // Not before it is configured: it would take this machine's mail port.
    rmSync(join(folder, 'etc/systemd/system/multi-user.target.wants/postfix.service'), { force: true });
    for (const timer of ['apt-daily.timer', 'apt-daily-upgrade.timer'])
      symlinkSync('/dev/null', join(folder, 'etc/systemd/system', timer));
    const group = join(controlGroups(), `blockd-test-${process.pid}`);
    const namespaces = ['--mount', '--pid', '--uts', '--ipc', '--cgroup', '--fork', '--kill-child'];
    const enter = 'mkdir -p "$0" && echo $$ > "$0/cgroup.procs" && exec "$@"';
    // All of it ends with this process, however that ends.
    const command = ['setpriv', '--pdeathsig', 'KILL', 'unshare', ...namespaces, 'bash', '-ec', BOOT, folder];
    const first = spawn('bash', ['-c', enter, group, ...command], { stdio: 'ignore' });
    try {
      return new DebianRoot(folder, group, first, await childOf(first, folder));
    } catch (error) {
      first.kill('SIGKILL');
      throw error;
    }
  }

  async #untilBooted(): Promise<void> {
    let state = '';
    for (let tries = 0; tries < 150; tries++) {
      state = (await this.sh('systemctl is-system-running')).stdout.trim();
      // What a container can't have degrades it, and is none of blockd's business.
      if (state === 'running' || state === 'degraded') return;
      await sleep(200);
    }
    throw new Error(`the Debian in ${this.folder} does not boot: ${state}`);
  }

  /** Runs a line of shell inside. */
  async sh(line: string): Promise<Said> {
    const argv = ['-t', String(this.#pid), '-m', '-p', '-u', '-i', '-C', '-r', '-w', 'env', '-i'];
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
    await exec('find', [this.#group, '-depth', '-type', 'd', '-delete']).catch(() => undefined);
  }
}

/** What a container's init finds: kernel's own file systems, few devices, and no way to change this machine's settings. */
const BOOT = `
mount --bind "$0" "$0"; cd "$0"
mount -t proc proc proc; mount --bind proc/sys proc/sys; mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
  set -- $device; mknod -m 666 "dev/$1" c "$2" "$3"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts; ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
mkdir -p mnt/outside; pivot_root . mnt/outside; cd /; umount -l /mnt/outside
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --system --unit=multi-user.target
`;

/** Where this machine has its control groups, of the kind that systemd wants. */
function controlGroups(): string {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '));
  const found = mounts.find(([, , type]) => type === 'cgroup2')?.[1];
  if (found === undefined)
    throw new Error('no Debian can be booted here: this machine has no control groups (cgroup2)');
  return found;
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

/** The process that unshare has forked, once it is Debian's own init. */
async function childOf(parent: ChildProcess, folder: string): Promise<number> {
  for (let tries = 0; tries < 100 && parent.exitCode === null; tries++) {
    const file = `/proc/${parent.pid}/task/${parent.pid}/children`;
    const child = Number(existsSync(file) ? readFileSync(file, 'utf8').trim().split(' ')[0] : '');
    if (child > 0 && readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'systemd') return child;
    await sleep(50);
  }
  throw new Error(`can't boot the Debian in ${folder}: that needs root, and the right to mount`);
}
