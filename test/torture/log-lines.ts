/** Numbered log lines whose worth is known when they are written. */
import type { Random } from '../../src/demo/random.js';

/**
 * `sure`: must count exactly once. `risky`: its writer may lose it, so it counts once or not at all.
 * `lost`: deleted unread, so nobody can count it.
 */
export type Fate = 'sure' | 'risky' | 'lost';

export interface LogLine {
  readonly n: number;
  /** Ended by a newline. */
  readonly text: string;
  /** Who offends; null for lines that are no offense. */
  readonly offender: string | null;
  fate: Fate;
}

export interface Manner {
  /** `now`: RFC 3339 of this instant; the others lie up to nine hours back. */
  readonly stamps: 'now' | 'rfc3339' | 'traditional';
  /** Lines share smtpd processes, and so sessions, in which their order matters. */
  readonly hasSessions: boolean;
  readonly offenders: number;
}

const SPREAD_MS = 8 * 3_600_000;
const EXPECTED_LINES = 1_500;

export class LogLines {
  readonly all: LogLine[] = [];
  readonly clients = new Set<string>();
  readonly #chance: Random;
  readonly #manner: Manner;
  readonly #pool: readonly string[];
  #at = Date.now() - SPREAD_MS - 3_600_000;

  constructor(chance: Random, manner: Manner) {
    this.#chance = chance;
    this.#manner = manner;
    this.#pool = Array.from({ length: manner.offenders }, (_, i) => addressOf(i));
  }

  get sureOffenses(): number {
    return this.all.filter(({ fate, offender }) => fate === 'sure' && offender !== null).length;
  }

  /** The next line; one that must count exactly once when it counts at all. */
  next(): LogLine {
    const n = this.all.length;
    const who = this.#chance.pick(this.#pool);
    const pid = this.#manner.hasSessions ? this.#chance.between(1, 25) : 100_000 + n;
    const share = this.#chance.next();
    if (share < 0.55) return this.#add(n, pid, this.#offense(n, who), who, 'sure');
    return this.#add(n, pid, this.#innocent(n, who), null, 'sure');
  }

  offense(): LogLine {
    const n = this.all.length;
    const who = this.#chance.pick(this.#pool);
    return this.#add(n, 100_000 + n, this.#offense(n, who), who, 'sure');
  }

  /** A line that its writer may lose. Its subject is its own, so that nothing else depends on it. */
  risky(): LogLine {
    const n = this.all.length;
    const who = `2001:db8:ffff:${(n + 1).toString(16)}::9`;
    return this.#add(n, 100_000 + n, this.#offense(n, who), who, 'risky');
  }

  #add(n: number, pid: number, message: string, offender: string | null, fate: Fate): LogLine {
    const program = message.startsWith('from=') || message.startsWith('removed') ? 'postfix/qmgr' : 'postfix/smtpd';
    const line = { n, text: `${this.#stamp()} mx ${program}[${pid}]: ${message}\n`, offender, fate };
    this.all.push(line);
    if (offender !== null) this.clients.add(offender);
    return line;
  }

  #offense(n: number, who: string): string {
    const end = `from=<a@remote.example> to=<n${n}@lab.example> proto=ESMTP helo=<c.example>`;
    const share = this.#chance.next();
    if (share < 0.6) {
      return `NOQUEUE: reject: RCPT from unknown[${who}]: 550 5.1.1 <n${n}@lab.example>: Recipient address rejected: User unknown in local recipient table; ${end}`;
    }
    if (share < 0.8)
      return `NOQUEUE: reject: RCPT from unknown[${who}]: 554 5.7.1 <n${n}@lab.example>: Relay access denied; ${end}`;
    return `warning: unknown[${who}]: SASL LOGIN authentication failed: UGFzc3dvcmQ6, sasl_username=n${n}@lab.example`;
  }

  #innocent(n: number, who: string): string {
    const share = this.#chance.next();
    if (share < 0.3) return `connect from unknown[${who}]`;
    if (share < 0.5) return `disconnect from unknown[${who}] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4`;
    if (share < 0.7) {
      this.clients.add(who);
      return `${queueIdOf(n)}: client=unknown[${who}]`;
    }
    return `from=<n${n}@lab.example>, size=1234, nrcpt=1 (queue active), id=${queueIdOf(n)}`;
  }

  #stamp(): string {
    const { stamps } = this.#manner;
    if (stamps === 'now') return new Date().toISOString();
    this.#at += this.#chance.gapMs(EXPECTED_LINES / (SPREAD_MS / 1_000));
    const at = new Date(Math.min(this.#at, Date.now()));
    if (stamps === 'rfc3339') return at.toISOString();
    const two = (value: number) => String(value).padStart(2, '0');
    const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    return `${MONTHS[at.getMonth()]} ${String(at.getDate()).padStart(2)} ${time}`;
  }
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

function addressOf(i: number): string {
  if (i % 4 === 3) return `2001:db8:${(i % 7) + 1}:${i}::25`;
  return `${['192.0.2', '198.51.100', '203.0.113'][i % 3]}.${Math.floor(i / 3) % 256}`;
}

function queueIdOf(n: number): string {
  return `4F${(0x1000000 + n).toString(16).toUpperCase()}`;
}
