/**
 * Whatever happens to postmap, the map's folder, its publishers and its files: a real Postfix under constant load
 * answers nobody with an error of ours, refuses who is banned for certain, and nobody else.
 */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Random } from '../../src/demo/random.js';
import type { Ban } from '../../src/domain/ban.js';
import { acquireLock } from '../../src/domain/lock.js';
import { UNKNOWN } from '../../src/policy/state.js';
import { openStore } from '../../src/store/open.js';
import { type Answer, startLoad } from '../support/load.js';
import { MapWatch } from '../support/map-watch.js';
import { type LabPostfix, startPostfix } from '../support/postfix.js';
import { blockctl, RunningDaemon } from '../support/programs.js';
import { byForm, chanceFor, repeatWith } from './form.js';

const again = repeatWith('map-faults');
/** Others that the map holds: a large one is changed in place or in a spare copy, and has a journal. */
const CROWD = 6_000;
type Case = readonly [type: string, crowd: number];
const CASES: readonly Case[] = byForm(
  [
    ['hash', CROWD],
    ['lmdb', 0],
  ],
  ['hash', 'lmdb', 'btree', 'cdb'].flatMap((type) => [0, CROWD].map((crowd) => [type, crowd] as const)),
);
/** Of each type. */
const LOOKUPS = byForm(1_500, 25_000);
const FEWEST_FAULTS = byForm(5, 40);
/** What a repair may take on a loaded machine; the measured figures are printed. */
const REPAIR_MS = 20_000;
/** `postfix reload` returns before the last smtpd has heard of it. */
const RELOAD_MS = 2_000;

const BANNED = [
  ...Array.from({ length: 40 }, (_, i) => `203.0.113.${i + 1}`),
  ...['2001:db8:1:2::5', '2001:db8:1:3::9', '2001:db8:1::1'],
];
const LEGITIMATE = [
  ...Array.from({ length: 60 }, (_, i) => `198.51.100.${i + 1}`),
  ...['2001:db8:1:4::5', '2001:db8:2:2::1', '203.0.113.200'],
];
const ACCEPTED = /^250 2\.1\.5 /;
const REFUSED = /^554 5\.7\.1 <[^>]*>: Client host rejected: Blocked until /;

describe.concurrent('under constant load', () => {
  it.for(CASES)(
    'a %s map beside %d others is whole through every fault',
    { timeout: byForm(180_000, 2_400_000) },
    async ([type, crowd], test) => {
      const bench = await Bench.start(type, crowd);
      test.onTestFinished(() => bench.stop());
      const chance = chanceFor('map-faults', bench.number);
      const kinds = Object.entries(FAULTS).filter(
        ([, fault]) => fault.types === undefined || fault.types.includes(type),
      );
      let queue: typeof kinds = [];
      const counts = new Map<string, number>();
      for (let done = 0; bench.judged < LOOKUPS || done < FEWEST_FAULTS; done++) {
        if (queue.length === 0) queue = shuffled(kinds, chance);
        const [name, fault] = queue.pop() ?? kinds[0] ?? [];
        if (name === undefined || fault === undefined) throw new Error('no faults');
        bench.fault = name;
        counts.set(name, (counts.get(name) ?? 0) + 1);
        await fault.run(bench, chance);
        await bench.untilRecovered();
        bench.fault = `after: ${name}`;
        expect(bench.tally.wrong.slice(0, 5), `${type}, ${name}; ${again}`).toEqual([]);
        await sleep(chance.between(0, 300));
      }
      await bench.stopLoad();
      expect(bench.tally.wrong.slice(0, 5), again).toEqual([]);
      expect(bench.judged).toBeGreaterThanOrEqual(LOOKUPS);
      expect(bench.tally.accepted).toBeGreaterThan(LOOKUPS / 10);
      expect(bench.tally.refused).toBeGreaterThan(LOOKUPS / 10);
      if (crowd > 0 && ['hash', 'btree'].includes(type)) await bench.untilSpare();
      await bench.daemon.stop();
      expect(bench.asides).toEqual([]);
      console.info(summary(type, bench, counts));
    },
  );
});

interface Fault {
  /** Map types that it can happen to; all unless told. */
  readonly types?: readonly string[];
  run(bench: Bench, chance: Random): Promise<void>;
}

