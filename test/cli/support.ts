/** Runs `blockctl` against a store and config of the test's own: within this process, or built and as people do. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Output } from '../../src/cli/output.js';
import { runCommand } from '../../src/cli/program.js';
import { toPolicySettings } from '../../src/config/load.js';
import { defaultConfig } from '../../src/config/schema.js';
import type { LogEvent } from '../../src/domain/event.js';
import { Allowlist } from '../../src/policy/allowlist.js';
import { Policy } from '../../src/policy/policy.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';

export const BLOCKCTL = fileURLToPath(new URL('../../dist/blockctl.js', import.meta.url));

export interface Answer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder with a config, a store and, if a test wants one, a map. */
export class Bench {
  readonly dir = mkdtempSync(join(tmpdir(), 'blockd-cli-'));
  readonly config = join(this.dir, 'blockd.toml');
  readonly store = `lmdb:${join(this.dir, 'store')}`;

  constructor(config = '') {
    this.configure(config);
  }

  /** Asking Postfix for its networks takes time and depends on the machine: off, unless `config` says otherwise. */
  configure(config: string): void {
    writeFileSync(this.config, `${config.includes('mynetworks') ? '' : 'allow.mynetworks = false\n'}${config}`);
  }

  file(name: string, content: string | Uint8Array): string {
    const path = join(this.dir, name);
    writeFileSync(path, content);
    return path;
  }

  /** Within this process, which is ten times as fast. */
  async run(...args: readonly string[]): Promise<Answer> {
    const streams = [new PassThrough(), new PassThrough()] as const;
    const read = Promise.all(streams.map((stream) => text(stream)));
    const output = new Output(...streams);
    const code = await runCommand(this.#args(args), '0.0.0', output);
    await output.finish();
    for (const stream of streams) stream.end();
    const [stdout = '', stderr = ''] = await read;
    return { code, stdout, stderr };
  }

  /** As a process of the built program. */
  execute(options: Surroundings, ...args: readonly string[]): Promise<Answer> {
    return execute([BLOCKCTL, ...this.#args(args)], options);
  }

  #args(args: readonly string[]): string[] {
    return ['--config', this.config, '--store', this.store, ...args];
  }

  /** What `--json` answers; the command must succeed. */
  async json(...args: readonly string[]): Promise<unknown> {
    const { code, stdout, stderr } = await this.run('--json', ...args);
    if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`);
    return JSON.parse(stdout);
  }

  async inStore<T>(work: (store: Store) => Promise<T>): Promise<T> {
    const store = await openStore(this.store, { prefix: 'blockd' });
    try {
      return await work(store);
    } finally {
      await store.close();
    }
  }

  /** Judges events as the daemon would. */
  async judge(events: readonly LogEvent[]): Promise<void> {
    const policy = new Policy(
      { ...toPolicySettings(defaultConfig()), dryRun: false },
      new Allowlist({ addresses: [], hostnames: [] }),
    );
    await this.inStore((store) =>
      store.commit(policy.subjectsOf(events.map(({ ip }) => ip)), (states) => policy.judge(events, states, Date.now())),
    );
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** `count` offenses of one address, one a second, the last one `agoMs` ago. */
export function offenses(ip: string, count: number, agoMs: number, more: Partial<LogEvent> = {}): LogEvent[] {
  const last = Date.now() - agoMs;
  return Array.from({ length: count }, (_, i) => ({
    kind: 'offense',
    rule: 'postfix/user-unknown',
    ip,
    at: last - (count - 1 - i) * 1_000,
    host: null,
    points: 1,
    line: `Nov 25 01:12:15 mx postfix/smtpd[27409]: NOQUEUE: reject: RCPT from unknown[${ip}]: 550 5.1.1 <nobody@example.org>: …`,
    ...more,
  }));
}

export interface Surroundings {
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs Node with these arguments. */
export function execute(args: readonly string[], options: Surroundings = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { NO_COLOR: _, FORCE_COLOR: __, ...env } = process.env;
    const child = spawn(process.execPath, args, { env: { ...env, TZ: 'UTC', ...options.env }, stdio: 'pipe' });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.on('error', reject);
    child.on('close', (code) =>
      resolve({ code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    );
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
  });
}
