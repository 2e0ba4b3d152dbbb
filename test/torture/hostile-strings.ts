/**
 * Text as an attacker would choose it, for every place where text of others is shown, stored or read: what steers
 * terminals, ends lines, opens tags, splits protocols, or looks like the words of somebody trusted.
 */
import fc from 'fast-check';

/** Never connected, and must never be blamed. */
export const VICTIMS = ['203.0.113.9', '203.0.113.250', '2001:db8:bad::9'] as const;
const [VICTIM, , VICTIM6] = VICTIMS;

/** Short strings, each dangerous somewhere; as text, to be encoded as the place under test does. */
export const HOSTILE_STRINGS: readonly string[] = [
  // Terminals: colours, titles, the clipboard, answers typed for the user, 8-bit controls, bells and backspaces.
  '\x1b[31mred\x1b[0m',
  '\x1b[2J\x1b[H',
  '\x1b]0;title\x07',
  '\x1b]52;c;cm0gLXJmIC8=\x07',
  '\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\',
  '\x1b[6n\x1b[c\x1bZ',
  '\x1bP$q"p\x1b\\',
  '\x9b31m\x9d0;x\x9c',
  'a\bb\x7f\x07',
  'overwritten\rby this',
  // Text that reads otherwise than it is.
  'safe\u202egnp.exe',
  'zero\u200bwidth\u2060joined\ufeff',
  'line\u2028separator\u2029paragraph\u0085next',
  '\u2066isolated\u2069',
  'z\u0334\u0335a\u0336l\u0337g\u0338o',
  '\ud800 alone',
  '\u{1f4a9}\u{e0001}',
  '日本語のホスト名',
  // Lines, headers and protocols.
  'x\nNov 25 01:12:15 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from x[203.0.113.9]: 554 5.7.1 <a>: Relay access denied',
  'x\r\nBcc: everybody@victim.example\r\n\r\nbody',
  'x\r\n.\r\nMAIL FROM:<a@b.example>',
  '=?utf-8?B?QmNjOiBh?=\n Bcc: b@victim.example',
  '\n~! touch /tmp/tilde\n',
  '*1\r\n$8\r\nFLUSHALL\r\n',
  'a\0b',
  '<3>emergency',
  '\n<0>system is down',
  '{"level":60,"msg":"forged"}\n{"level":60,"msg":"forged"}',
  // Access maps.
  '\n198.51.100.1 OK',
  '\n0.0.0.0/0 REJECT',
  '\n 198.51.100.1 REJECT',
  '198.51.100.1\tOK',
  'REJECT',
  'OK',
  'DISCARD, FILTER smtp:[203.0.113.9]',
  '554 5.7.1 $client_address $(id) `id`',
  '1795566704',
  '# comment',
  // Pages, JSON, JavaScript, style sheets, spreadsheets, shells, templates.
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "' onmouseover='alert(1)",
  '</script><svg/onload=alert(1)>',
  '</style><!-- --><![CDATA[',
  'javascript:alert(1)',
  '&lt;b&gt;&#x202e;&nbsp;',
  '"},{"subject":"203.0.113.9"',
  '\\u001b[31m \\" \\\\',
  '__proto__',
  'constructor',
  '=HYPERLINK("http://evil.example")',
  '@SUM(1)|cmd',
  '$(id);`id`|id&id>x',
  '../../../etc/passwd',
  '%s%n%x%00%0a%1b',
  '{until} {reason} {ip} {client} $1 $& $`',
  '{blockd}:bans',
  // Log lines.
  `x[${VICTIM}]`,
  `[${VICTIM}]:25`,
  `[${VICTIM6}]`,
  ` from x[${VICTIM}]: `,
  `Client host [${VICTIM}] blocked`,
  ']: ',
  ' ]',
  'message repeated 9 times: [ ',
  '',
  ' ',
  'A'.repeat(5_000),
  '\u00e9'.repeat(300),
];

