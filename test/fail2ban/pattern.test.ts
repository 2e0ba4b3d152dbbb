import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { convert, objectionTo } from '../../src/fail2ban/pattern.js';
import { alternativesOf, Refusal, toJavaScript } from '../../src/fail2ban/python.js';
import { linesFor } from '../../src/fail2ban/sample.js';
import { PREFIX_LINE } from '../../src/fail2ban/settings.js';
import { LineClock } from '../../src/filter/clock.js';
import { Filter } from '../../src/filter/filter.js';
import { parseRules } from '../../src/filter/load.js';

function converted(regex: string, more: { prefregex?: string; daemon?: string } = {}) {
  return convert({
    regex: regex.replace('%(__prefix_line)s', PREFIX_LINE),
    prefregex: more.prefregex?.replace('%(__prefix_line)s', PREFIX_LINE) ?? null,
    daemon: more.daemon ?? 'postfix/smtpd',
  });
}

function refusal(regex: string): string {
  try {
    return `was taken as ${converted(regex).pattern}`;
  } catch (error) {
    expect(error).toBeInstanceOf(Refusal);
    return (error as Refusal).message;
  }
}

describe('a failregex as the pattern of a rule', () => {
  it.each([
    ['^%(__prefix_line)sNOQUEUE: reject: RCPT from \\S+\\[<HOST>\\]: 554', 'NOQUEUE: reject: RCPT from {client}: 554'],
    [
      '^%(__prefix_line)s\\w+: reject: RCPT from [^[]*\\[<ADDR>\\](?::\\d+)?: 5',
      '{qid}: reject: RCPT from {client}: 5',
    ],
    ['reject: RCPT from (.*)\\[<HOST>\\]: 550 5.1.1', '{qid}: reject: RCPT from {client}: 550 5.1.1'],
    [
      '^%(__prefix_line)swarning: [-._\\w]+\\[<HOST>\\]: SASL ((?i)LOGIN|PLAIN) failed',
      'warning: {client}: SASL (?:[Ll][Oo][Gg][Ii][Nn]|[Pp][Ll][Aa][Ii][Nn]) failed',
    ],
    [
      '^%(__prefix_line)stoo many errors after \\S+ from unknown\\[<IP4>\\]$',
      'too many errors after [\\w.+/-]+ from unknown\\[{ip}\\]$',
    ],
    ['^%(__prefix_line)sbad <F-USER>\\w+</F-USER> of (?P<host>\\S+)', 'bad (?:\\w+) of {ip}'],
    ['^%(__prefix_line)sbad (?P<word>a|b)\\-c <HOST>\\Z', 'bad (?:a|b)-c {ip}$'],
    ['^%(__prefix_line)sbad (?#why)x{,3} <HOST>.*$', 'bad x{0,3} {ip}'],
  ])('%s', (regex, pattern) => {
    expect(converted(regex).pattern).toBe(pattern);
    expect(objectionTo(converted(regex))).toBeNull();
  });

  it('stands in the place of what the prefregex hands on', () => {
    const prefregex = '^%(__prefix_line)s(?:\\w+: reject:|HANGUP after \\S+) <F-CONTENT>.+</F-CONTENT>$';
    const taken = converted('^RCPT from [^[]*\\[<HOST>\\]: 5', {
      prefregex,
      daemon: 'postfix(-\\w+)?/(?:smtpd|postscreen)',
    });
    expect(taken.pattern).toBe('(?:{qid}: reject:|HANGUP after [\\w.+/-]+) RCPT from {client}: 5');
    expect(taken.program).toEqual(['postfix/smtpd', 'postfix/postscreen']);
  });

  it.each([
    ['^.* postfix/smtpd\\[\\d+\\]: NOQUEUE: bad <HOST>', ['postfix/smtpd'], 'NOQUEUE: bad {ip}'],
    ['postfix/submission/smtpd\\[.*\\]: bad <HOST>', ['postfix/submission/smtpd'], 'bad {ip}'],
    ['^\\s*\\S+\\s+dovecot: bad <HOST>', ['dovecot'], 'bad {ip}'],
  ])('knows the program that %s names itself', (regex, program, pattern) => {
    expect(converted(regex)).toMatchObject({ program, pattern });
  });

  it.each([
    ['^%(__prefix_line)sbad', /names no address/],
    ['^%(__prefix_line)sbad <HOST> and <ADDR>', /more than one address/],
    ['^%(__prefix_line)sbad <DNS>', /host name/],
    ['^%(__prefix_line)sbad <SUBNET>', /SUBNET/],
    ['^%(__prefix_line)sbad <F-MLFID>\\d+</F-MLFID> <HOST>', /several lines/],
    ['^%(__prefix_line)s<F-NOFAIL>connect</F-NOFAIL> from <HOST>', /several lines/],
    ['^%(__prefix_line)s(?P<a>x) (?P=a) <HOST>', /refers back/],
    ['^%(__prefix_line)s<mdre-loud> <HOST>', /<mdre-loud>, which is set nowhere/],
    ['helo=<\\S*> from \\[<HOST>\\]', /anywhere in a line/],
    ['^ Blocking <HOST>', /names no program/],
  ])('%s is refused with the reason', (regex, reason) => {
    expect(refusal(regex)).toMatch(reason);
  });

  it.each([
    ['^%(__prefix_line)sreject: .* from \\[<HOST>\\]', /lets a variable part before the address match/],
    ['^%(__prefix_line)slogin: user=<[^>]*> rip=<HOST>', /lets a variable part before the address match/],
    ['^%(__prefix_line)sbad <HOST> (?:a+)+$', /repetition|two ways/],
    ['^%(__prefix_line)sbad (?<=x)<HOST>', /look-behind/],
  ])('%s is refused by the guard of all rules', (regex, reason) => {
    expect(objectionTo(converted(regex))).toMatch(reason);
  });

  it('is cut at the alternatives outside of groups, and nowhere else', () => {
    expect(alternativesOf('^a (?:b|[|]c) \\| <HOST>$|^d <HOST>(?i)|e')).toEqual([
      '^a (?:b|[|]c) \\| <HOST>$',
      '^d <HOST>(?i)',
      'e',
    ]);
  });

  it('ignores case where the original does, and only there', () => {
    const expression = new RegExp(`^${toJavaScript('(?i:ab[c-d])e')}$`);
    expect(['abce', 'ABDe', 'aBCe', 'abcE'].map((text) => expression.test(text))).toEqual([true, true, true, false]);
  });
});

