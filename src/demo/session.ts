/** One client's visit, written as Postfix logs it, each line with the truth about it. Wordings of Postfix 3.7. */
import type { EventKind } from '../domain/event.js';
import type { Random } from './random.js';

export interface Client {
  readonly ip: string;
  /** Its forward-confirmed name, or null. */
  readonly name: string | null;
  readonly attacker: boolean;
}

/** A line without its time stamp and host. */
export interface SpokenLine {
  readonly at: number;
  readonly text: string;
  /** Whom the line is about, or null: about a message, or about nobody. */
  readonly client: Client | null;
  /** What it says of that client; `echo` tells once more of what another line of the visit has told. */
  readonly says: EventKind | 'echo' | null;
}

/** Gives each server process one client at a time, as Postfix does. */
export interface Processes {
  /** A process of `service` that is free from the instant `at` on. */
  take(service: string, at: number): { readonly pid: number; freeAt: number };
}

export class Session {
  readonly lines: SpokenLine[] = [];
  readonly #client: Client;
  readonly #who: string;
  readonly #random: Random;
  readonly #processes: Processes;
  #process: { readonly pid: number; freeAt: number } | null = null;
  #service = 'smtpd';
  #at: number;
  #accepted = 0;
  #rejected = 0;
  #logins = 0;
  #wrongPasswords = 0;

  constructor(client: Client, at: number, random: Random, processes: Processes) {
    this.#client = client;
    this.#who = `${client.name ?? 'unknown'}[${client.ip}]`;
    this.#at = at;
    this.#random = random;
    this.#processes = processes;
  }

  connect(service = 'smtpd'): void {
    this.#service = service;
    this.#process = this.#processes.take(service, this.#at);
    this.#say(`connect from ${this.#who}`);
  }

