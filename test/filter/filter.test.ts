import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { UsageError } from '../../src/domain/errors.js';
import type { Match } from '../../src/domain/event.js';
import { LineClock } from '../../src/filter/clock.js';
import { Filter } from '../../src/filter/filter.js';
import { loadRules, packagedFilters, parseRules } from '../../src/filter/load.js';
import { VICTIM } from './corpus.js';

const rules = loadRules(packagedFilters(), null);
const filter = Filter.compile(rules);
const clock = () => new LineClock(Date.UTC(2026, 10, 25, 12));
const match = (line: string): Match | null => filter.match(line, clock());
const smtpd = (message: string): string => `Nov 25 01:12:15 mx postfix/smtpd[27409]: ${message}`;
const UNKNOWN_USER =
  'NOQUEUE: reject: RCPT from Mail.Remote.Example[198.51.100.3]: 550 5.1.1 <a@lab.example>: Recipient address rejected: User unknown; from=<> to=<a@lab.example> proto=ESMTP helo=<x>';

describe('a match', () => {
  test('tells what the line says', () => {
    expect(match(smtpd(UNKNOWN_USER))).toEqual({
      kind: 'offense',
      rule: 'postfix/user-unknown',
      ip: '198.51.100.3',
      at: new Date(2026, 10, 25, 1, 12, 15).getTime(),
      host: 'mail.remote.example',
      points: 1,
      line: smtpd(UNKNOWN_USER),
      process: 'postfix/smtpd[27409]',
      echo: false,
      closes: false,
    });
  });

  test('has no host where Postfix knows none', () => {
    expect(match(smtpd('lost connection after AUTH from unknown[198.51.100.3]'))?.host).toBeNull();
    expect(match('Nov 25 01:12:15 mx postfix/postscreen[9]: DNSBL rank 4 for [198.51.100.3]:1234')?.host).toBeNull();
  });

  test('has one spelling of an address', () => {
    const from = (address: string) => match(smtpd(`lost connection after AUTH from unknown[${address}]`))?.ip;
    expect(from('2001:DB8:0:0::1')).toBe('2001:db8::1');
    expect(from('::ffff:198.51.100.3')).toBe('198.51.100.3');
    expect(from('198.51.100.300')).toBeUndefined();
    expect(from('198.51.100')).toBeUndefined();
    expect(from('fe80')).toBeUndefined();
    expect(from('unknown')).toBeUndefined();
  });

  test('takes the whole address from a line of any wording, and no more', () => {
    const [custom] = parseRules(
      `[[rule]]\nname = "x/y"\nkind = "offense"\npoints = 1\nprogram = "x"\ndescription = "A test."\npattern = 'bad {ip}[:.]?(?: again)?\\d?'\n`,
      'x.toml',
    );
    const one = Filter.compile(custom === undefined ? [] : [custom]);
    const from = (text: string) => one.match(`Nov 25 01:12:15 mx x[1]: bad ${text}`, clock())?.ip;
    expect(from('198.51.100.77')).toBe('198.51.100.77');
    expect(from('198.51.100.77: again')).toBe('198.51.100.77');
    expect(from('198.51.100.77. again')).toBe('198.51.100.77');
    expect(from('2001:db8::77: again')).toBe('2001:db8::77');
    expect(from('::ffff:198.51.100.77')).toBe('198.51.100.77');
    expect(from('198.51.100.777')).toBeUndefined();
    expect(from('198.51.100.77.1')).toBeUndefined();
    expect(from('198.51.100')).toBeUndefined();
    expect(from('2001:db8::77777')).toBeUndefined();
    expect(from('1:2:3:4:5:6:7:8:9')).toBeUndefined();
  });

  test.each([
    ['lost connection after AUTH', 'postfix/lost-after-auth'],
    ['lost connection after CONNECT', 'postfix/lost-after-connect'],
    ['lost connection after RCPT', 'postfix/lost-connection'],
    ['timeout after EHLO', 'postfix/timeout'],
    ['too many errors after RCPT', 'postfix/too-many-errors'],
    ['lost connection after DATA', undefined],
    ['lost connection after DATA (12 bytes)', undefined],
    ['timeout after BDAT (12 bytes)', undefined],
    ['timeout after END-OF-MESSAGE', undefined],
  ])('of "%s" is the same with a queue id, without one, and from before they were logged', (words, rule) => {
    for (const queue of ['', 'NOQUEUE: ', '4XyZ0q1Wz2zB5: ', '645A323E361: '])
      expect([queue, match(smtpd(`${queue}${words} from unknown[198.51.100.3]`))?.rule]).toEqual([queue, rule]);
    for (const queue of [': ', 'NOQUEUE: NOQUEUE: ', 'x y: ', '<a>: '])
      expect([queue, match(smtpd(`${queue}${words} from unknown[198.51.100.3]`))]).toEqual([queue, null]);
  });

  test('counts what the line stands for, within limits', () => {
    const points = (message: string) => match(smtpd(message))?.points;
    const failed = 'warning: unknown[198.51.100.20]: SASL LOGIN authentication failed: UGFzc3dvcmQ6';
    expect(points(`message repeated 2 times: [ ${failed}]`)).toBe(3);
    expect(points(`message repeated 4 times: [${failed} ]`)).toBe(6);
    expect(points(`message repeated 999999 times: [ ${failed}]`)).toBe(150);
    expect(points(`message repeated x times: [ ${failed}]`)).toBeUndefined();
    expect(points('disconnect from unknown[198.51.100.20] ehlo=1 auth=0/3 commands=1/4')).toBe(1.5);
    expect(points('disconnect from unknown[198.51.100.20] ehlo=1 auth=0/500 commands=1/501')).toBe(5);
  });

  test('of a rule that closes says so', () => {
    expect(match(smtpd('disconnect from unknown[198.51.100.20] ehlo=1 auth=0/1 quit=1 commands=2/3'))).toMatchObject({
      kind: 'offense',
      echo: true,
      closes: true,
    });
    expect(match(smtpd('disconnect from unknown[198.51.100.20] ehlo=1 rcpt=0/1 commands=1/2'))).toMatchObject({
      kind: 'closed',
      closes: true,
    });
  });
});

