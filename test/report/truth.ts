/**
 * Two weeks of a mail server's log with the truth about every line: slow botnets, bursts, brute force, harvesting; and
 * users who mistype, providers and a mailing list that also write to the dead, newcomers, addresses that change hands.
 */
import { Random } from '../../src/demo/random.js';
import { type Client, Session } from '../../src/demo/session.js';

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;
export const DAYS = 14;

export type Actor =
  | 'slow botnet'
  | 'very slow botnet'
  | 'bursts'
  | 'password guessing'
  | 'slow password guessing'
  | 'harvesting'
  | 'former owner'
  | 'user'
  | 'provider'
  | 'mailing list'
  | 'newcomer'
  | 'new owner';

/** One thing that a client did, and when its session began. */
export interface Act {
  readonly actor: Actor;
  readonly ip: string;
  readonly at: number;
  readonly sessionAt: number;
  /** `reject`: refused at SMTP; `login`: a failed one; `message`: taken from it. */
  readonly what: 'reject' | 'login' | 'message';
  readonly attack: boolean;
}

export interface Truth {
  readonly lines: readonly { readonly at: number; readonly text: string }[];
  readonly acts: readonly Act[];
}

export function truth(seed: number, startAt: number): Truth {
  const world = new World(seed, startAt);
  slowBotnets(world);
  bursts(world);
  guessing(world);
  harvesting(world);
  users(world);
  providers(world);
  mailingList(world);
  newcomers(world);
  changeOfHands(world);
  return world.truth();
}

class World {
  readonly random: Random;
  readonly startAt: number;
  readonly #lines: { at: number; text: string }[] = [];
  readonly #acts: Act[] = [];
  #nextPid = 3_000;

  constructor(seed: number, startAt: number) {
    this.random = new Random(seed);
    this.startAt = startAt;
  }

  /** A visit in a server process of its own. */
  visit(actor: Actor, client: Client, at: number, habit: (session: Session) => void): void {
    if (at >= this.startAt + DAYS * DAY_MS) return;
    const pid = this.#nextPid++;
    const session = new Session(client, Math.floor(at), this.random, { take: () => ({ pid, freeAt: 0 }) });
    habit(session);
    for (const line of session.lines) {
      this.#lines.push({ at: line.at, text: `${new Date(line.at).toISOString()} mx ${line.text}` });
      const what =
        line.says === 'offense'
          ? line.text.includes(': reject: ')
            ? 'reject'
            : 'login'
          : line.says === 'accepted' || line.says === 'authenticated'
            ? 'message'
            : null;
      if (what === null) continue;
      this.#acts.push({ actor, ip: client.ip, at: line.at, sessionAt: Math.floor(at), what, attack: client.attacker });
    }
  }

  /** Instants, `everyMs` apart on average, from `from` until `to`. */
  *times(from: number, to: number, everyMs: number): Generator<number> {
    for (let at = from + this.random.gapMs(1_000 / everyMs); at < to; at += this.random.gapMs(1_000 / everyMs))
      yield at;
  }

  day(day: number): number {
    return this.startAt + day * DAY_MS;
  }

