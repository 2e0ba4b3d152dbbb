import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../src/domain/errors.js';
import { MapBench } from './map-bench.js';

const REFUSED = /^554 5\.7\.1 Blocked until /;
const PUBLISHER = fileURLToPath(new URL('publisher.mjs', import.meta.url));

let bench: MapBench;
const started: ChildProcess[] = [];
afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    await killAll(child);
  }
  bench?.remove();
});

function startPublisher(args: readonly string[], uid?: number, postmap = 'postmap'): ChildProcess {
  const child = spawn(process.execPath, [PUBLISHER, bench.type, bench.path, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, POSTMAP: postmap },
    // A process group of its own, to be killed with the tools that it runs.
    detached: true,
    ...(uid !== undefined && { uid, gid: uid }),
  });
  started.push(child);
  return child;
}

async function untilEnd(child: ChildProcess): Promise<{ readonly code: number | null; readonly stderr: string }> {
  let stderr = '';
  child.stderr?.on('data', (data) => {
    stderr += data;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stderr };
}

async function untilPublished(child: ChildProcess): Promise<void> {
  const said = once(child.stdout ?? child, 'data');
  const ended = untilEnd(child).then(({ stderr }) => Promise.reject(new Error(`the publisher ended: ${stderr}`)));
  ended.catch(() => undefined);
  await Promise.race([said, ended]);
}

/** As the kernel or systemd would: the publisher and its postmap at one stroke. */
async function killAll(child: ChildProcess): Promise<void> {
  const ended = once(child, 'close');
  if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  await ended;
}

describe.each(['hash', 'btree', 'lmdb', 'cdb'])('a %s map', (type) => {
  it('whose publisher is killed at any moment is whole, and the next publisher finishes the work', async () => {
    bench = new MapBench(type);
    const marker = join(bench.root, 'at-work');
    const postmap = bench.script('postmap', `: > ${marker}; exec postmap "$@"`);
    await bench.publish(['10.0.0.0', '10.0.58.151', '203.0.113.9', '2001:db8:1::/64']);
    for (let round = 0; round < 5; round++) {
      rmSync(marker, { force: true });
      const child = startPublisher(['flip'], undefined, postmap);
      while (!existsSync(marker) && child.exitCode === null) await sleep(1);
      // The rounds fall on postmap's start, its work, and on what follows it.
      await sleep(round * 9);
      await killAll(child);
      expect(bench.lookUp('10.0.0.0'), `round ${round}`).toMatch(REFUSED);
      expect(bench.lookUp('10.0.58.151'), `round ${round}`).toMatch(REFUSED);
      const one = [bench.lookUp('203.0.113.9'), bench.lookUp('203.0.113.10')].filter((value) => value !== null);
      expect(one.length, `round ${round}`).toBeGreaterThanOrEqual(1);
      expect(bench.lookUpCidr('2001:db8:1::1') ?? bench.lookUpCidr('2001:db8:2::1'), `round ${round}`).toMatch(REFUSED);
    }
    await bench.publish(['203.0.113.9']);
    expect(bench.lookUp('203.0.113.9')).toMatch(REFUSED);
    expect(bench.lookUp('10.0.0.0')).toBeNull();
    expect(bench.lookUpCidr('2001:db8:1::1') ?? bench.lookUpCidr('2001:db8:2::1')).toBeNull();
    expect(await bench.map().intact()).toBe(true);
    expect(bench.leftovers).toEqual([]);
  });

  it('whose publisher is killed while it adds to the journal is whole, and the next one finishes the work', async () => {
    bench = new MapBench(type);
    for (let round = 0; round < 6; round++) {
      const child = startPublisher(['told']);
      for (let published = 0; published < 2; published++) await untilPublished(child);
      // On postmap's start, its work, the journal, and what follows it.
      await sleep(round * 11);
      await killAll(child);
      const held = () => [bench.lookUp('203.0.113.9'), bench.lookUp('203.0.113.10')].filter((value) => value !== null);
      expect(bench.lookUp('10.0.0.0'), `round ${round}`).toMatch(REFUSED);
      expect(bench.lookUp('10.0.58.151'), `round ${round}`).toMatch(REFUSED);
      expect(held().length, `round ${round}`).toBeGreaterThanOrEqual(1);
      // Without store and daemon it is brought in order from what lies there.
      await bench.map().sweep(Date.now());
      expect(await bench.map().intact(), `round ${round}`).toBe(true);
      expect((await bench.map().read()).entries.length, `round ${round}`).toBeGreaterThanOrEqual(15_001);
      expect(held().length, `round ${round}`).toBeGreaterThanOrEqual(1);
    }
    await bench.publish(['203.0.113.9']);
    expect(bench.lookUp('203.0.113.9')).toMatch(REFUSED);
    expect(bench.lookUp('10.0.0.0')).toBeNull();
    expect(bench.leftovers).toEqual([]);
  });

  it('written by two processes at once is never torn, and ends as the newest picture says', async () => {
    bench = new MapBench(type);
    const picture = join(bench.root, 'picture');
    const draw = (round: number) => {
      writeFileSync(`${picture}.new`, ['192.0.2.1', `203.0.113.${round}`, '2001:db8::/64'].join('\n'));
      renameSync(`${picture}.new`, picture);
    };
    draw(0);
    await bench.publish(['192.0.2.1']);
    const watched = bench.map();
    const ends = [startPublisher([picture, '8']), startPublisher([picture, '8'])].map(untilEnd);
    let running = true;
    const finished = Promise.all(ends).finally(() => {
      running = false;
    });
    for (let round = 1; running && round < 200; round++) {
      draw(round);
      expect(bench.lookUp('192.0.2.1')).toMatch(REFUSED);
      // Somebody publishing is no damage.
      expect(await watched.intact()).toBe(true);
      await sleep(5);
    }
    expect(await finished).toEqual([
      { code: 0, stderr: '' },
      { code: 0, stderr: '' },
    ]);
    const subjects = readFileSync(picture, 'utf8').split('\n');
    await bench.publish(subjects);
    const bytes = [bench.path, `${bench.path}.cidr`].map((file) => readFileSync(file, 'utf8'));
    expect(bench.notices).toEqual([]);
    rmSync(bench.folder, { recursive: true });
    await bench.publish(subjects);
    expect([bench.path, `${bench.path}.cidr`].map((file) => readFileSync(file, 'utf8'))).toEqual(bytes);
  });

  it('on a full disk stays as it was, and is written again when there is room', async () => {
    bench = new MapBench(type);
    mkdirSync(bench.folder);
    // Without the right to mount this fails, and says so.
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', bench.folder]);
    try {
      await bench.publish(['203.0.113.9', '2001:db8::/64']);
      const many = Array.from({ length: 6_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
      await expect(bench.publish([...many, '2001:db8:5::/64'])).rejects.toThrow(UnavailableError);
      expect(bench.leftovers).toEqual([]);
      expect(bench.lookUp('203.0.113.9')).toMatch(REFUSED);
      expect(bench.lookUpCidr('2001:db8::1')).toMatch(REFUSED);
      expect(bench.lookUpCidr('2001:db8:5::1')).toBeNull();
      expect(await bench.map().intact()).toBe(true);
      expect(await bench.publish(['203.0.113.10'])).toMatchObject({ repaired: false });
      expect(bench.lookUp('203.0.113.10')).toMatch(REFUSED);
    } finally {
      execFileSync('umount', [bench.folder]);
    }
  });
});

it('an lmdb map whose publisher is killed amid its transactions is readable, and the next publisher finishes the work', async () => {
  bench = new MapBench('lmdb');
  const marker = join(bench.root, 'at-work');
  const postmap = bench.script('postmap', `: > ${marker}; exec postmap "$@"`);
  for (let round = 0; round < 5; round++) {
    const child = startPublisher(['flip', '100'], undefined, postmap);
    await untilPublished(child);
    rmSync(marker, { force: true });
    const inode = statSync(bench.compiled).ino;
    while (!existsSync(marker) && child.exitCode === null) await sleep(1);
    await sleep(5 + round * 15);
    await killAll(child);
    expect(statSync(bench.compiled).ino, `round ${round}`).toBe(inode);
    expect(bench.lookUp('10.0.0.0'), `round ${round}`).toMatch(REFUSED);
    expect(bench.lookUp('203.0.0.0') ?? bench.lookUp('203.0.1.0'), `round ${round}`).toMatch(REFUSED);
  }
  await bench.publish(['203.0.113.9']);
  expect(bench.lookUp('203.0.113.9')).toMatch(REFUSED);
  for (const key of ['10.0.0.0', '203.0.0.0', '203.0.0.99', '203.0.1.0', '203.0.1.99'])
    expect(bench.lookUp(key)).toBeNull();
});

describe('a folder that can’t be written', () => {
  it('is told as such: for its mode', async () => {
    bench = new MapBench('hash');
    await bench.publish(['203.0.113.10']);
    const { code, stderr } = await untilEnd(startPublisher(['once'], 65_534));
    expect(code).toBe(3);
    expect(stderr).toMatch(/^UnavailableError: the access map's folder \S+ can't be written: permission denied\n$/);
    expect(bench.lookUp('203.0.113.10')).toMatch(REFUSED);
  });

  it('is told as such: for its file system', async () => {
    bench = new MapBench('hash');
    mkdirSync(bench.folder);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro,size=100k', 'tmpfs', bench.folder]);
    try {
      await expect(bench.publish([])).rejects.toThrow(/folder \S+ can't be written: the file system is read-only/);
    } finally {
      execFileSync('umount', [bench.folder]);
    }
  });

  it('may be another user’s whose processes publish too: neither locks the other out', async () => {
    bench = new MapBench('lmdb');
    mkdirSync(bench.folder);
    execFileSync('chown', ['65534:65534', bench.folder]);
    await bench.publish(['203.0.113.10', '203.0.113.11', '203.0.113.12', '203.0.113.13']);
    expect(await untilEnd(startPublisher(['once'], 65_534))).toEqual({ code: 0, stderr: '' });
    expect(bench.lookUp('203.0.113.9')).toMatch(REFUSED);
    await bench.publish(['203.0.113.10']);
    expect(bench.lookUp('203.0.113.10')).toMatch(REFUSED);
  });
});

describe('a postmap', () => {
  const attempt = async (postmap: string) => {
    await bench.publish(['203.0.113.9']);
    const failure = bench.publish(['203.0.113.10', '2001:db8::/64'], { postmap, timeoutMs: 500 });
    const message = await failure.then(
      () => 'published',
      (error: unknown) => (error instanceof UnavailableError ? error.message : String(error)),
    );
    expect(bench.lookUp('203.0.113.9')).toMatch(REFUSED);
    expect(bench.lookUp('203.0.113.10')).toBeNull();
    expect(bench.lookUpCidr('2001:db8::1')).toBeNull();
    expect(bench.leftovers).toEqual([]);
    expect(await bench.map().intact()).toBe(true);
    return message;
  };

  it('that is missing leaves the old map, and says what to do', async () => {
    bench = new MapBench('hash');
    expect(await attempt('/nowhere/postmap')).toMatch(
      /^can't run \/nowhere\/postmap: it is not there: install Postfix, or set postfix\.postmap/,
    );
  });

  it('is found where a plain user’s PATH does not look', async () => {
    bench = new MapBench('hash');
    const path = process.env.PATH;
    process.env.PATH = '/usr/bin:/bin';
    try {
      expect(await bench.publish(['203.0.113.9'])).toMatchObject({ entries: 1 });
    } finally {
      process.env.PATH = path;
    }
  });

  it('that can’t be executed leaves the old map', async () => {
    bench = new MapBench('hash');
    const script = bench.script('postmap', '');
    chmodSync(script, 0o644);
    expect(await attempt(script)).toMatch(/^can't run \S+postmap: permission denied$/);
  });

  it('that fails leaves the old map, and its last words are passed on', async () => {
    bench = new MapBench('hash');
    const script = bench.script(
      'postmap',
      'echo "postmap: warning: first" >&2; echo "postmap: fatal: no luck" >&2; exit 1',
    );
    expect(await attempt(script)).toMatch(/postmap failed: postmap: fatal: no luck$/);
  });

  it('that hangs is killed, and leaves the old map', async () => {
    bench = new MapBench('hash');
    const pidFile = join(bench.root, 'pid');
    expect(await attempt(bench.script('postmap', `echo $$ > ${pidFile}; exec sleep 60`))).toMatch(
      /did not end within 0\.5 s and was killed$/,
    );
    const pid = Number(readFileSync(pidFile, 'utf8'));
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });

  it('that skips a line and ends well is not believed', async () => {
    bench = new MapBench('hash');
    // The real one skips a line that it can't use with a warning, and exit status 0.
    const script = bench.script('postmap', `for map; do :; done; echo garbage >> "\${map#*:}"; exec postmap "$@"`);
    expect(await attempt(script)).toMatch(/postmap failed: .*warning: .*expected format/);
  });

  it('that does nothing and ends well is not believed', async () => {
    bench = new MapBench('hash');
    expect(await attempt(bench.script('postmap', 'exit 0'))).toMatch(/made a map that lacks 203\.0\.113\.10/);
  });
});

it.each(['hash', 'lmdb'])(
  'a %s map deleted while it is being published comes back whole, and Postfix is told',
  async (type) => {
    bench = new MapBench(type);
    const subjects = ['203.0.113.10', '203.0.113.11', '203.0.113.12', '203.0.113.13'];
    await bench.publish(subjects);
    const once = bench.script(
      'postmap-once',
      `[ -e ${bench.root}/done ] || rm ${bench.compiled}; : > ${bench.root}/done; exec postmap "$@"`,
    );
    expect(await bench.publish([...subjects, '203.0.113.9'], { postmap: once })).toMatchObject({ repaired: true });
    for (const subject of [...subjects, '203.0.113.9']) expect(bench.lookUp(subject)).toMatch(REFUSED);
    expect(bench.reloads).toBe(1);
  },
);

it('what a killed postmap left of its own is removed too', async () => {
  bench = new MapBench('btree');
  await bench.publish(['203.0.113.9']);
  const left = join(bench.folder, '__db.client_access.new-1-abc.db');
  writeFileSync(left, 'half a database');
  await bench.publish(['203.0.113.10']);
  expect(existsSync(left)).toBe(false);
});
