/**
 * The bans once more, as sets of nftables: their clients reach no port of ours, so they can't guess passwords either.
 * Each element has the ban's remaining time, so that the kernel ends it, also when no daemon runs any more.
 */
import { isIPv4, parseNetwork } from '../domain/address.js';
import { reasonOf, UnavailableError } from '../domain/errors.js';
import type { MapEntry, Picture } from '../postfix/access-map.js';
import { complaintOf, run } from '../postfix/run.js';
import type { Logger } from './log.js';

const GAP_MS = 1_000;
const RETRY_MS = 30_000;
const TIMEOUT_MS = 20_000;
const PORTS = '{ 25, 465, 587 }';

export interface KernelSetsOptions {
  /** The bans as they are; one that refuses to tell lets the sets stay as they are. */
  readonly picture: () => Promise<Picture>;
  /** When the first ban of the last picture ends, milliseconds. */
  readonly soonestEnd: () => number;
  readonly logger: Logger;
  /** The program. */
  readonly nft: string;
  /** Of family inet; made when it is missing. A letter, then letters, digits and `_`. */
  readonly table: string;
  /** Also keep a rule that drops mail from them; else the admin's own rules ask the sets. */
  readonly drop: boolean;
  /** Of this host, or never to be banned. */
  readonly isAllowed: (subject: string) => boolean;
}

export class KernelSets {
  readonly #options: KernelSetsOptions;
  /** What the sets hold, subject → end; null when that is not known. */
  #shown: Map<string, number> | null = null;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #dueAt = Number.POSITIVE_INFINITY;
  #failed = false;
  #stopped = false;

  constructor(options: KernelSetsOptions) {
    this.#options = options;
  }

  /** Something changed: follow soon. Never throws; errors are logged once, and it is tried again. */
  request(waitMs = GAP_MS): void {
    const dueAt = performance.now() + waitMs;
    if (this.#stopped || dueAt >= this.#dueAt) return;
    this.#dueAt = dueAt;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.#running = this.#running.then(() => this.#follow());
    }, waitMs);
  }

  /** The elements stay: the kernel ends them. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #follow(): Promise<void> {
    try {
      const now = Date.now();
      const picture = await this.#options.picture();
      const wanted = widest(picture.all().filter(({ subject }) => !this.#options.isAllowed(subject)));
      const lines = this.#shown === null ? this.#anew(wanted, now) : this.#differences(this.#shown, wanted, now);
      if (lines.length > 0) {
        const result = await run([this.#options.nft, '-f', '-'], {
          input: `${lines.join('\n')}\n`,
          timeoutMs: TIMEOUT_MS,
          missing: 'install nftables, or set frontline.nft to where it is',
        });
        if (result.code !== 0) throw new UnavailableError(complaintOf(result));
      }
      this.#shown = wanted;
      if (this.#failed) this.#options.logger.info({ event: 'nft-works' }, 'the nftables sets follow the bans again');
      this.#failed = false;
      // One that held narrower bans may have ended by itself.
      const endsInMs = this.#options.soonestEnd() - now;
      if (Number.isFinite(endsInMs)) this.request(Math.min(Math.max(GAP_MS, endsInMs + GAP_MS), 60_000));
    } catch (error) {
      this.#shown = null;
      if (!this.#failed)
        this.#options.logger.error(
          { event: 'nft-failed' },
          `the nftables sets can't follow the bans, the access map goes on: ${reasonOf(error)}; tried again every ${RETRY_MS / 1_000} s`,
        );
      this.#failed = true;
      this.request(RETRY_MS);
    }
  }

  /** All of it in one transaction, whatever was there. */
  #anew(wanted: ReadonlyMap<string, number>, now: number): string[] {
    const { table, drop } = this.#options;
    const set = (name: string, type: string) => [
      `add set inet ${table} ${name} { type ${type}; flags interval, timeout; }`,
      `flush set inet ${table} ${name}`,
    ];
    const chain = `inet ${table} input`;
    const rules = [
      `add chain ${chain} { type filter hook input priority -10; policy accept; }`,
      `flush chain ${chain}`,
      `add rule ${chain} tcp dport ${PORTS} ip saddr @banned4 drop`,
      `add rule ${chain} tcp dport ${PORTS} ip6 saddr @banned6 drop`,
    ];
    return [
      `add table inet ${table}`,
      ...set('banned4', 'ipv4_addr'),
      ...set('banned6', 'ipv6_addr'),
      ...(drop ? rules : []),
      ...[...wanted].flatMap(([subject, until]) => this.#element('add', subject, until, now)),
    ];
  }

  #differences(shown: ReadonlyMap<string, number>, wanted: ReadonlyMap<string, number>, now: number): string[] {
    const gone = [...shown].filter(([subject, until]) => wanted.get(subject) !== until);
    const come = [...wanted].filter(([subject, until]) => shown.get(subject) !== until);
    return [
      // Ended ones the kernel has taken out, and deleting what is not there would fail the transaction.
      ...gone
        .filter(([, until]) => until > now + GAP_MS)
        .flatMap(([subject, until]) => this.#element('delete', subject, until, now)),
      ...come.flatMap(([subject, until]) => this.#element('add', subject, until, now)),
    ];
  }

  #element(verb: 'add' | 'delete', subject: string, until: number, now: number): string[] {
    const seconds = Math.floor((until - now) / 1_000);
    if (verb === 'add' && seconds < 1) return [];
    const set = isIPv4(subject) ? 'banned4' : 'banned6';
    const timeout = verb === 'add' ? ` timeout ${seconds}s` : '';
    return [`${verb} element inet ${this.#options.table} ${set} { ${subject}${timeout} }`];
  }
}

/** Without those that another holds: the intervals of a set must not overlap. */
function widest(bans: readonly MapEntry[]): Map<string, number> {
  const networks = bans.flatMap(({ subject, until }) => {
    const network = parseNetwork(subject);
    return network === null ? [] : [{ subject, until, ...network }];
  });
  networks.sort((a, b) => a.prefix - b.prefix);
  const held = new Map<string, number>();
  const bases = new Set<string>();
  const prefixes = new Set<number>();
  for (const { subject, until, base, prefix } of networks) {
    const isHeld = [...prefixes].some((wider) => {
      const around = wider < prefix ? parseNetwork(`${base}/${wider}`) : null;
      return around !== null && bases.has(`${around.base}/${wider}`);
    });
    if (isHeld) continue;
    held.set(subject, until);
    bases.add(`${base}/${prefix}`);
    prefixes.add(prefix);
  }
  return held;
}
