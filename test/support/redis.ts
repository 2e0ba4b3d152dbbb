/** A real Redis of the test's own: on a free loopback port, in a folder of its own, without persistence unless told. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface LabRedis {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Where it keeps its data. */
  readonly folder: string;
  /** Ends the server as it stands and starts it anew on the same port. */
  restart(): Promise<void>;
  /** Ends the server as it stands. */
  kill(): Promise<void>;
  /** Starts it anew on the same port, with what its folder holds. */
  start(): Promise<void>;
  signal(name: NodeJS.Signals): void;
  stop(): Promise<void>;
}

export interface RedisOptions {
  /** More of redis.conf, as arguments: `['--requirepass', 'secret']`. */
  readonly args?: readonly string[];
}

export async function startRedis(options: RedisOptions = {}): Promise<LabRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'blockd-redis-'));
  const port = await freePort();
  const args = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    folder,
    '--save',
    '',
    '--appendonly',
    'no',
    ...(options.args ?? []),
  ];
  let child = await start(args);
  const end = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await exited;
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return child.pid ?? 0;
    },
    folder,
    restart: async () => {
      await end();
      child = await start(args);
    },
    kill: end,
    start: async () => {
      child = await start(args);
    },
    signal: (name) => {
      child.kill(name);
    },
    stop: async () => {
      await end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function start(args: readonly string[]): Promise<ChildProcess> {
  const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    let said = '';
    child.once('error', () => reject(new Error('these tests need Redis: apt-get install redis-server')));
    child.once('exit', () => reject(new Error(`redis-server ended: ${said}`)));
    child.stdout.on('data', (data) => {
      said += data;
      if (/Ready to accept connections/.test(said)) resolve();
    });
  });
  return child;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