  truth(): Truth {
    this.#lines.sort((a, b) => a.at - b.at);
    this.#acts.sort((a, b) => a.at - b.at);
    return { lines: this.#lines, acts: this.#acts };
  }
}

const bad = (ip: string): Client => ({ ip, name: null, attacker: true });
const good = (ip: string, name: string | null): Client => ({ ip, name, attacker: false });
const NAMES = ['admin', 'info', 'sales', 'test', 'john', 'support', 'backup', 'office', 'root', 'hr'];

function probe(world: World, count: number) {
  return (session: Session) => {
    session.connect();
    for (let i = 0; i < count; i++) session.unknownUser(`${world.random.pick(NAMES)}${world.random.between(1, 999)}`);
    if (count >= 20) session.tooManyErrors();
    session.disconnect();
  };
}

/** Each bot comes once an hour or so, and the net grows from day to day; another comes a few times a day. */
function slowBotnets(world: World): void {
  for (let bot = 0; bot < 40; bot++) {
    const client = bad(`100.${64 + bot}.${world.random.between(1, 250)}.${world.random.between(1, 250)}`);
    const joins = world.startAt + (bot / 40) * 8 * DAY_MS;
    for (const at of world.times(joins, world.day(DAYS), HOUR_MS))
      world.visit('slow botnet', client, at, probe(world, world.random.between(2, 3)));
  }
  for (let bot = 0; bot < 15; bot++) {
    const client = bad(`100.${110 + bot}.7.${10 + bot}`);
    for (const at of world.times(world.startAt, world.day(DAYS), 5 * HOUR_MS))
      world.visit('very slow botnet', client, at, probe(world, 1));
  }
}

function bursts(world: World): void {
  for (let i = 0; i < 12; i++) {
    const client = bad(`203.0.113.${20 + i}`);
    for (let burst = 0; burst < 3; burst++) {
      const start = world.startAt + world.random.next() * (DAYS - 1) * DAY_MS;
      for (const at of world.times(start, start + 20 * MINUTE_MS, 30 * SECOND_MS))
        world.visit('bursts', client, at, probe(world, world.random.between(3, 6)));
    }
  }
}

function guessing(world: World): void {
  const guess = (session: Session) => {
    session.connect('submission/smtpd');
    session.wrongPassword(world.random.pick(NAMES));
    session.lose('AUTH');
    session.disconnect();
  };
  for (let i = 0; i < 10; i++) {
    const start = world.startAt + world.random.next() * (DAYS - 2) * DAY_MS;
    for (const at of world.times(start, start + 8 * HOUR_MS, 60 * SECOND_MS))
      world.visit('password guessing', bad(`203.0.113.${60 + i}`), at, guess);
  }
  for (let i = 0; i < 10; i++) {
    for (const at of world.times(world.startAt, world.day(DAYS), 40 * MINUTE_MS))
      world.visit('slow password guessing', bad(`203.0.113.${90 + i}`), at, guess);
  }
}

function harvesting(world: World): void {
  for (let i = 0; i < 4; i++) {
    for (const at of world.times(world.startAt, world.day(DAYS), 2 * HOUR_MS))
      world.visit('harvesting', bad(`192.0.2.${150 + i}`), at, probe(world, 20));
  }
}

/** They mistype now and then; two changed their password and forgot the telephone; some begin with a wrong one. */
function users(world: World): void {
  for (let i = 0; i < 40; i++) {
    const client = good(`198.51.100.${10 + i}`, `dsl-${i}.isp.example`);
    const mistypes = (session: Session, times: number) => {
      for (let n = 0; n < times; n++) session.wrongPassword(`user${i}`);
    };
    if (i < 8) {
      world.visit('user', client, world.startAt + i * HOUR_MS, (session) => {
        session.connect('submission/smtpd');
        mistypes(session, 3);
        session.send(`user${i}`, 'sent');
        session.disconnect();
      });
    }
    for (const at of world.times(world.startAt + 10 * HOUR_MS, world.day(DAYS), 5 * HOUR_MS)) {
      world.visit('user', client, at, (session) => {
        session.connect('submission/smtpd');
        if (world.random.chance(0.06)) mistypes(session, world.random.between(1, 2));
        session.send(`user${i}`, world.random.chance(0.1) ? 'unknown' : 'sent');
        session.disconnect();
      });
    }
    if (i % 20 === 3) {
      for (const at of world.times(world.day(9), world.day(9) + 3 * HOUR_MS, 5 * MINUTE_MS)) {
        world.visit('user', client, at, (session) => {
          session.connect('submission/smtpd');
          mistypes(session, 1);
          session.disconnect();
        });
      }
    }
  }
}

/** They deliver a lot, and some of it to people who have left. */
function providers(world: World): void {
  for (let i = 0; i < 24; i++) {
    const client = good(`198.51.100.${100 + i}`, `out${i}.provider${i % 3}.example`);
    for (const at of world.times(world.startAt, world.day(DAYS), 45 * MINUTE_MS)) {
      world.visit('provider', client, at, (session) => {
        session.connect();
        session.secure();
        if (world.random.chance(0.07)) session.unknownUser(world.random.pick(['old.account', 'left', 'former']));
        else session.deliver(`someone${world.random.between(1, 999)}@provider.example`);
        session.disconnect();
      });
    }
  }
}

/** An issue a day to thirty members, four of whom are gone. */
function mailingList(world: World): void {
  for (let i = 0; i < 2; i++) {
    const client = good(`198.51.100.${200 + i}`, `lists${i}.society.example`);
    for (let day = 0; day < DAYS; day++) {
      for (let batch = 0; batch < 6; batch++) {
        world.visit('mailing list', client, world.day(day) + (7 + i) * HOUR_MS + batch * 20 * SECOND_MS, (session) => {
          session.connect();
          for (let n = 0; n < 5; n++) session.deliver('list-bounces@society.example');
          if (batch < 4) session.unknownUser(`gone${batch}`);
          session.disconnect();
        });
      }
    }
  }
}

/** One message each; one in five mistypes the address first. */
function newcomers(world: World): void {
  for (let i = 0; i < 200; i++) {
    const client = good(`100.${80 + (i % 40)}.250.${1 + i}`, `mx.shop${i}.example`);
    world.visit('newcomer', client, world.startAt + world.random.next() * DAYS * DAY_MS, (session) => {
      session.connect();
      if (world.random.chance(0.2)) session.unknownUser('ana');
      session.deliver(`orders@shop${i}.example`);
      session.disconnect();
    });
  }
}

/** In the first week a nuisance; from the eighth day on somebody else's mail server has the address. */
function changeOfHands(world: World): void {
  for (let i = 0; i < 6; i++) {
    const ip = `192.0.2.${30 + i}`;
    for (const at of world.times(world.startAt, world.day(7), 90 * MINUTE_MS))
      world.visit('former owner', bad(ip), at, probe(world, 4));
    for (const at of world.times(world.day(7) + 2 * HOUR_MS, world.day(DAYS), 30 * MINUTE_MS)) {
      world.visit('new owner', good(ip, `mail.firm${i}.example`), at, (session) => {
        session.connect();
        session.deliver(`office@firm${i}.example`);
        session.disconnect();
      });
    }
  }
}
