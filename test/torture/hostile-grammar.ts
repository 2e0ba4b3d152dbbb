/**
 * What Postfix, postscreen, Dovecot and their neighbours log, with the client's text in every field that a client
 * chooses, and what becomes of that text on its way into the log.
 */

/** Who really caused a line, as its writer knows him. */
export interface Client {
  readonly ip: string;
  /** The name that Postfix verified, or `unknown`. */
  readonly host: string;
}

/** The client's text in the kinds of fields that lines have. */
export interface Fields {
  /** Sender, recipient, message id, certificate name: printable, whatever the quotes around it allow. */
  readonly address: string;
  readonly other: string;
  readonly helo: string;
  /** Free text behind everything else: replies of milters and block lists, SASL errors, header lines. */
  readonly text: string;
  /** A command or early talk, escaped. */
  readonly command: string;
  readonly mechanism: string;
  readonly user: string;
  readonly domain: string;
}

export interface Form {
  readonly name: string;
  /** Whether the line tells of something that the client did; all others say nothing of anybody, whatever they hold. */
  readonly tells: boolean;
  write(client: Client, fields: Fields): readonly [program: string, message: string];
}

/** As the real writers log it: Postfix by printable(3), neuter(3) and escape(3), Dovecot by str_sanitize(). */
export function sanitized(text: string, other: string): Fields {
  const printed = printable(text);
  return {
    address: printed.slice(0, 320),
    other: printable(other).slice(0, 320),
    helo: printed.replace(/[ <>()\\";@]/g, '?').slice(0, 255),
    text: printed,
    command: escaped(other).slice(0, 400),
    mechanism: printed.replaceAll(' ', '').slice(0, 100),
    user: printed.slice(0, 80),
    domain: `a${text.replace(/[^\w.-]/g, '').slice(0, 99)}`,
  };
}

/** As nobody should log it: byte by byte. Only the newline is gone, since no writer ends a line in its middle. */
export function raw(text: string, other: string): Fields {
  const [one, two] = [text, other].map((each) => each.replaceAll('\n', ' ')) as [string, string];
  return { address: one, other: two, helo: two, text: one, command: two, mechanism: one, user: one, domain: one };
}

function printable(text: string): string {
  return text.replace(/[\0-\x1f\x7f]/g, '?');
}

function escaped(text: string): string {
  return text.replace(/[\0-\x1f\x7f-\xff\\]/g, (char) => ESCAPES[char] ?? `\\${char.charCodeAt(0).toString(8)}`);
}

const ESCAPES: Record<string, string | undefined> = {
  '\r': '\\r',
  '\n': '\\n',
  '\t': '\\t',
  '\b': '\\b',
  '\\': '\\\\',
};

const SESSION = 'session=<YADINsQCDs5BH8Pg>';

type Message = (client: Client, fields: Fields) => string;

function forms(program: string, tells: boolean, messages: Record<string, Message>): Form[] {
  return Object.entries(messages).map(([name, message]) => ({
    name: `${program}: ${name}`,
    tells,
    write: (client, fields) => [program, message(client, fields)],
  }));
}

/** `NOQUEUE: reject: RCPT from HOST[IP]: REPLY; from=<…> to=<…> proto=ESMTP helo=<…>`, for each reply. */
function rejects(program: string, tells: boolean, replies: Record<string, Message>, verb = 'reject: RCPT'): Form[] {
  const messages = Object.entries(replies).map(([name, reply]): [string, Message] => [
    name,
    (c, f) =>
      `NOQUEUE: ${verb} from ${c.host}[${c.ip}]: ${reply(c, f)}; from=<${f.other}> to=<${f.address}> proto=ESMTP helo=<${f.helo}>`,
  ]);
  return forms(program, tells, Object.fromEntries(messages));
}

export const FORMS: readonly Form[] = [
  ...rejects('postfix/smtpd', true, {
    'our own ban': (c) =>
      `554 5.7.1 <${c.host}[${c.ip}]>: Client host rejected: Blocked until 2026-05-11T04:00Z after repeated rejects`,
    'unknown user': (_, f) => `550 5.1.1 <${f.address}>: Recipient address rejected: User unknown in local table`,
    'unknown user, for now': (_, f) => `450 4.1.1 <${f.address}>: Recipient address rejected: User unknown`,
    'unverified recipient': (_, f) =>
      `550 5.1.1 <${f.address}>: Recipient address rejected: undeliverable address: host mx.example[192.0.2.4] said: ${f.text}`,
    relay: (_, f) => `554 5.7.1 <${f.address}>: Relay access denied`,
    'sender without domain': (_, f) => `450 4.1.8 <${f.other}>: Sender address rejected: Domain not found`,
    'sender rejected': (_, f) => `554 5.7.1 <${f.other}>: Sender address rejected: ${f.text}`,
    'sender unverified': (_, f) =>
      `450 4.1.7 <${f.other}>: Sender address rejected: unverified address: host mx.example[192.0.2.4] said: ${f.text}`,
    'recipient rejected': (_, f) => `554 5.7.1 <${f.address}>: Recipient address rejected: ${f.text}`,
    'HELO without domain': (_, f) => `504 5.5.2 <${f.helo}>: Helo command rejected: need fully-qualified hostname`,
    'HELO not found': (_, f) => `450 4.7.1 <${f.helo}>: Helo command rejected: Host not found`,
    'client without name': (c) => `450 4.7.1 Client host rejected: cannot find your hostname, [${c.ip}]`,
    'client rejected': (c, f) => `554 5.7.1 <${c.host}[${c.ip}]>: Client host rejected: ${f.text}`,
    'block list': (c, f) => `554 5.7.1 Service unavailable; Client host [${c.ip}] blocked using bl.example; ${f.text}`,
    'block list by name': (_, f) =>
      `554 5.7.1 Service unavailable; Sender address [${f.other}] blocked using bl.example; ${f.text}`,
    'block list, for now': (c, f) =>
      `450 4.7.1 Service unavailable; Client host [${c.ip}] blocked using bl.example; ${f.text}`,
    'policy service': (_, f) =>
      `550 5.7.23 <${f.address}>: Recipient address rejected: Message rejected due to: ${f.text}`,
    'any other': (_, f) => `554 5.7.1 ${f.text}`,
  }),
  ...rejects(
    'postfix/submission/smtpd',
    true,
    { 'data command': (_, f) => `503 5.5.0 <DATA>: ${f.text}` },
    'reject: DATA',
  ),
  ...rejects('postfix/smtpd', true, { 'milter in front': (_, f) => `550 5.7.1 ${f.text}` }, 'milter-reject: RCPT'),
  ...rejects(
    'postfix/smtpd',
    true,
    { 'proxy in front': (_, f) => `550 5.7.1 ${f.text}` },
    'proxy-reject: END-OF-MESSAGE',
  ),
  ...rejects('postfix/cleanup', true, { milter: (_, f) => `5.7.1 ${f.text}` }, 'milter-reject: END-OF-MESSAGE'),
  ...forms('postfix/smtpd', true, {
    'SASL failure': (c, f) => `warning: ${c.host}[${c.ip}]: SASL ${f.mechanism} authentication failed: ${f.text}`,
    'SASL failure with user': (c, f) =>
      `warning: ${c.host}[${c.ip}]: SASL LOGIN authentication failed: (reason unavailable), sasl_username=${f.user}`,
    'SASL aborted': (c, f) => `warning: ${c.host}[${c.ip}]: SASL ${f.mechanism} authentication aborted`,
    'SASL unclear': (c, f) => `warning: ${c.host}[${c.ip}]: SASL PLAIN authentication failed: generic failure${f.text}`,
    'AUTH rate': (c) => `warning: AUTH command rate limit exceeded: 31 from ${c.host}[${c.ip}] for service smtp`,
    'connection rate': (c) => `warning: Connection rate limit exceeded: 31 from ${c.host}[${c.ip}] for service smtp`,
    'non-SMTP command': (c, f) => `warning: non-SMTP command from ${c.host}[${c.ip}]: ${f.text}`,
    'illegal address': (c, f) =>
      `warning: Illegal address syntax from ${c.host}[${c.ip}] in RCPT command: <${f.address}>`,
    ETRN: (c, f) => `warning: reject: ETRN ${f.domain}... from ${c.host}[${c.ip}]`,
    'bad ETRN': (c, f) => `warning: bad ETRN ${f.domain}... from ${c.host}[${c.ip}]`,
    pipelining: (c, f) => `improper command pipelining after EHLO from ${c.host}[${c.ip}]: ${f.command}`,
    'too many errors': (c) => `too many errors after RCPT from ${c.host}[${c.ip}]`,
    'lost after AUTH': (c) => `lost connection after AUTH from ${c.host}[${c.ip}]`,
    'lost after CONNECT': (c) => `lost connection after CONNECT from ${c.host}[${c.ip}]:40000`,
    'lost after EHLO': (c) => `lost connection after EHLO from ${c.host}[${c.ip}]`,
    timeout: (c) => `timeout after EHLO from ${c.host}[${c.ip}]`,
    TLS: (c) => `SSL_accept error from ${c.host}[${c.ip}]: -1`,
    'disconnect, AUTH refused': (c) => `disconnect from ${c.host}[${c.ip}] ehlo=1 auth=0/3 commands=1/4`,
    disconnect: (c) => `disconnect from ${c.host}[${c.ip}] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4`,
    login: (c, f) =>
      `4F1A223E361: client=${c.host}[${c.ip}], sasl_method=${f.mechanism}, sasl_username=${f.user}, sasl_sender=${f.other}`,
    accepted: (c) => `4F1A223E361: client=${c.host}[${c.ip}]`,
    'accepted behind a proxy': (c, f) =>
      `4F1A223E361: client=${c.host}[${c.ip}], orig_queue_id=${f.domain}, orig_client=${f.text}`,
  }),
  ...forms('postfix/smtpd', false, {
    connect: (c) => `connect from ${c.host}[${c.ip}]`,
    'name without address': (c, f) => `warning: hostname ${f.domain} does not resolve to address ${c.ip}`,
    'name of a PTR record': (_, f) =>
      `warning: malformed domain name in resource data of PTR record for 9.113.0.203.in-addr.arpa: ${f.text}`,
    'client certificate': (c, f) =>
      `${c.host}[${c.ip}]: Untrusted: subject_CN=${f.address}, issuer=${f.other}, fingerprint=00:11`,
    'TLS established': (c, f) =>
      `Anonymous TLS connection established from ${c.host}[${c.ip}] to ${f.domain}: TLSv1.3 with cipher X (256/256 bits)`,
    'milter that is away': (_, f) => `warning: milter inet:127.0.0.1:8891: can't read SMFIC_MAIL reply: ${f.text}`,
    'look-up error': (_, f) => `warning: hash:/etc/postfix/x lookup error for "${f.address}"`,
    'block list that is away': (c, f) =>
      `warning: ${c.ip.split('.').reverse().join('.')}.bl.example: RBL lookup error: ${f.text}`,
    'lost in the message': (c) => `lost connection after DATA (${c.ip.length} bytes) from ${c.host}[${c.ip}]`,
    'quoted address in a warning': (_, f) => `warning: valid_hostname: invalid character 64(decimal): ${f.text}`,
    'authentication server away': (c) =>
      `warning: ${c.host}[${c.ip}]: SASL LOGIN authentication failed: Connection lost to authentication server`,
    'password reply of the server': (_, f) => `warning: SASL: Connect to private/auth failed: ${f.text}`,
  }),
  ...rejects('postfix/smtpd', false, { 'full disk': () => '452 4.3.1 Insufficient system storage' }),
  ...rejects('postfix/smtpd', false, {
    'own fault': (c) => `451 4.3.5 <${c.host}[${c.ip}]>: Client host rejected: Server configuration error`,
    greylisting: (_, f) => `450 4.2.0 <${f.address}>: Recipient address rejected: Greylisted, see ${f.text}`,
  }),
  ...rejects(
    'postfix/smtpd',
    false,
    { 'only a warning': (_, f) => `550 5.1.1 <${f.address}>: ${f.text}` },
    'reject_warning: RCPT',
  ),
  ...rejects('postfix/smtpd', false, { filter: (_, f) => `<${f.address}>: ${f.text}` }, 'filter: RCPT'),
  ...rejects('postfix/smtpd', false, { hold: (_, f) => `<${f.address}>: ${f.text}` }, 'hold: RCPT'),
  ...rejects('postfix/smtpd', false, { warn: (_, f) => f.text }, 'warn: RCPT'),
  ...rejects('postfix/smtpd', false, { discard: (_, f) => f.text }, 'discard: RCPT'),
  ...forms('postfix/cleanup', false, {
    'message id': (_, f) => `4F1A223E361: message-id=<${f.address}>`,
    'resent message id': (_, f) => `4F1A223E361: resent-message-id=${f.text}`,
    'header rejected': (c, f) =>
      `4F1A223E361: reject: header Subject: ${f.text} from ${c.host}[${c.ip}]; from=<${f.other}> to=<${f.address}> proto=ESMTP helo=<${f.helo}>: 5.7.1 no`,
    'header warned of': (c, f) =>
      `4F1A223E361: warning: header ${f.text} from ${c.host}[${c.ip}]; from=<${f.other}> to=<${f.address}>`,
    'body discarded': (c, f) => `4F1A223E361: discard: body ${f.text} from ${c.host}[${c.ip}]; from=<${f.other}>`,
    'header held': (c, f) => `4F1A223E361: hold: header ${f.text} from ${c.host}[${c.ip}]; from=<${f.other}>`,
    'milter puts a header': (c, f) =>
      `4F1A223E361: milter-header-reject: header ${f.text} from ${c.host}[${c.ip}]: 5.7.1 no`,
    'milter, for now': (c, f) =>
      `4F1A223E361: milter-reject: END-OF-MESSAGE from ${c.host}[${c.ip}]: 4.7.1 ${f.text}; from=<${f.other}>`,
  }),
  ...forms('postfix/qmgr', false, {
    sender: (_, f) => `4F1A223E361: from=<${f.address}>, size=1, nrcpt=1 (queue active)`,
  }),
  ...forms('postfix/smtp', false, {
    'reply of another server': (_, f) =>
      `4F1A223E361: to=<${f.address}>, relay=x[192.0.2.4]:25, delay=1, dsn=5.1.1, status=bounced (host x[192.0.2.4] said: ${f.text})`,
    'greeting of another server': (_, f) => `host ${f.domain}[192.0.2.4] refused to talk to me: ${f.text}`,
  }),
  ...forms('postfix/local', false, {
    delivery: (_, f) => `4F1A223E361: to=<${f.address}>, orig_to=<${f.other}>, relay=local, status=sent (${f.text})`,
  }),
  ...forms('postfix/anvil', false, {
    statistics: (c, f) => `statistics: max connection rate 3/60s for (smtp:${c.ip}) at ${f.text}`,
  }),
  ...forms('postfix/postscreen', true, {
    'early talk': (c, f) => `PREGREET 20 after 0.05 from [${c.ip}]:41234: ${f.command}`,
    'block list': (c, f) =>
      `NOQUEUE: reject: RCPT from [${c.ip}]:41234: 550 5.7.1 Service unavailable; client [${c.ip}] blocked using ${f.text}; from=<${f.other}>, to=<${f.address}>, proto=ESMTP, helo=<${f.helo}>`,
    rejected: (c, f) =>
      `NOQUEUE: reject: RCPT from [${c.ip}]:41234: 550 5.5.1 Protocol error; from=<${f.other}>, to=<${f.address}>, proto=ESMTP, helo=<${f.helo}>`,
    'too many connections': (c) => `NOQUEUE: reject: CONNECT from [${c.ip}]:41234: too many connections`,
    rank: (c) => `DNSBL rank 3 for [${c.ip}]:41234`,
    denied: (c) => `DENYLISTED [${c.ip}]:41234`,
    hangup: (c) => `HANGUP after 0.5 from [${c.ip}]:41234 in tests before SMTP handshake`,
    pipelining: (c, f) => `COMMAND PIPELINING from [${c.ip}]:41234 after MAIL: ${f.command}`,
    'non-SMTP command': (c, f) => `NON-SMTP COMMAND from [${c.ip}]:41234 after CONNECT: ${f.text}`,
    'bare newline': (c, f) => `BARE NEWLINE from [${c.ip}]:41234 after ${f.text}`,
    'time limit': (c, f) => `COMMAND TIME LIMIT from [${c.ip}]:41234 after ${f.text}`,
    'no recipient': (c) => `DATA without valid RCPT from [${c.ip}]:41234`,
  }),
  ...forms('postfix/postscreen', false, {
    connect: (c) => `CONNECT from [${c.ip}]:41234 to [192.0.2.1]:25`,
    'good new client': (c, f) =>
      `NOQUEUE: reject: RCPT from [${c.ip}]:41234: 450 4.3.2 Service currently unavailable; from=<${f.other}>, to=<${f.address}>, proto=ESMTP, helo=<${f.helo}>`,
    passed: (c) => `PASS NEW [${c.ip}]:41234`,
    'block list answers': (c, f) => `addr ${c.ip} listed by domain ${f.domain} as 127.0.0.2`,
    'strange reply': (_, f) => `warning: dnsblog reply timeout ${f.text}`,
  }),
  ...forms('dovecot', true, {
    'login failed': (c, f) =>
      `imap-login: Disconnected (auth failed, 2 attempts in 4 secs): user=<${f.user}>, method=PLAIN, rip=${c.ip}, lip=192.0.2.1, TLS, ${SESSION}`,
    'login failed, as newer ones say': (c, f) =>
      `pop3-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<${f.user}>, method=LOGIN, rip=${c.ip}, lip=192.0.2.1, ${SESSION}`,
    'too many commands': (c, f) =>
      `imap-login: Disconnected: Too many invalid commands (no auth attempts in 0 secs): user=<${f.user}>, rip=${c.ip}, lip=192.0.2.1, ${SESSION}`,
    'password in clear': (c, f) =>
      `pop3-login: Aborted login (tried to use disallowed plaintext auth): user=<${f.user}>, rip=${c.ip}, lip=192.0.2.1`,
    'no login': (c, f) =>
      `imap-login: Disconnected (no auth attempts in 2 secs): user=<${f.user}>, rip=${c.ip}, lip=192.0.2.1, TLS: ${f.text}, ${SESSION}`,
    'logged in': (c, f) =>
      `imap-login: Login: user=<${f.user}>, method=PLAIN, rip=${c.ip}, lip=192.0.2.1, mpid=7, TLS, ${SESSION}`,
    'unknown user, as 2.4 words it': (c, f) =>
      `auth(${f.user},${c.ip},sasl:plain)<YADINsQCDs5BH8Pg>: passwd-file: unknown user`,
    'unknown user': (c, f) => `auth: passwd-file(${f.user},${c.ip},<YADINsQCDs5BH8Pg>): unknown user`,
    'wrong password': (c, f) =>
      `auth-worker(1234): sql(${f.user},${c.ip}): Password mismatch (given password: ${f.text})`,
  }),
  ...forms('auth', true, {
    PAM: (c, f) =>
      `pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser=${f.user} rhost=${c.ip}  user=${f.user}`,
  }),
  ...forms('dovecot', false, {
    'sieve, message id': (_, f) =>
      `lmtp(bob)<17><YADINsQCDs5BH8Pg>: sieve: msgid=<${f.address}>: stored mail into mailbox 'INBOX'`,
    'LMTP, message id': (_, f) => `lmtp(bob)<17><YADINsQCDs5BH8Pg>: msgid=<${f.address}>: saved mail to ${f.other}`,
    'sieve redirect': (_, f) => `lmtp(bob)<17><x>: sieve: msgid=<${f.address}>: forwarded to <${f.other}>`,
    'mail log': (_, f) =>
      `imap(bob)<17><YADINsQCDs5BH8Pg>: expunge: box=${f.other}, uid=1, msgid=<${f.address}>, size=9, subject=${f.text}`,
    'ID of the program': (_, f) => `imap(bob)<17><YADINsQCDs5BH8Pg>: ID sent: name=${f.text}`,
    'logged out': () => 'imap(bob)<17><YADINsQCDs5BH8Pg>: Disconnected: Logged out in=9 out=9',
    'SNI of the client': (_, f) =>
      `imap-login: Error: Failed to initialize SSL server context for ${f.domain}: ${f.text}`,
    'auth server away': (_, f) => `auth: Error: auth client 17 disconnected with 1 pending requests: ${f.text}`,
  }),
  ...forms('nginx', false, { anything: (_, f) => f.text }),
  ...forms('opendkim', false, { anything: (_, f) => `4F1A223E361: ${f.text}` }),
  ...forms('sshd', false, { anything: (_, f) => `Invalid user ${f.text} from 192.0.2.200 port 22` }),
];
