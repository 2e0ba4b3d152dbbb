/** Where text of others comes out again, or is kept: nothing in it steers, splits or smuggles. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import { columnsOf } from '../../src/cli/terminal.js';
import type { Ban } from '../../src/domain/ban.js';
import { parseLine, renderLine } from '../../src/postfix/entry.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { Bench, execute } from '../cli/support.js';
import { MapBench } from '../postfix/map-bench.js';
import { banOf, evidenceOf, progressOf, stateOf } from '../store/samples.js';
import { startRedis } from '../support/redis.js';
import { byForm, chanceFor, repeatWith } from './form.js';
import { bytesOf, HOSTILE_STRINGS, hostileText } from './hostile-strings.js';

const PART = 'hostile-outlets';
/** What no reader may be sent, but for the newline that ends a line of ours. */
const STEERING = /[^\n\P{Cc}]|[\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
const STYLES = /\x1b\[\d{1,2}m/g;

let cleaners: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleaners.reverse()) await clean();
  cleaners = [];
});

/** As long as LMDB's keys may be, and not nothing. */
const keyOf = (text: string) => (text === '' ? 'empty' : text.slice(0, 500));

const ip = (n: number) => `198.51.100.${n}`;

/** A ban of each hostile string, as host, reason and evidence, as if all that keeps such text out had failed. */
async function fill(store: Store, at = Date.now()): Promise<readonly Ban[]> {
  const bans: Ban[] = [];
  for (const [n, text] of HOSTILE_STRINGS.entries()) {
    const ban = banOf(ip(n), Math.ceil(at / 1_000) * 1_000 + 3_600_000, { host: text, reason: text, since: at });
    bans.push(ban);
    const evidence = { ...evidenceOf(bytesOf(text).slice(0, 500), at), rule: text };
    await store.commit([ban.subject], () => ({
      put: new Map([[ban.subject, stateOf(3, { host: text, ban, releases: [{ at, how: 'expired', ban }] })]]),
      ranks: new Map([[ban.subject, 1]]),
      evidence: new Map([[ban.subject, [evidence]]]),
      changes: [{ type: 'ban', at, ban }],
    }));
  }
  await store.commit([], () => ({ allow: HOSTILE_STRINGS.map((text) => ({ entry: keyOf(text), at })) }));
  return bans;
}

describe('the terminal', () => {
  const bench = () => {
    const made = new Bench();
    cleaners.push(() => made.remove());
    return made;
  };
  const clean = ({ stdout, stderr }: { stdout: string; stderr: string }, colour: boolean) => {
    const left = (stdout + stderr).replace(colour ? STYLES : /$^/, '');
    expect(STEERING.exec(left)?.[0].codePointAt(0)?.toString(16)).toBeUndefined();
    return stdout;
  };

  test('is sent no escape sequence, control or hidden character by any command', { timeout: 180_000 }, async () => {
    const made = bench();
    await made.inStore(fill);
    const log = made.file('mail.log', HOSTILE_STRINGS.map((text) => `Nov 25 01:12:15 mx x[1]: ${text}\n`).join(''));
    const some = HOSTILE_STRINGS.map((_, n) => n).filter((n) => n % byForm(20, 1) === 0);
    const commands = [
      ['list'],
      ['list', '--all'],
      ['status'],
      ['top'],
      ['allowed'],
      ['test', '--all', log],
      ['test', '--all', '-'],
      ...some.map((n) => ['explain', ip(n)]),
      ['explain', '\x1b[31m'],
      ['allow', 'x\x1b]0;title\x07.example'],
      ['disallow', HOSTILE_STRINGS[0] ?? ''],
      ['ban', ip(1), '--reason', 'a\x1b[31m'],
      ['unban', '\u202e'],
      ['test', '/nowhere/\x1b[31m'],
      ['\x1b[31m'],
    ];
    for (const [i, command] of commands.entries()) {
      const colour = i % 2 === 0;
      const asProcess = i % byForm(5, 1) === 0 || command.includes('-');
      const surroundings = { input: readFileSync(log, 'latin1'), env: { FORCE_COLOR: colour ? '1' : '0' } };
      const answer = await (asProcess ? made.execute(surroundings, ...command) : made.run(...command));
      clean(answer, colour || !asProcess);
      expect(answer.stdout.length + answer.stderr.length, command.join(' ')).toBeGreaterThan(0);
      expect([0, 1, 2], command.join(' ')).toContain(answer.code);
    }
  });

  test('gets a table with one row a ban, aligned whatever the names are', async () => {
    const made = bench();
    await made.inStore(fill);
    const { stdout } = await made.run('list');
    const [title, ...rows] = stdout
      .trimEnd()
      .split('\n')
      .filter((row) => !row.startsWith('DRY-RUN'));
    expect(rows.length).toBe(HOSTILE_STRINGS.length);
    const column = title?.indexOf('SINCE') ?? -1;
    for (const row of rows) {
      const before = row.slice(0, row.search(/(?:now|\d+ s ago|\d+ min ago) {2,}in \d/));
      expect(columnsOf(before), row).toBe(column);
    }
  });

  test('JSON is valid, means the same and steers nothing', { timeout: 60_000 }, async () => {
    const made = bench();
    await made.inStore(fill);
    const listed = await made.execute({}, '--json', 'list');
    const bans = JSON.parse(clean(listed, false)) as { subject: string; host: string; reason: string }[];
    for (const { subject, host, reason } of bans) {
      const text = HOSTILE_STRINGS[Number(subject.split('.').at(-1))];
      expect({ host, reason }).toEqual({ host: text, reason: text });
    }
    expect(bans.length).toBe(HOSTILE_STRINGS.length);
    const entries = JSON.parse(clean(await made.execute({}, '--json', 'allowed'), false)) as unknown;
    expect(JSON.stringify(entries)).toContain(JSON.stringify(HOSTILE_STRINGS[0]).slice(1, -1));
    for (const n of [0, 5, 20]) {
      const explained = JSON.parse(clean(await made.execute({}, '--json', 'explain', ip(n)), false));
      expect(explained.host).toBe(HOSTILE_STRINGS[n]);
      expect(explained.evidence.length).toBe(1);
    }
  });
});

