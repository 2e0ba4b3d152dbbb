/** Whatever a client writes into the log through Postfix and Dovecot, it speaks of that client or of nobody. */
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { parseAddress } from '../../src/domain/address.js';
import type { Match } from '../../src/domain/event.js';
import { LineClock } from '../../src/filter/clock.js';
import { Filter } from '../../src/filter/filter.js';
import { isPlain } from '../../src/filter/guard.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import { parseRulePattern } from '../../src/filter/rule.js';
import { byForm, chanceFor, repeatWith } from './form.js';
import { guidedText, messageFor } from './guided-text.js';
import { type Client, FORMS, type Form, raw, sanitized } from './hostile-grammar.js';
import { hostileText, VICTIMS } from './hostile-strings.js';

const PART = 'hostile-text';
const LINES = byForm(30_000, 1_000_000);
const LINES_A_CHUNK = 20;
const CHUNKS_AT_ONCE = 100;
const [VICTIM] = VICTIMS;

const rules = loadRules(packagedFilters(), null);
const filter = Filter.compile(rules);
const clock = new LineClock(Date.UTC(2026, 11, 1));
const seen = new Set<string>();

/** One line of a log and what its writer knows of it. */
interface Written {
  readonly form: string;
  readonly tells: boolean;
  readonly client: Client;
  readonly line: string;
}

const CLIENT_ADDRESSES = ['198.51.100.7', '198.51.100.77', '2001:db8:77::1', '2001:db8:77:0:1::'];
const client: fc.Arbitrary<Client> = fc.record({
  ip: fc.constantFrom(...CLIENT_ADDRESSES),
  host: fc.constantFrom(
    'unknown',
    'mail.good.example',
    `${VICTIM}.evil.example`,
    `ip-${VICTIM.replaceAll('.', '-')}.Evil.example`,
    'host_under.dyn.example',
    'xn--bcher-kva.example',
  ),
});

/** Rules whose address is found by what precedes it: behind it a client may write whatever he likes. */
const openEnded = rules.filter(({ pattern }) => isPlain(parseRulePattern(pattern, 'Blocked until {until}')));

const STAMPS = ['Nov 25 01:12:15', 'Nov  5 23:59:60', '2026-11-25T01:12:15.105618+00:00', '<22>Nov 25 01:12:15'];
/** A line may be cut where syslogs and Postfix's own log cut it, or not at all. */
const CUTS = [Number.POSITIVE_INFINITY, 1_019, 1_024, 2_000, 8_192];

function lines(chance: number): fc.Arbitrary<Omit<Written, 'line'> & { readonly parts: Parts }> {
  const text = hostileText(guidedText(rules, chance));
  const written = fc.tuple(fc.constantFrom(...FORMS), client, text, text, fc.boolean()).map(write);
  const garbled = fc.tuple(fc.constantFrom(...madeForOpenEnded(chance)), text).map(([made, behind]) => ({
    ...made,
    message: `${made.message}${behind.replaceAll('\n', ' ')}`,
  }));
  return fc
    .record({
      body: fc.oneof({ weight: 8, arbitrary: written }, { weight: 1, arbitrary: garbled }),
      stamp: fc.constantFrom(...STAMPS),
      repeated: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(99) }),
      cut: fc.constantFrom(...CUTS),
      end: fc.constantFrom('', '', '\r'),
    })
    .map(({ body: { form, tells, client: who, program, message }, ...rest }) => ({
      form,
      tells,
      client: who,
      parts: { program, message, ...rest },
    }));
}

/** Messages that such rules match, made from their patterns. */
function madeForOpenEnded(chance: number) {
  return openEnded.flatMap((rule) =>
    CLIENT_ADDRESSES.flatMap((ip) =>
      fc.sample(messageFor(rule, ip), { numRuns: 10, seed: chance }).map((message) => ({
        form: `${rule.name} and more`,
        tells: true,
        client: { ip, host: 'x' },
        program: rule.program[0] ?? '',
        message,
      })),
    ),
  );
}

interface Parts {
  readonly stamp: string;
  readonly program: string;
  readonly message: string;
  readonly repeated: number;
  readonly cut: number;
  readonly end: string;
}

function write([form, who, text, other, clean]: [Form, Client, string, string, boolean]) {
  const [program, message] = form.write(who, clean ? sanitized(text, other) : raw(text, other));
  return { form: `${form.name} (${clean ? 'sanitized' : 'raw'})`, tells: form.tells, client: who, program, message };
}

function lineOf({ stamp, program, message, repeated, cut, end }: Parts, process: number): string {
  const whole = repeated === 0 ? message : `message repeated ${repeated} times: [ ${message}]`;
  return `${stamp} mx ${program}[${process}]: ${whole}`.slice(0, cut) + end;
}

