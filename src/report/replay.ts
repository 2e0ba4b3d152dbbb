/**
 * Reads logs once, through the same filter and session code as the daemon, and hands on what they tell: to the tally
 * of the mail, to that of refusals, and to one policy or many.
 */
import { networkOf, subjectOf } from '../domain/address.js';
import { type LogEvent, type Match, toEvent } from '../domain/event.js';
import { LineClock } from '../filter/clock.js';
import type { Filter } from '../filter/filter.js';
import { LineHeader } from '../filter/header.js';
import { viewOf } from '../filter/words.js';
import { Sessions } from '../policy/session.js';
import { Counter } from './counter.js';
import type { ReportLog } from './logs.js';
import { MailTally, type Sorted } from './mail.js';
import { parseRefusal, RefusalTally } from './rejects.js';
import { looksRefused, Shapes } from './shapes.js';
import type { Attempt, Batch, Delivery } from './trial.js';

/** Judging costs less an event in larger batches. */
const BATCH_EVENTS = 2_000;
const MOST_KNOWN_CLIENTS = 200_000;
const MOST_SESSIONS = 100_000;

export interface ReplayOptions {
  readonly filter: Filter;
  readonly ipv6Prefix: number;
  /** Lines before and from then on are passed over, milliseconds. */
  readonly since?: number;
  readonly until?: number;
  readonly onBatch: (batch: Batch) => void;
}

/** A message that Postfix took although the map, published in shadow mode, would have refused its client. */
export interface ShadowLoss {
  readonly subject: string;
  readonly host: string | null;
  readonly at: number;
  readonly line: string;
}

interface Client {
  readonly subject: string;
  readonly network: string;
}

interface Session {
  readonly at: number;
  /** In shadow mode Postfix said that it would have refused it. */
  warned: boolean;
}

/** Whose lines they are, by what follows `postfix/` and any service name. */
type Service = 'smtpd' | 'postscreen' | 'cleanup' | 'pickup' | 'qmgr' | 'delivery' | 'logins' | 'other';

export class Replay {
  readonly mail = new MailTally();
  readonly refusals = new RefusalTally();
  readonly unmatched = new Shapes();
  readonly networks = new Counter();
  readonly shadowLosses: ShadowLoss[] = [];
  lines = 0;
  fromAt = Number.POSITIVE_INFINITY;
  toAt = Number.NEGATIVE_INFINITY;
  /** Lines in which Postfix, in shadow mode, said whom it would have refused. */
  wouldRefuse = 0;
  readonly #options: ReplayOptions;
  readonly #sessions = new Sessions();
  readonly #header = new LineHeader();
  readonly #services = new Map<string, Service>();
  readonly #open = new Map<number, Session>();
  readonly #clients = new Map<string, Client>();
  readonly #matches: Match[] = [];
  #clock = new LineClock(0);
  #events: LogEvent[] = [];
  #subjects = new Set<string>();
  #attempts: Attempt[] = [];
  #deliveries: Delivery[] = [];
  #text = '';
  /** The same as bytes, at the same offsets. */
  #bytes = Buffer.alloc(0);
  #view = viewOf(this.#bytes);
  #end = 0;

  constructor(options: ReplayOptions) {
    this.#options = options;
  }

  async read(log: ReportLog, onProgress: () => void = () => undefined): Promise<void> {
    const scanning = new LineClock(log.writtenAt);
    // Lines are looked at twice, and an hour that summer time repeats is told by their order.
    this.#clock = new LineClock(log.writtenAt);
    const cutting = new LineClock(log.writtenAt);
    for await (const text of log.texts()) {
      const kept = this.#within(text, cutting);
      if (kept !== '') this.#take(kept, scanning);
      onProgress();
    }
  }