describe('a header', () => {
  const message = 'lost connection after AUTH from unknown[198.51.100.3]';
  test.each([
    'postfix/smtpd[1]',
    'postfix/submission/smtpd[27409]',
    'postfix/smtps/smtpd[27409]',
    'postfix-in/smtpd[27409]',
    'postfix-out/submission/smtpd[27409]',
    'postfix/smtpd',
  ])('of %s is one of the SMTP server', (process) => {
    expect(match(`Nov 25 01:12:15 mx ${process}: ${message}`)?.process).toBe(process);
  });

  test.each([
    `<22>Nov 25 01:12:15 mx postfix/smtpd[1]: ${message}`,
    `\0\0\0Nov 25 01:12:15 mx postfix/smtpd[1]: ${message}`,
    `Nov 25 01:12:15 mx postfix/smtpd[1]: ${message}\r`,
    `Nov 25 01:12:15 mx postfix/smtpd[1]: ${message}\r\n`,
    `2026-11-25T01:12:15.105618+00:00 mx.lab.example postfix/smtpd[1]: ${message}`,
    `2026-11-25 01:12:15 mx postfix/smtpd[1]: ${message}`,
    `Nov 5 01:12:15 mx postfix/smtpd[1]: ${message}`,
  ])('may be written as %j', (line) => {
    expect(match(line)?.ip).toBe('198.51.100.3');
  });

  test.each([
    message,
    `postfix/smtpd[1]: ${message}`,
    `Nov 25 01:12:15 postfix/smtpd[1]: ${message}`,
    `Nov 25 01:12:15  postfix/smtpd[1]: ${message}`,
    `Feb 30 01:12:15 mx postfix/smtpd[1]: ${message}`,
    `x Nov 25 01:12:15 mx postfix/smtpd[1]: ${message}`,
    `Nov 25 01:12:15 mx postfix/smtpd[x]: ${message}`,
    `Nov 25 01:12:15 mx postfix/smtpd[]: ${message}`,
    `Nov 25 01:12:15 mx postfix/smtpd[1] ${message}`,
    `Nov 25 01:12:15 mx postfix/smtpd[1]:${message}`,
    `Nov 25 01:12:15 mx postfix/qmgr[1]: ${message}`,
    `Nov 25 01:12:15 mx notpostfix/smtpd[1]: ${message}`,
    `Nov 25 01:12:15 mx postfix/smtpd/evil[1]: ${message}`,
    `Nov 25 01:12:15 mx sshd[1]: Nov 25 01:12:15 mx postfix/smtpd[1]: ${message}`,
    `Nov 25 01:12:15 mx postfix/smtpd[1]: Nov 25 01:12:15 mx postfix/smtpd[1]: ${message}`,
    `Nov 25 01:12:15 mx postfix/smtpd[1]:  ${message}`,
    '',
    'Nov 25 01:12:15',
    'Nov 25 01:12:15 mx postfix/smtpd[1]: ',
  ])('may not be written as %j', (line) => {
    expect(match(line)).toBeNull();
  });
});

