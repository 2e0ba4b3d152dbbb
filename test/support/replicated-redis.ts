/** A Redis with replicas and Sentinels on the sites of a lab network, each reached by the test over its own socket file. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LabNetwork, LabSite } from './network.js';

const NAME = 'lab';
const DOWN_AFTER_MS = 1_500;

export interface ReplicatedOptions {
  readonly network: LabNetwork;
  readonly folder: string;
  /** Sites with a Redis; the first is the primary to begin with. */
  readonly redis: readonly number[];
  readonly sentinels: readonly number[];
  /** More of redis.conf, as arguments. */
  readonly args?: readonly string[];
}

export class ReplicatedRedis {
  /** `sentinel://…` */
  readonly url: string;
  readonly #options: ReplicatedOptions;
  readonly #servers = new Map<number, ChildProcess>();
  readonly #sentinels = new Map<number, ChildProcess>();

  static async start(options: ReplicatedOptions): Promise<ReplicatedRedis> {
    const all = new ReplicatedRedis(options);
    try {
      for (const site of options.redis) await all.startServer(site);
      for (const site of options.sentinels) await all.#startSentinel(site);
      await all.settled();
      return all;
    } catch (error) {
      await all.stop();
      throw error;
    }
  }

  private constructor(options: ReplicatedOptions) {
    this.#options = options;
    const hosts = options.sentinels.map((site) => `${this.#site(site).address}:26379`);
    this.url = `sentinel://${hosts.join(',')}/${NAME}`;
  }

  /** By which the test looks past the network. */
  socket(site: number): string {
    return join(this.#folder(site), 'redis.sock');
  }

  cli(site: number, ...args: string[]): string {
    return execFileSync('redis-cli', ['-s', this.socket(site), ...args], { encoding: 'utf8', timeout: 20_000 }).trim();
  }

  /** Which of them take writes; usually one. */
  primaries(): number[] {
    return this.#options.redis.filter((site) => this.#isRunning(site) && this.#roleOf(site).startsWith('master'));
  }

  /** Empty while it does not answer, as one that has only just begun. */
  #roleOf(site: number): string {
    try {
      return this.cli(site, 'role');
    } catch {
      return '';
    }
  }

  /** Waits until one takes writes, all others follow it, and the Sentinels agree. */
  async settled(timeoutMs = 90_000): Promise<number> {
    const { redis } = this.#options;
    for (const deadline = Date.now() + timeoutMs; ; await sleep(200)) {
      const [primary, ...more] = this.primaries();
      if (primary !== undefined && more.length === 0) {
        const replicas = redis.filter((site) => site !== primary);
        const follow = replicas.every((site) => this.#isRunning(site) && /\nconnected\n/.test(this.#roleOf(site)));
        const known = this.primaryAsTheyKnow();
        if (follow && known.every((address) => address === this.#site(primary).address)) return primary;
      }
      if (Date.now() > deadline)
        throw new Error(`Redis did not settle: ${redis.map((site) => `${site}: ${this.#role(site)}`).join('; ')}`);
    }
  }

  /** The primary's address, as each Sentinel has it. */
  primaryAsTheyKnow(): string[] {
    return this.#options.sentinels.map((site) => {
      const [command = '', ...args] = [...this.#site(site).through, 'redis-cli', '-p', '26379'];
      const said = execFileSync(command, [...args, 'sentinel', 'get-master-addr-by-name', NAME], {
        encoding: 'utf8',
        timeout: 20_000,
      });
      return said.split('\n')[0] ?? '';
    });
  }

  /** Waits until another site than `before` takes writes. */
  async failedOver(before: number, timeoutMs = 60_000): Promise<number> {
    for (const deadline = Date.now() + timeoutMs; ; await sleep(100)) {
      const other = this.primaries().find((site) => site !== before);
      if (other !== undefined) return other;
      if (Date.now() > deadline) throw new Error('the Sentinels did not fail over');
    }
  }

  signal(site: number, name: NodeJS.Signals): void {
    this.#servers.get(site)?.kill(name);
  }

  /** Of the Sentinel of a site. */
  signalSentinel(site: number, name: NodeJS.Signals): void {
    this.#sentinels.get(site)?.kill(name);
  }

  async killServer(site: number): Promise<void> {
    await end(this.#servers.get(site));
  }

  /** With what its folder holds. */
  async startServer(site: number): Promise<void> {
    const folder = this.#folder(site);
    mkdirSync(folder, { recursive: true });
    const { address } = this.#site(site);
    const [primary = 0] = this.#options.redis;
    // A restarted one follows whom the Sentinels name, and they tell it; the others begin as replicas of the first.
    const follows = site === primary ? [] : ['--replicaof', this.#site(primary).address, '6379'];
    const args = [
      ...['--bind', address, '127.0.0.1', '--port', '6379', '--protected-mode', 'no', '--dir', folder],
      ...['--unixsocket', this.socket(site), '--save', '', '--appendonly', 'yes'],
      ...['--repl-diskless-sync-delay', '0', '--repl-timeout', '5', ...follows, ...(this.#options.args ?? [])],
    ];
    this.#servers.set(site, await this.#run(site, args, /Ready to accept connections/));
  }

  async stop(): Promise<void> {
    for (const child of [...this.#sentinels.values(), ...this.#servers.values()]) await end(child);
  }

  async #startSentinel(site: number): Promise<void> {
    const folder = join(this.#options.folder, `sentinel-${site}`);
    mkdirSync(folder, { recursive: true });
    const file = join(folder, 'sentinel.conf');
    const { address } = this.#site(site);
    const [primary = 0] = this.#options.redis;
    writeFileSync(
      file,
      [
        'port 26379',
        `bind ${address} 127.0.0.1`,
        'protected-mode no',
        `dir ${folder}`,
        `sentinel monitor ${NAME} ${this.#site(primary).address} 6379 2`,
        `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
        `sentinel failover-timeout ${NAME} 5000`,
        '',
      ].join('\n'),
    );
    this.#sentinels.set(site, await this.#run(site, [file, '--sentinel'], /\+monitor/));
  }

  async #run(site: number, args: readonly string[], ready: RegExp): Promise<ChildProcess> {
    const [command = '', ...through] = this.#site(site).through;
    const child = spawn(command, [...through, 'redis-server', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise<void>((resolve, reject) => {
      let said = '';
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`redis-server ended: ${said}`)));
      child.stdout.on('data', (data) => {
        said += data;
        if (ready.test(said)) resolve();
      });
    });
    return child;
  }

  #isRunning(site: number): boolean {
    const child = this.#servers.get(site);
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  #role(site: number): string {
    return this.#isRunning(site) ? this.cli(site, 'role').replace(/\n/g, ' ') : 'not running';
  }

  #folder(site: number): string {
    return join(this.#options.folder, `redis-${site}`);
  }

  #site(index: number): LabSite {
    const site = this.#options.network.sites[index];
    if (site === undefined) throw new RangeError(`no site ${index}`);
    return site;
  }
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGCONT');
  child.kill('SIGKILL');
  await exited;
}