function judge(chunk: readonly Written[]): void {
  const found: Match[] = [];
  const count = filter.scan(chunk.map(({ line }) => `${line}\n`).join(''), clock, (match) => found.push(match));
  expect(count).toBe(chunk.length);
  for (const match of found) {
    const written = chunk[Number(/\[(\d+)\]$/.exec(match.process)?.[1])];
    if (written === undefined) throw new Error(`a match of no line that was written: ${JSON.stringify(match)}`);
    seen.add(match.rule);
    const { form, tells, client: who, line } = written;
    const wrong = (what: string) => new Error(`${form}: ${what}\nline: ${JSON.stringify(line)}`);
    if (!tells) throw wrong(`${match.rule} took it for something that ${match.ip} did`);
    if (match.ip !== parseAddress(who.ip)) throw wrong(`${match.rule} blamed ${match.ip} for what ${who.ip} did`);
    if (match.host !== null && match.host !== who.host.toLowerCase()) throw wrong(`took ${match.host} for its name`);
    if (!Number.isFinite(match.at)) throw wrong(`happened at ${match.at}`);
    if (!(match.points >= 0 && match.points <= 10_000)) throw wrong(`is worth ${match.points} points`);
    if (match.line.includes('\n')) throw wrong('keeps a line that is two');
  }
}