describe("a line of Dovecot's own log file, which names neither host nor program", () => {
  const failed =
    'pop3-login: Info: Aborted login (auth failed, 2 attempts in 9 secs): user=<info>, method=PLAIN, rip=198.51.100.3, lip=192.0.2.1';

  test.each(['Nov 25 01:12:15', 'Nov 5 01:12:15', '2026-11-25 01:12:15', '2026-11-25T01:12:15.105618+00:00'])(
    'is read behind "%s"',
    (stamp) => {
      expect(match(`${stamp} ${failed}`)).toMatchObject({
        rule: 'dovecot/auth-failed',
        ip: '198.51.100.3',
        points: 2,
        process: 'dovecot',
      });
      expect(
        match(`${stamp} auth-worker(57): Info: sql(info,198.51.100.3,<YADINsQCDs5BH8Pg>): unknown user`)?.rule,
      ).toBe('dovecot/password-mismatch');
      expect(
        match(`${stamp} imap-login: Info: Login: user=<bob>, method=PLAIN, rip=198.51.100.4, lip=192.0.2.1`)?.kind,
      ).toBe('authenticated');
    },
  );

  test('is not taken for one of Postfix', () => {
    expect(match('Nov 25 01:12:15 postfix/smtpd[1]: lost connection after AUTH from unknown[198.51.100.3]')).toBeNull();
    expect(match('Nov 25 01:12:15 lost connection after AUTH from unknown[198.51.100.3]')).toBeNull();
  });

  test.each(['Nov 25 01:12:15', 'Nov 25 01:12:15 :', 'Nov 25 01:12:15 : ', 'Nov 25 01:12:15 imap-login:'])(
    'may be cut off as in "%s"',
    (line) => {
      expect(match(line)).toBeNull();
    },
  );
});

