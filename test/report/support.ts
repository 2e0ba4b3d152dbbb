/** Reports on logs of a test's own, made within this process. */
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toPolicySettings } from '../../src/config/load.js';
import { defaultConfig } from '../../src/config/schema.js';
import { Filter } from '../../src/filter/filter.js';
import { loadRules, packagedFilters } from '../../src/filter/load.js';
import { Allowlist, type AllowRule } from '../../src/policy/allowlist.js';
import { Policy, type PolicySettings } from '../../src/policy/policy.js';
import { openLogs } from '../../src/report/logs.js';
import { type LogReport, makeReport } from '../../src/report/report.js';
import type { Trial } from '../../src/report/trial.js';

export const FILTER = Filter.compile(loadRules(packagedFilters(), null));
/** The middle of a day, as the logs of these tests have it. */
export const NOON = Date.UTC(2026, 10, 24, 12);

export interface Wish {
  readonly settings?: Partial<PolicySettings>;
  readonly addresses?: readonly AllowRule[];
  readonly hostnames?: readonly AllowRule[];
  readonly since?: number;
  readonly until?: number;
  readonly trials?: readonly Trial[];
}

export class Folder {
  readonly path = mkdtempSync(join(tmpdir(), 'blockd-report-'));

  /** Writes a log as of that time. */
  log(name: string, content: string | Uint8Array, writtenAt = NOON): string {
    const file = join(this.path, name);
    writeFileSync(file, content);
    utimesSync(file, writtenAt / 1_000, writtenAt / 1_000);
    return file;
  }

  async report(lines: readonly string[], wish: Wish = {}): Promise<LogReport> {
    return reportOn([this.log('mail.log', Buffer.from(lines.map((line) => `${line}\n`).join(''), 'latin1'))], wish);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export function policyOf({ settings = {}, addresses = [], hostnames = [] }: Wish): Policy {
  return new Policy(
    { ...toPolicySettings(defaultConfig()), dryRun: true, ...settings },
    new Allowlist({ addresses, hostnames }),
  );
}

export async function reportOn(files: readonly string[], wish: Wish = {}): Promise<LogReport> {
  const { since, until, trials } = wish;
  return makeReport(await openLogs(files), {
    filter: FILTER,
    policy: policyOf(wish),
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
    ...(trials !== undefined && { trials }),
  });
}

/** Writes log lines of one server process, each a second after the other unless told. */
export class Scribe {
  readonly lines: string[] = [];
  #at: number;
  #pid = 100;
  #message = 0;

  constructor(startAt = NOON - 3_600_000) {
    this.#at = startAt;
  }

  get now(): number {
    return this.#at;
  }

  wait(ms: number): this {
    this.#at += ms;
    return this;
  }

  say(message: string, program = 'postfix/smtpd'): this {
    this.lines.push(`${new Date(this.#at).toISOString()} mx ${program}[${this.#pid}]: ${message}`);
    this.#at += 1_000;
    return this;
  }

  /** One visit, in a process of its own. */
  visit(who: string, acts: (visit: Visit) => void): this {
    this.#pid++;
    this.say(`connect from ${who}`);
    acts({
      reject: (to = 'nobody@lab.example') => {
        this.say(
          `NOQUEUE: reject: RCPT from ${who}: 550 5.1.1 <${to}>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<${to}> proto=ESMTP helo=<c.example>`,
        );
      },
      deliver: () => {
        const id = `4F${String(this.#message++).padStart(8, '0')}`;
        this.say(`${id}: client=${who}`);
        this.say(`${id}: from=<a@b.example>, size=1000, nrcpt=1 (queue active)`, 'postfix/qmgr');
        this.say(
          `${id}: to=<ok1@lab.example>, relay=local, delay=0.1, delays=0/0/0/0.1, dsn=2.0.0, status=sent (delivered to mailbox)`,
          'postfix/local',
        );
        this.say(`${id}: removed`, 'postfix/qmgr');
      },
      say: (message) => this.say(message),
    });
    return this.say(`disconnect from ${who} commands=1/2`);
  }
}

export interface Visit {
  reject(to?: string): void;
  deliver(): void;
  say(message: string): void;
}