/** Named by what blockd itself made up: no text of others is part of a key. */
const OWN_KEY = /^\{blockd\}:[a-z-]+(?::[\da-f.-]+)?$/;

describe.each(['lmdb', 'redis'])('the %s store', (kind) => {
  test('gives back what it was given, under keys of its own alone', { timeout: 120_000 }, async () => {
    let url: string;
    let foreign: Redis | null = null;
    if (kind === 'redis') {
      const redis = await startRedis();
      cleaners.push(() => redis.stop());
      url = redis.url;
      foreign = new Redis(redis.url);
      cleaners.push(() => foreign?.quit());
      await foreign.set('of somebody else', 'kept');
    } else {
      const made = new Bench();
      cleaners.push(() => made.remove());
      url = made.store;
    }
    const store = await openStore(url, { prefix: 'blockd' });
    const at = Date.now();
    const bans = await fill(store, at);
    for (const [n, text] of HOSTILE_STRINGS.entries()) {
      const progress = progressOf(`c${n}`, null, {
        host: `h${keyOf(text)}`,
        log: `/var/log/${keyOf(text)}`,
        carry: [text],
      });
      await store.commit([], () => ({ progress: [progress] }));
      expect(await store.progress(`h${keyOf(text)}`)).toEqual(new Map([[`/var/log/${keyOf(text)}`, progress]]));
      await store.setNote(`n${keyOf(text)}`, { text });
      expect(await store.note(`n${keyOf(text)}`)).toEqual({ text });
      expect((await store.states([ip(n)])).get(ip(n))?.host).toBe(text);
      expect((await store.evidence(ip(n))).map(({ line }) => line)).toEqual([bytesOf(text).slice(0, 500)]);
    }
    expect(new Set((await store.bans(at)).map(({ reason }) => reason))).toEqual(new Set(HOSTILE_STRINGS));
    const allowed = (await store.allowed()).map(({ entry }) => entry);
    expect(new Set(allowed)).toEqual(new Set(HOSTILE_STRINGS.map(keyOf)));
    expect((await store.history(1_000)).length).toBe(bans.length);
    await store.close();
    if (foreign !== null) {
      const keys = await foreign.keys('*');
      expect(keys.filter((key) => !key.startsWith('{blockd}:'))).toEqual(['of somebody else']);
      for (const key of keys.filter((one) => one.startsWith('{'))) expect(key).toMatch(OWN_KEY);
      expect(await foreign.get('of somebody else')).toBe('kept');
    }
  });
});

