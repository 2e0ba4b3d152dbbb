/**
 * A mail log as many servers write it, with the truth about each line. Deterministic by seed. The words of admins and
 * policy services are made up here, not taken from the rules: the rules must recognise the structure.
 */

export interface CorpusLine {
  readonly line: string;
  /** Address that an offense must name; null for a line in which no client did wrong. */
  readonly offender: string | null;
  /** Kind of event expected of an innocent line, if any. */
  readonly kind?: 'accepted' | 'authenticated' | 'closed';
}

/** Never a client in the corpus, but named in every hostile text. */
export const VICTIM = '203.0.113.9';

export interface CorpusOptions {
  readonly seed: number;
  readonly lines: number;
  /** Share of lines in which a client does wrong. */
  readonly attack: number;
}

export function* corpus({ seed, lines, attack }: CorpusOptions): Generator<CorpusLine> {
  const dice = new Dice(seed);
  const clock = { at: Date.UTC(2026, 4, 3) };
  for (let i = 0; i < lines; i++) {
    clock.at += dice.below(900);
    const client = dice.client();
    const bad = dice.chance(attack);
    const made = bad ? dice.of(OFFENSES)(dice, client) : dice.of(INNOCENT)(dice, client);
    const [program, message, kind] = made;
    const header = dice.header(clock.at, program);
    const repeated = bad && dice.chance(0.01);
    const line = repeated ? `${header}message repeated ${dice.from(2, 9)} times: [ ${message}]` : `${header}${message}`;
    yield { line, offender: bad ? client.ip : null, ...(kind === undefined ? {} : { kind }) };
  }
}

type Made = readonly [program: string, message: string, kind?: 'accepted' | 'authenticated' | 'closed'];
type Maker = (dice: Dice, client: Client) => Made;

interface Client {
  readonly ip: string;
  readonly name: string;
  /** As Postfix's SMTP server prints it. */
  readonly shown: string;
  /** As postscreen prints it. */
  readonly bare: string;
}

class Dice {
  #state: number;
  readonly #traditional: boolean;

  constructor(seed: number) {
    this.#state = seed >>> 0;
    this.#traditional = seed % 2 === 0;
  }

