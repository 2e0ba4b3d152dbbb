/** What the report's figures come to, in plain sentences: the same on a terminal, on the page and in the mail. */
import { formatDuration } from '../domain/duration.js';
import type { MailTotals } from './mail.js';
import type { Report } from './report.js';

export interface ReportVerdict {
  /** `idle`: nobody would have been banned. `careful`: wanted mail might have been lost. */
  readonly level: 'good' | 'careful' | 'idle';
  readonly headline: string;
  readonly sentences: readonly string[];
}

export function verdictOf(report: Report): ReportVerdict {
  const { accepted, policy, collateral, shadow } = report;
  const { hurt, rejects, stopped, bans, subjects, bannedAtOnce, longestBanMs } = policy;
  const sentences: string[] = [];
  if (rejects > 0) {
    sentences.push(
      `Of ${number(rejects)} rejected attempts, ${number(stopped)} (${percent(stopped, rejects)}) would have been turned away before the recipient check: ${number(rejects)} would have been ${number(rejects - stopped)}.`,
    );
  }
  if (bans > 0) {
    sentences.push(
      `${number(bans)} ${bans === 1 ? 'ban' : 'bans'} of ${number(subjects)} ${subjects === 1 ? 'client or network' : 'clients and networks'}, at most ${number(bannedAtOnce)} at one time, the longest for ${formatDuration(longestBanMs)}.`,
    );
  }
  const losers = collateral.filter(({ refused }) => refused > 0).length;
  const saved = collateral.filter((row) => row.protected !== null).length;
  if (saved > 0)
    sentences.push(
      `${number(saved)} ${saved === 1 ? 'client' : 'clients'} scored enough for a ban and ${saved === 1 ? 'was' : 'were'} spared by an allow rule or a login.`,
    );
  if (shadow.wouldRefuse > 0) {
    const refusals = `${number(shadow.wouldRefuse)} ${shadow.wouldRefuse === 1 ? 'refusal' : 'refusals'}`;
    const losses =
      shadow.losses === null
        ? '.'
        : `; ${number(shadow.losses.length)} of those sessions delivered mail that enforcing would have cost.`;
    sentences.push(`Shadow mode: Postfix logged ${refusals} that it did not carry out${losses}`);
  }
  if (bans === 0) return { level: 'idle', headline: 'Nobody would have been banned.', sentences };
  if (accepted === 0)
    return { level: 'good', headline: 'No mail was accepted, and none would have been refused.', sentences };
  const headline = `${hurt === 0 ? 'None' : number(hurt)} of ${number(accepted)} accepted messages would have been refused.`;
  if (losers > 0)
    sentences.unshift(
      `From ${number(losers)} ${losers === 1 ? 'client' : 'clients'}: look below at why, and allow who is wanted, before you enforce.`,
    );
  return { level: hurt === 0 ? 'good' : 'careful', headline, sentences };
}

/** `12,345`; a dash for what is not known. */
export function number(value: number | null): string {
  if (value === null) return '-';
  return String(Math.round(value)).replace(/\B(?=(?:\d{3})+$)/g, ',');
}

/** Never a flattering 100 % or 0 %. */
export function percent(part: number, whole: number): string {
  if (whole === 0) return '0 %';
  const share = (part / whole) * 100;
  if (share > 99 && share < 100) return `${(Math.floor(share * 10) / 10).toFixed(1)} %`;
  return share > 0 && share < 1 ? 'under 1 %' : `${Math.round(share)} %`;
}

export function bytes(count: number): string {
  if (count < 1_024) return `${count} B`;
  const [unit, size] =
    count < 1_048_576 ? ['KiB', 1_024] : count < 1_073_741_824 ? ['MiB', 1_048_576] : ['GiB', 1_073_741_824];
  return `${(count / Number(size)).toFixed(1)} ${unit}`;
}

/** The totals in pflogsumm's words and order. */
export function mailRows(mail: MailTotals): readonly (readonly [string, string])[] {
  const rows: [string, string][] = [
    [number(mail.received), 'received'],
    [number(mail.delivered), 'delivered'],
    [number(mail.forwarded), 'forwarded'],
    [number(mail.deferred), mail.deferrals > 0 ? `deferred (${number(mail.deferrals)} deferrals)` : 'deferred'],
    [number(mail.bounced), 'bounced'],
    [number(mail.rejected), `rejected (${mail.rejectedPercent} %)`],
    [number(mail.rejectWarnings), 'reject warnings'],
    [number(mail.held), 'held'],
    [number(mail.discarded), `discarded (${mail.discardedPercent} %)`],
    [bytes(mail.bytesReceived), 'bytes received'],
    [bytes(mail.bytesDelivered), 'bytes delivered'],
    [number(mail.senders), 'senders'],
    [number(mail.sendingDomains), 'sending hosts/domains'],
    [number(mail.recipients), 'recipients'],
    [number(mail.recipientDomains), 'recipient hosts/domains'],
  ];
  if (mail.milterRejected > 0) rows.splice(6, 0, [number(mail.milterRejected), 'rejected by milters, more']);
  return rows;
}

export function lengthWords(uptoMs: number): string {
  return `up to ${formatDuration(Math.floor(uptoMs / 60_000) * 60_000)}`;
}

/** What was read, for the head of a report. */
export function sourceWords({ logs }: Report, most: number): string {
  if (logs.length === 0) return 'what blockd itself counted';
  return logs.length > most ? `${logs.length} logs, ${logs[0]} to ${logs.at(-1)}` : logs.join(', ');
}

export function linesWords({ lines }: Report): string {
  return lines === null ? '' : `${number(lines)} ${lines === 1 ? 'line' : 'lines'}`;
}
