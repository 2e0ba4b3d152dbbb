/** A copy that is ready for the next change: it takes the map's place where it is what the map is, and else is nothing. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { AccessMap } from '../../src/postfix/access-map.js';
import { entry, MapBench } from './map-bench.js';
import { anyChange, heldBy, MANY, Teller } from './teller.js';

let bench: MapBench;
afterEach(() => bench?.remove());

const KEEPING = { journalFrom: 100, keepsSpare: true };

async function begun(type: string): Promise<{ readonly map: AccessMap; readonly teller: Teller }> {
  bench = new MapBench(type);
  const map = bench.map(KEEPING);
  const teller = new Teller(map);
  await teller.tell(MANY.map((subject) => entry(subject)));
  return { map, teller };
}

const inodeOf = (file: string) => statSync(file).ino;

/** The only spare, once it is whole: its maker has made it readable for all by then. */
async function spare(): Promise<string> {
  const ready = () =>
    bench.leftovers.filter((name) => (statSync(join(bench.folder, name)).mode & 0o777) === 0o644).length;
  await expect.poll(ready, { timeout: 10_000 }).toBe(1);
  // What was copied has been compared, and the stamps taken.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const [name = ''] = bench.leftovers;
  return join(bench.folder, name);
}

/** Everything that was told, for Postfix and for other processes. */
async function expectAll(teller: Teller): Promise<void> {
  expect(await heldBy(bench.map(KEEPING))).toEqual(
    new Map([...teller.bans.values()].map((one) => [one.subject, one.until])),
  );
  const compiled = spawnSync('postmap', ['-s', `${bench.type}:${bench.path}`], { encoding: 'utf8' });
  expect(compiled.stderr).toBe('');
  const keys = compiled.stdout
    .trim()
    .split('\n')
    .map((line) => line.split('\t')[0]);
  expect(keys.sort()).toEqual([...teller.bans.keys()].sort());
}

describe.each(['hash', 'btree'])('a %s map with a spare', (type) => {
  it('has it take its place at the next change, and the one after that too', async () => {
    const { map, teller } = await begun(type);
    for (const [put, gone] of [
      ['203.0.113.9', '10.0.0.0'],
      ['203.0.113.10', '203.0.113.9'],
    ] as const) {
      const inode = inodeOf(await spare());
      expect(await teller.tell([entry(put)], [gone])).toMatchObject({ changed: true, repaired: false });
      expect(inodeOf(bench.compiled)).toBe(inode);
      await expectAll(teller);
    }
    await map.close();
    expect(bench.leftovers).toEqual([]);
    expect(bench.notices).toEqual([]);
  });

  it.each([
    ['is of another state, since somebody else has published', () => bench.publish([...MANY, '203.0.113.77'])],
    ['is gone', async (file: string) => rmSync(file)],
    ['was touched', async (file: string) => utimesSync(file, new Date(), new Date())],
    ['was cut off', async (file: string) => truncateSync(file, 4_096)],
    ['was written to', async (file: string) => appendFileSync(file, 'x')],
  ])('does without it when it %s', async (_, spoil) => {
    const { map, teller } = await begun(type);
    const file = await spare();
    const inode = inodeOf(file);
    // Kept open, so that no other file gets its number.
    const holder = spawnSync('ln', [file, join(bench.root, 'held')]);
    expect(holder.status).toBe(0);
    await spoil(file);
    expect(await teller.tell([entry('203.0.113.9')], ['10.0.0.0'])).toMatchObject({ changed: true });
    expect(inodeOf(bench.compiled)).not.toBe(inode);
    await expectAll(teller);
    await map.close();
    expect(bench.leftovers).toEqual([]);
  });

  it('does without it when the map itself was touched', async () => {
    const { map, teller } = await begun(type);
    const inode = inodeOf(await spare());
    utimesSync(bench.compiled, new Date(), new Date());
    expect(await teller.tell([entry('203.0.113.9')])).toMatchObject({ repaired: true });
    expect(inodeOf(bench.compiled)).not.toBe(inode);
    await expectAll(teller);
    await map.close();
  });

  it('makes none once it is closed, also while one is being made', async () => {
    const { map, teller } = await begun(type);
    await map.close();
    expect(bench.leftovers).toEqual([]);
    await teller.tell([entry('203.0.113.9')]);
    await map.close();
    expect(bench.leftovers).toEqual([]);
    await expectAll(teller);
  });

  it('holds what was told, however quickly the changes come (property)', async () => {
    const change = fc.tuple(anyChange, fc.constantFrom(0, 0, 5, 15, 30));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
        const { map, teller } = await begun(type);
        try {
          for (const [told, waitMs] of changes) {
            await teller.tellAny(told);
            await new Promise((resolve) => setTimeout(resolve, waitMs));
          }
          await expectAll(teller);
        } finally {
          await map.close();
          bench.remove();
        }
      }),
      { numRuns: 10 },
    );
  }, 60_000);
});

it.runIf(process.getuid?.() === 0)('a disk that is nearly full holds none', async () => {
  const { map, teller } = await begun('hash');
  const { size } = statSync(await spare());
  await map.close();
  const disk = join(bench.root, 'disk');
  mkdirSync(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${16 * size}`, 'tmpfs', disk]);
  try {
    const options = { ...KEEPING, path: join(disk, 'client_access') };
    const spares = () => readdirSync(disk).filter((name) => name.includes('.new-'));
    const near = bench.map(options);
    const other = new Teller(near);
    await other.tell([...teller.bans.values()]);
    await expect.poll(spares).toHaveLength(1);
    writeFileSync(join(disk, 'ballast'), Buffer.alloc(8 * size));
    await other.tell([entry('203.0.113.9')]);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(spares()).toEqual([]);
    expect((await heldBy(bench.map(options))).has('203.0.113.9')).toBe(true);
    await near.close();
  } finally {
    execFileSync('umount', ['-l', disk]);
  }
});

it('small maps, and those of processes that end, have none', async () => {
  bench = new MapBench('hash');
  const small = bench.map({ keepsSpare: true });
  await new Teller(small).tell(MANY.map((subject) => entry(subject)));
  const passing = bench.map({ journalFrom: 100 });
  await new Teller(passing).tell([...MANY, '203.0.113.9'].map((subject) => entry(subject)));
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(bench.leftovers).toEqual([]);
});