  /** Hands on what has gathered. */
  flush(): void {
    if (this.#events.length === 0 && this.#attempts.length === 0 && this.#deliveries.length === 0) return;
    const batch = {
      events: this.#events,
      subjects: [...this.#subjects],
      attempts: this.#attempts,
      deliveries: this.#deliveries,
    };
    this.#events = [];
    this.#subjects = new Set();
    this.#attempts = [];
    this.#deliveries = [];
    this.#options.onBatch(batch);
  }

  #take(text: string, scanning: LineClock): void {
    const matches = this.#matches;
    matches.length = 0;
    this.#bytes = Buffer.from(text, 'latin1');
    this.#view = viewOf(this.#bytes);
    this.lines += this.#options.filter.scan(this.#bytes, scanning, (match) => matches.push(match));
    this.#text = text;
    this.#see(this.#stampOf(text, 0, this.#clock));
    let next = 0;
    for (let from = 0; from < text.length; ) {
      let to = text.indexOf('\n', from);
      if (to < 0) to = text.length;
      const end = to > from && text.charCodeAt(to - 1) === 13 ? to - 1 : to;
      // Matches come in the order of their lines, and two lines of the same text match alike.
      const candidate = matches[next];
      let match: Match | null = null;
      if (candidate !== undefined && candidate.line.length === end - from && text.startsWith(candidate.line, from)) {
        match = candidate;
        next++;
      }
      this.#line(from, end, match);
      from = to + 1;
    }
    this.#see(this.#stampOf(text, text.lastIndexOf('\n', text.length - 2) + 1, this.#clock));
    if (this.#events.length + this.#attempts.length + this.#deliveries.length >= BATCH_EVENTS) this.flush();
  }

  #line(from: number, end: number, match: Match | null): void {
    const header = this.#header;
    const text = this.#text;
    if (!header.read(this.#bytes, from, end)) {
      if (match !== null) this.#weigh(match);
      return;
    }
    this.#end = end;
    const service = this.#serviceOf(header.hostless ? 'dovecot' : text.slice(header.programStart, header.programEnd));
    const start = header.messageStart;
    switch (service) {
      case 'smtpd':
        if (text.startsWith('connect from ', start)) this.#connect();
        else if (text.startsWith('disconnect from ', start)) this.#open.delete(this.#pid());
        else this.#facingClients(service, start, match);
        break;
      case 'postscreen':
      case 'cleanup':
      case 'logins':
        this.#facingClients(service, start, match);
        break;
      case 'pickup':
      case 'qmgr':
      case 'delivery':
        this.#queued(service, start);
        break;
      default:
        break;
    }
    if (match !== null) this.#weigh(match);
  }

  /** Events in the order of the lines, which is what the policy goes by. */
  #weigh(match: Match): void {
    const event = toEvent(match, this.#sessions.weigh(match));
    if (event === null) return;
    this.#events.push(event);
    const { subject, network } = this.#client(match.ip);
    this.#subjects.add(subject);
    if (network !== '') this.#subjects.add(network);
  }

  #facingClients(service: Service, start: number, match: Match | null): void {
    let at = start;
    let times = 1;
    const text = this.#text;
    if (text.startsWith('message repeated ', at)) {
      const wrapper = /^message repeated (\d{1,3}) times: \[ ?/.exec(text.slice(at, at + 40));
      if (wrapper !== null) {
        times = Number(wrapper[1]);
        at += wrapper[0].length;
      }
    }
    const colon = queueIdEnd(text, at, this.#end);
    const behind = colon < 0 ? at : colon + 2;
    if (colon > 0 && text.startsWith('client=', behind) && (service === 'smtpd' || service === 'postscreen')) {
      this.#received(text.slice(at, colon), behind + 7, match);
      return;
    }
    if (service === 'cleanup' && colon > 0) {
      this.#cleanedUp(at, colon, match);
      return;
    }
    // Postfix before 2.3 logged no NOQUEUE.
    const sorted = this.#sortedAt(behind);
    if (sorted !== null && service !== 'logins') {
      if (sorted === 'milter-reject' || sorted === 'reject') this.#refused(service, behind, sorted, times, match);
      else this.mail.sort(sorted, times);
      return;
    }
    if (match === null) {
      this.#maybeUnmatched();
      return;
    }
    if (match.kind === 'refused') this.#warned(match);
    else if (match.kind === 'offense' && !match.echo) this.#offended(match);
  }

  /** smtpd: `QID: client=…`. */
  #received(queueId: string, clientAt: number, match: Match | null): void {
    const text = this.#text;
    let to = text.indexOf(',', clientAt);
    if (to < 0 || to > this.#end) to = this.#end;
    const named = text.slice(clientAt, to);
    this.mail.receive(queueId, named);
    const ip = match?.ip ?? /\[([\da-fA-F:.]+)\]/.exec(named)?.[1];
    if (ip === undefined) return;
    const at = match?.at ?? this.#at();
    const session = this.#open.get(this.#pid());
    const { subject, network } = this.#client(ip);
    const host = match?.host ?? null;
    const line = match?.line ?? text.slice(clientAt, this.#end);
    const login = match?.kind === 'authenticated';
    this.#deliveries.push({ subject, network, host, at, sessionAt: session?.at ?? at, login, line });
    if (session?.warned === true) this.shadowLosses.push({ subject, host, at, line });
  }

  #refused(service: Service, start: number, sorted: Sorted, times: number, match: Match | null): void {
    this.mail.sort(sorted, times);
    const message = this.#text.slice(start, this.#end);
    const parsed = parseRefusal(message);
    if (parsed === null) {
      if (match === null) this.#maybeUnmatched();
      return;
    }
    const ip = match?.ip ?? parsed.ip;
    const at = match?.at ?? this.#at();
    const { subject, network } = this.#client(ip);
    const isOurs = match?.kind === 'refused';
    const where = service === 'postscreen' ? ' (postscreen)' : parsed.how === 'reject' ? '' : ' (content)';
    const reason = isOurs ? 'refused by the access map of blockd' : parsed.reason;
    this.refusals.add({ stage: parsed.stage + where, reason, subject, network, recipient: parsed.recipient }, times);
    this.networks.add(network === '' ? subject : network, times);
    this.#attempts.push({
      subject,
      network,
      at,
      sessionAt: this.#open.get(this.#pid())?.at ?? at,
      reachable: service !== 'postscreen',
      refused: isOurs,
      times,
    });
    if (match === null && service !== 'cleanup') this.#unmatchedLine();
  }

  /** What cleanup says of a message's text: `QID: reject: header …`, `QID: milter-hold: END-OF-MESSAGE …`. */
  #cleanedUp(start: number, colon: number, match: Match | null): void {
    const text = this.#text;
    const words = CLEANUP.exec(text.slice(colon + 2, Math.min(this.#end, colon + 64)));
    if (words === null) {
      if (text.startsWith('to=<', colon + 2)) this.#queued('delivery', start);
      return;
    }
    const what = words[1] ?? '';
    if (what === 'reject' && words[0].startsWith('milter')) {
      this.#refused('cleanup', colon + 2, 'reject', 1, match);
      return;
    }
    this.mail.sort(what === 'warning' ? 'reject_warning' : (what as Sorted), 1);
    if (what !== 'reject') return;
    // The client stands behind the text of the header: nobody is named by it.
    const reason = `${words[2]} checks`;
    this.refusals.add({ stage: 'content', reason, subject: 'unknown', network: 'unknown', recipient: null }, 1);
  }

  /** A sign of abuse that is no refusal: a failed login, a word spoken too early. */
  #offended({ rule, ip }: Match): void {
    const { subject, network } = this.#client(ip);
    const stage = /sasl|auth|login/.test(rule) || rule.startsWith('dovecot/') ? 'AUTH' : 'other';
    this.refusals.add({ stage, reason: rule, subject, network, recipient: null }, 1);
    this.networks.add(network === '' ? subject : network);
  }

  /** Shadow mode: Postfix tells whom it would have refused, and goes on with him. */
  #warned({ line }: Match): void {
    if (!line.includes(': warn: ')) return;
    this.wouldRefuse++;
    const session = this.#open.get(this.#pid());
    if (session !== undefined) session.warned = true;
  }

  #maybeUnmatched(): void {
    if (looksRefused(this.#text.slice(this.#header.messageStart, this.#end))) this.#unmatchedLine();
  }

  #unmatchedLine(): void {
    const { programStart, programEnd, stampStart, messageStart } = this.#header;
    const text = this.#text;
    const program = text.slice(programStart, programEnd);
    this.unmatched.add(program, text.slice(messageStart, this.#end), text.slice(stampStart, this.#end));
  }

  #queued(service: Service, start: number): void {
    const text = this.#text;
    const colon = queueIdEnd(text, start, this.#end);
    if (colon < 0) return;
    const behind = colon + 2;
    if (text.startsWith('to=<', behind)) {
      this.mail.deliver(text.slice(start, colon), text.slice(behind, this.#end));
    } else if (service === 'qmgr') {
      if (text.startsWith('from=<', behind))
        this.mail.activate(text.slice(start, colon), text.slice(behind, this.#end));
      else if (behind + 7 === this.#end && text.startsWith('removed', behind))
        this.mail.remove(text.slice(start, colon));
    } else if (service === 'pickup' && (text.startsWith('uid=', behind) || text.startsWith('sender=', behind))) {
      this.mail.receive(text.slice(start, colon), 'pickup');
    }
  }

  #connect(): void {
    const at = this.#at();
    // A process that died never said goodbye.
    if (this.#open.size >= MOST_SESSIONS) this.#open.clear();
    if (!Number.isNaN(at)) this.#open.set(this.#pid(), { at, warned: false });
  }

  #sortedAt(start: number): Sorted | null {
    const text = this.#text;
    // r, h, d, m, p: most lines have none of them here.
    switch (text.charCodeAt(start)) {
      case 114:
        if (text.startsWith('reject: ', start)) return 'reject';
        return text.startsWith('reject_warning: ', start) ? 'reject_warning' : null;
      case 104:
        return text.startsWith('hold: ', start) ? 'hold' : null;
      case 100:
        return text.startsWith('discard: ', start) ? 'discard' : null;
      case 109:
        return text.startsWith('milter-reject: ', start) ? 'milter-reject' : null;
      case 112:
        return text.startsWith('proxy-reject: ', start) ? 'milter-reject' : null;
      default:
        return null;
    }
  }

  #pid(): number {
    const { programEnd, processEnd } = this.#header;
    return Number.parseInt(this.#text.slice(programEnd + 1, processEnd - 1), 10) || 0;
  }

  #at(): number {
    return this.#clock.read(this.#view, this.#header.stampStart, this.#header.stampEnd);
  }

  #client(ip: string): Client {
    const known = this.#clients.get(ip);
    if (known !== undefined) return known;
    const subject = subjectOf(ip, this.#options.ipv6Prefix);
    const made = { subject, network: networkOf(subject) ?? '' };
    if (this.#clients.size >= MOST_KNOWN_CLIENTS) this.#clients.clear();
    this.#clients.set(ip, made);
    return made;
  }

  #serviceOf(tag: string): Service {
    const known = this.#services.get(tag);
    if (known !== undefined) return known;
    const service = serviceOf(tag);
    if (this.#services.size < 1_000) this.#services.set(tag, service);
    return service;
  }

  /** Notes which time the log covers. */
  #see(at: number): void {
    if (at < this.fromAt) this.fromAt = at;
    if (at > this.toAt) this.toAt = at;
  }

  /** The lines of `text` that lie in the time asked for. */
  #within(text: string, clock: LineClock): string {
    const { since = Number.NEGATIVE_INFINITY, until = Number.POSITIVE_INFINITY } = this.#options;
    if (since === Number.NEGATIVE_INFINITY && until === Number.POSITIVE_INFINITY) return text;
    let kept = '';
    let keeps = false;
    for (let from = 0; from < text.length; ) {
      const newline = text.indexOf('\n', from);
      const to = newline < 0 ? text.length : newline + 1;
      const at = this.#stampOf(text, from, clock);
      if (!Number.isNaN(at)) keeps = at >= since && at < until;
      if (keeps) kept += text.slice(from, to);
      from = to;
    }
    return kept;
  }

  #stampOf(text: string, from: number, clock: LineClock): number {
    const newline = text.indexOf('\n', from);
    const line = Buffer.from(text.slice(from, newline < 0 ? text.length : newline), 'latin1');
    if (!this.#header.read(line, 0, line.length)) return Number.NaN;
    return clock.read(viewOf(line), this.#header.stampStart, this.#header.stampEnd);
  }
}

/** With the words that pflogsumm counts. */
const CLEANUP = /^(?:milter-)?(reject|warning|hold|discard): (header|body|END-OF-MESSAGE) /;

/** Index of the colon behind a queue id, or -1. */
function queueIdEnd(text: string, start: number, end: number): number {
  const limit = Math.min(end - 2, start + 26);
  let at = start;
  for (; at < limit; at++) {
    const code = text.charCodeAt(at);
    if (!((code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122))) break;
  }
  return at - start >= 5 && text.charCodeAt(at) === 58 && text.charCodeAt(at + 1) === 32 ? at : -1;
}

/** Postfix's daemons under any service (`postfix/submission/smtpd`) or instance (`postfix-in/smtpd`) name. */
function serviceOf(tag: string): Service {
  const daemon = /^postfix[\w.-]*\/(?:[\w.-]+\/)*([\w.-]+)$/.exec(tag)?.[1];
  if (daemon === undefined) return /^(?:dovecot|saslauthd|opendkim|policyd|postgrey)/.test(tag) ? 'logins' : 'other';
  if (daemon === 'smtpd' || daemon === 'postscreen' || daemon === 'cleanup' || daemon === 'pickup') return daemon;
  if (/^[no]?qmgr$/.test(daemon)) return 'qmgr';
  return /^(?:master|anvil|scache|tlsproxy|dnsblog|postlogd|verify|tlsmgr)$/.test(daemon) ? 'other' : 'delivery';
}