describe("a client's text", () => {
  /** Text as Postfix lets through: printable, with the fakes that matter. */
  const hostile = fc
    .array(
      fc.oneof(
        fc.constantFrom(
          `x[${VICTIM}]`,
          `[${VICTIM}]:25`,
          ` from x[${VICTIM}]: 550 5.1.1 `,
          `NOQUEUE: reject: RCPT from x[${VICTIM}]: 554 5.7.1 <a>: Relay access denied`,
          `warning: x[${VICTIM}]: SASL LOGIN authentication failed: x`,
          `Nov 25 01:12:15 mx postfix/smtpd[1]: lost connection after AUTH from x[${VICTIM}]`,
          `>, method=PLAIN, rip=${VICTIM}, lip=192.0.2.1, TLS, session=<YADINsQCDs5BH8Pg>`,
          `a,${VICTIM},<YADINsQCDs5BH8Pg>): unknown user`,
          ` rhost=${VICTIM}`,
          'message repeated 9 times: [ ',
          ']',
          '>: ',
          '; ',
          ', ',
        ),
        fc.string({ unit: 'grapheme-ascii', maxLength: 12 }),
      ),
      { maxLength: 6 },
    )
    .map((parts) => parts.join(''));
  const hostName = fc.constantFrom(
    'unknown',
    'a.example',
    `${VICTIM}.evil.example`,
    `ip-${VICTIM.replaceAll('.', '-')}.example`,
  );

  const truth = '198.51.100.77';
  const lines: Record<string, (text: string, host: string) => string> = {
    recipient: (text, host) =>
      smtpd(
        `NOQUEUE: reject: RCPT from ${host}[${truth}]: 550 5.1.1 <${text}>: Recipient address rejected: User unknown; from=<${text}> to=<${text}> proto=ESMTP helo=<${text}>`,
      ),
    'HELO name': (text, host) =>
      smtpd(
        `NOQUEUE: reject: RCPT from ${host}[${truth}]: 504 5.5.2 <${text}>: Helo command rejected: need fully-qualified hostname; from=<> to=<a@b.example> proto=ESMTP helo=<${text}>`,
      ),
    'temporary reject': (text, host) =>
      smtpd(
        `NOQUEUE: reject: RCPT from ${host}[${truth}]: 450 4.1.8 <${text}>: Sender address rejected: Domain not found; from=<${text}> to=<a@b.example> proto=ESMTP helo=<x>`,
      ),
    'block list text': (text, host) =>
      smtpd(
        `NOQUEUE: reject: RCPT from ${host}[${truth}]: 554 5.7.1 Service unavailable; Client host [${truth}] blocked using bl.example; ${text}; from=<> to=<a@b.example> proto=ESMTP helo=<x>`,
      ),
    'SASL user': (text, host) =>
      smtpd(
        `warning: ${host}[${truth}]: SASL PLAIN authentication failed: authentication failure, sasl_username=${text}`,
      ),
    'SASL mechanism': (text, host) =>
      smtpd(`warning: ${host}[${truth}]: SASL ${text.replaceAll(' ', '')} authentication failed: x`),
    'non-SMTP command': (text, host) => smtpd(`warning: non-SMTP command from ${host}[${truth}]: ${text}`),
    'pipelined command': (text, host) =>
      smtpd(`improper command pipelining after DATA from ${host}[${truth}]: ${text}`),
    'login name': (text, host) =>
      smtpd(`4F1A223E361: client=${host}[${truth}], sasl_method=PLAIN, sasl_username=${text}`),
    header: (text, host) =>
      `Nov 25 01:12:15 mx postfix/cleanup[2]: 4F1A223E361: reject: header Subject: ${text} from ${host}[${truth}]; from=<${text}> to=<a@b.example> proto=ESMTP helo=<x>: 5.7.1 no`,
    'message id': (text) => `Nov 25 01:12:15 mx postfix/cleanup[2]: 4F1A223E361: message-id=<${text}>`,
    'milter reply': (text, host) =>
      `Nov 25 01:12:15 mx postfix/cleanup[2]: 4F1A223E361: milter-reject: END-OF-MESSAGE from ${host}[${truth}]: 5.7.1 ${text}; from=<${text}> to=<a@b.example> proto=ESMTP helo=<x>`,
    sender: (text) => `Nov 25 01:12:15 mx postfix/qmgr[2]: 4F1A223E361: from=<${text}>, size=1, nrcpt=1 (queue active)`,
    'reply of another server': (text) =>
      `Nov 25 01:12:15 mx postfix/smtp[2]: 4F1A223E361: to=<a@b.example>, relay=x[192.0.2.4]:25, status=bounced (host x[192.0.2.4] said: ${text})`,
    'early talk': (text) =>
      `Nov 25 01:12:15 mx postfix/postscreen[3]: PREGREET 20 after 0 from [${truth}]:1234: ${text}`,
    'postscreen command': (text) =>
      `Nov 25 01:12:15 mx postfix/postscreen[3]: NON-SMTP COMMAND from [${truth}]:1234 after CONNECT: ${text}`,
    'postscreen recipient': (text) =>
      `Nov 25 01:12:15 mx postfix/postscreen[3]: NOQUEUE: reject: RCPT from [${truth}]:1234: 550 5.5.1 Protocol error; from=<${text}>, to=<${text}>, proto=ESMTP, helo=<${text}>`,
    'IMAP user': (text) =>
      `Nov 25 01:12:15 mx dovecot: imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<${text}>, method=PLAIN, rip=${truth}, lip=192.0.2.1, TLS, session=<YADINsQCDs5BH8Pg>`,
    'IMAP user who logged in': (text) =>
      `Nov 25 01:12:15 mx dovecot: imap-login: Login: user=<${text}>, method=PLAIN, rip=${truth}, lip=192.0.2.1, mpid=7, TLS, session=<YADINsQCDs5BH8Pg>`,
    'user of the auth service': (text) =>
      `Nov 25 01:12:15 mx dovecot: auth: passwd-file(${text},${truth},<YADINsQCDs5BH8Pg>): unknown user`,
    'user of the auth service of Dovecot 2.4': (text) =>
      `Nov 25 01:12:15 mx dovecot: auth(${text},${truth},sasl:plain)<YADINsQCDs5BH8Pg>: sql: unknown user`,
    "user in Dovecot's own log file": (text) =>
      `Nov 25 01:12:15 imap-login: Info: Login: user=<${text}>, method=PLAIN, rip=${truth}, lip=192.0.2.1`,
    'BDAT command': (text, host) =>
      smtpd(`warning: NOQUEUE: malformed BDAT command syntax from ${host}[${truth}]: ${text}`),
    'login name behind a reject': (text, host) =>
      smtpd(
        `NOQUEUE: reject: RCPT from ${host}[${truth}]: 554 5.7.1 <a@b.example>: Relay access denied; from=<> to=<a@b.example> proto=ESMTP helo=<x> sasl_method=PLAIN sasl_username=${text}`,
      ),
    'password that is logged': (text) =>
      `Nov 25 01:12:15 mx dovecot: auth: passwd-file(bob,${truth},<YADINsQCDs5BH8Pg>): Password mismatch (given password: ${text})`,
    'PAM user': (text) =>
      `Nov 25 01:12:15 mx auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser=${text} rhost=${truth}  user=${text}`,
    'web server log': (text) => `Nov 25 01:12:15 mx nginx: ${text}`,
  };

  test.each(Object.keys(lines))('as %s never blames another address', (place) => {
    fc.assert(
      fc.property(hostile, hostName, (text, host) => {
        const found = match(lines[place]?.(text, host) ?? '');
        expect([undefined, truth]).toContain(found?.ip);
      }),
      { numRuns: 300 },
    );
  });

  const alwaysSeen = [
    'recipient',
    'HELO name',
    'block list text',
    'SASL user',
    'non-SMTP command',
    'pipelined command',
    'BDAT command',
    'login name behind a reject',
    'milter reply',
    'early talk',
    'postscreen command',
    'postscreen recipient',
  ];
  test.each(alwaysSeen)('as %s hides no permanent reject', (place) => {
    fc.assert(
      fc.property(hostile, hostName, (text, host) => {
        expect(match(lines[place]?.(text, host) ?? '')).toMatchObject({ kind: 'offense', ip: truth });
      }),
      { numRuns: 200 },
    );
  });

  test('behind a word that is no queue id is no reject', () => {
    expect(match(smtpd(`warning: reject: ETRN from x[${VICTIM}]: 554 5.7.1 <a>: Relay access denied`))).toBeNull();
    expect(match(smtpd(`fatal: client=x[${VICTIM}]`))).toBeNull();
    for (const id of ['NOQUEUE', '4F1A223E361', '4XyZ0q1Wz2zB5', '3Pt2mN2VXxznjll'])
      expect(match(smtpd(`${id}: reject: RCPT from x[198.51.100.3]: 554 5.7.1 <a>: Relay access denied`))?.rule).toBe(
        'postfix/relay-denied',
      );
  });

  test('so long that a syslog cuts the true address off names nobody', () => {
    const filler = 'A'.repeat(2_000);
    const names = [
      `Nov 25 01:12:15 mx dovecot: imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<x>, method=PLAIN, rip=${VICTIM}, lip=192.0.2.1, TLS ${filler}`,
      `Nov 25 01:12:15 mx dovecot: auth: passwd-file(a,${VICTIM}): unknown user${filler}`,
      `Nov 25 01:12:15 mx auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser=x rhost=${VICTIM}  user=${filler}`,
    ];
    for (const length of [1_019, 1_024, 2_048]) {
      for (const line of names) expect(match(line.slice(0, length))).toBeNull();
    }
  });

  test('of any bytes at all makes nothing throw', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const bytes = Buffer.from(text, 'utf8').toString('latin1');
        expect(() => filter.scan(`${bytes}\n${smtpd(bytes)}\n`, clock(), () => {})).not.toThrow();
      }),
    );
  });
});