  secure(): void {
    this.#say(
      `Anonymous TLS connection established from ${this.#who}: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)`,
    );
  }

  /** A message is taken and delivered; `sender` may be empty, as in a bounce. */
  deliver(sender: string): void {
    const id = this.#queueId();
    this.#accepted++;
    this.#say(`${id}: client=${this.#who}`, 'accepted');
    this.#queue(id, sender, this.#random.between(900, 90_000));
    this.#aside(
      'local',
      `${id}: to=<anna@lab.example>, relay=local, delay=0.1, delays=0.05/0/0/0.05, dsn=2.0.0, status=sent (delivered to mailbox)`,
    );
    this.#aside('qmgr', `${id}: removed`);
  }

  /** A user logs in and sends a message out; what the other server answers is no news about this client. */
  send(user: string, answer: 'sent' | 'unknown'): void {
    const id = this.#queueId();
    this.#accepted++;
    this.#logins++;
    this.#say(`${id}: client=${this.#who}, sasl_method=PLAIN, sasl_username=${user}@lab.example`, 'authenticated');
    this.#queue(id, `${user}@lab.example`, 2_048);
    const relay = 'mx.elsewhere.example[198.51.100.250]';
    const delivery = `${id}: to=<friend@elsewhere.example>, relay=${relay}:25, delay=1, delays=0.1/0/0.5/0.4`;
    if (answer === 'sent') {
      this.#aside('smtp', `${delivery}, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4F3A)`);
    } else {
      const reply = '550 5.1.1 <friend@elsewhere.example>: Recipient address rejected: User unknown';
      this.#aside(
        'smtp',
        `${delivery}, dsn=5.1.1, status=bounced (host ${relay} said: ${reply} (in reply to RCPT TO command))`,
      );
      const notice = this.#queueId();
      this.#aside('cleanup', `${notice}: message-id=<${notice}@mx.lab.example>`);
      this.#aside('bounce', `${id}: sender non-delivery notification: ${notice}`);
      this.#aside('qmgr', `${notice}: from=<>, size=4096, nrcpt=1 (queue active)`);
    }
    this.#aside('qmgr', `${id}: removed`);
  }

  /** `reply` is the server's, from the code on; what stands behind it comes from the client. */
  reject(reply: string, from = 'a@remote.example', to = 'anna@lab.example', helo = 'client.example'): void {
    this.#rejected++;
    this.#say(this.#rejection(reply, from, to, helo), 'offense');
  }

  unknownUser(user: string, from?: string, helo?: string): void {
    const to = `${user}@lab.example`;
    this.reject(`550 5.1.1 <${to}>: Recipient address rejected: User unknown in local recipient table`, from, to, helo);
  }

  /** Told to come again later, as every newcomer is. */
  greylist(): void {
    this.#rejected++;
    const reply = '450 4.2.0 <anna@lab.example>: Recipient address rejected: Greylisted, see https://lab.example/later';
    this.#say(this.#rejection(reply, 'a@remote.example', 'anna@lab.example', 'mx.remote.example'));
  }

  /** Turned away by the access map, which answers with `text`. */
  refuse(text: string): void {
    this.#rejected++;
    const reply = `554 5.7.1 <${this.#who}>: Client host rejected: ${text}`;
    this.#say(this.#rejection(reply, 'a@remote.example', 'anna@lab.example', 'client.example'), 'refused');
  }

  wrongPassword(user: string): void {
    this.#wrongPasswords++;
    // Dovecot and Cyrus take their time over a wrong password.
    this.#at += this.#random.between(900, 2_200);
    this.#say(
      `warning: ${this.#who}: SASL LOGIN authentication failed: authentication failure, sasl_username=${user}@lab.example`,
      'offense',
    );
  }

  speakHttp(): void {
    this.#say(`warning: non-SMTP command from ${this.#who}: GET / HTTP/1.1`, 'offense');
  }

  tooManyErrors(): void {
    this.#say(`too many errors after RCPT from ${this.#who}`, 'echo');
  }

  lose(stage: 'AUTH' | 'CONNECT' | 'RCPT'): void {
    this.#say(`lost connection after ${stage} from ${this.#who}`, 'echo');
  }

  disconnect(): void {
    const words = ['ehlo=1'];
    if (this.#logins + this.#wrongPasswords > 0) words.push(this.#ratio('auth', this.#logins, this.#wrongPasswords));
    if (this.#accepted + this.#rejected > 0) {
      words.push(`mail=${this.#accepted + 1}`, this.#ratio('rcpt', this.#accepted, this.#rejected));
    }
    if (this.#accepted > 0) words.push(`data=${this.#accepted}`);
    words.push('quit=1', 'commands=5');
    // A login that failed and never succeeded shows here once more.
    const echo = this.#wrongPasswords > 0 && this.#logins === 0;
    this.#say(`disconnect from ${this.#who} ${words.join(' ')}`, echo ? 'echo' : null);
    if (this.#process !== null) this.#process.freeAt = this.#at;
  }

  /** Speaks before the server has, at postscreen's door. */
  pregreet(): void {
    const peer = this.#knock();
    this.#say(`PREGREET 14 after 0.04 from ${peer}: EHLO ylmf-pc\\r\\n`, 'offense');
    this.#say(`DISCONNECT ${peer}`);
  }

  /** Waits its turn at postscreen's door, which sends every newcomer away once. */
  passPostscreen(): void {
    const peer = this.#knock();
    const rest = 'from=<a@remote.example>, to=<anna@lab.example>, proto=ESMTP, helo=<mx.remote.example>';
    this.#at += 6_000;
    this.#say(`NOQUEUE: reject: RCPT from ${peer}: 450 4.3.2 Service currently unavailable; ${rest}`);
    this.#say(`PASS NEW ${peer}`);
    this.#say(`DISCONNECT ${peer}`);
  }

  #knock(): string {
    this.#service = 'postscreen';
    const peer = `[${this.#client.ip}]:${this.#random.between(1_025, 65_000)}`;
    this.#say(`CONNECT from ${peer} to [192.0.2.25]:25`);
    return peer;
  }

  #queue(id: string, sender: string, size: number): void {
    this.#aside('cleanup', `${id}: message-id=<${id}.${size}@${this.#client.name ?? 'remote.example'}>`);
    this.#aside('qmgr', `${id}: from=<${sender}>, size=${size}, nrcpt=1 (queue active)`);
  }

  #rejection(reply: string, from: string, to: string, helo: string): string {
    return `NOQUEUE: reject: RCPT from ${this.#who}: ${reply}; from=<${from}> to=<${to}> proto=ESMTP helo=<${helo}>`;
  }

  #ratio(command: string, good: number, bad: number): string {
    return bad === 0 ? `${command}=${good}` : `${command}=${good}/${good + bad}`;
  }

  /** Postfix's short queue id: microseconds and inode. */
  #queueId(): string {
    const microseconds = this.#random.between(0, 0xfffff).toString(16).padStart(5, '0');
    return `${microseconds}23E${this.#random.between(0, 0xfff).toString(16).padStart(3, '0')}`.toUpperCase();
  }

  #say(message: string, says: SpokenLine['says'] = null): void {
    const pid = this.#process?.pid ?? SINGLE[this.#service];
    this.lines.push({ at: this.#at, text: `postfix/${this.#service}[${pid}]: ${message}`, client: this.#client, says });
    this.#at += this.#random.between(1, 80);
  }

  /** What another process says of a message. */
  #aside(service: keyof typeof SINGLE, message: string): void {
    this.lines.push({
      at: this.#at,
      text: `postfix/${service}[${SINGLE[service]}]: ${message}`,
      client: null,
      says: null,
    });
    this.#at += this.#random.between(1, 40);
  }
}

/** Processes that serve everybody. */
const SINGLE: Record<string, number> = {
  qmgr: 1_207,
  postscreen: 1_390,
  cleanup: 1_422,
  local: 1_424,
  smtp: 1_425,
  bounce: 1_426,
};