  /** mulberry32 */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  from(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  of<T>(choices: readonly T[]): T {
    const choice = choices[this.below(choices.length)];
    if (choice === undefined) throw new Error('nothing to choose from');
    return choice;
  }

  client(): Client {
    const v4 = this.chance(0.85);
    const ip = v4
      ? `${this.of(['198.51.100', '192.0.2', '100.64.7'])}.${this.from(1, 254)}`
      : `2001:db8:${this.from(1, 9999).toString(16)}::${this.from(1, 65_535).toString(16)}`;
    const name = this.chance(0.5)
      ? 'unknown'
      : this.of([
          `ip-${this.below(255)}.pool_${this.below(9)}.isp.example`,
          `mail${this.below(99)}.Sender.example`,
          `${VICTIM}.evil.example`,
        ]);
    const port = this.chance(0.2) ? `:${this.from(1024, 65_535)}` : '';
    return { ip, name, shown: `${name}[${ip}]${port}`, bare: `[${ip}]:${this.from(1024, 65_535)}` };
  }

  header(at: number, program: string): string {
    const date = new Date(at);
    const pid = `[${this.from(300, 99_999)}]`;
    const tag = program === 'dovecot' && this.chance(0.7) ? 'dovecot' : program + pid;
    if (!this.#traditional) return `${date.toISOString().replace('Z', '000+00:00')} mx1 ${tag}: `;
    const month = MONTHS[date.getMonth()];
    const clock = [date.getHours(), date.getMinutes(), date.getSeconds()]
      .map((n) => String(n).padStart(2, '0'))
      .join(':');
    return `${month} ${String(date.getDate()).padStart(2)} ${clock} mx1 ${tag}: `;
  }

  smtpd(): string {
    return this.of([
      'postfix/smtpd',
      'postfix/smtpd',
      'postfix/smtpd',
      'postfix/submission/smtpd',
      'postfix/smtps/smtpd',
      'postfix-in/smtpd',
      'postfix-mx2/smtpd',
    ]);
  }

  qid(): string {
    return this.chance(0.5)
      ? Array.from({ length: 10 }, () => this.of([...'0123456789ABCDEF'])).join('')
      : `4${Array.from({ length: 11 }, () => this.of([...'bcdfghjklmnpqrstvwxyzBCDFGHJKLMNPQRSTVWXYZ0123456789'])).join('')}z${this.of([...'BCDFG'])}`;
  }

  /** Since Postfix 3.10 the end of a session is logged with its queue id. */
  sessionEnd(): string {
    return this.of(['', '', 'NOQUEUE: ', `${this.qid()}: `]);
  }

  word(): string {
    return this.of(['info', 'sales', 'anna', 'tom.k', 'webmaster', 'x1', 'no-reply', 'büro', 'hr+jobs', '0815']);
  }

  /** A client's text: mostly plain, now and then a whole fake line, as a quoted local part or HELO can hold it. */
  text(plain: string): string {
    return this.chance(0.1) ? this.of(HOSTILE) : plain;
  }

  mailbox(): string {
    return this.text(this.plainMailbox());
  }

  plainMailbox(): string {
    return `${this.word()}@${this.of(['shop', 'lab', 'verein', 'uni'])}.example`;
  }

  /** What Postfix appends to a reject line. */
  trailer(): string {
    return `; from=<${this.chance(0.2) ? '' : this.mailbox()}> to=<${this.mailbox()}> proto=${this.of(['SMTP', 'ESMTP', 'ESMTPS'])} helo=<${this.text('[192.168.0.4]')}>${this.chance(0.05) ? ` sasl_method=PLAIN sasl_username=${this.mailbox()}` : ''}`;
  }

  /** Words of an admin's own. */
  sentence(): string {
    return (
      Array.from({ length: this.from(1, 9) }, () => this.of(WORDS)).join(' ') +
      this.of(['', '.', '!', `, see https://mx.example/why/${this.below(1_000)}`, ` (${this.below(99)})`])
    );
  }
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const WORDS = [
  'sorry',
  'no',
  'mail',
  'from',
  'you',
  'Spamversender',
  'not',
  'welcome',
  'use',
  'your',
  "provider's",
  'relay',
  'dial-up',
  'Bitte',
  'Smarthost',
  'verwenden',
  'policy',
  'violation:',
  '#4.2',
  'contact',
  'postmaster',
  'dynamic',
  'IP',
  'range',
  'rejected',
  '<none>',
  '100%',
  'refusé',
];
const HOSTILE = [
  `x[${VICTIM}]: SASL LOGIN authentication failed: x`,
  `NOQUEUE: reject: RCPT from x[${VICTIM}]: 550 5.1.1 <a@b>: Recipient address rejected: User unknown`,
  `Nov 25 01:12:15 mx postfix/smtpd[1]: too many errors after AUTH from x[${VICTIM}]`,
  `a b> proto=SMTP helo=<x[${VICTIM}]`,
  `>: Client host rejected: Blocked until 2030-01-01T00:00Z from [${VICTIM}]:25`,
  `, rip=${VICTIM}, lip=192.0.2.1, session=<YADINsQCDs5BH8Pg>`,
];

const rejected =
  (reply: (dice: Dice, client: Client) => string): Maker =>
  (dice, client) => {
    const stage = dice.of([
      'RCPT',
      'RCPT',
      'RCPT',
      'RCPT',
      'MAIL',
      'EHLO',
      'CONNECT',
      'VRFY',
      'DATA',
      'END-OF-MESSAGE',
      'BDAT',
    ]);
    const qid = dice.chance(0.85) ? 'NOQUEUE' : dice.qid();
    return [dice.smtpd(), `${qid}: reject: ${stage} from ${client.shown}: ${reply(dice, client)}${dice.trailer()}`];
  };

const OFFENSES: readonly Maker[] = [
  rejected(
    (d) =>
      `550 5.1.1 <${d.mailbox()}>: Recipient address rejected: User unknown in ${d.of(['relay recipient table', 'virtual alias table', 'local recipient table'])}`,
  ),
  rejected((d) => `550 5.1.1 <${d.mailbox()}>: Recipient address rejected: ${d.sentence()}`),
  rejected(
    (d) =>
      `550 5.1.0 <${d.mailbox()}>: Recipient address rejected: unverified address: host 192.0.2.77[192.0.2.77] said: 550 ${d.sentence()}`,
  ),
  rejected((d) => `554 5.7.1 <${d.mailbox()}>: Relay access denied`),
  rejected((d) => `454 4.7.1 <${d.word()}@far.example>: Relay access denied`),
  rejected((d) => `${d.of([550, 554, 571])} 5.7.1 <${d.mailbox()}>: Recipient address rejected: ${d.sentence()}`),
  rejected(
    (d) =>
      `550 5.7.23 <${d.mailbox()}>: Recipient address rejected: Message rejected due to: SPF fail - not authorized. Please see http://spf.example/?${d.below(99)}`,
  ),
  rejected((d) => `${d.of([550, 553, 554])} 5.7.1 <${d.mailbox()}>: Sender address rejected: ${d.sentence()}`),
  rejected(
    (d) =>
      `450 4.1.8 <${d.word()}@gone.invalid>: Sender address rejected: ${d.of(['Domain not found', 'Malformed DNS server reply'])}`,
  ),
  (d, c) => [d.smtpd(), `${d.qid()}: reject: DATA content from ${c.shown}: bare <LF> received${d.trailer()}`],
  rejected((d) => `504 5.5.2 <${d.text('WIN-9')}>: Helo command rejected: ${d.sentence()}`),
  rejected((d) => `450 4.7.1 <${d.text('pc.lan')}>: Helo command rejected: Host not found`),
  rejected((d, c) => `554 5.7.1 <${c.name}[${c.ip}]>: Client host rejected: ${d.sentence()}`),
  rejected((d, c) =>
    `521 5.3.2x <${c.name}[${c.ip}]>: Client host rejected: ${d.sentence()}`.replace('5.3.2x', '5.7.1'),
  ),
  rejected((_, c) => `450 4.7.25 Client host rejected: cannot find your reverse hostname, [${c.ip}]`),
  rejected(
    (d, c) =>
      `554 5.7.1 Service unavailable; Client host [${c.ip}] blocked using zen.bl${d.below(9)}.example; ${d.text(d.sentence())}`,
  ),
  rejected((_, c) => `554 5.7.1 Service unavailable; Unverified Client host [${c.name}] blocked using rhs.bl.example`),
  rejected((d) => `503 5.5.0 <DATA>: Data command rejected: ${d.sentence()}`),
  rejected((d) => `550 5.7.1 ${d.sentence()}`),
  (d, c) => [
    d.smtpd(),
    `${d.qid()}: milter-reject: ${d.of(['RCPT', 'CONNECT', 'MAIL'])} from ${c.shown}: ${d.of([550, 554])} 5.7.1 ${d.sentence()}${d.trailer()}`,
  ],
  (d, c) => [
    d.of(['postfix/cleanup', 'postfix-in/cleanup']),
    `${d.qid()}: milter-reject: END-OF-MESSAGE from ${c.name}[${c.ip}]: 5.7.1 ${d.sentence()}${d.trailer()}`,
  ],
  (d, c) => [
    d.smtpd(),
    `warning: ${c.shown}: SASL ${d.of(['PLAIN', 'LOGIN', 'CRAM-MD5', 'XOAUTH2', `[${VICTIM}]:`])} authentication failed: ${d.of(['authentication failure', 'UGFzc3dvcmQ6', 'VXNlcm5hbWU6', '(reason unavailable)'])}${d.chance(0.5) ? `, sasl_username=${d.mailbox()}` : ''}`,
  ],
  (d, c) => [d.smtpd(), `warning: non-SMTP command from ${c.shown}: ${d.text('GET /wp-login.php HTTP/1.1')}`],
  (d, c) => [
    d.smtpd(),
    `warning: Illegal address syntax from ${c.shown} in ${d.of(['MAIL', 'RCPT'])} command: ${d.text('<@>')}`,
  ],
  (d, c) => [
    d.smtpd(),
    `improper command pipelining after ${d.of(['EHLO', 'DATA', 'RCPT', 'HELO'])} from ${c.shown}${d.chance(0.7) ? `: ${d.text('QUIT\\r\\n')}` : ''}`,
  ],
  (d, c) => [
    d.smtpd(),
    `${d.sessionEnd()}too many errors after ${d.of(['RCPT', 'AUTH', 'UNKNOWN', 'DATA (0 bytes)', 'MAIL'])} from ${c.shown}`,
  ],
  (d, c) => [
    d.smtpd(),
    `${d.sessionEnd()}lost connection after ${d.of(['AUTH', 'CONNECT', 'EHLO', 'HELO', 'RCPT', 'STARTTLS', 'UNKNOWN', 'RSET', 'MAIL'])} from ${c.shown}`,
  ],
  (d, c) => [d.smtpd(), `${d.sessionEnd()}timeout after ${d.of(['AUTH', 'CONNECT', 'EHLO', 'RCPT'])} from ${c.shown}`],
  (d, c) => [
    d.smtpd(),
    `warning: ${d.of(['Connection rate', 'Connection concurrency', 'Message delivery request rate', 'Recipient address rate', 'AUTH command rate', 'New TLS session rate'])} limit exceeded: ${d.from(3, 900)} from ${c.shown} for service ${d.of(['smtp', 'submission', '192.0.2.1:25'])}`,
  ],
  (d, c) => [d.smtpd(), `SSL_accept error from ${c.shown}: ${d.of(['-1', 'lost connection', 'Connection timed out'])}`],
  (d, c) => [
    d.smtpd(),
    `disconnect from ${c.shown} ehlo=1 auth=0/${d.from(1, 5)}${d.of([' quit=1', ''])} commands=1/${d.from(2, 9)}`,
  ],
  (d, c) => [
    'postfix/postscreen',
    `PREGREET ${d.from(4, 300)} after ${d.of(['0', '0.07', '2.9'])} from ${c.bare}: ${d.text('EHLO ylmf-pc\\r\\n')}`,
  ],
  (d, c) => ['postfix/postscreen', `DNSBL rank ${d.from(2, 19)} for ${c.bare}`],
  (d, c) => [
    'postfix/postscreen',
    `HANGUP after ${d.of(['0', '0.31', '6.2'])} from ${c.bare} in tests ${d.of(['before', 'after'])} SMTP handshake`,
  ],
  (d, c) => [
    'postfix/postscreen',
    `NOQUEUE: reject: RCPT from ${c.bare}: 550 5.7.1 Service unavailable; client [${c.ip}] blocked using ${d.of(['zen.bl.example', 'a.example*2'])}; from=<${d.mailbox()}>, to=<${d.mailbox()}>, proto=ESMTP, helo=<${d.text('x')}>`,
  ],
  (d, c) => [
    'postfix/postscreen',
    `NOQUEUE: reject: RCPT from ${c.bare}: ${d.of(['550 5.5.1 Protocol error', '550 5.3.2 Service currently unavailable', '521 5.5.1 Protocol error'])}; from=<${d.mailbox()}>, to=<${d.mailbox()}>, proto=SMTP, helo=<x>`,
  ],
  (d, c) => [
    'postfix/postscreen',
    `${d.of(['COMMAND PIPELINING', 'NON-SMTP COMMAND', 'BARE NEWLINE'])} from ${c.bare} after ${d.of(['EHLO', 'CONNECT'])}: ${d.text('x')}`,
  ],
  (d, c) => [
    'postfix/postscreen',
    `COMMAND ${d.of(['TIME', 'COUNT', 'LENGTH'])} LIMIT from ${c.bare} after ${d.of(['CONNECT', 'EHLO'])}`,
  ],
  (d, c) => ['postfix/postscreen', `${d.of(['DENYLISTED', 'BLACKLISTED'])} ${c.bare}`],
  (d, c) => [
    'dovecot',
    `${d.of(['imap', 'pop3', 'submission', 'managesieve'])}-login: ${d.of(['Disconnected', 'Aborted login', 'Disconnected: Inactivity', 'Login aborted: Connection closed', 'Disconnected: Connection closed: read(size=637) failed: Connection reset by peer'])} (auth failed, ${d.from(1, 4)} attempts in ${d.from(2, 60)} secs)${d.chance(0.3) ? ' (auth_failed)' : ''}: user=<${d.word()}>, method=${d.of(['PLAIN', 'LOGIN'])}, rip=${c.ip}, lip=192.0.2.1${d.of(['', ', TLS', ', TLS: Connection closed', ', secured'])}, session=<pT3x+Q${d.below(9_999)}/Zk>`,
  ],
  (d, c) => [
    'dovecot',
    `auth: ${d.of(['passwd-file', 'sql', 'ldap'])}(${d.word()},${c.ip},<pT3x${d.below(9_999)}>): ${d.of(['unknown user', 'Password mismatch'])}`,
  ],
  (d, c) => [
    'dovecot',
    `auth(${d.word()},${c.ip},sasl:${d.of(['plain', 'login'])})<pT3x${d.below(9_999)}>: ${d.of(['passwd-file', 'sql', 'ldap'])}: ${d.of(['unknown user', 'Password mismatch'])}`,
  ],
];

/** A recipient that forges the words behind it can only make its own client's deferral look worse: here all are plain. */
const deferred = rejected;

const INNOCENT: readonly Maker[] = [
  (d, c) => [d.smtpd(), `connect from ${c.shown}`],
  (d, c) => [d.smtpd(), `connect from ${c.shown}`],
  (d, c) => [d.smtpd(), `${d.qid()}: client=${c.shown}`, 'accepted'],
  (d, c) => [d.smtpd(), `${d.qid()}: client=${c.shown}`, 'accepted'],
  (d, c) => [
    d.smtpd(),
    `${d.qid()}: client=${c.shown}, sasl_method=PLAIN, sasl_username=${d.mailbox()}`,
    'authenticated',
  ],
  (d, c) => [d.smtpd(), `disconnect from ${c.shown} ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5`],
  (d, c) => [d.smtpd(), `disconnect from ${c.shown} ehlo=2 starttls=1 mail=1 rcpt=1 bdat=1 quit=1 commands=7`],
  (d, c) => [
    d.smtpd(),
    `disconnect from ${c.shown} ehlo=1 mail=1 rcpt=0/${d.from(1, 9)} quit=1 commands=3/${d.from(4, 9)}`,
    'closed',
  ],
  (d) => ['postfix/cleanup', `${d.qid()}: message-id=<${d.text(`${d.below(1e9)}@far.example`)}>`],
  (d) => ['postfix/qmgr', `${d.qid()}: from=<${d.mailbox()}>, size=${d.from(300, 1e6)}, nrcpt=1 (queue active)`],
  (d) => ['postfix/qmgr', `${d.qid()}: removed`],
  (d) => [
    'postfix/local',
    `${d.qid()}: to=<${d.mailbox()}>, relay=local, delay=0.1, delays=0.06/0.01/0/0.03, dsn=2.0.0, status=sent (delivered to maildir)`,
  ],
  (d) => [
    'postfix/smtp',
    `${d.qid()}: to=<${d.mailbox()}>, relay=mx.far.example[192.0.2.40]:25, delay=1, delays=0/0/0.5/0.5, dsn=5.1.1, status=bounced (host mx.far.example[192.0.2.40] said: 550 5.1.1 <${d.mailbox()}>: Recipient address rejected: User unknown (in reply to RCPT TO command))`,
  ],
  (d) => [
    'postfix/smtp',
    `${d.qid()}: host mx.far.example[192.0.2.40] said: 450 4.7.1 <mx1.example>: Helo command rejected: Host not found (in reply to RCPT TO command)`,
  ],
  (d) => [
    'postfix/smtp',
    `${d.qid()}: lost connection with mx.far.example[192.0.2.40] while receiving the initial server greeting`,
  ],
  (d) => ['postfix/bounce', `${d.qid()}: sender non-delivery notification: ${d.qid()}`],
  (d, c) => [
    'postfix/cleanup',
    `${d.qid()}: ${d.of(['reject', 'warning', 'discard', 'hold'])}: ${d.of(['header Subject:', 'body'])} ${d.text('cheap')} from ${c.name}[${c.ip}]${d.trailer()}: 5.7.1 ${d.sentence()}`,
  ],
  (d, c) => [
    'postfix/smtpd',
    `warning: hostname ${d.text('h.example')} does not resolve to address ${c.ip}: Name or service not known`,
  ],
  (_, c) => [
    'postfix/smtpd',
    `warning: ${c.shown}: SASL LOGIN authentication failed: Connection lost to authentication server`,
  ],
  (d, c) => [
    'postfix/smtpd',
    `${d.sessionEnd()}lost connection after ${d.of(['DATA', 'DATA (1204 bytes)', 'BDAT', 'END-OF-MESSAGE'])} from ${c.shown}`,
  ],
  (d, c) => [
    'postfix/smtpd',
    `${d.sessionEnd()}timeout after ${d.of(['DATA (88 bytes)', 'END-OF-MESSAGE'])} from ${c.shown}`,
  ],
  (_, c) => [
    'postfix/smtpd',
    `Anonymous TLS connection established from ${c.shown}: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)`,
  ],
  (d, c) => [
    d.smtpd(),
    `NOQUEUE: ${d.of(['reject_warning', 'warn', 'info', 'filter', 'hold', 'discard'])}: RCPT from ${c.shown}: 554 5.7.1 <${d.mailbox()}>: Recipient address rejected: ${d.sentence()}${d.trailer()}`,
  ],
  (_, c) => ['postfix/postscreen', `CONNECT from ${c.bare} to [192.0.2.1]:25`],
  (d, c) => ['postfix/postscreen', `PASS ${d.of(['NEW', 'OLD'])} ${c.bare}`],
  (d, c) => [
    'postfix/postscreen',
    `NOQUEUE: reject: RCPT from ${c.bare}: 450 4.3.2 Service currently unavailable; from=<${d.mailbox()}>, to=<${d.mailbox()}>, proto=ESMTP, helo=<x.example>`,
  ],
  (_, c) => ['postfix/postscreen', `NOQUEUE: reject: CONNECT from ${c.bare}: all server ports busy`],
  deferred(
    (d) =>
      `450 4.2.0 <${d.plainMailbox()}>: Recipient address rejected: ${d.of(['Greylisted', 'Graylisted, come back', 'greylisting in effect', 'Try again'])} ${d.sentence()}`,
  ),
  deferred(
    (d) =>
      `450 4.7.1 <${d.plainMailbox()}>: Recipient address rejected: ${d.sentence()}, retry in ${d.below(900)} seconds`,
  ),
  deferred(
    (d, c) =>
      `450 4.7.1 <${c.name}[${c.ip}]>: Client host rejected: ${d.of(['Greylisted', 'please come back later', 'too fast'])}`,
  ),
  deferred((d) => `451 4.7.1 <${d.plainMailbox()}>: Sender address rejected: Service is unavailable, try later`),
  deferred((_, c) => `451 4.3.5 <${c.name}[${c.ip}]>: Client host rejected: Server configuration error`),
  deferred((d) => `451 4.3.0 <${d.plainMailbox()}>: Temporary lookup failure`),
  deferred(() => '452 4.3.1 Insufficient system storage'),
  deferred(
    (d) =>
      `450 4.1.1 <${d.plainMailbox()}>: Recipient address rejected: unverified address: Address verification in progress`,
  ),
  deferred(
    (d) =>
      `552 5.2.2 <${d.plainMailbox()}>: Recipient address rejected: ${d.of(['Quota exceeded', 'Mailbox is over its limit'])}`,
  ),
  (d, c) => [
    'postfix/cleanup',
    `${d.qid()}: milter-reject: END-OF-MESSAGE from ${c.name}[${c.ip}]: 4.7.1 ${d.of(['Try again later', 'Service unavailable'])}${d.trailer()}`,
  ],
  (d) => [
    'postfix/anvil',
    `statistics: max connection rate 3/60s for (smtp:${VICTIM}) at Apr 30 11:00:00 (${d.below(9)})`,
  ],
  (d, c) => [
    'dovecot',
    `imap-login: ${d.of(['Login', 'Logged in'])}: user=<${d.word()}>, method=PLAIN, rip=${c.ip}, lip=192.0.2.1, mpid=${d.below(9_999)}, TLS, session=<pT3x+Q${d.below(9_999)}/Zk>`,
    'authenticated',
  ],
  (d, c) => [
    'dovecot',
    `auth: passwd-file(${d.word()},${c.ip},<pT3x${d.below(9_999)}>): unknown user (given password: x) - trying the next passdb`,
  ],
  (d) => [
    'dovecot',
    `imap(${d.word()})<${d.below(9_999)}><pT3x>: Disconnected: Logged out in=${d.below(999)} out=${d.below(9_999)} deleted=0 expunged=0`,
  ],
  (d) => [
    'sshd',
    `Failed password for invalid user ${d.text('root')} from 192.0.2.200 port ${d.from(1024, 65_535)} ssh2`,
  ],
  (d) => ['spamd', `spamd: result: Y 17 - ${d.text('BAYES_99')} scantime=0.${d.below(9)}`],
];