describe('scan', () => {
  test('finds in a chunk what match finds in its lines, and counts the lines', () => {
    const some = [
      smtpd(UNKNOWN_USER),
      smtpd('connect from x[198.51.100.3]'),
      '',
      smtpd('4F1A223E361: client=x[198.51.100.4]'),
      smtpd('lost connection after AUTH from x[198.51.100.5]'),
    ];
    const found: string[] = [];
    expect(filter.scan(`${some.join('\n')}\n`, clock(), ({ ip }) => found.push(ip))).toBe(5);
    expect(found).toEqual(['198.51.100.3', '198.51.100.4', '198.51.100.5']);
    expect(filter.scan('', clock(), () => {})).toBe(0);
  });

  test('never reads on into the next line', () => {
    const cut = smtpd('NOQUEUE: reject: RCPT from x[198.51.100.3]: 550 5.1.1 <a');
    const next = smtpd('b>: Recipient address rejected: User unknown');
    const found: Match[] = [];
    filter.scan(`${cut}\n${next}\n`, clock(), (each) => found.push(each));
    expect(found.map(({ rule, line }) => [rule, line])).toEqual([['postfix/rejected', cut]]);
  });

  test('leaves matches that do not hold their chunk in memory', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const kept: Match[] = [];
    collect();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 60; i++) {
      const chunk = Buffer.from(
        `${smtpd(`NOQUEUE: reject: RCPT from a-rather-long-name.of-a-host.example[198.51.100.${i}]: 550 5.1.1 <a>: Recipient address rejected: User unknown`)}\n${`${smtpd('connect from x')}\n`.repeat(10_000)}`,
      );
      filter.scan(chunk.toString('latin1'), clock(), (each) => kept.push(each));
    }
    collect();
    expect(kept.length).toBe(60);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(6 * 2 ** 20);
  });
});