const FAULTS: Readonly<Record<string, Fault>> = {
  'postmap missing': {
    run: async (bench, chance) => {
      renameSync(bench.postmap, `${bench.postmap}.away`);
      await sleep(chance.between(300, 2_500));
      renameSync(`${bench.postmap}.away`, bench.postmap);
    },
  },
  'postmap failing': {
    run: (bench, chance) => bench.postmapDoes('fail', chance.between(300, 2_500)),
  },
  'postmap not executable': {
    run: async (bench, chance) => {
      chmodSync(bench.postmap, 0o644);
      await sleep(chance.between(300, 2_000));
      chmodSync(bench.postmap, 0o755);
    },
  },
  'postmap slow': {
    run: (bench, chance) => bench.postmapDoes('slow', chance.between(500, 2_500)),
  },
  'postmap hanging': {
    run: async (bench, chance) => {
      await bench.postmapDoes('hang', chance.between(500, 2_500));
      bench.killTools();
    },
  },
  'postmap killed at any instant': {
    run: async (bench, chance) => {
      for (let i = 0; i < 30; i++) {
        await sleep(chance.between(1, 60));
        bench.killTools();
      }
    },
  },
  'daemon killed at any instant': {
    run: async (bench, chance) => {
      for (let i = 0; i < 3; i++) {
        await sleep(chance.between(10, 700));
        await bench.restart();
      }
    },
  },
  'daemon and postmap killed together': {
    run: async (bench, chance) => {
      const deadline = Date.now() + 5_000;
      await sleep(chance.between(10, 300));
      while (bench.tools().length === 0 && Date.now() < deadline) await sleep(1);
      await sleep(chance.between(0, 15));
      const tools = bench.tools();
      bench.daemon.signal('SIGKILL');
      for (const pid of tools) kill(pid);
      await bench.restart();
    },
  },
  'daemon ended and started': {
    run: async (bench) => bench.restart('SIGTERM'),
  },
  'daemon standing still': {
    run: async (bench, chance) => {
      bench.daemon.signal('SIGSTOP');
      await sleep(chance.between(200, 2_000));
      bench.daemon.signal('SIGCONT');
    },
  },
  'disk full': {
    run: async (bench, chance) => {
      const ballast = join(bench.folder, 'ballast');
      try {
        execFileSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=4k'], { stdio: 'ignore' });
      } catch {
        // It ends with an error, since the disk is full.
      }
      await sleep(chance.between(300, 2_500));
      rmSync(ballast);
    },
  },
  'folder read-only': {
    run: async (bench, chance) => {
      await bench.remount('ro');
      await sleep(chance.between(300, 2_500));
      await bench.remount('rw');
    },
  },
  'several publishers': {
    run: async (bench, chance) => {
      const until = Date.now() + chance.between(1_000, 3_000);
      const loop = async () => {
        while (Date.now() < until) {
          const { code, stderr } = await bench.blockctl('sync');
          expect(code, stderr).toBe(0);
        }
      };
      await Promise.all([loop(), loop()]);
    },
  },
  'people ban, unban and sweep': {
    run: async (bench) => {
      const commands = [['ban', '192.0.2.77', '--for', '1h'], ['sweep'], ['unban', '192.0.2.77']];
      for (const command of commands) expect(await bench.blockctl(...command)).toMatchObject({ code: 0 });
    },
  },
  'Postfix’s tools absent at a start': {
    run: async (bench, chance) => {
      for (const tool of [bench.postmap, bench.postconf]) renameSync(tool, `${tool}.away`);
      await bench.restart();
      await sleep(chance.between(100, 1_500));
      for (const tool of [bench.postmap, bench.postconf]) renameSync(`${tool}.away`, tool);
    },
  },
  'a person edits the text': {
    run: async (bench, chance) => {
      const text = readFileSync(bench.mapPath, 'latin1').split('\n');
      text.splice(chance.between(1, text.length - 1), 1);
      text.push('198.51.100.1 REJECT go away', '# a comment', '');
      writeFileSync(bench.mapPath, text.join('\n'));
    },
  },
  'a person deletes the text': { run: async (bench) => rmSync(bench.mapPath) },
  'a person deletes the state': { run: async (bench) => rmSync(`${bench.mapPath}.state`) },
  'a person deletes the compiled map': {
    run: (bench) => bench.byAPerson(() => rmSync(bench.compiled)),
  },
  'a person deletes the IPv6 table': {
    run: (bench) => bench.byAPerson(() => rmSync(`${bench.mapPath}.cidr`)),
  },
  'a person deletes everything': {
    run: (bench) =>
      bench.byAPerson(() => {
        for (const file of [bench.mapPath, bench.compiled, `${bench.mapPath}.cidr`, `${bench.mapPath}.state`])
          rmSync(file, { force: true });
      }),
  },
  'a person truncates the compiled map': {
    // The other types make smtpd die of it, and master then holds all new ones back for a minute.
    types: ['hash'],
    run: (bench) => bench.byAPerson(() => truncateSync(bench.compiled, statSync(bench.compiled).size >> 1)),
  },
  'a person takes an entry out of the compiled map': {
    types: ['hash', 'btree', 'lmdb'],
    // Between two publications: while one of them changes the map, who changed what could not be told.
    run: async (bench, chance) => {
      const lock = await acquireLock(`${bench.mapPath}.lock`, { waitMs: REPAIR_MS });
      const repaired = bench.byAPerson(() => {
        const key = chance.pick(BANNED.slice(0, 40));
        try {
          execFileSync('postmap', ['-c', bench.configDirectory, '-d', key, bench.map], { stdio: 'ignore' });
        } catch {
          // Status 1: the fault before had taken it out.
        }
      });
      await lock?.release();
      await repaired;
    },
  },
};

