/** Who comes to a mail server, how often, and with what habits. Only documentation and shared (RFC 6598) addresses. */
import type { Random } from './random.js';
import type { Client, Session } from './session.js';

/** Clients that behave alike. */
export interface Group {
  readonly clients: readonly Client[];
  /** How often one of the group comes, beside the other groups of its side. */
  readonly weight: number;
  readonly habit: (session: Session, random: Random) => void;
}

export interface Visitors {
  readonly decent: readonly Group[];
  readonly attackers: readonly Group[];
}

/** About 35 decent clients and 25 attackers, times `scale`. */
export function visitors(scale: number): Visitors {
  const decent = new Addresses('198.51.100', 96, false);
  const bad = new Addresses('203.0.113', 64, true);
  const botnet = (index: number) => (index === 0 ? '192.0.2' : `100.${112 + (index >> 8)}.${index & 255}`);
  return {
    decent: [
      { weight: 10, habit: delivering, clients: decent.named(20 * scale, (i) => `mx${i}.partner.example`) },
      { weight: 4, habit: providing, clients: decent.named(3 * scale, (i) => `out${i}.provider.example`) },
      { weight: 5, habit: sending, clients: decent.named(6 * scale, (i) => `home-${i}.isp.example`) },
      { weight: 1, habit: arriving, clients: decent.named(4 * scale, (i) => `new${i}.shop.example`) },
      { weight: 1, habit: watching, clients: decent.named(1, () => 'probe.monitoring.example') },
      { weight: 1, habit: delivering, clients: ipv6(scale, '2001:db8:77', 'mx6.partner.example', false) },
    ],
    attackers: [
      { weight: 6, habit: guessing, clients: bad.nameless(4 * scale) },
      { weight: 4, habit: crackingPasswords, clients: bad.named(3 * scale, (i) => `host-${i}.dialup.example`) },
      { weight: 2, habit: relaying, clients: bad.nameless(2 * scale) },
      { weight: 2, habit: jumpingIn, clients: bad.nameless(2 * scale) },
      { weight: 1, habit: scanning, clients: bad.named(2 * scale, (i) => `crawl-${i}.cloud.example`) },
      { weight: 1, habit: forging, clients: bad.nameless(scale) },
      { weight: 0.5, habit: probingSlowly, clients: bad.nameless(2 * scale) },
      { weight: 2, habit: guessing, clients: ipv6(scale, '2001:db8:bad', null, true) },
      ...Array.from({ length: scale }, (_, index) => ({
        weight: 3 / scale,
        habit: callingItselfNames,
        clients: Array.from({ length: 6 }, (_, i) => ({
          ip: `${botnet(index)}.${200 + i}`,
          name: null,
          attacker: true,
        })),
      })),
    ],
  };
}

/** Hands out addresses of a documentation /24, then of a sixteenth of 100.64.0.0/10 and more. */
class Addresses {
  #given = 0;
  readonly #network: string;
  readonly #more: number;
  readonly #attacker: boolean;

  constructor(network: string, more: number, attacker: boolean) {
    this.#network = network;
    this.#more = more;
    this.#attacker = attacker;
  }

  named(count: number, name: (index: number) => string): Client[] {
    return Array.from({ length: count }, (_, index) => ({
      ip: this.#next(),
      name: name(index + 1),
      attacker: this.#attacker,
    }));
  }

  nameless(count: number): Client[] {
    return this.named(count, () => '').map((client) => ({ ...client, name: null }));
  }

  #next(): string {
    const index = this.#given++;
    if (index < 200) return `${this.#network}.${10 + index}`;
    const rest = index - 200;
    return `100.${this.#more + Math.floor(rest / 62_500)}.${Math.floor(rest / 250) % 250}.${1 + (rest % 250)}`;
  }
}

function ipv6(count: number, network: string, name: string | null, attacker: boolean): Client[] {
  return Array.from({ length: count }, (_, index) => ({
    ip: `${network}:${(index + 1).toString(16)}::25`,
    name,
    attacker,
  }));
}

const delivering: Group['habit'] = (session, random) => {
  session.connect();
  if (random.chance(0.6)) session.secure();
  // People mistype; a colleague has left.
  if (random.chance(0.02)) session.unknownUser('jon.doe');
  else if (random.chance(0.05)) session.greylist();
  else session.deliver(random.chance(0.04) ? '' : `sender${random.between(1, 9)}@partner.example`);
  session.disconnect();
};

const providing: Group['habit'] = (session, random) => {
  session.connect();
  session.secure();
  for (let messages = random.between(1, 4); messages > 0; messages--) {
    session.deliver(`someone${random.between(1, 999)}@provider.example`);
  }
  if (random.chance(0.08)) session.unknownUser(random.pick(['info', 'sales', 'old.account']));
  session.disconnect();
};

const sending: Group['habit'] = (session, random) => {
  session.connect('submission/smtpd');
  if (random.chance(0.04)) session.wrongPassword('anna');
  session.send('anna', random.chance(0.15) ? 'unknown' : 'sent');
  session.disconnect();
};

const arriving: Group['habit'] = (session) => session.passPostscreen();

const watching: Group['habit'] = (session) => {
  session.connect();
  session.disconnect();
};

const guessing: Group['habit'] = (session, random) => {
  session.connect();
  const guesses = random.between(2, 6);
  for (let i = 0; i < guesses; i++) session.unknownUser(random.pick(NAMES) + random.between(1, 99));
  if (guesses === 6) session.tooManyErrors();
  session.disconnect();
};

const crackingPasswords: Group['habit'] = (session, random) => {
  session.connect(random.chance(0.5) ? 'smtpd' : 'submission/smtpd');
  session.wrongPassword(random.pick(NAMES));
  if (random.chance(0.7)) session.lose('AUTH');
  session.disconnect();
};

const relaying: Group['habit'] = (session) => {
  session.connect();
  const victim = 'victim@elsewhere.example';
  session.reject(`454 4.7.1 <${victim}>: Relay access denied`, 'spam@lab.example', victim);
  session.disconnect();
};

const jumpingIn: Group['habit'] = (session) => session.pregreet();

const scanning: Group['habit'] = (session) => {
  session.connect();
  session.speakHttp();
  session.disconnect();
};

/** Writes into every field it owns what would blame a decent client, were it believed. */
const forging: Group['habit'] = (session, random) => {
  session.connect();
  const blamed = 'mx1.partner.example[198.51.100.10]';
  session.unknownUser(
    random.pick(NAMES),
    `"reject: RCPT from ${blamed}: 550 5.1.1 User unknown"@remote.example`,
    '[198.51.100.10]:',
  );
  session.disconnect();
};

const probingSlowly: Group['habit'] = (session, random) => {
  session.connect();
  session.unknownUser(random.pick(NAMES));
  session.disconnect();
};

const callingItselfNames: Group['habit'] = (session, random) => {
  session.connect();
  const helo = random.pick(['ylmf-pc', 'localhost', 'win-server']);
  for (let tries = random.between(1, 2); tries > 0; tries--) {
    const reply = `504 5.5.2 <${helo}>: Helo command rejected: need fully-qualified hostname`;
    session.reject(reply, undefined, undefined, helo);
  }
  session.disconnect();
};

const NAMES = ['admin', 'info', 'sales', 'test', 'anna', 'john', 'support', 'backup', 'scanner', 'webmaster', 'maria'];