describe('points from the config', () => {
  test('replace those of the rule', () => {
    expect(
      Filter.compile(rules, { points: { 'postfix/user-unknown': 2.5 } }).match(smtpd(UNKNOWN_USER), clock())?.points,
    ).toBe(2.5);
  });

  test('of 0 turn the rule off, and give its lines to no other rule', () => {
    const off = Filter.compile(rules, {
      points: { 'postfix/user-unknown': 0, 'postfix/accepted': 0, 'postfix/auth-refused': 0 },
    });
    expect(off.match(smtpd(UNKNOWN_USER), clock())).toBeNull();
    expect(off.match(smtpd('4F1A223E361: client=x[198.51.100.4]'), clock())).toBeNull();
  });

  test('of 0 leave a rule that closes a session that much', () => {
    const off = Filter.compile(rules, { points: { 'postfix/auth-refused': 0 } });
    expect(
      off.match(smtpd('disconnect from unknown[198.51.100.20] ehlo=1 auth=0/1 quit=1 commands=2/3'), clock()),
    ).toMatchObject({ kind: 'closed', closes: true });
  });

  test('for a rule that there is not are refused, with what may have been meant', () => {
    const compile = () => Filter.compile(rules, { points: { 'postfix/user-unkown': 2 } });
    expect(compile).toThrow(UsageError);
    expect(compile).toThrow(/\[points\] "postfix\/user-unkown".*"postfix\/user-unknown"/);
  });
});

