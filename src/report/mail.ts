/**
 * What became of the mail: the totals that pflogsumm prints, counted as pflogsumm counts. It differs on purpose where
 * `blockctl report --help` says so: a queue id that Postfix uses anew is another message, every instance and service
 * name counts, and text of others that imitates a log line counts nothing.
 */

export interface MailTotals {
  readonly received: number;
  readonly delivered: number;
  readonly forwarded: number;
  /** Messages; each may have been deferred several times. */
  readonly deferred: number;
  readonly deferrals: number;
  readonly bounced: number;
  readonly rejected: number;
  /** Of all that was delivered, rejected or discarded, cut to a whole number. */
  readonly rejectedPercent: number;
  /** By milters and content filters in smtpd, which pflogsumm leaves out of `rejected`. */
  readonly milterRejected: number;
  readonly rejectWarnings: number;
  readonly held: number;
  readonly discarded: number;
  readonly discardedPercent: number;
  readonly bytesReceived: number;
  readonly bytesDelivered: number;
  readonly senders: number;
  readonly sendingDomains: number;
  readonly recipients: number;
  readonly recipientDomains: number;
}

/** What is known of a message in the queue. */
interface Message {
  /** Host or address that it came from, or `pickup`; null once it was counted, or for one that others made. */
  from: string | null;
  size: number;
  deferred: boolean;
}

export type Sorted = 'reject' | 'reject_warning' | 'hold' | 'discard' | 'milter-reject';

export class MailTally {
  readonly #queue = new Map<string, Message>();
  readonly #senders = new Set<string>();
  readonly #sendingDomains = new Set<string>();
  readonly #recipients = new Set<string>();
  readonly #recipientDomains = new Set<string>();
  #received = 0;
  #delivered = 0;
  #forwarded = 0;
  #deferred = 0;
  #deferrals = 0;
  #bounced = 0;
  #bytesReceived = 0;
  #bytesDelivered = 0;
  readonly #sorted: Record<Sorted, number> = {
    reject: 0,
    reject_warning: 0,
    hold: 0,
    discard: 0,
    'milter-reject': 0,
  };

  /** `client` as smtpd names it, `host[ip]`, or `pickup`. */
  receive(queueId: string, client: string): void {
    this.#received++;
    const message = this.#message(queueId);
    message.from = client === 'pickup' ? client : domainOfClient(client);
  }

  /** qmgr takes a message up: `from=<SENDER>, size=N, nrcpt=N (queue active)`. */
  activate(queueId: string, text: string): void {
    const parts = ACTIVE.exec(text);
    if (parts === null) return;
    const message = this.#message(queueId);
    if (message.size > 0) return;
    message.size = Number(parts[2]);
    if (message.from === null) return;
    const address = lowerDomain(parts[1] ?? '');
    const sender = address === '' ? 'from=<>' : address;
    const at = sender.indexOf('@');
    const domain =
      at > 0 && at < sender.length - 1 ? sender.slice(at + 1) : message.from === 'pickup' ? sender : message.from;
    this.#senders.add(sender);
    this.#sendingDomains.add(domain);
    this.#bytesReceived += message.size;
    message.from = null;
  }

  /** A delivery agent tells: `to=<RECIPIENT>, …, status=…`. */
  deliver(queueId: string, text: string): void {
    const parts = DELIVERY.exec(text);
    if (parts === null) return;
    const [, to = '', status, rest = ''] = parts;
    if (status === 'sent') {
      if (rest.includes('forwarded as ')) {
        this.#forwarded++;
        return;
      }
      this.#delivered++;
      const recipient = lowerDomain(to);
      this.#recipients.add(recipient);
      this.#recipientDomains.add(recipient.replace(/^[^@]+@/, ''));
      this.#bytesDelivered += this.#queue.get(queueId)?.size ?? 0;
    } else if (status === 'deferred') {
      this.#deferrals++;
      const message = this.#message(queueId);
      if (!message.deferred) this.#deferred++;
      message.deferred = true;
    } else if (status === 'bounced') this.#bounced++;
  }

  /** The message has left the queue, and its queue id is free. */
  remove(queueId: string): void {
    this.#queue.delete(queueId);
  }

  sort(what: Sorted, times: number): void {
    this.#sorted[what] += times;
  }

  totals(): MailTotals {
    const { reject: rejected, discard: discarded } = this.#sorted;
    const all = this.#delivered + rejected + discarded;
    const percent = (part: number) => (all === 0 ? 0 : Math.trunc((part / all) * 100));
    return {
      received: this.#received,
      delivered: this.#delivered,
      forwarded: this.#forwarded,
      deferred: this.#deferred,
      deferrals: this.#deferrals,
      bounced: this.#bounced,
      rejected,
      rejectedPercent: percent(rejected),
      milterRejected: this.#sorted['milter-reject'],
      rejectWarnings: this.#sorted.reject_warning,
      held: this.#sorted.hold,
      discarded,
      discardedPercent: percent(discarded),
      bytesReceived: this.#bytesReceived,
      bytesDelivered: this.#bytesDelivered,
      senders: this.#senders.size,
      sendingDomains: this.#sendingDomains.size,
      recipients: this.#recipients.size,
      recipientDomains: this.#recipientDomains.size,
    };
  }

  #message(queueId: string): Message {
    const known = this.#queue.get(queueId);
    if (known !== undefined) return known;
    const made = { from: null, size: 0, deferred: false };
    this.#queue.set(queueId, made);
    return made;
  }
}

/** Anchored at both ends: a sender may hold any text. */
const ACTIVE = /^from=<(.*)>, size=(\d+), nrcpt=\d+/;
const DELIVERY =
  /^to=<([^>]*)>, (?:orig_to=<[^>]*>, )?relay=[^,]+, (?:conn_use=[^,]+, )?delay=[^,]+, (?:delays=[^,]+, )?(?:dsn=[^,]+, )?status=(\S+)(.*)$/s;

function lowerDomain(address: string): string {
  const at = address.indexOf('@');
  return at < 0 ? address : address.slice(0, at) + address.slice(at).toLowerCase();
}

/** pflogsumm's idea of a host's domain: its last two labels under a three-letter domain, or under such as `co.uk`. */
function domainOfClient(client: string): string {
  const bracket = client.indexOf('[');
  const host = bracket < 0 ? client : client.slice(0, bracket);
  if (host === '' || host === 'unknown') return client.slice(bracket + 1).replace(/\].*$/, '');
  const parts = /\.([^.]+)\.([^.]{3}|[^.]{2,3}\.[^.]{2})$/.exec(host);
  return parts === null ? host : `${parts[1]}.${parts[2]}`.toLowerCase();
}