describe('the access map', () => {
  const VALUE = /^554 5\.7\.1 Blocked until 2031-05-11T04:00Z(?: [\x20-\x7e]*)?$/;
  const until = Date.parse('2031-05-11T04:00:00Z');

  test.each(['hash', 'lmdb'])(
    'of type %s has no second entry and no other action',
    { timeout: 60_000 },
    async (type) => {
      const bench = new MapBench(type);
      cleaners.push(() => bench.remove());
      const subjects = [...HOSTILE_STRINGS.keys()].flatMap((n) => [ip(n), `2001:db8:1:${n.toString(16)}::/64`]);
      await bench
        .map({ reply: 'Blocked until {until} after {reason}, {ip}' })
        .publish(async () =>
          subjects.map((subject, i) => ({ subject, until, reason: HOSTILE_STRINGS[Math.floor(i / 2)] ?? '' })),
        );
      const listed = spawnSync('postmap', ['-s', `${type}:${bench.path}`], { encoding: 'utf8' }).stdout.trimEnd();
      const keys = listed.split('\n').map((line) => line.slice(0, line.indexOf('\t')));
      expect(new Set(keys)).toEqual(new Set(HOSTILE_STRINGS.map((_, n) => ip(n))));
      for (const line of listed.split('\n')) expect(line.slice(line.indexOf('\t') + 1)).toMatch(VALUE);
      for (const [n] of HOSTILE_STRINGS.entries()) expect(bench.lookUp(ip(n))).toMatch(VALUE);
      for (const line of readFileSync(`${bench.path}.cidr`, 'utf8').trimEnd().split('\n'))
        expect(line.startsWith('#') ? '' : line.slice(line.indexOf('\t') + 1)).toMatch(
          line.startsWith('#') ? /^$/ : VALUE,
        );
      expect(bench.lookUpCidr('2001:db8:1:3::9')).toMatch(VALUE);
      for (const other of ['203.0.113.9', '198.51.100.250', '0.0.0.0', 'unknown', 'OK'])
        expect(bench.lookUp(other)).toBeNull();
      for (const other of ['203.0.113.9', '2001:db8:2::1']) expect(bench.lookUpCidr(other)).toBeNull();
      expect(bench.notices).toEqual([]);
    },
  );

  test('reads back the end of every entry, whatever the reason and the reply are', () => {
    const seed = chanceFor(PART, 0).between(0, 2 ** 31 - 1);
    const text = hostileText(fc.constantFrom(...HOSTILE_STRINGS));
    try {
      fc.assert(
        fc.property(text, text, fc.constantFrom('reject', 'warn'), (reason, end, action) => {
          const entry = { subject: '198.51.100.7', until, reason };
          const line = renderLine(entry, 'indexed', { reply: `Blocked until {until} ${end} {reason}`, action });
          expect(parseLine(line)).toEqual({ subject: entry.subject, until, line });
          expect(line.split('\t')[1]).toMatch(action === 'warn' ? /^WARN blockd: Blocked until 2031/ : VALUE);
          expect(line.split('\t').length).toBe(2);
          expect(line.length).toBeLessThan(220);
        }),
        { numRuns: byForm(1_000, 20_000), seed },
      );
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : error}\n${repeatWith(PART)}`, { cause: error });
    }
  });
});

describe("the daemon's own log", () => {
  const log = fileURLToPath(new URL('../../dist/daemon/log.js', import.meta.url));
  const program = `
    import { createLogger } from ${JSON.stringify(log)};
    const [format, texts] = JSON.parse(process.argv[1]);
    const logger = await createLogger({ level: 'info', format });
    for (const text of texts) logger.error({ event: 'ban', host: text }, 'banned: ' + text);
  `;
  const write = async (format: string) => {
    const args = ['--input-type=module', '-e', program, JSON.stringify([format, HOSTILE_STRINGS])];
    const { code, stderr } = await execute(args);
    expect(code, stderr).toBe(0);
    expect(STEERING.exec(stderr)?.[0].codePointAt(0)?.toString(16)).toBeUndefined();
    const lines = stderr.split('\n');
    expect(lines.pop()).toBe('');
    expect(lines.length).toBe(HOSTILE_STRINGS.length);
    return lines;
  };

  /** Half of a pair of surrogates has no UTF-8. */
  const wellFormed = (text = '') => Buffer.from(text, 'utf8').toString('utf8');

  test('as JSON is one object a line and means what was logged', async () => {
    for (const [n, line] of (await write('json')).entries()) {
      const text = wellFormed(HOSTILE_STRINGS[n]);
      const { level, host, msg } = JSON.parse(line);
      expect({ level, host: wellFormed(host), msg: wellFormed(msg) }).toEqual({
        level: 50,
        host: text,
        msg: `banned: ${text}`,
      });
    }
  });

  test('for a person is one line an entry', async () => {
    for (const line of await write('pretty')) expect(line).toMatch(/^\[\d\d:\d\d:\d\d\] ERROR: banned: /);
  });

  test('for the journal is one line an entry, with the priority that we gave it', async () => {
    for (const line of await write('journal')) expect(line).toMatch(/^(?:ERROR: )?<3>banned: /);
  });
});
