/** One schedule: a daemon, a store, a log, and what chance does to them; at the end the reckoning. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../src/demo/random.js';
import { subjectOf } from '../../src/domain/address.js';
import { UnavailableError } from '../../src/domain/errors.js';
import type { Position } from '../../src/domain/position.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { blockdOnce, RunningDaemon } from '../support/programs.js';
import { startRedis } from '../support/redis.js';
import { UNPRUNED } from './form.js';
import { LogLines } from './log-lines.js';
import { MailHost } from './mail-host.js';
import { reckon, type Verdict } from './reckoning.js';

type FilePosition = Extract<Position, { kind: 'file' }>;

const PATIENCE_MS = 30_000;

/** How often what was done. */
export class Tally {
  readonly #counts = new Map<string, number>();

  add(what: string, times = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + times);
  }

  of(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  toString(): string {
    return [...this.#counts]
      .sort()
      .map(([what, times]) => `${what}: ${times}`)
      .join('\n');
  }
}

/** Runs one schedule to its end. @throws Error that tells what was done and what came out wrong. */
export async function runSchedule(chance: Random, tally: Tally): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'blockd-exactly-'));
  const redis = chance.chance(0.2) ? await startRedis() : null;
  try {
    const url = redis?.url ?? `lmdb:${join(folder, 'store')}`;
    const store = await patiently(() => openStore(url, { prefix: 'blockd' }));
    const schedule = new Schedule(folder, url, store, chance, tally);
    try {
      const verdict = await schedule.run();
      tally.add('schedules');
      tally.add(redis === null ? 'schedules on LMDB' : 'schedules on Redis');
      tally.add('lines', schedule.lines.all.length);
      tally.add('lines that their writer lost', verdict.writersLosses);
      tally.add('subjects with lost lines', verdict.lost.length);
      tally.add('subjects with doubled lines', verdict.doubled.length);
      tally.add('subjects with a wrong score, strikes or ban', verdict.wrong.length);
      if (verdict.lost.length + verdict.doubled.length + verdict.wrong.length > 0) throw new Error(describe(verdict));
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : error}\n${schedule.story}`, { cause: error });
    } finally {
      await schedule.close();
    }
  } finally {
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A machine that starves us makes a store seem away. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (const endAt = Date.now() + PATIENCE_MS; ; ) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof UnavailableError) || Date.now() > endAt) throw error;
      await sleep(200);
    }
  }
}

function describe({ lost, doubled, wrong }: Verdict): string {
  return [
    ...lost.map((text) => `lost: ${text}`),
    ...doubled.map((text) => `doubled: ${text}`),
    ...wrong.map((text) => `wrong: ${text}`),
  ]
    .slice(0, 12)
    .join('\n');
}

interface Kind {
  /** Two writers, one of which may reopen late while the other writes to the new file: order is lost. */
  readonly writers: 1 | 2;
  readonly isLink: boolean;
  readonly strict: boolean;
}

class Schedule {
  readonly lines: LogLines;
  readonly #chance: Random;
  readonly #tally: Tally;
  readonly #host: MailHost;
  readonly #kind: Kind;
  readonly #store: Store;
  readonly #set: readonly string[];
  readonly #args: readonly string[];
  readonly #lives: RunningDaemon[] = [];
  readonly #done: string[] = [];
  readonly #startedAt = performance.now();
  #daemon: RunningDaemon | null = null;
  #isFrozen = false;

  constructor(folder: string, url: string, store: Store, chance: Random, tally: Tally) {
    this.#chance = chance;
    this.#tally = tally;
    this.#store = store;
    const strict = chance.chance(0.35);
    const isLink = chance.chance(0.15);
    const writers = !strict && !isLink && chance.chance(0.3) ? 2 : 1;
    this.#kind = { strict, isLink, writers };
    this.lines = new LogLines(chance, {
      stamps: strict && chance.chance(0.5) ? 'now' : chance.pick(['rfc3339', 'traditional'] as const),
      hasSessions: writers === 1,
      offenders: strict ? chance.between(10, 60) : chance.between(40, 250),
    });
    this.#host = new MailHost(join(folder, 'log'), {
      isLink,
      isElsewhere: chance.chance(0.5),
      writers,
      naming: chance.pick(['number', 'date'] as const),
    });
    this.#set = ['allow.mynetworks=false', 'store.host=mx', `score.threshold=${strict ? 5 : 1_000_000}`];
    this.#args = [
      '--store',
      url,
      '--log',
      this.#host.log,
      '--from-start',
      '--filters',
      join(folder, 'none'),
      ...UNPRUNED,
      ...this.#set.flatMap((one) => ['--set', one]),
    ];
    this.#did(`schedule ${JSON.stringify(this.#kind)} ${url}`);
  }

  get story(): string {
    const said = this.#lives.slice(-6).map(
      ({ pid, log }) =>
        `${pid}: ${log
          .filter(({ level }) => Number(level ?? 99) > 30)
          .map(({ msg }) => msg)
          .join(' | ')}`,
    );
    return [...this.#done, ...said].join('\n');
  }

  async run(): Promise<Verdict> {
    this.#host.write([this.lines.offense()]);
    this.#start();
    await this.#until('the first line is counted', async () => (await this.#position()) !== null);
    for (let step = this.#chance.between(5, 12); step > 0; step--) {
      await this.#write();
      await this.#disturb();
    }
    await this.#write();
    this.#thaw();
    this.#host.reopen();
    await this.#readToTheEnd();
    return patiently(() => reckon(this.lines, this.#store, this.#set));
  }

  async close(): Promise<void> {
    this.#thaw();
    await Promise.all(this.#lives.map((life) => life.stop('SIGKILL')));
    await this.#store.close();
    this.#host.close();
  }

  async #readToTheEnd(): Promise<void> {
    const byItself = this.#chance.chance(0.6);
    if (byItself) {
      if (this.#daemon === null) this.#start();
      await this.#until('all is counted', async () => (await this.#counted()) >= this.lines.sureOffenses);
      if (this.#chance.chance(0.75)) {
        await this.#end('SIGTERM');
        return;
      }
    }
    await this.#end(this.#chance.pick(['SIGTERM', 'SIGKILL'] as const));
    const { code, stderr } = await blockdOnce([...this.#args, '--once']);
    this.#did(`blockd --once${byItself ? ' after all was counted' : ''}`);
    if (code !== 0) throw new Error(`blockd --once ended with ${code}: ${stderr}`);
  }

  /** Offenses of sure lines in the store. */
  async #counted(): Promise<number> {
    const sure = new Set(
      this.lines.all.flatMap(({ fate, offender }) => (fate === 'sure' && offender !== null ? subjectOf(offender) : [])),
    );
    let sum = 0;
    for (const { offenses } of (await patiently(() => this.#store.states([...sure]))).values()) sum += offenses;
    return sum;
  }

  async #write(): Promise<void> {
    const chance = this.#chance;
    const bursts = chance.between(1, 3);
    for (let burst = 0; burst < bursts; burst++) {
      const count = chance.chance(0.06) ? chance.between(1_000, 4_000) : chance.between(1, 40);
      const lines = Array.from({ length: count }, () => this.lines.next());
      const writer = chance.between(0, this.#kind.writers - 1);
      const isCut = this.#kind.writers === 1 && chance.chance(0.3);
      this.#host.write(lines, writer, isCut ? chance.between(1, 250) : undefined);
      this.#did(`wrote ${count} lines up to ${this.lines.all.length - 1}${isCut ? ', the last in part' : ''}`);
      if (isCut) this.#tally.add('lines in two parts');
      if (chance.chance(0.4)) await sleep(chance.between(0, 25));
      if (isCut && chance.chance(0.5)) this.#host.finishLine(writer);
    }
  }

  async #disturb(): Promise<void> {
    const share = this.#chance.next();
    if (share < 0.5) await this.#disturbDaemon();
    else if (this.#kind.isLink) await this.#switchLink();
    else if (share < 0.92) await this.#rotate();
    else await this.#recreate();
    if (this.#chance.chance(0.5)) await sleep(this.#chance.between(0, 60));
  }

  async #disturbDaemon(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === null) {
      this.#start();
      if (this.#chance.chance(0.7)) await daemonReady(this.#daemon);
      return;
    }
    if (this.#isFrozen) {
      this.#thaw();
      if (this.#chance.chance(0.5)) return;
    }
    const share = this.#chance.next();
    if (share < 0.45) await this.#end('SIGKILL');
    else if (share < 0.6) await this.#end('SIGTERM');
    else if (share < 0.8) this.#freeze();
    else if (daemon.log.some(({ event }) => event === 'started')) {
      daemon.signal('SIGHUP');
      this.#count('SIGHUP');
    }
    if (this.#daemon === null && this.#chance.chance(0.6)) this.#start();
  }

  async #rotate(): Promise<void> {
    const times = this.#chance.chance(0.2) ? this.#chance.between(2, 4) : 1;
    if (times > 1) this.#count('rotations in a row');
    for (let time = 0; time < times; time++) {
      if (this.#chance.chance(0.4)) this.#copyAndTruncate();
      else await this.#rename();
      if (this.#daemon === null) this.#tally.add('rotations while down');
      if (this.#isFrozen) this.#tally.add('rotations while frozen');
      if (this.#chance.chance(0.35)) await this.#compress();
      if (times > 1) this.#host.write([this.lines.next(), this.lines.next()], 0);
    }
  }

  async #rename(): Promise<void> {
    this.#host.rename();
    if (!this.#chance.chance(0.5)) {
      this.#host.reopen();
      this.#count('rotations by rename');
      return;
    }
    this.#count('rotations by rename, writer reopens late');
    const late = Array.from({ length: this.#chance.between(1, 30) }, () => this.lines.next());
    this.#host.write(late, 0, this.#kind.writers === 1 && this.#chance.chance(0.3) ? 60 : undefined);
    if (this.#kind.writers === 2) {
      this.#host.reopen(1);
      this.#host.write([this.lines.offense(), this.lines.next()], 1);
      if (this.#chance.chance(0.6)) await this.#untilInLive();
      if (this.#chance.chance(0.6)) await this.#disturbDaemon();
      this.#host.write([this.lines.offense(), this.lines.offense()], 0);
    }
    if (this.#chance.chance(0.5)) await this.#disturbDaemon();
    // With two writers the other one may stay late for long.
    if (this.#kind.writers === 1 || this.#chance.chance(0.5)) this.#host.reopen();
  }

  /** The renamed file has been left while one writer still appends to it. */
  async #untilInLive(): Promise<void> {
    if (this.#daemon === null) this.#start();
    this.#thaw();
    await this.#until('the renamed file is left for the new one', async () => {
      const position = await this.#position();
      return position !== null && this.#host.isInLive(position);
    });
    this.#count('files left while written to');
  }

  #copyAndTruncate(): void {
    const { unfinished } = this.#host;
    if (unfinished !== null) {
      this.#host.finishLines();
    } else if (this.#kind.writers === 1 && this.#chance.chance(0.2)) {
      // Begun in the copy, finished in the emptied file.
      this.#host.write([this.lines.risky()], 0, this.#chance.between(1, 250));
    }
    if (this.#host.hasLateWriter) this.#host.reopen();
    const isWritten = this.#chance.chance(0.4);
    this.#host.copyAndTruncate(() => {
      if (!isWritten || this.#host.unfinished !== null) return;
      this.#host.write(Array.from({ length: this.#chance.between(1, 10) }, () => this.lines.risky()));
    });
    this.#count(`rotations by copytruncate${isWritten ? ', written to between' : ''}`);
  }

  async #compress(): Promise<void> {
    const isPacked = await this.#host.compress(() => sleep(this.#chance.between(0, 30)));
    if (isPacked) this.#count('rotated files compressed at once');
  }

  async #recreate(): Promise<void> {
    this.#host.finishLines();
    if (this.#host.hasLateWriter) this.#host.reopen();
    if (this.#daemon === null) {
      // LMDB shows the last commit of a writer that was killed amid its end only to the next one who opens or writes.
      await patiently(() => this.#store.setNote('torture', this.lines.all.length));
      const unread = this.#host.unreadOf((await this.#position()) ?? null);
      // Half of a risky line may stand at the end of a copy, and be counted there.
      for (const line of unread) if (line.fate === 'sure') line.fate = 'lost';
    } else {
      this.#thaw();
      this.#host.write([this.lines.offense()]);
      await this.#until('all is counted before the log is deleted', async () => {
        const position = await this.#position();
        return position !== null && this.#host.isAtEnd(position);
      });
      this.#host.write(Array.from({ length: this.#chance.between(1, 5) }, () => this.lines.risky()));
    }
    const isReused = this.#host.recreate();
    this.#count(`logs deleted and made anew${this.#daemon === null ? ' while down' : ''}`);
    if (isReused) this.#count('inodes reused');
  }

  /** A link tells of two files only, so the first of three must have been begun before the third is named. */
  async #switchLink(): Promise<void> {
    const position = await this.#position();
    if (position === null || !this.#host.isInLive(position) || this.#host.hasLateWriter) return;
    this.#host.switchLink();
    if (this.#chance.chance(0.4)) {
      this.#host.write([this.lines.next(), this.lines.offense()]);
      if (this.#chance.chance(0.5)) await this.#disturbDaemon();
    }
    this.#host.reopen();
    this.#count('links switched');
  }

  #start(): void {
    this.#daemon = RunningDaemon.launch(this.#args);
    this.#lives.push(this.#daemon);
    this.#count('starts');
  }

  async #end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === null) return;
    if (signal === 'SIGTERM') this.#thaw();
    if (daemon.hasEnded)
      throw new Error(`the daemon ended by itself:\n${daemon.log.map((entry) => JSON.stringify(entry)).join('\n')}`);
    this.#daemon = null;
    this.#isFrozen = false;
    const isReady = daemon.log.some(({ event }) => event === 'started');
    const code = await daemon.stop(signal);
    this.#count(signal);
    // Before it has said that it follows, SIGTERM may find no handler yet.
    if (signal === 'SIGTERM' && isReady && code !== 0) throw new Error(`SIGTERM ended the daemon with ${code}`);
  }

  #freeze(): void {
    if (this.#daemon === null || this.#isFrozen) return;
    this.#daemon.signal('SIGSTOP');
    this.#isFrozen = true;
    this.#count('SIGSTOP');
  }

  #thaw(): void {
    if (!this.#isFrozen) return;
    this.#daemon?.signal('SIGCONT');
    this.#isFrozen = false;
    this.#did('SIGCONT');
  }

  async #position(): Promise<FilePosition | null> {
    const position = (await patiently(() => this.#store.progress('mx'))).get(this.#host.log)?.position;
    return position?.kind === 'file' ? position : null;
  }

  async #until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
    for (const endAt = Date.now() + PATIENCE_MS; !(await isTrue()); ) {
      if (this.#daemon?.hasEnded === true)
        throw new Error(
          `the daemon ended before ${what}:\n${this.#daemon.log.map((entry) => JSON.stringify(entry)).join('\n')}`,
        );
      if (Date.now() > endAt) {
        const verdict = await reckon(this.lines, this.#store, this.#set);
        throw new Error(`waited in vain until ${what}\n${describe(verdict)}`);
      }
      await sleep(15);
    }
  }

  #count(what: string): void {
    this.#tally.add(what);
    this.#did(what);
  }

  #did(what: string): void {
    this.#done.push(`  ${Math.round(performance.now() - this.#startedAt)} ms: ${what}`);
  }
}

async function daemonReady(daemon: RunningDaemon | null): Promise<void> {
  await daemon?.until(({ event }) => event === 'started', PATIENCE_MS);
}