it('lines made from a pattern are matched by it, one for each alternative at least', () => {
  const pattern =
    '{qid}: reject: (?:RCPT|MAIL) from {client}: 55[04] (?:5\\.7\\.\\d{1,2} )?(?:<[^>]*>: )?(?:Go|Stay) away(?! now)';
  const toml = `[[rule]]\nname = "x"\nkind = "offense"\npoints = 1\nprogram = "postfix/smtpd"\ndescription = "x"\npattern = '${pattern}'\n`;
  const filter = Filter.compile(parseRules(toml, 'x.toml'));
  const lines = linesFor(pattern, 'postfix/smtpd');
  for (const { line, ip } of lines) {
    expect(filter.match(line, new LineClock(Date.UTC(2026, 11, 1))), line).toMatchObject({ rule: 'x', ip });
  }
  for (const word of ['RCPT', 'MAIL', 'Go', 'Stay'])
    expect(
      lines.some(({ line }) => line.includes(word)),
      word,
    ).toBe(true);
});

it('whatever stands in a failregex, it is a pattern that the guard judges, or refused', () => {
  const parts = [
    '^',
    PREFIX_LINE,
    '<HOST>',
    '(',
    ')',
    '(?i)',
    '(?P<a>',
    '[',
    ']',
    '[^',
    '\\S+',
    '\\',
    '.*',
    '{2,}',
    '|',
    '$',
    '(?=',
    '<F-USER>',
    '</F-USER>',
    'reject: ',
    'RCPT from ',
    '\\[<HOST>\\]',
    'postfix/smtpd[1]: ',
    '\u2028',
    '<x>',
    '%(y)s',
    '\ue001',
  ];
  const regex = fc
    .array(fc.oneof(fc.constantFrom(...parts), fc.string({ maxLength: 3 })), { maxLength: 12 })
    .map((some) => some.join(''));
  let taken = 0;
  fc.assert(
    fc.property(regex, fc.option(regex), (text, prefregex) => {
      for (const one of alternativesOf(text)) {
        try {
          const made = convert({ regex: one, prefregex, daemon: 'postfix/smtpd' });
          if (objectionTo(made) !== null) continue;
          taken++;
          linesFor(made.pattern, 'postfix/smtpd');
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
        }
      }
    }),
    { numRuns: 3_000, examples: [['^\ue000a <HOST>', null]] },
  );
  expect(taken).toBeGreaterThan(0);
});
