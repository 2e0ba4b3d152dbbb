/** A map whose changes are told: what it costs is theirs, and what it holds is the same. */
import { appendFileSync, existsSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { entry, MapBench, UNTIL } from './map-bench.js';
import { anyChange, heldBy, MANY, Teller } from './teller.js';

let bench: MapBench;
afterEach(() => bench?.remove());

describe.each(['hash', 'btree', 'lmdb', 'cdb'])('a %s map that is told what changed', (type) => {
  it('holds what the whole picture holds, for Postfix and for the next process', async () => {
    bench = new MapBench(type);
    const map = bench.map({ journalFrom: 100 });
    const teller = new Teller(map);
    await teller.whole(MANY);
    expect(await teller.tell([entry('203.0.113.9')])).toMatchObject({ added: 1, removed: 0, entries: 301 });
    expect(await teller.tell([entry('10.0.0.1', UNTIL + 60_000)], ['10.0.0.0', '192.0.2.77'])).toMatchObject({
      changed: true,
      added: 1,
      removed: 1,
      entries: 300,
      repaired: false,
    });
    expect(await teller.tell([entry('203.0.113.9')], ['10.0.0.0'])).toMatchObject({ changed: false, entries: 300 });
    expect(bench.lookUp('203.0.113.9')).toMatch(/Blocked until 2031-05-11T04:00Z/);
    expect(bench.lookUp('10.0.0.1')).toMatch(/04:01Z/);
    expect(bench.lookUp('10.0.0.0')).toBeNull();
    // cdb can only be built whole.
    expect(existsSync(`${bench.path}.changes`)).toBe(type !== 'cdb');
    const other = bench.map({ journalFrom: 100 });
    expect(await other.intact()).toBe(true);
    expect(await heldBy(other)).toEqual(new Map([...teller.bans.values()].map((one) => [one.subject, one.until])));
    // Whoever has another picture publishes that, from what really lies there.
    expect(await bench.publish([...MANY, '203.0.113.9'])).toMatchObject({ added: 2, removed: 0, repaired: false });
    expect(bench.lookUp('10.0.0.0')).not.toBeNull();
    expect(bench.leftovers).toEqual([]);
    expect(bench.notices).toEqual([]);
  });

  it('is published whole when somebody else was the last, a person touched it, or a cidr entry changes', async () => {
    bench = new MapBench(type);
    const teller = new Teller(bench.map({ journalFrom: 100 }));
    await teller.whole(MANY);
    await teller.tell([entry('203.0.113.9')]);
    await bench.publish(['198.51.100.7']);
    await teller.tell([entry('203.0.113.10')]);
    expect(bench.lookUp('198.51.100.7')).toBeNull();
    expect(bench.lookUp('203.0.113.9')).not.toBeNull();
    appendFileSync(bench.path, '192.0.2.1 OK\n');
    expect(await teller.tell([entry('203.0.113.11')])).toMatchObject({ repaired: true, entries: 303 });
    await teller.tell([entry('2001:db8:7::/64')]);
    expect(bench.lookUpCidr('2001:db8:7::1')).not.toBeNull();
    expect(bench.lookUp('203.0.113.11')).not.toBeNull();
  });
});

describe('the journal beside a map', () => {
  const journal = () => `${bench.path}.changes`;

  it('says the same as any order of changes, to who reads it later (property)', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyChange, { minLength: 1, maxLength: 5 }), async (changes) => {
        bench = new MapBench('lmdb');
        try {
          const teller = new Teller(bench.map({ journalFrom: 100 }));
          await teller.whole(MANY);
          for (const change of changes) await teller.tellAny(change);
          const expected = new Map([...teller.bans.values()].map((one) => [one.subject, one.until]));
          expect(await heldBy(bench.map({ journalFrom: 100 }))).toEqual(expected);
        } finally {
          bench.remove();
        }
      }),
      { numRuns: 12 },
    );
  }, 60_000);

  it('is no longer believed once the text is another one, and survives a text that was only touched', async () => {
    bench = new MapBench('lmdb');
    const teller = new Teller(bench.map({ journalFrom: 100 }));
    await teller.whole(MANY);
    await teller.tell([], ['10.0.0.0']);
    utimesSync(bench.path, new Date(), new Date());
    expect((await heldBy(bench.map({ journalFrom: 100 }))).has('10.0.0.0')).toBe(false);
    // Not intact, so it is mended from what text and journal say: whom somebody let in stays let in.
    await bench.map({ journalFrom: 100 }).sweep(Date.now());
    expect(bench.lookUp('10.0.0.0')).toBeNull();
    // The text is as it was before that change, and what was changed then must not be changed again.
    await bench.publish(MANY);
    expect((await heldBy(bench.map({ journalFrom: 100 }))).has('10.0.0.0')).toBe(true);
    const later = new Teller(bench.map({ journalFrom: 100 }));
    await later.whole(MANY);
    await later.tell([], ['10.0.0.1']);
    const old = readFileSync(journal(), 'latin1');
    await bench.publish([...MANY, '203.0.113.9']);
    writeFileSync(journal(), old);
    expect((await heldBy(bench.map({ journalFrom: 100 }))).has('10.0.0.1')).toBe(true);
  });

  it('loses nothing but the line that a crash cut off', async () => {
    bench = new MapBench('lmdb');
    const teller = new Teller(bench.map({ journalFrom: 100 }));
    await teller.whole(MANY);
    await teller.tell([entry('203.0.113.9')]);
    appendFileSync(journal(), '203.0.113.10 554 5.7.1 Blocked until 2031-05-1');
    const held = await heldBy(bench.map({ journalFrom: 100 }));
    expect(held.has('203.0.113.9')).toBe(true);
    expect(held.has('203.0.113.10')).toBe(false);
    expect(await teller.tell([entry('203.0.113.11')])).toMatchObject({ repaired: true });
    expect(bench.lookUp('203.0.113.9')).not.toBeNull();
    expect(bench.lookUp('203.0.113.11')).not.toBeNull();
  });

  it('is not there for a small map: its text says all, also to a person', async () => {
    bench = new MapBench('lmdb');
    const teller = new Teller(bench.map());
    await teller.whole(MANY);
    await teller.tell([entry('203.0.113.9')]);
    expect(existsSync(journal())).toBe(false);
    expect(readFileSync(bench.path, 'latin1')).toContain('203.0.113.9\t');
  });

  it('is not there for a map that is always published whole', async () => {
    bench = new MapBench('lmdb');
    await bench.publish(MANY);
    await bench.publish([...MANY, '203.0.113.9']);
    expect(existsSync(journal())).toBe(false);
  });

  it('drops ended entries that stand in it', async () => {
    bench = new MapBench('lmdb');
    const teller = new Teller(bench.map({ journalFrom: 100 }));
    await teller.whole(MANY);
    const now = Date.now();
    await teller.tell([entry('203.0.113.9', now + 60_000)]);
    expect(await bench.map({ journalFrom: 100 }).sweep(now + 120_000)).toMatchObject({ dropped: 1, left: 300 });
    expect(bench.lookUp('203.0.113.9')).toBeNull();
  });
});
