/** No line makes a pattern take long: packaged ones can't, own ones are refused, and what slips through is cut off. */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { check } from 'recheck';
import { afterEach, describe, expect, test } from 'vitest';
import type { Match } from '../../src/domain/event.js';
import { LineClock } from '../../src/filter/clock.js';
import { Filter } from '../../src/filter/filter.js';
import { loadRules, packagedFilters, parseRules } from '../../src/filter/load.js';
import type { Rule } from '../../src/filter/rule.js';
import { blockctl, RunningDaemon } from '../support/programs.js';

const rules = loadRules(packagedFilters(), null);
const filter = Filter.compile(rules);
const clock = () => new LineClock(Date.UTC(2026, 11, 1));

/** A time that grows with the square of the length has 2. */
const LINEAR = 1.5;

describe('packaged rules', () => {
  test('are linear as they are really run, by another judge', { timeout: 300_000 }, async () => {
    const judged = new Set<string>();
    for (const { rules: joined, expression } of filter.expressions) {
      if (judged.has(expression.source)) continue;
      judged.add(expression.source);
      // It is run at one place only, which the judges of expressions know as `^`.
      const anchored = new RegExp(`^(?:${expression.source})`);
      const verdict = await check(anchored.source, '', { timeout: 10_000, randomSeed: 1 });
      if (verdict.status !== 'vulnerable') continue;
      // It counts steps and extrapolates; its attack is what counts here, made longer.
      const { pumps, suffix } = verdict.attack;
      const attack = (times: number) =>
        pumps.map(({ prefix, pump }) => prefix + pump.repeat(Math.ceil(times / pumps.length))).join('') + suffix;
      const growth = growthOf((length) => anchored.test(attack(length)), 8_000, 128_000);
      expect(growth, `${joined.join(', ')}: ${verdict.attack.pattern}`).toBeLessThan(LINEAR);
    }
    expect(judged.size).toBeGreaterThan(20);
  });

  const message = (line: string) => line.slice(line.indexOf(': ') + 2);
  const PUMPS = ['a', '0', ' ', '<', '>', '=', '[', ']', '.', ':', ', ', ' a=0', '(a', 'a:', '\xff', '1.'];
  const SHORT = 16_000;
  const LONG = 1_000_000;

  test.each(rules.map((rule) => [rule.name, rule] as const))('%s is linear up to a million characters', (_, rule) => {
    const lines: ((length: number) => string)[] = [];
    for (const { line, ip } of rule.matches.slice(0, 2)) {
      const start = line.length - message(line).length;
      const address = line.indexOf(ip, start) + ip.length;
      for (const cut of [start, address, address + 1, Math.round((address + line.length) / 2), line.length]) {
        // The character before the cut is the likeliest to be repeated.
        for (const pump of [...PUMPS, line[cut - 1] ?? 'a'])
          lines.push((length) => line.slice(0, cut) + pump.repeat(length / pump.length) + line.slice(cut));
      }
    }
    const time = (make: (length: number) => string, length: number) => {
      const line = make(length);
      return fastestOf(3, () => filter.match(line, clock()));
    };
    const [slowest] = lines
      .map((make) => ({ make, ms: time(make, SHORT) }))
      .sort((a, b) => b.ms - a.ms)
      .map(({ make }) => make);
    if (slowest === undefined) throw new Error(`${rule.name} has no sample to make lines from`);
    for (const [shorter, longer] of [
      [2_000, 8_000],
      [8_000, 32_000],
      [32_000, LONG],
    ] as const) {
      const growth = growthOf((length) => filter.match(slowest(length), clock()), shorter, longer, slowest);
      expect(growth, `${slowest(10)}, from ${shorter} to ${longer}`).toBeLessThan(LINEAR);
    }
  });
});

/**
 * The exponent by which the time grows from one length to the other. What takes microseconds measures nothing, and
 * says 0; a machine that is busy can make one run slow, not each of five.
 */
function growthOf(
  run: (length: number) => unknown,
  shorter: number,
  longer: number,
  prepare: (length: number) => unknown = () => null,
): number {
  prepare(longer);
  let least = Number.POSITIVE_INFINITY;
  // What grows with the square does so each time.
  for (let attempt = 0; attempt < 5 && least >= LINEAR; attempt++) {
    const [before, after] = [shorter, longer].map((length) => fastestOf(5, () => run(length))) as [number, number];
    if (after < 1) return 0;
    least = Math.min(least, Math.log(after / Math.max(before, 0.001)) / Math.log(longer / shorter));
  }
  return least;
}

function fastestOf(times: number, run: () => unknown): number {
  let fastest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    run();
    fastest = Math.min(fastest, performance.now() - start);
  }
  return fastest;
}