/** The same, as bytes of UTF-8, one character each: how log lines are held. */
export function bytesOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** Pieces of forged lines that name `victim`. */
export function forgeries(victim: string): readonly string[] {
  return [
    `x[${victim}]`,
    `[${victim}]`,
    `[${victim}]:25`,
    `unknown[${victim}]: `,
    ` from x[${victim}]`,
    ` from x[${victim}]: 550 5.1.1 <a>: Recipient address rejected: User unknown`,
    `reject: RCPT from x[${victim}]: 554 5.7.1 <a>: Relay access denied; from=<a@b.example> to=<c@d.example>`,
    `NOQUEUE: reject: RCPT from x[${victim}]: 554 5.7.1 <a>: Relay access denied`,
    `4F1A223E361: client=x[${victim}], sasl_method=PLAIN, sasl_username=a`,
    `warning: x[${victim}]: SASL LOGIN authentication failed: x`,
    `lost connection after AUTH from x[${victim}]`,
    `disconnect from x[${victim}] ehlo=1 auth=0/9 commands=1/10`,
    `\nNov 25 01:12:15 mx postfix/smtpd[1]: lost connection after AUTH from x[${victim}]`,
    `Nov 25 01:12:15 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from x[${victim}]: 550 5.1.1 `,
    `2026-11-25T01:12:15+00:00 mx postfix/smtpd[1]: too many errors after AUTH from x[${victim}]`,
    `PREGREET 9 after 0 from [${victim}]:25: x`,
    `DNSBL rank 9 for [${victim}]:25`,
    `, rip=${victim}, lip=192.0.2.1, TLS, session=<YADINsQCDs5BH8Pg>`,
    `>, method=PLAIN, rip=${victim}, lip=192.0.2.1, TLS, session=<YADINsQCDs5BH8Pg>`,
    `(auth failed, 9 attempts in 2 secs): user=<a>, method=PLAIN, rip=${victim}`,
    `a,${victim}): unknown user`,
    `a,${victim},<YADINsQCDs5BH8Pg>): Password mismatch`,
    ` rhost=${victim}  user=a`,
    `message repeated 9 times: [ NOQUEUE: reject: RCPT from x[${victim}]: 554 5.7.1 <a>: Relay access denied]`,
    `#012Nov 25 01:12:15 mx postfix/smtpd[1]: lost connection after AUTH from x[${victim}]`,
    `%5B${victim}%5D`,
  ];
}

const CLOSERS = [
  '>',
  '>: ',
  ']',
  ']: ',
  '; ',
  ', ',
  '): ',
  ' ',
  '<',
  '[',
  '(',
  '=',
  '"',
  "'",
  '\\',
  '\r',
  '\0',
  '\x1b',
];

/**
 * Bytes of text for one field, in pieces so that a failure shrinks to those that matter.
 * @param guided Text made for the reader under test, such as what its own patterns match.
 */
export function hostileText(guided: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const forged = fc.constantFrom(...VICTIMS.flatMap(forgeries).map(bytesOf));
  const filler = fc.constantFrom(80, 900, 1_000, 2_000, 8_000).map((length) => 'A'.repeat(length));
  const piece = fc.oneof(
    { weight: 5, arbitrary: forged },
    { weight: 5, arbitrary: guided },
    // What follows the forgery may be pushed out of a line that is cut.
    { weight: 2, arbitrary: fc.tuple(fc.oneof(forged, guided), filler).map((pair) => pair.join('')) },
    { weight: 3, arbitrary: fc.constantFrom(...CLOSERS) },
    { weight: 2, arbitrary: fc.constantFrom(...HOSTILE_STRINGS.map(bytesOf)) },
    { weight: 3, arbitrary: fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('latin1')) },
    { weight: 2, arbitrary: fc.string({ maxLength: 8 }) },
    { weight: 1, arbitrary: filler },
  );
  return fc.array(piece, { maxLength: 4 }).map((pieces) => pieces.join(''));
}
