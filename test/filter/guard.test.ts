/** Patterns that could blame the wrong client, or take for ever, do not load. */
import { check } from 'recheck';
import { describe, expect, test } from 'vitest';
import { UsageError } from '../../src/domain/errors.js';
import { loadRules, packagedFilters, parseRules } from '../../src/filter/load.js';
import { parseRulePattern } from '../../src/filter/rule.js';

function load(pattern: string): void {
  parseRules(
    `[[rule]]\nname = "test/rule"\nkind = "offense"\npoints = 1\nprogram = "postfix/smtpd"\ndescription = "A test."\npattern = '''${pattern}'''\n`,
    '/etc/blockd/filters/test.toml',
  );
}

describe('an attacker could choose the address', () => {
  test.each([
    ['.*from {client}', /"\[", "<", ":"/],
    ['warning: .+ {client}', /"\["/],
    ['warning: [^ ]+ from {client}', /variable part before the address/],
    ['warning: \\S+ from {client}', /variable part before the address/],
    ['warning: \\D from {client}', /variable part before the address/],
    ['warning: \\W{2} from {client}', /variable part before the address/],
    ['warning: (?:a|.)+ from {client}', /variable part before the address/],
    ['header [\\w:]+ from {client}', /":"/],
    ['header [\\w<]* from {client}', /"<"/],
    ['header \\w+(?:\\[)* from {client}', /"\["/],
    ['user [\\w ]+ from {ip}', /" "/],
    ['login: user=<\\w+>, rip={ip}, lip=', /where a client's text may stand/],
    ['login user="[\\w.]*" from {client}', /where a client's text may stand/],
    ['login user=<x-\\w+> from {client}', /where a client's text may stand/],
    ['login user=x\\w+ from {client}', /where a client's text may stand/],
    ["login `a b\\w*' from {client}", /where a client's text may stand/],
    ['login: user=<.*>, rip={ip}', /anchor the end of the line/],
    ['login: user=<.*>, rip={ip}, .*$', /second address behind the same words/],
    ['login: user=<.*>, rip={ip}, lip=[\\d.]+$', /second address behind the same words/],
    ['login: user=<[^=]*>, rip={ip}, .*$', /second address behind the same words/],
    ['note [n-z> ]*> on {client}$', /second address behind the same words/],
    ['.*{ip}$', /second address behind the same words/],
  ])('%s is refused', (pattern, reason) => {
    expect(() => load(pattern)).toThrow(UsageError);
    expect(() => load(pattern)).toThrow(reason);
  });

  test.each([
    '{qid}: reject: RCPT from {client}: 5',
    '{qid}: reject: [A-Z-]+ from {client}: .*spam',
    'lost connection after DATA \\(\\d+ bytes\\) from {client}',
    'warning: (?:Connection|AUTH command) rate limit exceeded: \\d+ from {client} for service',
    'login: user=<[^=]*>, rip={ip}, lip=[\\d.]+$',
    'login of <\\d+> at [a-z]+ from {client}',
    'port=\\d+, stage [A-Z]+ (fixed) "words" from {client}',
    '^blocked {ip}',
  ])('%s is not', (pattern) => {
    expect(() => load(pattern)).not.toThrow();
  });
});

describe('a line could take very long', () => {
  test.each([
    ['x {client} (?:a+)+$', /nests one repetition/],
    ['x {client} (?:a*)*$', /can match nothing/],
    ['x {client} (?:a|a)*$', /in two ways/],
    ['x {client} (?:a|ab|b)*$', /in two ways/],
    ['x {client} (?:\\w+\\s?)*$', /nests one repetition/],
    ['x {client} .*a.*b$', /two repeated parts/],
    ['x {client} \\d+\\d+$', /two repeated parts/],
    ['x {client} \\w*5\\w*;$', /two repeated parts/],
    ['x {client} a{2,60}a{2,60}$', /two repeated parts/],
    ['x {client}(?=.*x.*y)', /two repeated parts/],
  ])('%s is refused', (pattern, reason) => {
    expect(() => load(pattern)).toThrow(UsageError);
    expect(() => load(pattern)).toThrow(reason);
  });

  test.each([
    'x {client} .*$',
    'x {client} <[^>]*>: [^;]*;',
    'x {client}(?: [a-z]+=\\d+(?:/\\d+)?)* auth=0/',
    'x {client} a{1,3}a{1,3}',
  ])('%s is not', (pattern) => {
    expect(() => load(pattern)).not.toThrow();
  });

  test('no packaged pattern can, by another judge', { timeout: 240_000 }, async () => {
    const rules = loadRules(packagedFilters(), null);
    for (const rule of rules) {
      const { head, tail, addressSource } = parseRulePattern(rule.pattern, 'Blocked until {until}');
      const verdict = await check(`^${head.source}${addressSource}${tail.source}`, '', {
        // It counts steps alone: by the time taken, a busy machine would find every pattern slow.
        attackTimeout: null,
        incubationTimeout: null,
        timeout: 60_000,
        randomSeed: 1,
      });
      const attack = verdict.status === 'vulnerable' ? verdict.attack.pattern : null;
      expect({ rule: rule.name, status: verdict.status, attack }).toEqual({
        rule: rule.name,
        status: 'safe',
        attack: null,
      });
    }
  });
});

describe('a pattern says what it can not mean', () => {
  test.each([
    ['reject: RCPT', /exactly one of \{client\} and \{ip\}/],
    ['a {client} b {ip}', /exactly one of/],
    ['(?:a {client}|b)', /inside of a group/],
    ['a {client}|b', /outside of one/],
    ['(?<=x){client}', /look-behind/],
    ['(?<x>a) {client}', /only "times"/],
    ['(?<times>\\d) x (?<times>\\d) {client}', /./],
    ['(a) {client} \\1', /back-reference/],
    ['a {sender} {client}', /\{sender\}, which is none of/],
    ['a {client} [', /./],
    ['a\\q {client}', /has no meaning/],
    ['€ {client}', /bytes/],
  ])('%s is refused', (pattern, reason) => {
    expect(() => load(pattern)).toThrow(UsageError);
    expect(() => load(pattern)).toThrow(reason);
  });

  test('with file and rule', () => {
    expect(() => load('.* {client}')).toThrow(/^\/etc\/blockd\/filters\/test\.toml, rule "test\/rule": its pattern /);
  });
});