interface Tally {
  lookups: number;
  accepted: number;
  refused: number;
  /** Of addresses whose bans come and go. */
  either: number;
  /** In sessions that met what a person did to the files that Postfix reads, and how many of them were errors. */
  byAPerson: number;
  errorsByAPerson: number;
  readonly wrong: string[];
}

class Bench {
  readonly tally: Tally = {
    lookups: 0,
    accepted: 0,
    refused: 0,
    either: 0,
    byAPerson: 0,
    errorsByAPerson: 0,
    wrong: [],
  };
  readonly repairsMs: number[] = [];
  readonly type: string;
  readonly #crowd: number;
  readonly configDirectory: string;
  readonly mapPath: string;
  readonly folder: string;
  readonly postmap: string;
  readonly postconf: string;
  readonly #postfix: LabPostfix;
  readonly #root = mkdtempSync(join(tmpdir(), 'blockd-faults-'));
  readonly #watch: MapWatch;
  readonly #timer: NodeJS.Timeout;
  /** What a person did, from before it until a while after its repair. */
  readonly #windows: { readonly from: number; to: number }[] = [];
  /** Answers of sessions that a window which is still open may cover. */
  #waiting: Answer[] = [];
  fault = 'none yet';
  #daemon: RunningDaemon | null = null;
  #stopLoad: (() => Promise<void>) | null = null;
  #next = 0;

  static async start(type: string, crowd: number): Promise<Bench> {
    const postfix = await startPostfix({ mapType: type });
    const bench = new Bench(type, crowd, postfix);
    try {
      await bench.#begin();
    } catch (error) {
      await bench.stop();
      throw error;
    }
    return bench;
  }