describe('our own refusals', () => {
  const refusal = (text: string) =>
    smtpd(
      `NOQUEUE: reject: RCPT from x.example[198.51.100.3]: 554 5.7.1 <x.example[198.51.100.3]>: Client host rejected: ${text}; from=<> to=<a@b.example> proto=ESMTP helo=<x>`,
    );

  test('are told from other rejections of the client by the time in the reply', () => {
    expect(match(refusal('Blocked until 2026-05-11T04:00Z after repeated rejects'))?.kind).toBe('refused');
    expect(match(refusal('Blocked until further notice'))?.kind).toBe('offense');
  });

  test('are recognised whatever the rest of the reply is, so that bans from before a change of its words are, too', () => {
    const reworded = Filter.compile(rules, { reply: 'Blocked until {until} ({reason}), ask postmaster about {ip}' });
    expect(
      reworded.match(refusal('Blocked until 2026-05-11T04:00Z (probe), ask postmaster about 198.51.100.3'), clock())
        ?.kind,
    ).toBe('refused');
    expect(reworded.match(refusal('Blocked until 2026-05-11T04:00Z after repeated rejects'), clock())?.kind).toBe(
      'refused',
    );
  });

  test('are taken literally', () => {
    const odd = Filter.compile(rules, { reply: 'Blocked (for now?) until {until}' });
    expect(odd.match(refusal('Blocked (for now?) until 2026-05-11T04:00Z'), clock())?.kind).toBe('refused');
    expect(odd.match(refusal('Blocked for no until 2026-05-11T04:00Z'), clock())?.kind).toBe('offense');
  });
});

describe("a rule of the admin's own for one service", () => {
  const own = parseRules(
    `[[rule]]
name = "local/probe"
kind = "offense"
points = 2
program = "postfix/submission/smtpd"
description = "Nobody decent writes to our old web user."
pattern = 'NOQUEUE: reject: RCPT from {client}: 550 5\\.1\\.1 <wordpress@lab\\.example>: '
`,
    'local.toml',
  );
  const extended = Filter.compile([...own, ...rules]);
  const said = (service: string, message: string) =>
    extended.match(`Nov 25 01:12:15 mx ${service}[27409]: ${message}`, clock())?.rule ?? null;
  const probe = UNKNOWN_USER.replace('<a@lab.example>', '<wordpress@lab.example>');

  test('is tried there, and hides none of the packaged ones', () => {
    expect(said('postfix/submission/smtpd', probe)).toBe('local/probe');
    expect(said('postfix/smtpd', probe)).toBe('postfix/user-unknown');
    for (const service of ['postfix/submission/smtpd', 'postfix/smtpd']) {
      expect(said(service, UNKNOWN_USER)).toBe('postfix/user-unknown');
      expect(said(service, '4FDC61C4FF: client=unknown[198.51.100.3], sasl_method=PLAIN, sasl_username=u')).toBe(
        'postfix/login',
      );
    }
  });
});
