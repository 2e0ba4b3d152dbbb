/**
 * A network of the test's own: hosts in network namespaces, each with one link to a bridge, whose links can be cut,
 * made lossy, or closed to some of the others. All of it goes with `remove`, at the latest when the process ends,
 * however it ends.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

export interface LabSite {
  readonly name: string;
  /** In 198.51.100.0/24. */
  readonly address: string;
  /** The command that runs another one there. */
  readonly through: readonly string[];
}

const PREFIX = 'blockd-net';
let made = 0;

export class LabNetwork {
  readonly sites: readonly LabSite[];
  readonly #switch: string;
  readonly #guard: ChildProcess;

  /** Null when it may be made, else why not, as a sentence. */
  static obstacle(): string | null {
    const name = `${PREFIX}-${process.pid}-try`;
    const tried = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
    spawnSync('ip', ['netns', 'del', name]);
    if (tried.error !== undefined) return 'no network namespaces: "ip" is missing (apt-get install iproute2)';
    if (tried.status === 0)
      return spawnSync('nft', ['--version']).status === 0 ? null : 'nft is missing (apt-get install nftables)';
    return `no network namespaces may be made here, that needs root: ${tried.stderr.trim()}`;
  }

  constructor(count: number) {
    const id = `${PREFIX}-${process.pid}-${++made}`;
    this.#switch = `${id}-sw`;
    this.sites = Array.from({ length: count }, (_, i) => {
      const name = `${id}-h${i}`;
      return { name, address: `198.51.100.${10 + i}`, through: ['ip', 'netns', 'exec', name] };
    });
    this.#guard = guardOf(this.#all());
    try {
      for (const name of this.#all()) {
        ip('netns', 'add', name);
        ip('-n', name, 'link', 'set', 'lo', 'up');
      }
      ip('-n', this.#switch, 'link', 'add', 'lab', 'type', 'bridge');
      ip('-n', this.#switch, 'link', 'set', 'lab', 'up');
      for (const [i, { name, address }] of this.sites.entries()) {
        ip('-n', this.#switch, 'link', 'add', `p${i}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
        ip('-n', this.#switch, 'link', 'set', `p${i}`, 'master', 'lab', 'up');
        ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
        ip('-n', name, 'link', 'set', 'eth0', 'up');
      }
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** Pulls the plug of a site. */
  unplug(site: number): void {
    ip('-n', this.#switch, 'link', 'set', `p${site}`, 'down');
  }

  plug(site: number): void {
    ip('-n', this.#switch, 'link', 'set', `p${site}`, 'up');
  }

  /** Has nothing pass between a site and others, without anybody being told. */
  part(site: number, others: readonly number[]): void {
    const addresses = others.map((other) => this.#site(other).address).join(', ');
    this.#rules(site, [`ip saddr { ${addresses} } drop`], [`ip daddr { ${addresses} } drop`]);
  }

  /** So many per cent of what comes in over a site's link are lost, and of what goes out, which is late where it can be. */
  lose(site: number, percent: number): void {
    const rule = (way: string) => `${way} "eth0" numgen random mod 100 < ${percent} drop`;
    const { name } = this.#site(site);
    // netem is a module that not every kernel has; nftables loses packets everywhere, and delays none.
    const netem = ['netem', 'loss', `${percent}%`, 'delay', '50ms', '20ms'];
    const { status } = spawnSync('tc', ['-n', name, 'qdisc', 'replace', 'dev', 'eth0', 'root', ...netem]);
    this.#rules(site, [rule('iifname')], status === 0 ? [] : [rule('oifname')]);
  }

  /** Takes back `part` and `lose`. */
  mend(site: number): void {
    const { name } = this.#site(site);
    nft(name, 'flush ruleset\n');
    // There may be none.
    spawnSync('tc', ['-n', name, 'qdisc', 'del', 'dev', 'eth0', 'root']);
  }

  /** Ends whatever still runs in it. */
  remove(): void {
    for (const name of this.#all()) removeNamespace(name);
    this.#guard.stdin?.end();
  }

  #rules(site: number, incoming: readonly string[], outgoing: readonly string[]): void {
    const chain = (hook: string, rules: readonly string[]) =>
      `chain ${hook} {\n type filter hook ${hook} priority 0;\n${rules.join('\n')}\n}\n`;
    const table = `table inet lab {\n${chain('input', incoming)}${chain('output', outgoing)}}\n`;
    nft(this.#site(site).name, `flush ruleset\n${table}`);
  }

  #site(index: number): LabSite {
    const site = this.sites[index];
    if (site === undefined) throw new RangeError(`no site ${index}`);
    return site;
  }

  #all(): string[] {
    return [this.#switch, ...this.sites.map(({ name }) => name)];
  }
}

/** Removes the namespaces, and what runs in them, when this process is gone: then the pipe to it closes. */
function guardOf(names: readonly string[]): ChildProcess {
  const script =
    'cat; for name; do ip netns pids "$name" | xargs -r kill -KILL; ip netns del "$name"; done >/dev/null 2>&1';
  const guard = spawn('sh', ['-c', script, 'guard', ...names], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  guard.unref();
  return guard;
}

function removeNamespace(name: string): void {
  const { stdout, status } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
  if (status !== 0) return;
  for (const pid of stdout.split('\n').filter((line) => line !== '')) spawnSync('kill', ['-KILL', pid]);
  spawnSync('ip', ['netns', 'del', name]);
}

function ip(...args: string[]): void {
  const { status, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${error?.message ?? stderr}`);
}

function nft(namespace: string, rules: string): void {
  const { status, stderr } = spawnSync('ip', ['netns', 'exec', namespace, 'nft', '-f', '-'], {
    encoding: 'utf8',
    input: rules,
  });
  if (status !== 0) throw new Error(`nft ${rules}: ${stderr}`);
}