function ruleFile(pattern: string, name = 'own/rule'): string {
  return `[[rule]]\nname = "${name}"\nkind = "offense"\npoints = 1\nprogram = "postfix/smtpd"\ndescription = "A test."\npattern = '''${pattern}'''\n`;
}

describe('a pattern of the admin is refused with the reason', () => {
  const REPEATS = /its pattern (?:nests|repeats|has|looks)/;

  test.each([
    '(?:a+)+$',
    '(?:a+)*b',
    '(?:a*)*b',
    '(?:a*)+b',
    '(?:a|a)*b',
    '(?:a|aa)+$',
    '(?:a|b|ab)*c',
    '(?:\\w|\\d)+$',
    '(?:.*)*x',
    '(?:[^>]+>?)*;',
    '(?:\\w+\\s?)*$',
    '(?:\\w+[.]?)+@',
    '(?:[a-z]+)*\\d',
    '(?:(?:ab)*)*c',
    '(?:a?)*b',
    '(?:a?b?)*c',
    '.*a.*b$',
    '.*,.*,.*,.*,.*;$',
    '\\d+\\d+x',
    '\\s*\\s*x',
    '[^;]*;?[^;]*x',
    '\\w*\\d\\w*;',
    '[a-m]+[h-z]+!',
    'a{2,60}a{2,60}$',
    '(?:a{1,30}){1,30}$',
    '(?=.*x.*y)',
    '.*(?=.*b)c',
    'a*(?=a*b)c',
    '(?:(?=a*b)a)*c',
    '(?:(?!a*b)[ac])*d',
    `${'a?'.repeat(30)}${'a'.repeat(30)}`,
    `${'(?:a|b)?'.repeat(12)}c`,
    `${'a{0,3}'.repeat(8)}c`,
    '(?:aa?){40}c',
    '(?:a{0,9}){0,9}c',
    '(?:x?x?x?x?x?){9}y',
  ])('%s', (tail) => {
    expect(() => parseRules(ruleFile(`x {client} ${tail}`), 'own.toml')).toThrow(REPEATS);
  });

  test.each([
    '',
    '.*$',
    '.*spam',
    '<[^>]*>: [^;]*; from=<[^>]*>',
    '(?: [a-z]+=\\d+(?:/\\d+)?)* auth=0/',
    '5\\d\\d (?:5\\.7\\.\\d{1,2} )?Service unavailable',
    '[^;]*; [^,]*, \\w+$',
    '(?:[A-Z][a-z]+ )*rejected',
    '\\S{1,100} authentication failed',
    '(?:\\d{1,3}\\.){3}\\d{1,3}$',
    '(?:ab)*c',
    '(?:a|b)*c',
    '(?:a[^b]*b)*c',
    'a{1,3}a{1,3}',
    'a?a?a?b',
    '\\w+ \\w+ \\w+ \\w+',
    '[a-z]*\\d+[a-z]*',
    '"[^"]*"(?:, "[^"]*")*$',
    '(?:[^\\\\"]|\\\\.)*"',
    '(?!temporary)\\w+',
    '(?=[^/]*/)[^ ]* x',
    '.*(?:spam|virus)',
    '(?:foo|bar)? ?(?:baz)?',
    '(?:, [lr]port=\\d+)*(?:, TLS)?$',
    '(?:one|two|three)+!',
    '[\\da-f]{32}',
    '(?: [A-Z]{2,4}){1,5}',
    '[^ ]+ [^ ]+ [^ ]+ [^ ]+ [^ ]+',
    '(?:x-[a-z]+: [^;]*; )*end',
    '\\(\\d+ bytes\\)(?: in \\d+ s)?',
    'status=\\w+ \\([^)]*\\)$',
  ])('and %s is not', (tail) => {
    expect(() => parseRules(ruleFile(`x {client} ${tail}`), 'own.toml')).not.toThrow();
  });
});

