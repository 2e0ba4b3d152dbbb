/**
 * The mail log of a small site on an ordinary day: wanted mail, users, and those whom nobody wants. Made from a seed,
 * line by line as Postfix prints them, each session with the truth about its client. Only documentation addresses.
 */

/** One client's visit, as the lines that Postfix would log. */
export interface Visit {
  readonly client: string;
  /** Is the client one that nobody wants? */
  readonly attacker: boolean;
  /** Lines that tell a misdeed of the client. */
  readonly offenses: number;
  readonly accepted: number;
  /** Was it turned away by a ban? */
  readonly refused: boolean;
  readonly lines: readonly string[];
}

export interface TrafficOptions {
  readonly seed: number;
  /** Share of visits by attackers, 0 to 1. */
  readonly attackShare: number;
  /** Text of the ban that would turn the client away, or null: as the access map would answer. */
  readonly refusal?: (client: string) => string | null;
}

type Habit = (visit: Draft, traffic: Traffic) => void;
interface Client {
  readonly ip: string;
  readonly name: string | null;
  readonly habit: Habit;
  readonly attacker: boolean;
}

export class Traffic {
  readonly #options: TrafficOptions;
  readonly #attackers: readonly Client[];
  readonly #decent: readonly Client[];
  #random: number;
  #queueIds = 0;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#random = options.seed >>> 0;
    this.#attackers = [
      ...clients(4, (i) => ({ ip: `203.0.113.${10 + i}`, name: null, habit: dictionary })),
      ...clients(3, (i) => ({ ip: `203.0.113.${50 + i}`, name: `host-${50 + i}.dialup.example`, habit: passwords })),
      ...clients(2, (i) => ({ ip: `203.0.113.${90 + i}`, name: null, habit: relaying })),
      ...clients(2, (i) => ({ ip: `203.0.113.${120 + i}`, name: null, habit: pregreeting })),
      ...clients(1, (i) => ({ ip: `2001:db8:bad:${i + 1}::25`, name: null, habit: dictionary })),
      // A botnet in one network, each of its members at work less often than the others.
      ...clients(6, (i) => ({ ip: `192.0.2.${200 + i}`, name: null, habit: forgedHelo })),
    ].map((client) => ({ ...client, attacker: true }));
    this.#decent = [
      ...clients(24, (i) => ({ ip: `198.51.100.${10 + i}`, name: `mx${i + 1}.partner.example`, habit: delivering })),
      ...clients(3, (i) => ({ ip: `198.51.100.${90 + i}`, name: `out${i + 1}.provider.example`, habit: provider })),
      ...clients(5, (i) => ({ ip: `198.51.100.${150 + i}`, name: `home-${150 + i}.isp.example`, habit: user })),
      ...clients(1, () => ({ ip: '2001:db8:77::25', name: 'mx6.partner.example', habit: delivering })),
    ].map((client) => ({ ...client, attacker: false }));
  }

  /** Somebody's visit at the instant `at`, milliseconds. */
  visit(at: number): Visit {
    const client = this.pick(this.chance(this.#options.attackShare) ? this.#attackers : this.#decent);
    const visit = new Draft(client, at, this);
    const refusal = this.#options.refusal?.(client.ip) ?? null;
    if (refusal === null) client.habit(visit, this);
    else visit.turnedAway(refusal);
    return visit.finish();
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.next() * items.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }

  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  queueId(): string {
    this.#queueIds++;
    return (0x4f3a00000 + this.#queueIds * 0x1d).toString(16).toUpperCase();
  }

  /** Mulberry32: uniform in [0, 1), the same for the same seed everywhere. */
  next(): number {
    this.#random = (this.#random + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#random ^ (this.#random >>> 15), this.#random | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }
}

function clients(count: number, make: (index: number) => Omit<Client, 'attacker'>): Omit<Client, 'attacker'>[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

const delivering: Habit = (visit, traffic) => {
  visit.connect();
  // People mistype; a colleague has left.
  if (traffic.chance(0.02)) visit.unknownUser('jon.doe');
  else if (traffic.chance(0.05)) visit.greylisted();
  else visit.accept();
  visit.disconnect();
};

const provider: Habit = (visit, traffic) => {
  visit.connect();
  for (let messages = traffic.between(1, 4); messages > 0; messages--) visit.accept();
  if (traffic.chance(0.08)) visit.unknownUser(traffic.pick(['info', 'sales', 'old.account']));
  visit.disconnect();
};

const user: Habit = (visit, traffic) => {
  visit.connect('submission/smtpd');
  if (traffic.chance(0.05)) visit.wrongPassword('anna');
  visit.login('anna');
  visit.disconnect();
};

const dictionary: Habit = (visit, traffic) => {
  visit.connect();
  for (let guesses = traffic.between(2, 6); guesses > 0; guesses--)
    visit.unknownUser(traffic.pick(NAMES) + traffic.between(1, 99));
  visit.disconnect();
};

const passwords: Habit = (visit, traffic) => {
  visit.connect();
  visit.wrongPassword(traffic.pick(NAMES));
  visit.lost('AUTH');
  visit.disconnect('ehlo=1 auth=0/1 commands=1/2');
};

const relaying: Habit = (visit) => {
  visit.connect();
  visit.reject('RCPT', '554 5.7.1 <victim@elsewhere.example>: Relay access denied');
  visit.disconnect();
};

const forgedHelo: Habit = (visit, traffic) => {
  visit.connect();
  const helo = traffic.pick(['ylmf-pc', 'localhost', 'win-server']);
  for (let tries = traffic.between(1, 2); tries > 0; tries--) {
    visit.reject('RCPT', `504 5.5.2 <${helo}>: Helo command rejected: need fully-qualified hostname`, helo);
  }
  visit.disconnect();
};

const pregreeting: Habit = (visit) => visit.pregreet();

const NAMES = ['admin', 'info', 'sales', 'test', 'anna', 'john', 'support', 'backup', 'scanner', 'webmaster', 'maria'];

/** The lines of one visit, as they come about. */
class Draft {
  readonly #client: Client;
  readonly #traffic: Traffic;
  readonly #lines: string[] = [];
  readonly #pid: number;
  #at: number;
  #service = 'smtpd';
  #offenses = 0;
  #accepted = 0;
  #failed = 0;
  #refused = false;

  constructor(client: Client, at: number, traffic: Traffic) {
    this.#client = client;
    this.#at = at;
    this.#traffic = traffic;
    this.#pid = traffic.between(2_000, 2_040);
  }

  connect(service = 'smtpd'): void {
    this.#service = service;
    this.#log(`connect from ${this.#who()}`);
  }

  accept(): void {
    const id = this.#traffic.queueId();
    const sender = `sender${this.#traffic.between(1, 9)}@${this.#client.name ?? 'remote.example'}`;
    this.#accepted++;
    this.#log(`${id}: client=${this.#who()}`);
    this.#log(`${id}: message-id=<${id}@remote.example>`, 'cleanup');
    this.#log(`${id}: from=<${sender}>, size=${this.#traffic.between(900, 90_000)}, nrcpt=1 (queue active)`, 'qmgr');
    this.#log(
      `${id}: to=<anna@lab.example>, relay=local, delay=0.1, delays=0.05/0/0/0.05, dsn=2.0.0, status=sent (delivered to mailbox)`,
      'local',
    );
    this.#log(`${id}: removed`, 'qmgr');
  }

  login(name: string): void {
    const id = this.#traffic.queueId();
    this.#accepted++;
    this.#log(`${id}: client=${this.#who()}, sasl_method=PLAIN, sasl_username=${name}@lab.example`);
    this.#log(`${id}: from=<${name}@lab.example>, size=2048, nrcpt=1 (queue active)`, 'qmgr');
    this.#log(
      `${id}: to=<friend@gone.example>, relay=mx.gone.example[198.51.100.250]:25, delay=1, delays=0.1/0/0.5/0.4, dsn=5.1.1, status=bounced (host mx.gone.example[198.51.100.250] said: 550 5.1.1 <friend@gone.example>: Recipient address rejected: User unknown (in reply to RCPT TO command))`,
      'smtp',
    );
  }

  unknownUser(name: string): void {
    this.reject(
      'RCPT',
      `550 5.1.1 <${name}@lab.example>: Recipient address rejected: User unknown in local recipient table`,
    );
  }

  greylisted(): void {
    this.#failed++;
    this.#log(
      `NOQUEUE: reject: RCPT from ${this.#who()}: 450 4.2.0 <anna@lab.example>: Recipient address rejected: Greylisted, see http://postgrey.example/help; from=<a@remote.example> to=<anna@lab.example> proto=ESMTP helo=<mx.remote.example>`,
    );
  }

  wrongPassword(name: string): void {
    this.#offenses++;
    this.#failed++;
    this.#log(
      `warning: ${this.#who()}: SASL LOGIN authentication failed: authentication failure, sasl_username=${name}@lab.example`,
    );
  }

  reject(stage: string, reply: string, helo = 'client.example'): void {
    this.#offenses++;
    this.#failed++;
    this.#log(
      `NOQUEUE: reject: ${stage} from ${this.#who()}: ${reply}; from=<a@remote.example> to=<x@lab.example> proto=ESMTP helo=<${helo}>`,
    );
  }

  turnedAway(text: string): void {
    this.#refused = true;
    this.connect();
    this.#failed++;
    this.#log(
      `NOQUEUE: reject: RCPT from ${this.#who()}: 554 5.7.1 <${this.#who()}>: Client host rejected: ${text}; from=<a@remote.example> to=<x@lab.example> proto=ESMTP helo=<client.example>`,
    );
    this.disconnect();
  }

  lost(stage: string): void {
    this.#log(`lost connection after ${stage} from ${this.#who()}`);
  }

  pregreet(): void {
    this.#offenses++;
    const port = this.#traffic.between(1_025, 65_000);
    this.#log(`CONNECT from [${this.#client.ip}]:${port} to [192.0.2.25]:25`, 'postscreen');
    this.#log(`PREGREET 14 after 0.04 from [${this.#client.ip}]:${port}: EHLO ylmf-pc\\r\\n`, 'postscreen');
    this.#log(`DISCONNECT [${this.#client.ip}]:${port}`, 'postscreen');
  }

  disconnect(counts?: string): void {
    const usual =
      this.#failed > 0
        ? `ehlo=1 mail=1 rcpt=0/${this.#failed} quit=1 commands=3/${3 + this.#failed}`
        : 'ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5';
    this.#log(`disconnect from ${this.#who()} ${counts ?? usual}`);
  }

  finish(): Visit {
    return {
      client: this.#client.ip,
      attacker: this.#client.attacker,
      offenses: this.#offenses,
      accepted: this.#accepted,
      refused: this.#refused,
      lines: this.#lines,
    };
  }

  #who(): string {
    return `${this.#client.name ?? 'unknown'}[${this.#client.ip}]`;
  }

  #log(message: string, service = this.#service): void {
    this.#lines.push(`${new Date(this.#at).toISOString()} mx postfix/${service}[${this.#pid}]: ${message}`);
    this.#at += 1;
  }
}
