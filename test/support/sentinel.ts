/** A Redis with a replica, watched by three real Sentinels, all on loopback. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, type LabRedis, startRedis } from './redis.js';

export interface LabSentinel {
  /** `sentinel://…` */
  readonly url: string;
  readonly primary: LabRedis;
  readonly replica: LabRedis;
  stop(): Promise<void>;
}

const NAME = 'lab';

export async function startSentinel(): Promise<LabSentinel> {
  const folder = mkdtempSync(join(tmpdir(), 'blockd-sentinel-'));
  const primary = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
  const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(primary.port)] });
  const ports = [await freePort(), await freePort(), await freePort()];
  const children = await Promise.all(
    ports.map((port) => {
      const file = join(folder, `${port}.conf`);
      writeFileSync(
        file,
        [
          `port ${port}`,
          'bind 127.0.0.1',
          `dir ${folder}`,
          `sentinel monitor ${NAME} 127.0.0.1 ${primary.port} 2`,
          `sentinel down-after-milliseconds ${NAME} 1000`,
          `sentinel failover-timeout ${NAME} 4000`,
          '',
        ].join('\n'),
      );
      return started(file);
    }),
  );
  return {
    url: `sentinel://${ports.map((port) => `127.0.0.1:${port}`).join(',')}/${NAME}`,
    primary,
    replica,
    stop: async () => {
      for (const child of children) {
        child.kill('SIGKILL');
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      }
      await Promise.all([primary.stop(), replica.stop()]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function started(file: string): Promise<ChildProcess> {
  const child = spawn('redis-server', [file, '--sentinel'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  for await (const data of child.stdout) {
    said += data;
    if (/\+monitor/.test(said)) break;
  }
  return child;
}
