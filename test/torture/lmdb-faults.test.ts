/**
 * The embedded store breaks under a real daemon: its disk is full, its files may not be opened, its pages are garbage.
 * What it still has counts exactly once; what it has lost, bans outlive.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Random } from '../../src/demo/random.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { banOf, changeOf, evidenceOf, progressOf, stateOf } from '../store/samples.js';
import { blockdOnce, RunningDaemon } from '../support/programs.js';
import { bansInMap, bansInStore, watchMap } from './bans.js';
import { byForm, chanceFor, repeatWith, seed } from './form.js';
import { expectSame, type KnownLog, LASTING, makeKnownLog, PieceWriter, untilCounted } from './known-log.js';

const PART = 'lmdb-faults';
/** The built one: it starts a process of its own. */
const { mendLmdb } = (await import(new URL('../../dist/store/lmdb-mend.js', import.meta.url).href)) as Mend;
type Mend = typeof import('../../src/store/lmdb-mend.js');
const USER = fileURLToPath(new URL('store-user.mjs', import.meta.url));
const PAGE = 4_096;
/** Of filling the disk; in a later one the store might find pages enough that it has freed itself. */
const ROUNDS = 2;
/** A user that has no account and owns nothing. */
const UID = 54_321;

const folder = mkdtempSync(join(tmpdir(), 'blockd-lmdb-faults-'));
const ends: (() => Promise<unknown>)[] = [];
let known: KnownLog;
let labs = 0;

