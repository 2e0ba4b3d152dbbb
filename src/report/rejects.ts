/** What was refused, at which stage of the dialogue and why, with those who were refused most and whom they wrote to. */
import { type Counted, Counter } from './counter.js';

export interface Refusal {
  /** `RCPT`, `DATA`, … as Postfix names it; `AUTH` and `other` for what it logs in another way. */
  readonly stage: string;
  readonly reason: string;
  readonly subject: string;
  readonly network: string;
  readonly recipient: string | null;
}

export interface ReasonRow {
  readonly stage: string;
  readonly reason: string;
  readonly count: number;
  readonly clients: readonly Counted[];
  readonly networks: readonly Counted[];
  readonly recipients: readonly Counted[];
}

/** An attacker's HELO or sender may end up in a reply's text: not everything becomes a row. */
const MOST_REASONS = 400;
const TOP = 5;

interface Row {
  count: number;
  readonly stage: string;
  readonly reason: string;
  readonly clients: Counter;
  readonly networks: Counter;
  readonly recipients: Counter;
}

export class RefusalTally {
  readonly #rows = new Map<string, Row>();

  add({ stage, reason, subject, network, recipient }: Refusal, times: number): void {
    const key = `${stage} ${reason}`;
    const row = this.#rows.get(key) ?? this.#open(key, stage, reason);
    row.count += times;
    row.clients.add(subject, times);
    row.networks.add(network, times);
    if (recipient !== null) row.recipients.add(recipient, times);
  }

  rows(): ReasonRow[] {
    return [...this.#rows.values()]
      .sort((a, b) => b.count - a.count)
      .map(({ stage, reason, count, clients, networks, recipients }) => ({
        stage,
        reason,
        count,
        clients: clients.top(TOP),
        networks: networks.top(TOP),
        recipients: recipients.top(TOP),
      }));
  }

  #open(key: string, stage: string, reason: string): Row {
    if (this.#rows.size >= MOST_REASONS) {
      const rest = `${stage} ${REST}`;
      return this.#rows.get(rest) ?? this.#put(rest, stage, REST);
    }
    return this.#put(key, stage, reason);
  }

  #put(key: string, stage: string, reason: string): Row {
    const row = {
      count: 0,
      stage,
      reason,
      clients: new Counter(),
      networks: new Counter(),
      recipients: new Counter(),
    };
    this.#rows.set(key, row);
    return row;
  }
}

const REST = 'other reasons';

/** A line that Postfix writes of something refused, taken apart. */
export interface RefusalLine {
  readonly how: 'reject' | 'milter-reject' | 'proxy-reject';
  readonly stage: string;
  readonly ip: string;
  readonly reason: string;
  readonly recipient: string | null;
}

/** Of the message behind the queue id, `reject: RCPT from name[ip]: 550 5.1.1 …`; null when it is none. */
export function parseRefusal(message: string): RefusalLine | null {
  const parts = REFUSAL.exec(message);
  if (parts === null) return null;
  const [, how = 'reject', stage = '', ip = '', rest = ''] = parts;
  const text = rest.replace(/^(?:\d{3} )?(?:\d\.\d{1,3}\.\d{1,3} )?/, '');
  const about = /(?:from=<.*> )?to=<([^>]*)> proto=/.exec(text) ?? /, to=<([^>]*)>, proto=/.exec(text);
  return {
    how: how as RefusalLine['how'],
    stage,
    ip,
    reason: reasonOf(text),
    recipient: about?.[1] ?? null,
  };
}

const REFUSAL =
  /^(reject|milter-reject|proxy-reject): ([A-Z-]{2,20}) from [\w.-]*\[([\da-fA-F:.]{2,45})\](?::\d{1,5})?: (.*)$/s;
const LONGEST_REASON = 90;

/** The same words for the same reason: what differs from client to client is left out. */
function reasonOf(text: string): string {
  const list = /blocked using ([\w.-]{1,80})/.exec(text.slice(0, 600))?.[1];
  if (list !== undefined && /^(?:<[^>]*>: )?(?:Service unavailable|Client host|Helo|Sender|Recipient)/.test(text))
    return `blocked using ${list}`;
  const words = text
    .replace(/^<[^>]*>?(?:: )?/, '')
    .replace(/;.*$/s, '')
    .replace(/ from=<.*$/s, '')
    .split(': ')
    .slice(0, 2)
    .join(': ');
  const known = masked.get(words);
  if (known !== undefined) return known;
  const reason = mask(words).slice(0, LONGEST_REASON) || 'no reason given';
  if (masked.size >= MOST_MASKED) masked.clear();
  masked.set(words, reason);
  return reason;
}

/** The same few words come over and over, and masking them is slow. */
const masked = new Map<string, string>();
const MOST_MASKED = 5_000;

/** `text` without what others chose: addresses, names in brackets, numbers. */
export function mask(text: string): string {
  return text
    .replace(/<[^>]*>?/g, '<…>')
    .replace(/[\w.-]*\[[\da-fA-F:.]{2,45}\](?::\d{1,5})?/g, '[ip]')
    .replace(/https?:\/\/\S+/g, 'URL')
    .replace(/[^\s@<>:=,;]+@[^\s@<>:=,;]+/g, 'ADDRESS')
    .replace(/\b(?:\d{1,3}\.){3}\d{1,3}\b/g, 'IP')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z?/g, 'TIME')
    .replace(/(?<![A-Za-z])\d+/g, 'N')
    .trimEnd();
}