describe('a slow pattern that got past the guard', () => {
  const smtpd = (text: string) => `Nov 25 01:12:15 mx postfix/smtpd[1]: ${text}`;
  const lost = (n: number) => smtpd(`lost connection after AUTH from x[198.51.100.${n}]`);
  /** As from a rule file, unjudged. */
  const unjudged = (pattern: string): Rule => {
    const [harmless] = parseRules(ruleFile('x {client}'), '/etc/blockd/filters/own.toml');
    if (harmless === undefined) throw new Error('no rule');
    return { ...harmless, pattern };
  };

  test.each([
    ['doubling with each character', 'x {client} (?:a+)+$', `x y[192.0.2.1] ${'a'.repeat(60)}!`],
    ['growing with the fifth power', 'x {client} a*a*a*a*a*$', `x y[192.0.2.1] ${'a'.repeat(6_000)}!`],
  ])('%s is switched off, and every other line counts once', { timeout: 60_000 }, (_, pattern, trap) => {
    const told: [Rule, string][] = [];
    const own = Filter.compile([unjudged(pattern), ...rules], { onSlow: (...all) => told.push(all) });
    const scan = (lines: readonly string[]) => {
      const found: Match[] = [];
      expect(own.scan(`${lines.join('\n')}\n`, clock(), (match) => found.push(match))).toBe(lines.length);
      return found.map(({ rule, ip }) => `${rule} ${ip}`);
    };
    const harmless = smtpd('x y[192.0.2.2] aaa');
    const others = (from: number) => Array.from({ length: 100 }, (_, n) => lost(from + n));
    const expected = (from: number) =>
      Array.from({ length: 100 }, (_, n) => `postfix/lost-after-auth 198.51.100.${from + n}`);

    expect(scan([harmless, ...others(0)])).toEqual(['own/rule 192.0.2.2', ...expected(0)]);
    expect(told).toEqual([]);
    expect(scan([...others(0), harmless, smtpd(trap), harmless, ...others(100)])).toEqual([
      ...expected(0),
      'own/rule 192.0.2.2',
      ...expected(100),
    ]);
    expect(told.map(([{ name }]) => name)).toEqual(['own/rule']);
    expect(told[0]?.[1]).toMatch(/^\/etc\/blockd\/filters\/own\.toml, rule "own\/rule": .*switched off.*reload/);
    expect(scan([smtpd(trap), harmless, ...others(0)])).toEqual(expected(0));
    expect(told.length).toBe(1);
  });

  test('is told from what another rule or the program that listens does', { timeout: 60_000 }, () => {
    const told: string[] = [];
    const own = Filter.compile([unjudged('x {client} a+$'), ...rules], { onSlow: ({ name }) => told.push(name) });
    expect(() =>
      own.scan(`${lost(1)}\n`, clock(), () => {
        throw new RangeError('from the listener');
      }),
    ).toThrow('from the listener');
    const end = performance.now() + 1_500;
    own.scan(`${lost(1)}\n${lost(2)}\n`, clock(), () => {
      while (performance.now() < end);
    });
    expect(told).toEqual([]);
  });

  let dir: string | undefined;
  let daemon: RunningDaemon | undefined;
  afterEach(async () => {
    await daemon?.stop();
    if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
    daemon = undefined;
    dir = undefined;
  });

  test('does not stop the daemon, which names it and goes on with the others', { timeout: 120_000 }, async () => {
    dir = mkdtempSync(join(tmpdir(), 'blockd-redos-'));
    const at = (name: string) => join(dir ?? '', name);
    mkdirSync(at('filters'));
    writeFileSync(at('filters/own.toml'), ruleFile('x {client} (?:a+)+$'));
    writeFileSync(at('mail.log'), '');
    const guardless = fileURLToPath(new URL('../support/without-guard.mjs', import.meta.url));
    const store = `lmdb:${at('store')}`;
    const settings = ['--set', 'allow.mynetworks=false', '--set', 'score.threshold=1.9'];
    daemon = await RunningDaemon.start(
      ['--log', at('mail.log'), '--store', store, '--filters', at('filters'), '--from-start', ...settings],
      { env: { ...process.env, NODE_OPTIONS: `--import=${guardless}` } },
    );
    const now = new Date().toISOString();
    const line = (text: string) => `${now} mx postfix/smtpd[1]: ${text}\n`;
    const denied = (ip: string) =>
      line(`NOQUEUE: reject: RCPT from unknown[${ip}]: 554 5.7.1 <a@b.example>: Relay access denied`);
    appendFileSync(
      at('mail.log'),
      denied('198.51.100.1') + line(`x y[192.0.2.1] ${'a'.repeat(60)}!`) + denied('198.51.100.2'),
    );
    const off = await daemon.until(({ event }) => event === 'rule-off', 60_000);
    expect(off).toMatchObject({ level: 50, rule: 'own/rule', file: at('filters/own.toml') });
    expect(off.msg).toContain('switched off');
    for (const ip of ['198.51.100.1', '198.51.100.2'])
      await daemon.until(({ event, subject }) => event === 'ban' && subject === ip, 30_000);
    appendFileSync(at('mail.log'), line(`x y[192.0.2.1] ${'a'.repeat(60)}!`) + denied('198.51.100.3'));
    await daemon.until(({ event, subject }) => event === 'ban' && subject === '198.51.100.3', 30_000);
    const { stdout } = await blockctl(['--store', store, ...settings, '--json', 'explain', '198.51.100.1']);
    expect(JSON.parse(stdout).offenses).toBe(1);
    expect(daemon.log.filter(({ event }) => event === 'rule-off').length).toBe(1);
    expect(await daemon.stop()).toBe(0);
  });
});