beforeAll(async () => {
  chmodSync(folder, 0o755);
  known = await makeKnownLog(folder, seed, byForm(600, 3_000));
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

class Lab {
  readonly place = join(folder, `lab${++labs}`);
  readonly map = join(this.place, 'map', 'client_access');
  readonly state = join(this.place, 'state');
  readonly data = join(this.state, 'data.mdb');
  readonly writer: PieceWriter;
  readonly uid: number | undefined;
  #daemon: RunningDaemon | null = null;

  constructor(uid?: number) {
    this.uid = uid;
    mkdirSync(this.place);
    for (const one of [this.state, join(this.place, 'map')]) {
      mkdirSync(one);
      if (uid !== undefined) execFileSync('chown', [`${uid}:${uid}`, one]);
    }
    this.writer = new PieceWriter(join(this.place, 'mail.log'), known.text);
    ends.push(() => this.stop('SIGKILL'));
  }

  get args(): string[] {
    const where = ['--store', `lmdb:${this.state}`, '--map', `hash:${this.map}`, '--log', this.writer.file];
    return [...where, ...LASTING, '--mode', 'enforce', '--set', 'store.host=mx', '--set', 'postfix.reload=[]'];
  }

  get daemon(): RunningDaemon {
    if (this.#daemon === null) throw new Error('no daemon');
    return this.#daemon;
  }

  async start(): Promise<void> {
    this.#daemon = await RunningDaemon.start(this.args, {
      timeoutMs: 60_000,
      ...(this.uid !== undefined && { uid: this.uid }),
    });
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null | undefined> {
    return this.#daemon?.stop(signal);
  }

  write(chance: Random, share: number): void {
    const until = this.writer.left - Math.ceil(known.text.length * share);
    while (this.writer.left > Math.max(0, until)) this.writer.write(chance.between(1, 4_000));
  }

  async look<T>(work: (store: Store) => Promise<T>): Promise<T> {
    const store = await openStore(`lmdb:${this.state}`, { prefix: 'blockd' });
    try {
      return await work(store);
    } finally {
      await store.close();
    }
  }

  counted(): Promise<void> {
    return this.look((store) => untilCounted(store, this.writer.file));
  }

  damagedFiles(): string[] {
    return readdirSync(this.state).filter((name) => name.startsWith('data.mdb.damaged-'));
  }
}

describe.runIf(process.getuid?.() === 0)('a full disk', () => {
  it('is waited for, said once, and costs no line', async () => {
    const chance = chanceFor(PART, 1);
    const hint = repeatWith(PART);
    const lab = new Lab();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', lab.state]);
    ends.push(async () => execFileSync('umount', ['-l', lab.state]));
    ends.push(() => lab.stop('SIGKILL'));
    await lab.start();
    lab.write(chance, 0.2);
    await lab.counted();
    for (let round = 1; round <= ROUNDS; round++) {
      const filler = join(lab.state, 'filler');
      fill(filler);
      lab.write(chance, 0.8 / ROUNDS);
      const away = () => lab.daemon.log.filter((entry) => entry['event'] === 'store-away');
      await expect.poll(() => away().length, { timeout: 15_000 }).toBe(round);
      expect(away().at(-1)?.msg).toContain('no space left on the device');
      rmSync(filler);
      await expect
        .poll(() => lab.daemon.log.filter((entry) => entry['event'] === 'store-back').length, { timeout: 15_000 })
        .toBe(round);
    }
    lab.write(chance, 1);
    await lab.counted();
    expectSame(await lab.look((store) => store.states(known.subjects)), known.states, hint);
    expect(await lab.stop()).toBe(0);
  }, 120_000);
});

function fill(file: string): void {
  try {
    for (let size = 1 << 20; ; size += 1 << 20) writeFileSync(file, Buffer.alloc(size), { flag: 'w' });
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
  }
}

describe.runIf(process.getuid?.() === 0)('a store that may not be opened any more', () => {
  it('goes on for the daemon that has it open; the next one says what it may not, and then counts on', async () => {
    const chance = chanceFor(PART, 2);
    const hint = repeatWith(PART);
    const lab = new Lab(UID);
    await lab.start();
    lab.write(chance, 0.3);
    await lab.counted();
    chmodSync(lab.data, 0);
    lab.write(chance, 0.3);
    await lab.counted();
    expect(await lab.stop(), hint).toBe(0);
    const refused = await blockdOnce(lab.args, { uid: UID });
    expect(refused.code).toBe(3);
    expect(refused.stderr).toContain(`store lmdb:${lab.state} can't be used: permission denied`);
    expect(lab.damagedFiles()).toEqual([]);
    chmodSync(lab.data, 0o640);
    await lab.start();
    lab.write(chance, 1);
    await lab.counted();
    expectSame(await lab.look((store) => store.states(known.subjects)), known.states, hint);
    expect(await lab.stop(), hint).toBe(0);
  }, 120_000);
});

/** Ways to spoil a file, none of which may spoil more than its content. */
const DAMAGES: Readonly<Record<string, (file: string, chance: Random) => void>> = {
  'is cut off': (file, chance) => {
    const sound = readFileSync(file);
    writeFileSync(file, sound.subarray(0, chance.between(1, sound.length - 1)));
  },
  'begins with garbage': (file) => overwrite(file, 0, Buffer.alloc(2 * PAGE, 'x')),
  'is full of garbage behind its head': (file) => {
    overwrite(file, 2 * PAGE, Buffer.alloc(statSync(file).size - 2 * PAGE, 0xff));
  },
  'is full of zeros behind its head': (file) => {
    overwrite(file, 2 * PAGE, Buffer.alloc(statSync(file).size - 2 * PAGE));
  },
};

function overwrite(file: string, offset: number, bytes: Buffer): void {
  const all = readFileSync(file);
  bytes.copy(all, offset);
  // In place: a daemon that has the file open sees it.
  writeFileSync(file, all, { flag: 'r+' });
}

/** The short form takes one that its seed chose. */
const chosen = <T>(all: readonly T[]): readonly T[] => byForm([chanceFor(PART, 0).pick(all)], all);

describe.each(chosen(Object.entries(DAMAGES)))('a store that %s', (name, damage) => {
  it('is set aside at the start: bans stay, counting goes on where it was', async () => {
    const chance = chanceFor(`${PART} ${name}`, 3);
    const hint = repeatWith(PART);
    const lab = new Lab();
    await lab.start();
    lab.write(chance, 0.6);
    await lab.counted();
    const bans = await lab.look(bansInStore);
    expect(bans.length, hint).toBeGreaterThan(0);
    await expect.poll(() => bansInMap(lab.map), { timeout: 10_000 }).toEqual(bans);
    const before = await lab.look((store) => store.states(known.subjects));
    expect(await lab.stop(), hint).toBe(0);
    damage(lab.data, chance);
    // Lines that come while nobody runs.
    lab.write(chance, 0.2);
    const stopWatching = watchMap(lab.map, bans);
    await lab.start();
    lab.write(chance, 1);
    await lab.counted();
    await lab.daemon.until((entry) => entry['event'] === 'bans-taken-back');
    const said = lab.daemon.log.filter((entry) => entry['event'] === 'store-damaged');
    expect(said.length, hint).toBe(1);
    const [aside = ''] = lab.damagedFiles();
    expect(said[0]?.msg).toContain(aside);
    expect(lab.damagedFiles().length).toBe(1);
    const after = await lab.look((store) => store.states(known.subjects));
    for (const [subject, { offenses }] of known.states) {
      const counted = (before.get(subject)?.offenses ?? 0) + (after.get(subject)?.offenses ?? 0);
      expect(counted, `${subject}; ${hint}`).toBe(offenses);
    }
    expect(await lab.look(bansInStore), hint).toEqual(expect.arrayContaining(bans));
    expect(await stopWatching(), hint).toEqual([]);
    expect(await lab.stop(), hint).toBe(0);
    // Said once: the next start finds a sound store.
    await lab.start();
    expect(lab.daemon.log.some((entry) => entry['event'] === 'store-damaged')).toBe(false);
  }, 120_000);
});

describe('a store that is damaged while the daemon runs', () => {
  it.each(['is full of garbage behind its head', 'is full of zeros behind its head', 'is cut off'])(
    'and %s: whatever that does to the daemon, the next start comes back with all bans',
    async (name) => {
      const chance = chanceFor(`${PART} ${name}`, 4);
      const hint = repeatWith(PART);
      const lab = new Lab();
      await lab.start();
      lab.write(chance, 0.6);
      await lab.counted();
      const bans = await lab.look(bansInStore);
      await expect.poll(() => bansInMap(lab.map), { timeout: 10_000 }).toEqual(bans);
      DAMAGES[name]?.(lab.data, chance);
      const stopWatching = watchMap(lab.map, bans);
      lab.write(chance, 0.1);
      // It may die of it, end with a sentence, or not have noticed.
      await lab.daemon.until((entry) => entry['event'] === 'stopped', 3_000).catch(() => undefined);
      await lab.stop('SIGKILL');
      // That would say that the file is sound, and need not be looked at.
      expect(existsSync(join(lab.state, 'closed')), hint).toBe(false);
      await lab.start();
      lab.write(chance, 1);
      await lab.counted();
      await expect.poll(() => lab.look(bansInStore), { timeout: 20_000 }).toEqual(expect.arrayContaining(bans));
      expect(await stopWatching(), hint).toEqual([]);
      expect(lab.damagedFiles().length, hint).toBe(1);
      expect(await lab.stop(), hint).toBe(0);
    },
    120_000,
  );
});

/** Where the page begins, what is done to it. */
const SPOILED: Readonly<Record<string, (sound: Buffer, chance: Random) => Buffer>> = {
  'a page of garbage': (sound, chance) => spoil(sound, chance, PAGE, () => chance.between(0, 255)),
  'pages of zeros': (sound, chance) => spoil(sound, chance, PAGE * chance.between(1, 4), () => 0),
  'a few wrong bytes': (sound, chance) => spoil(sound, chance, 64, () => chance.between(0, 255)),
  'a lost end': (sound, chance) => sound.subarray(0, chance.between(1, sound.length - 1)),
};

function spoil(sound: Buffer, chance: Random, length: number, byte: () => number): Buffer {
  const spoiled = Buffer.from(sound);
  const page = PAGE * chance.between(0, Math.floor(sound.length / PAGE) - 1);
  const from = length < PAGE ? page + chance.between(0, PAGE - length) : page;
  for (let i = from; i < Math.min(sound.length, from + length); i++) spoiled[i] = byte();
  return spoiled;
}

it('a page that LMDB would trust and die of is found: the list of free pages, and one from a later transaction', async () => {
  const place = join(folder, 'free');
  await filledStore(place);
  const file = join(place, 'data.mdb');
  const sound = readFileSync(file);
  expect(mendLmdb(place, Date.now())).toBeNull();
  const [older, newer] = [0, PAGE].sort((a, b) =>
    Number(sound.readBigUInt64LE(a + 152) - sound.readBigUInt64LE(b + 152)),
  );
  expect(older).not.toBe(newer);
  const page = PAGE * Number(sound.readBigUInt64LE((newer ?? 0) + 88));
  const tables = PAGE * Number(sound.readBigUInt64LE((newer ?? 0) + 136));
  const spoil: readonly ((bytes: Buffer) => void)[] = [
    (bytes) => bytes.fill('x', page, page + PAGE),
    (bytes) => bytes.fill(0, page, page + PAGE),
    // More of them than the entry has room for; a page behind the end of the file.
    (bytes) => bytes.writeUInt32LE(60_000, page + 24 + bytes.readUInt16LE(page + 24) + 16),
    (bytes) => bytes.writeUInt32LE(60_000_000, page + 24 + bytes.readUInt16LE(page + 24) + 24),
    (bytes) => bytes.writeUInt8(183, tables + 15),
  ];
  for (const [i, one] of spoil.entries()) {
    const bytes = Buffer.from(sound);
    one(bytes);
    writeFileSync(file, bytes);
    expect(mendLmdb(place, Date.now()), `way ${i}`).toMatch(/a page of the list of (free pages|tables) is damaged/);
  }
});

it('a store that is read without an end is set aside too', async () => {
  await filledStore(join(folder, 'endless'));
  expect(mendLmdb(join(folder, 'endless'), Date.now(), 1)).toContain('reading it comes to no end');
  expect(mendLmdb(join(folder, 'endless'), Date.now(), 1)).toBeNull();
});

describe('damage anywhere in the file', () => {
  it('never ends, once the start has looked at it, who reads and writes the store', async () => {
    const url = await filledStore(join(folder, 'filled'));
    const sound = readFileSync(join(folder, 'filled', 'data.mdb'));
    const tally: Record<string, number> = {};
    for (let round = 0; round < byForm(4, 200); round++) {
      const chance = chanceFor(`${PART} anywhere`, round);
      const [name, damage] = chance.pick(Object.entries(SPOILED));
      const place = join(folder, `spoiled${round}`);
      mkdirSync(place);
      writeFileSync(join(place, 'data.mdb'), damage(sound, chance));
      const aside = mendLmdb(place, Date.now());
      const used = spawnSync(process.execPath, [USER, `lmdb:${place}`], { encoding: 'utf8', timeout: 60_000 });
      const hint = `round ${round}, ${name}: ${used.stderr}; ${repeatWith(PART)}`;
      expect([used.status, used.signal], hint).toEqual([0, null]);
      const answer = `${name}, ${aside === null ? 'harmless' : 'set aside'}`;
      tally[answer] = (tally[answer] ?? 0) + 1;
      rmSync(place, { recursive: true });
    }
    expect(mendLmdb(join(folder, 'filled'), Date.now()), url).toBeNull();
    console.log(`damage anywhere, seed ${seed}: ${JSON.stringify(tally)}`);
  }, 900_000);
});

/** Some megabytes of subjects, bans, evidence and changes, with pages that were used and freed. */
async function filledStore(place: string): Promise<string> {
  const url = `lmdb:${place}`;
  const store = await openStore(url, { prefix: 'test' });
  for (let round = 0; round < 20; round++) {
    const subjects = Array.from({ length: 200 }, (_, i) => `203.0.${round}.${i}`);
    const ban = (subject: string, i: number) => (i % 5 === 0 ? banOf(subject, 2 ** 41 + i * 1_000) : null);
    await store.commit([], () => ({
      put: new Map(subjects.map((one, i) => [one, stateOf(i, { ban: ban(one, i) })])),
      ranks: new Map(subjects.map((one, i) => [one, i])),
      evidence: new Map(subjects.map((one) => [one, [evidenceOf('y'.repeat(200))]])),
      changes: subjects.map((one) => changeOf(one)),
      progress: [progressOf(`c${round}`, round === 0 ? null : `c${round - 1}`)],
    }));
  }
  await store.close();
  return url;
}