describe(`over ${LINES.toLocaleString('en')} lines`, () => {
  test('nobody but the true client is named, and nobody at all where nothing was done', {
    timeout: 1_800_000,
  }, async () => {
    const rounds = Math.ceil(LINES / (LINES_A_CHUNK * CHUNKS_AT_ONCE));
    const chunk = fc.array(lines(chanceFor(PART, 0).between(0, 2 ** 31 - 1)), {
      minLength: LINES_A_CHUNK,
      maxLength: LINES_A_CHUNK,
    });
    for (let round = 0; round < rounds; round++) {
      try {
        fc.assert(
          fc.property(chunk, (all) => judge(all.map((one, i) => ({ ...one, line: lineOf(one.parts, i) })))),
          { numRuns: CHUNKS_AT_ONCE, seed: chanceFor(PART, round + 1).between(0, 2 ** 31 - 1) },
        );
      } catch (error) {
        // fast-check's own message shows the whole chunk; its cause names the line.
        const { message, cause } = error instanceof Error ? error : { message: String(error), cause: null };
        throw new Error(`${cause instanceof Error ? cause.message : message}\n${repeatWith(PART)}`);
      }
      // The runner asks now and then whether this is still alive.
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  afterAll(() => {
    expect([...seen].sort(), `rules reached; ${repeatWith(PART)}`).toEqual(rules.map(({ name }) => name).sort());
  });
});

/**
 * Published ways to have a log watcher block somebody else, each as the same attack on the lines that are read here.
 * Sources: the CVE list (cve.org), and D. B. Cid, Attacking Log Analysis Tools (2007).
 */
describe('what fooled other log watchers', () => {
  const [TRUE, MATCHED_BY_NONE] = ['198.51.100.7', null];
  const smtpd = (message: string) => `Nov 25 01:12:15 mx postfix/smtpd[1]: ${message}`;
  const dovecot = (message: string) => `Nov 25 01:12:15 mx dovecot: ${message}`;
  const cases: readonly (readonly [cve: string, what: string, line: string, blamed: string | null])[] = [
    [
      'CVE-2006-6301 (DenyHosts), CVE-2006-6302 (fail2ban)',
      'a user name that holds the words of another line',
      smtpd(
        `warning: unknown[${TRUE}]: SASL LOGIN authentication failed: x, sasl_username=a from x[${VICTIM}]: SASL LOGIN authentication failed: x`,
      ),
      TRUE,
    ],
    [
      'CVE-2006-6301 (DenyHosts), CVE-2006-6302 (fail2ban)',
      'a user name that ends the field that it stands in',
      dovecot(
        `imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<a>, method=PLAIN, rip=${VICTIM}, lip=192.0.2.1, TLS>, method=PLAIN, rip=${TRUE}, lip=192.0.2.1, TLS, ${'session=<YADINsQCDs5BH8Pg>'}`,
      ),
      MATCHED_BY_NONE,
    ],
    [
      'CVE-2007-4321 (fail2ban), CVE-2007-4322 (BlockHosts), CVE-2007-4323 (DenyHosts)',
      'a greeting of the client, logged before anybody logs in',
      smtpd(
        `NOQUEUE: reject: RCPT from unknown[${TRUE}]: 504 5.5.2 <from.x[${VICTIM}]:>: Helo command rejected: need fully-qualified hostname; from=<> to=<a@b.example> proto=ESMTP helo=<from.x[${VICTIM}]:>`,
      ),
      TRUE,
    ],
    [
      'CVE-2007-4321 (fail2ban), CVE-2007-4322 (BlockHosts), CVE-2007-4323 (DenyHosts)',
      'words spoken before the greeting of the server',
      `Nov 25 01:12:15 mx postfix/postscreen[1]: PREGREET 99 after 0 from [${TRUE}]:4321: PREGREET 9 after 0 from [${VICTIM}]:25: EHLO x\\r\\n`,
      TRUE,
    ],
    [
      'CVE-2007-4321 (fail2ban), CVE-2007-4322 (BlockHosts), CVE-2007-4323 (DenyHosts)',
      'a command that is a whole log line',
      smtpd(
        `warning: non-SMTP command from unknown[${TRUE}]: Nov 25 01:12:15 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from x[${VICTIM}]: 554 5.7.1 <a>: Relay access denied`,
      ),
      TRUE,
    ],
    [
      'CVE-2007-5715 (DenyHosts)',
      'a refusal whose wording the pattern does not expect, and so lets the attacker go',
      smtpd(
        `NOQUEUE: reject: RCPT from unknown[${TRUE}]: 554 5.7.1 <a@b.example>: Sender address rejected: not listed in AllowUsers; from=<a@b.example> to=<c@d.example> proto=ESMTP helo=<x>`,
      ),
      TRUE,
    ],
    [
      'CVE-2009-0362 (fail2ban, wuftpd)',
      'a reverse name that holds an address',
      smtpd(
        `NOQUEUE: reject: RCPT from ${VICTIM}.evil.example[${TRUE}]: 554 5.7.1 <a@b.example>: Relay access denied; from=<> to=<a@b.example> proto=ESMTP helo=<x>`,
      ),
      TRUE,
    ],
    [
      'CVE-2009-0362 (fail2ban, wuftpd)',
      'a remote host that PAM was told of',
      `Nov 25 01:12:15 mx auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser=a rhost=${VICTIM} rhost=${TRUE}  user=a`,
      MATCHED_BY_NONE,
    ],
    [
      'CVE-2013-2178 (fail2ban, apache)',
      'a line in which the first thing that looks like the client is not him',
      `Nov 25 01:12:15 mx postfix/cleanup[1]: 4F1A223E361: reject: header Subject: [client ${VICTIM}] milter-reject: END-OF-MESSAGE from x[${VICTIM}]: 5.7.1 no from unknown[${TRUE}]; from=<a@b.example> to=<c@d.example> proto=ESMTP helo=<x>: 5.7.1 no`,
      MATCHED_BY_NONE,
    ],
    [
      'CVE-2013-7176 (fail2ban, postfix)',
      'a recipient that is the rest of a reject line',
      smtpd(
        `NOQUEUE: reject: RCPT from unknown[${TRUE}]: 550 5.1.1 <reject: RCPT from x[${VICTIM}]: 554 5.7.1 <a@b.example>: Relay access denied@c.example>: Recipient address rejected: User unknown in local recipient table; from=<> to=<"reject: RCPT from x[${VICTIM}]: 554 5.7.1 <a@b.example>: Relay access denied"@c.example> proto=ESMTP helo=<x>`,
      ),
      TRUE,
    ],
    [
      'CVE-2013-7176 (fail2ban, postfix)',
      'a sender of accepted mail, in the line of another daemon',
      `Nov 25 01:12:15 mx postfix/qmgr[1]: 4F1A223E361: from=<"reject: RCPT from x[${VICTIM}]: 554 5.7.1 <a>: Relay access denied"@c.example>, size=1, nrcpt=1 (queue active)`,
      MATCHED_BY_NONE,
    ],
    [
      'CVE-2013-7177 (fail2ban, cyrus-imap)',
      'a user name of IMAP that looks like host and address',
      dovecot(
        `auth: passwd-file(badlogin: x[${VICTIM}],${VICTIM},<x>): unknown user,${TRUE},<YADINsQCDs5BH8Pg>): unknown user`,
      ),
      MATCHED_BY_NONE,
    ],
    [
      'CVE-2013-7177 (fail2ban, cyrus-imap)',
      'a mechanism that looks like host and address',
      smtpd(`warning: unknown[${TRUE}]: SASL x[${VICTIM}]:SASL authentication failed: no mechanism available`),
      TRUE,
    ],
    [
      'CVE-2013-6890 (DenyHosts)',
      'a user named like a message that ends in an address',
      smtpd(`4F1A223E361: client=unknown[${TRUE}], sasl_method=PLAIN, sasl_username=Invalid user root from ${VICTIM}`),
      TRUE,
    ],
    [
      'CVE-2013-6890 (DenyHosts)',
      'a message id of stored mail that looks like a failed login',
      dovecot(
        `lmtp(bob)<17><YADINsQCDs5BH8Pg>: sieve: msgid=<a,${VICTIM}): unknown user>: stored mail into mailbox 'INBOX'`,
      ),
      MATCHED_BY_NONE,
    ],
  ];

  test.each(cases)('%s: %s', (_cve, _what, line, blamed) => {
    expect(filter.match(line, clock)?.ip ?? null).toBe(blamed);
  });
});