  private constructor(type: string, crowd: number, postfix: LabPostfix) {
    this.type = type;
    this.#crowd = crowd;
    this.#postfix = postfix;
    this.mapPath = postfix.mapPath;
    this.configDirectory = postfix.configDirectory;
    this.folder = dirname(postfix.mapPath);
    this.postmap = join(this.#root, 'postmap');
    this.postconf = join(this.#root, 'postconf');
    const mode = join(this.#root, 'mode');
    writeFileSync(mode, '');
    writeFileSync(join(this.#root, 'mail.log'), '');
    writeFileSync(
      this.postmap,
      `#!/bin/sh\ncase "$(cat ${mode})" in fail) exit 1;; hang) exec sleep 600;; slow) sleep 0.3;; esac\nexec postmap "$@"\n`,
      { mode: 0o755 },
    );
    writeFileSync(this.postconf, '#!/bin/sh\nexec postconf "$@"\n', { mode: 0o755 });
    this.#watch = new MapWatch(this.mapPath);
    this.#timer = setInterval(() => this.offend(), 150);
  }

  /** Look-ups that had nothing to do with what a person did. */
  get judged(): number {
    return this.tally.lookups - this.tally.byAPerson;
  }

  get number(): number {
    return CASES.findIndex(([type, crowd]) => type === this.type && crowd === this.#crowd);
  }

  /** What is made beside the map, and a copy that is kept ready. */
  get asides(): string[] {
    return readdirSync(this.folder).filter((name) => name.includes('.new-'));
  }

  async untilSpare(): Promise<void> {
    const deadline = Date.now() + REPAIR_MS;
    while (this.asides.length !== 1) {
      if (Date.now() > deadline) throw new Error(`no copy is kept ready: ${this.asides.join(' ')}; ${again}`);
      await sleep(20);
    }
  }

  get map(): string {
    return `${this.type}:${this.mapPath}`;
  }

  get compiled(): string {
    return this.mapPath + ({ hash: '.db', btree: '.db', lmdb: '.lmdb', cdb: '.cdb' }[this.type] ?? '');
  }

  get daemon(): RunningDaemon {
    if (this.#daemon === null) throw new Error('no daemon');
    return this.#daemon;
  }

  get #store(): string {
    return `lmdb:${this.#root}/store`;
  }

  async #begin(): Promise<void> {
    // A small file system of its own, which can be filled and made read-only.
    execFileSync('cp', ['-a', this.folder, `${this.#root}/copy`]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${this.#crowd > 0 ? 48 : 8}m,mode=755`, 'tmpfs', this.folder]);
    execFileSync('cp', ['-a', `${this.#root}/copy/.`, this.folder]);
    // A session that has become somebody else may become the next one.
    const settings = [
      'smtpd_authorized_xclient_hosts=static:all',
      'smtpd_hard_error_limit=100000',
      'smtpd_soft_error_limit=100000',
    ];
    execFileSync('postconf', ['-c', this.configDirectory, '-e', ...settings]);
    await this.#postfix.reload();
    const crowd = Array.from({ length: this.#crowd }, (_, i) => `10.16.${i >> 8}.${i & 255}`);
    const store = await openStore(this.#store, { prefix: 'blockd' });
    await store.commit([], () => ({ put: new Map([...BANNED, ...crowd].map((address) => banOf(address))) }));
    await store.close();
    this.#daemon = await this.#startDaemon();
    await this.#watch.until('published', (present) => present.has('203.0.113.1'), REPAIR_MS);
    await sleep(RELOAD_MS);
    this.#stopLoad = startLoad({
      port: this.#postfix.port,
      clients: 4,
      recipient: 'ok1@lab.example',
      chance: chanceFor('map-faults-load', this.number),
      addresses: [...BANNED, ...LEGITIMATE, ...Array.from({ length: 12 }, (_, i) => `10.0.0.${i}`)],
      onAnswers: (answers) => this.#judge(answers),
    });
  }

  get #args(): string[] {
    const set = [
      ...['mode=enforce', 'ban.first=4s', 'ban.networks=0', 'score.standing=false', 'ban.max=5s'],
      `postfix.config_directory=${this.configDirectory}`,
      ...[`postfix.postmap=${this.postmap}`, `postfix.postconf=${this.postconf}`],
    ];
    return ['--store', this.#store, '--map', this.map, ...set.flatMap((one) => ['--set', one])];
  }

  #startDaemon(): Promise<RunningDaemon> {
    return RunningDaemon.start([...this.#args, '--log', `${this.#root}/mail.log`, '--from-start'], {
      timeoutMs: 60_000,
    });
  }

  async restart(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.daemon.stop(signal);
    this.#daemon = await this.#startDaemon();
  }

  blockctl(...command: readonly string[]) {
    return blockctl([...this.#args, ...command], { timeoutMs: 90_000 });
  }

  /** Somebody new, or one of twelve again, offends enough for a ban of four seconds. */
  offend(address = `10.0.0.${this.#next++ % 12}`): string {
    const stamp = new Date().toISOString();
    const line = (i: number) =>
      `${stamp} mx postfix/smtpd[${this.#next + 100}]: NOQUEUE: reject: RCPT from unknown[${address}]: 550 5.1.1 <x${i}@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<x${i}@lab.example> proto=ESMTP helo=<c.example>\n`;
    appendFileSync(`${this.#root}/mail.log`, [1, 2, 3, 4, 5].map(line).join(''));
    return address;
  }

  async postmapDoes(what: string, forMs: number): Promise<void> {
    writeFileSync(join(this.#root, 'mode'), what);
    await sleep(forMs);
    writeFileSync(join(this.#root, 'mode'), '');
  }

  /** Processes of the map's tools that the daemon has started. */
  tools(): number[] {
    const { pid } = this.daemon;
    try {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
      return children.map(Number).filter((child) => /^(?:postmap|sleep|cp|sh)$/.test(nameOf(child)));
    } catch {
      return [];
    }
  }

  killTools(): void {
    for (const pid of this.tools()) kill(pid);
  }

  async remount(how: 'ro' | 'rw'): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        execFileSync('mount', ['-o', `remount,bind,${how}`, this.folder], { stdio: 'pipe' });
        return;
      } catch (error) {
        // Busy while a publisher has a file open.
        if (tries > 400) throw error;
        await sleep(10);
      }
    }
  }

  /** What a person does to the files that Postfix reads: errors until the repair are his. */
  async byAPerson(deed: () => void): Promise<void> {
    const seen = this.daemon.log.length;
    const window = { from: Date.now(), to: Number.POSITIVE_INFINITY };
    this.#windows.push(window);
    deed();
    const deadline = window.from + REPAIR_MS;
    // Without any trace of the old map it is a new one.
    const repaired = () =>
      this.daemon.log
        .slice(seen)
        .some(
          ({ event, repaired, added }) =>
            event === 'published' && (repaired === true || Number(added) >= BANNED.length),
        );
    while (!repaired()) {
      if (Date.now() > deadline) throw new Error(`${this.fault}: not repaired; ${again}\n${this.#lastWords()}`);
      await sleep(20);
    }
    this.repairsMs.push(Date.now() - window.from);
    window.to = Date.now() + RELOAD_MS;
    await sleep(RELOAD_MS);
  }

  /** A new ban gets into the map: all is well again. */
  async untilRecovered(): Promise<void> {
    const markers: string[] = [];
    const seen = () => {
      // Its ban is short, and may have ended before a slow machine had the map published.
      if (Date.now() > offendAt) {
        markers.push(this.offend(`10.1.${(this.#next >> 8) & 255}.${this.#next++ & 255}`));
        offendAt = Date.now() + 1_500;
      }
      return markers.some((marker) => this.#watch.seen.has(marker));
    };
    let offendAt = 0;
    try {
      await this.#watch.until(this.fault, seen, REPAIR_MS);
    } catch (error) {
      throw new Error(`${this.fault}: not recovered; ${again}\n${this.#lastWords()}`, { cause: error });
    }
  }

  #lastWords(): string {
    return this.daemon.log
      .filter(({ event }) => event !== 'ban' && event !== 'release')
      .slice(-15)
      .map((entry) => JSON.stringify(entry))
      .join('\n');
  }

  #judge(answers: readonly Answer[]): void {
    const open = this.#windows.some(({ to }) => to === Number.POSITIVE_INFINITY);
    this.#waiting.push(...answers);
    if (open) return;
    for (const answer of this.#waiting.splice(0)) this.#judgeOne(answer);
  }

  #judgeOne({ address, reply, startedAt, endedAt }: Answer): void {
    const { tally } = this;
    tally.lookups++;
    const [accepted, refused] = [ACCEPTED.test(reply), REFUSED.test(reply)];
    if (this.#windows.some(({ from, to }) => startedAt <= to && endedAt >= from)) {
      tally.byAPerson++;
      if (!accepted && !refused) tally.errorsByAPerson++;
      return;
    }
    const [must, mustNot] = [BANNED.includes(address), LEGITIMATE.includes(address)];
    if ((must && !refused) || (mustNot && !accepted) || (!accepted && !refused)) {
      tally.wrong.push(`${this.fault}: ${address} at ${new Date(startedAt).toISOString()}: ${reply}`);
    } else if (!must && !mustNot) tally.either++;
    else if (accepted) tally.accepted++;
    else tally.refused++;
  }

  async stopLoad(): Promise<void> {
    await this.#stopLoad?.();
    this.#stopLoad = null;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#watch.stop();
    await this.stopLoad();
    await this.#daemon?.stop('SIGKILL');
    await sleep(200);
    try {
      execFileSync('umount', ['-l', this.folder], { stdio: 'ignore' });
    } catch {
      // It had not been mounted.
    }
    await this.#postfix.stop();
    rmSync(this.#root, { recursive: true, force: true });
  }
}

/** A ban by a person for a day: none of the faults lasts longer. */
function banOf(address: string): never {
  const subject = address.includes(':')
    ? `${address
        .split(':')
        .slice(0, address.includes('1::') ? 3 : 4)
        .join(':')}::/64`
    : address;
  const since = Date.now();
  const until = since + 86_400_000;
  const ban: Ban = { subject, since, until, reason: 'x', strikes: 0, host: null, by: 'person', refused: 0 };
  return [subject, { ...UNKNOWN, ban }] as never;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

function shuffled<T>(items: readonly T[], chance: Random): T[] {
  return items
    .map((item) => [chance.next(), item] as const)
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item);
}

function summary(type: string, bench: Bench, faults: ReadonlyMap<string, number>): string {
  const { tally, repairsMs } = bench;
  const lines = [
    `${type}, number ${bench.number}: ${bench.judged} look-ups: ${tally.accepted} legitimate accepted, ${tally.refused} banned refused, ${tally.either} of those who come and go, ${tally.wrong.length} wrong`,
    `  met by what a person did to the files: ${tally.byAPerson}, of them temporary errors ${tally.errorsByAPerson}; repaired after ${Math.max(0, ...repairsMs)} ms at most`,
    ...[...faults].map(([name, count]) => `  ${String(count).padStart(3)} × ${name}`),
  ];
  return lines.join('\n');
}
