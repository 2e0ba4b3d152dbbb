import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { UnavailableError, UsageError } from '../../src/domain/errors.js';
import { parseMapSpec } from '../../src/postfix/access-map.js';
import { entry, MapBench, UNTIL } from './map-bench.js';

const VALUE = '554 5.7.1 Blocked until 2031-05-11T04:00Z after repeated rejects';

let bench: MapBench;
afterEach(() => bench?.remove());

describe.each(['hash', 'btree', 'lmdb', 'cdb'])('a %s map', (type) => {
  it('holds exactly the entries last published, IPv6 and odd networks in its cidr sibling', async () => {
    bench = new MapBench(type);
    const first = ['203.0.113.9', '198.51.100.0/24', '2001:db8:1:2::/64', '192.0.2.128/25'];
    expect(await bench.publish(first)).toMatchObject({
      changed: true,
      added: 4,
      removed: 0,
      entries: 4,
      repaired: false,
    });
    expect(bench.lookUp('203.0.113.9')).toBe(VALUE);
    expect(bench.lookUp('198.51.100')).toBe(VALUE);
    expect(bench.lookUpCidr('2001:db8:1:2::99')).toBe(VALUE);
    expect(bench.lookUpCidr('2001:db8:1:3::99')).toBeNull();
    expect(bench.lookUpCidr('192.0.2.200')).toBe(VALUE);

    const second = ['203.0.113.10', '203.0.113.9'];
    expect(await bench.publish(second)).toMatchObject({ added: 1, removed: 3, entries: 2 });
    expect(bench.lookUp('203.0.113.10')).toBe(VALUE);
    expect(bench.lookUp('198.51.100')).toBeNull();
    expect(bench.lookUpCidr('2001:db8:1:2::99')).toBeNull();
    expect(bench.leftovers).toEqual([]);
    expect(bench.notices).toEqual([]);
    expect(bench.reloads).toBe(0);
  });

  it('changes single entries, and the end and the action of one', async () => {
    bench = new MapBench(type);
    const many = Array.from({ length: 50 }, (_, i) => `203.0.113.${i}`);
    await bench.publish(many);
    await bench
      .map()
      .publish(async () => many.slice(1).map((subject, i) => entry(subject, UNTIL + (i === 0 ? 1e3 : 0))));
    expect(bench.lookUp('203.0.113.0')).toBeNull();
    expect(bench.lookUp('203.0.113.1')).toMatch(/04:00:01Z/);
    expect(bench.lookUp('203.0.113.2')).toBe(VALUE);
    await bench.publish(many, { action: 'warn' });
    expect(bench.lookUp('203.0.113.0')).toMatch(/^WARN blockd: Blocked until/);
    expect(await bench.map().intact()).toBe(true);
  });

  it('is there for Postfix when empty, and its files can be read by all', async () => {
    bench = new MapBench(type);
    const umask = process.umask(0o077);
    try {
      expect(await bench.publish([])).toMatchObject({ changed: true, entries: 0, repaired: false });
    } finally {
      process.umask(umask);
    }
    expect(bench.lookUp('203.0.113.9')).toBeNull();
    expect(bench.lookUpCidr('203.0.113.9')).toBeNull();
    for (const file of [bench.path, bench.compiled, `${bench.path}.cidr`]) {
      expect(statSync(file).mode & 0o777, file).toBe(0o644);
    }
  });

  it('is not touched when nothing changed, and has the same bytes for the same entries in any order', async () => {
    bench = new MapBench(type);
    await bench.publish(['203.0.113.9', '203.0.113.10', '2001:db8::/64']);
    const inodes = () => [bench.path, bench.compiled, `${bench.path}.cidr`].map((file) => statSync(file).ino);
    const [text, before] = [readFileSync(bench.path, 'utf8'), inodes()];
    expect(await bench.publish(['2001:db8::/64', '203.0.113.10', '203.0.113.9'])).toMatchObject({ changed: false });
    expect(inodes()).toEqual(before);
    await bench.publish([]);
    await bench.publish(['203.0.113.10', '203.0.113.9']);
    expect(readFileSync(bench.path, 'utf8')).toBe(text);
  });

  it('gets a fresh file when only its cidr sibling changed, so that Postfix opens both', async () => {
    bench = new MapBench(type);
    await bench.publish(['203.0.113.9']);
    const before = statSync(bench.compiled).ino;
    await bench.publish(['203.0.113.9', '2001:db8::/64']);
    expect(statSync(bench.compiled).ino).not.toBe(before);
    expect(bench.reloads).toBe(0);
  });

  it('makes Postfix open its tables anew after a repair, once, and says why', async () => {
    bench = new MapBench(type);
    await bench.publish(['203.0.113.9']);
    appendFileSync(bench.path, '198.51.100.7 OK\n198.51.100.8 OK\n');
    rmSync(`${bench.path}.cidr`);
    expect(await bench.publish(['203.0.113.9'])).toMatchObject({ changed: true, repaired: true });
    expect(await bench.publish(['203.0.113.9'])).toMatchObject({ changed: false });
    expect(bench.reloads).toBe(1);
    expect(bench.notices).toEqual([expect.stringMatching(/client_access\.cidr missing\): it has been built anew$/)]);
    appendFileSync(bench.path, '198.51.100.7 OK\n198.51.100.8 OK\n');
    await bench.publish(['203.0.113.9']);
    expect(bench.notices[1]).toMatch(/\(2 lines are not blockd's and go, such as "198\.51\.100\.7 OK"\)/);
  });

  it('loses ended entries by a sweep, and no others', async () => {
    bench = new MapBench(type);
    const [ended, later] = [UNTIL - 60_000, UNTIL + 60_000];
    const map = bench.map();
    await map.publish(async () => [
      entry('203.0.113.9', ended),
      entry('203.0.113.10', later),
      entry('2001:db8:1::/64', ended),
      entry('2001:db8:2::/64', later),
    ]);
    expect(await bench.map().sweep(ended - 1)).toMatchObject({ dropped: 0, left: 4 });
    expect(await bench.map().sweep(ended)).toMatchObject({ dropped: 2, left: 2 });
    expect(bench.lookUp('203.0.113.9')).toBeNull();
    expect(bench.lookUp('203.0.113.10')).toMatch(/Blocked until/);
    expect(bench.lookUpCidr('2001:db8:1::1')).toBeNull();
    expect(bench.lookUpCidr('2001:db8:2::1')).toMatch(/Blocked until/);
    expect(await map.intact()).toBe(true);
  });

  it('is mended by a sweep alone when its compiled file is gone: all mail would be refused', async () => {
    bench = new MapBench(type);
    await bench.publish(['203.0.113.9']);
    rmSync(bench.compiled);
    expect(await bench.map().sweep(UNTIL - 1)).toMatchObject({ dropped: 0, left: 1 });
    expect(bench.lookUp('203.0.113.9')).toBe(VALUE);
  });

  it('has no entry without an end, even when a sweep finds its text gone', async () => {
    bench = new MapBench(type);
    await bench.publish(['203.0.113.9']);
    rmSync(bench.path);
    await bench.map().sweep(UNTIL);
    expect(bench.lookUp('203.0.113.9')).toBeNull();
  });
});

describe.each(['hash', 'lmdb'])('a damaged %s map', (type) => {
  it.each([
    ['its compiled file is deleted', () => rmSync(bench.compiled)],
    ['its compiled file is emptied', () => truncateSync(bench.compiled, 0)],
    ['its compiled file is cut in half', () => truncateSync(bench.compiled, statSync(bench.compiled).size >> 1)],
    ['its text is deleted', () => rmSync(bench.path)],
    ['a person adds a line', () => appendFileSync(bench.path, '198.51.100.7 OK\n')],
    ['a person takes all lines out', () => writeFileSync(bench.path, '')],
    ['its cidr sibling is deleted', () => rmSync(`${bench.path}.cidr`)],
    ['its cidr sibling is edited', () => appendFileSync(`${bench.path}.cidr`, '0.0.0.0/0 REJECT\n')],
    ['its folder is deleted', () => rmSync(bench.folder, { recursive: true })],
  ])('is known when %s, and whole again after the next publish', async (_, damage) => {
    bench = new MapBench(type);
    const subjects = ['203.0.113.9', '2001:db8:1:2::/64'];
    await bench.publish(subjects);
    const daemon = bench.map();
    expect(await daemon.intact()).toBe(true);
    damage();
    expect(await daemon.intact()).toBe(false);
    await bench.publish(subjects);
    expect(bench.lookUp('203.0.113.9')).toBe(VALUE);
    expect(bench.lookUpCidr('2001:db8:1:2::1')).toBe(VALUE);
    expect(bench.lookUpCidr('198.51.100.1')).toBeNull();
    expect(readFileSync(bench.path, 'utf8')).not.toContain('198.51.100.7');
    expect(await daemon.intact()).toBe(true);
  });
});

it.each(['hash', 'btree'])(
  'a large %s map is changed on a copy, with the same answers as one built anew',
  async (type) => {
    bench = new MapBench(type);
    const many = Array.from({ length: 20_001 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
    await bench.publish(many);
    const map = bench.map();
    await map.publish(async () => [...many.slice(2), '203.0.113.9', '203.0.113.10'].map((subject) => entry(subject)));
    expect(bench.lookUp('10.0.0.0')).toBeNull();
    expect(bench.lookUp('10.0.0.1')).toBeNull();
    expect(bench.lookUp('10.0.0.2')).toBe(VALUE);
    expect(bench.lookUp('203.0.113.10')).toBe(VALUE);
    expect(await map.intact()).toBe(true);
  },
);

it('an lmdb map is changed in its own transactions: the file stays the one that smtpd has open', async () => {
  bench = new MapBench('lmdb');
  const many = Array.from({ length: 10 }, (_, i) => `203.0.113.${i}`);
  await bench.publish(many);
  const before = statSync(bench.compiled).ino;
  await bench.publish([...many.slice(1), '203.0.113.99']);
  expect(statSync(bench.compiled).ino).toBe(before);
  expect(bench.lookUp('203.0.113.0')).toBeNull();
  expect(bench.lookUp('203.0.113.99')).toBe(VALUE);
});

it('the compiled map of a lost text still says what ends when, where its type can be listed', async () => {
  bench = new MapBench('hash');
  await bench.map().publish(async () => [entry('203.0.113.9', UNTIL), entry('203.0.113.10', UNTIL + 60_000)]);
  rmSync(bench.path);
  expect(await bench.map().sweep(UNTIL)).toMatchObject({ dropped: 1, left: 1 });
  expect(bench.lookUp('203.0.113.9')).toBeNull();
  expect(bench.lookUp('203.0.113.10')).toMatch(/04:01Z/);
});

it('a cidr map holds everything in one file, and needs a reload for each change', async () => {
  bench = new MapBench('cidr');
  await bench.publish(['203.0.113.9', '198.51.100.0/24', '2001:db8::/64']);
  expect(bench.lookUpCidr('203.0.113.9')).toBe(VALUE);
  expect(bench.lookUpCidr('198.51.100.77')).toBe(VALUE);
  expect(bench.lookUpCidr('2001:db8::77')).toBe(VALUE);
  expect(await bench.map().intact()).toBe(true);
  expect(await bench.publish(['203.0.113.9'])).toMatchObject({ removed: 2 });
  expect(bench.reloads).toBe(2);
  expect(await bench.map().sweep(UNTIL)).toMatchObject({ dropped: 1, left: 0 });
  expect(bench.lookUpCidr('203.0.113.9')).toBeNull();
});

describe('reading the map back', () => {
  it('gives subjects and ends, and when it was published', async () => {
    bench = new MapBench('hash');
    expect(await bench.map().read()).toEqual({ entries: [], publishedAt: null });
    const before = Date.now();
    await bench.publish(['203.0.113.9', '198.51.100.0/24', '2001:db8::/64']);
    const { entries, publishedAt } = await bench.map().read();
    expect(entries.map(({ subject, until }) => [subject, until])).toEqual([
      ['198.51.100.0/24', UNTIL],
      ['203.0.113.9', UNTIL],
      ['2001:db8::/64', UNTIL],
    ]);
    expect(publishedAt).toBeGreaterThan(before - 1_000);
  });
});

describe('what is not blockd’s', () => {
  it('is never overwritten: a map with a person’s own entries is refused', async () => {
    bench = new MapBench('hash');
    mkdirSync(bench.folder);
    writeFileSync(bench.path, '# our friends\n198.51.100.7 OK\n');
    await expect(bench.publish(['203.0.113.9'])).rejects.toThrow(UsageError);
    await expect(bench.publish([])).rejects.toThrow(
      /is not blockd's: it holds "198\.51\.100\.7 OK"\. Give postfix\.map/,
    );
    expect(readFileSync(bench.path, 'utf8')).toBe('# our friends\n198.51.100.7 OK\n');
  });

  it('may be an empty map made at install time: it is taken over without a word or a reload', async () => {
    bench = new MapBench('hash');
    mkdirSync(bench.folder);
    for (const file of [bench.path, `${bench.path}.cidr`]) writeFileSync(file, '# clients\n');
    execFileSync('postmap', [`hash:${bench.path}`]);
    expect(await bench.publish(['203.0.113.9'])).toMatchObject({ repaired: false });
    expect(bench.lookUp('203.0.113.9')).toBe(VALUE);
    expect(bench.notices).toEqual([]);
    expect(bench.reloads).toBe(0);
  });

  it('a directory in its place is refused with a sentence', async () => {
    bench = new MapBench('hash');
    mkdirSync(bench.path, { recursive: true });
    await expect(bench.publish([])).rejects.toThrow(/client_access is a directory; name a file/);
  });
});

describe('the reload', () => {
  it('happens at the first publish when main.cf already names a map that is not there', async () => {
    bench = new MapBench('hash');
    writeFileSync(join(bench.root, 'main.cf'), `smtpd_client_restrictions = check_client_access hash:${bench.path}\n`);
    await bench.publish(['203.0.113.9'], { configDirectory: bench.root });
    expect(bench.reloads).toBe(1);
  });

  it('that fails says what a person has to run; a Postfix that is not running needs none', async () => {
    bench = new MapBench('hash');
    await bench.publish([]);
    const damage = () => rmSync(bench.compiled);
    damage();
    const reload = [bench.script('denied', 'echo "postfix: fatal: reserved for the superuser" >&2; exit 1'), 'reload'];
    expect(await bench.publish([], { reload })).toMatchObject({ repaired: true });
    expect(bench.notices.at(-1)).toMatch(/denied reload" failed \(.*superuser\); run it as root/);
    damage();
    const said = bench.notices.length + 1;
    await bench.publish([], {
      reload: [bench.script('down', 'echo "fatal: the Postfix mail system is not running" >&2; exit 1')],
    });
    expect(bench.notices).toHaveLength(said);
    damage();
    await bench.publish([], { reload: [] });
    await bench.publish([], { reload: ['/nowhere/postfix'] });
  });

  it('that hangs keeps no other process from the map, and is ended', async () => {
    bench = new MapBench('hash');
    await bench.publish(['203.0.113.9']);
    rmSync(bench.compiled);
    const begun = join(bench.root, 'begun');
    const reload = [bench.script('hanging', `touch ${begun}; exec sleep 60`)];
    let isOver = false;
    const repairing = bench.publish(['203.0.113.9'], { reload, timeoutMs: 5_000 }).finally(() => {
      isOver = true;
    });
    await expect.poll(() => existsSync(begun)).toBe(true);
    expect(await bench.publish(['203.0.113.9', '203.0.113.10'])).toMatchObject({ added: 1 });
    expect(isOver).toBe(false);
    expect(await repairing).toMatchObject({ repaired: true });
    expect(bench.notices.at(-1)).toMatch(/hanging" failed \(.*did not end within 5 s and was killed\)/);
  });
});

describe('the name of a map', () => {
  it('is a type that blockd can write and an absolute path, as in main.cf', () => {
    expect(parseMapSpec('hash:/a/b')).toEqual({ type: 'hash', path: '/a/b' });
    expect(parseMapSpec('cidr:/a/b')).toEqual({ type: 'cidr', path: '/a/b' });
    const wrong = [
      '',
      '/a/b',
      'hash',
      'hash:',
      'hash:a',
      'hash:/a/',
      'hash:/a b',
      'hash:/a,b',
      'pcre:/a',
      'toString:/a',
    ];
    for (const spec of wrong) expect(() => parseMapSpec(spec), spec).toThrow(UsageError);
    expect(() => parseMapSpec('texthash:/a/b')).toThrow(/never notices changes/);
  });
});

it('errors of the file system are told as such', async () => {
  bench = new MapBench('hash');
  writeFileSync(bench.folder, 'a file where the folder should be');
  await expect(bench.publish([])).rejects.toThrow(UnavailableError);
});

it('a full map holds the bans that end last, and tells how many it left out', async () => {
  bench = new MapBench('hash');
  const entries = ['203.0.113.1', '203.0.113.2', '2001:db8::/64', '203.0.113.3'].map((one, i) => entry(one, UNTIL + i));
  const published = await bench.map({ maxEntries: 2 }).publish(async () => entries);
  expect(published).toMatchObject({ entries: 2, leftOut: 2 });
  expect(bench.lookUp('203.0.113.2')).toBeNull();
  expect(bench.lookUp('203.0.113.3')).toMatch(/^554 /);
  expect(bench.lookUpCidr('2001:db8::1')).toMatch(/^554 /);
  expect(await bench.map({ maxEntries: 4 }).publish(async () => entries)).toMatchObject({ entries: 4, leftOut: 0 });
});

it('what is no ban keeps nobody else’s out of the map, and is told once', async () => {
  bench = new MapBench('hash');
  const endless = [Number.NaN, Number.POSITIVE_INFINITY, 9e15].map((until, i) => entry(`203.0.113.${i}`, until));
  const map = bench.map();
  for (let round = 0; round < 2; round++) {
    const entries = [...endless, entry('no address'), entry('203.0.113.9', UNTIL + round)];
    expect(await map.publish(async () => entries)).toMatchObject({ entries: 1 });
  }
  expect(bench.lookUp('203.0.113.9')).toMatch(/^554 /);
  expect(bench.notices).toEqual([expect.stringMatching(/^4 bans of the store are not put into the access map/)]);
});
