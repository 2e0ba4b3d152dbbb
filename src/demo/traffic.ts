/**
 * The mail log of an ordinary day: wanted mail, users, and those whom nobody wants, visit over visit. The same for the
 * same seed. Used by the demonstration and by whoever needs a realistic log whose truth is known.
 */
import { Random } from './random.js';
import { type Client, Session, type SpokenLine } from './session.js';
import { type Group, visitors } from './visitors.js';

export interface TrafficLine {
  readonly at: number;
  /** As it stands in the log, without its newline. */
  readonly text: string;
  /** Address of the client that the line is about, or null. */
  readonly client: string | null;
  /** Is that client one whom nobody wants? */
  readonly attacker: boolean;
  readonly says: SpokenLine['says'];
}

export interface TrafficOptions {
  readonly seed: number;
  /** The first visit comes soon after. */
  readonly startAt: number;
  /** Visits, of decent clients and of attackers. */
  readonly perSecond: number;
  /** Share of the log that attackers fill, 0 to 1. */
  readonly attackShare: number;
  /** 1: a small site, about 60 clients. */
  readonly scale?: number;
  /** `traditional` stamps are local time without a year, as Postfix and syslog write them. */
  readonly stamps?: 'rfc3339' | 'traditional';
  /** Text with which the access map would turn the client away, or null. Asked as each visit begins. */
  readonly refusal?: (client: string) => string | null;
}

export class Traffic {
  readonly #options: TrafficOptions;
  readonly #random: Random;
  readonly #decent: Chooser;
  readonly #attackers: Chooser;
  readonly #stamp: (at: number) => string;
  readonly #servers = new Map<string, { readonly pid: number; freeAt: number }[]>();
  #nextVisitAt: number;
  #writtenUntil: number;
  /** Lines of begun visits that are yet to come. */
  #pending: SpokenLine[] = [];
  #lines = 0;
  #attackLines = 0;
  #nextPid = 2_000;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    const { decent, attackers } = visitors(options.scale ?? 1);
    this.#decent = new Chooser(decent);
    this.#attackers = new Chooser(attackers);
    this.#stamp = options.stamps === 'traditional' ? traditionalStamps() : rfc3339Stamps();
    this.#writtenUntil = options.startAt;
    this.#nextVisitAt = options.startAt + this.#random.gapMs(options.perSecond);
  }

  /** The log's next lines, up to the instant `at`, in order. */
  until(at: number): TrafficLine[] {
    while (this.#nextVisitAt <= at) {
      this.#visit(Math.floor(this.#nextVisitAt));
      this.#nextVisitAt += this.#random.gapMs(this.#options.perSecond);
    }
    this.#writtenUntil = Math.max(at, this.#writtenUntil);
    this.#pending.sort((a, b) => a.at - b.at);
    const later = this.#pending.findIndex((line) => line.at > at);
    const due = this.#pending.splice(0, later < 0 ? this.#pending.length : later);
    return due.map((line) => this.#written(line));
  }

  /** The log's next `count` lines, as fast as they can be made. */
  *lines(count: number): Generator<TrafficLine> {
    const stepMs = 20_000 / this.#options.perSecond;
    for (let left = count; left > 0; ) {
      const due = this.until(this.#writtenUntil + stepMs);
      yield* left < due.length ? due.slice(0, left) : due;
      left -= due.length;
    }
  }

  #visit(at: number): void {
    const bad = this.#attackLines < this.#options.attackShare * (this.#lines + 1);
    const { client, habit } = (bad ? this.#attackers : this.#decent).choose(this.#random);
    const session = new Session(client, at, this.#random, { take: (service, from) => this.#server(service, from) });
    const refusal = this.#options.refusal?.(client.ip) ?? null;
    if (refusal === null) habit(session, this.#random);
    else {
      session.connect();
      session.refuse(refusal);
      session.disconnect();
    }
    this.#lines += session.lines.length;
    if (bad) this.#attackLines += session.lines.length;
    for (const line of session.lines) this.#pending.push(line);
  }

  #server(service: string, at: number): { readonly pid: number; freeAt: number } {
    const servers = this.#servers.get(service) ?? [];
    this.#servers.set(service, servers);
    let server = servers.find(({ freeAt }) => freeAt < at);
    if (server === undefined) {
      server = { pid: this.#nextPid++, freeAt: 0 };
      servers.push(server);
    }
    server.freeAt = Number.POSITIVE_INFINITY;
    return server;
  }

  #written({ at, text, client, says }: SpokenLine): TrafficLine {
    return {
      at,
      text: `${this.#stamp(at)} mx ${text}`,
      client: client?.ip ?? null,
      attacker: client?.attacker ?? false,
      says,
    };
  }
}

/** Picks a group by its weight, then one of its clients. */
class Chooser {
  readonly #groups: readonly Group[];
  readonly #total: number;

  constructor(groups: readonly Group[]) {
    this.#groups = groups;
    this.#total = groups.reduce((sum, { weight }) => sum + weight, 0);
  }

  choose(random: Random): { readonly client: Client; readonly habit: Group['habit'] } {
    let left = random.next() * this.#total;
    for (const { weight, clients, habit } of this.#groups) {
      left -= weight;
      if (left < 0) return { client: random.pick(clients), habit };
    }
    throw new RangeError('nobody comes');
  }
}

/** As rsyslog writes them: microseconds and offset. */
function rfc3339Stamps(): (at: number) => string {
  const seconds = perSecond((at) => new Date(at).toISOString().slice(0, 19));
  return (at) => `${seconds(at)}.${String(at % 1_000).padStart(3, '0')}000+00:00`;
}

function traditionalStamps(): (at: number) => string {
  return perSecond((at) => {
    const date = new Date(at);
    return `${MONTHS[date.getMonth()]} ${String(date.getDate()).padStart(2)} ${date.toTimeString().slice(0, 8)}`;
  });
}

/** Lines come in order, so that those of one second share the work. */
function perSecond(format: (at: number) => string): (at: number) => string {
  let second = Number.NaN;
  let text = '';
  return (at) => {
    const now = Math.floor(at / 1_000);
    if (now !== second) {
      second = now;
      text = format(now * 1_000);
    }
    return text;
  };
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
