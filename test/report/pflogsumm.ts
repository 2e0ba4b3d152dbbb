/** What pflogsumm makes of a log, as it prints it, and our totals in the same form. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import type { MailTotals } from '../../src/report/mail.js';

const PFLOGSUMM = '/usr/sbin/pflogsumm';

/** Its "Grand Totals", line by line, blanks squeezed. */
export async function pflogsumm(...files: readonly string[]): Promise<string[]> {
  if (!existsSync(PFLOGSUMM)) throw new Error('these tests need pflogsumm: apt-get install pflogsumm');
  const { stdout } = await promisify(execFile)(PFLOGSUMM, ['--detail', '0', ...files]);
  const [, totals = ''] = /Grand Totals\n-+\n([\s\S]*?)\n\n\n?Per-/.exec(`${stdout}\n\nPer-`) ?? [];
  return linesOf(totals);
}

/** Our own, in pflogsumm's words. */
export function asPflogsumm(mail: MailTotals): string[] {
  const deferrals = mail.deferrals > 0 ? ` (${unit(mail.deferrals)} deferrals)` : '';
  return linesOf(`messages
    ${unit(mail.received)} received
    ${unit(mail.delivered)} delivered
    ${unit(mail.forwarded)} forwarded
    ${unit(mail.deferred)} deferred${deferrals}
    ${unit(mail.bounced)} bounced
    ${unit(mail.rejected)} rejected (${mail.rejectedPercent}%)
    ${unit(mail.rejectWarnings)} reject warnings
    ${unit(mail.held)} held
    ${unit(mail.discarded)} discarded (${mail.discardedPercent}%)
    ${unit(mail.bytesReceived)} bytes received
    ${unit(mail.bytesDelivered)} bytes delivered
    ${unit(mail.senders)} senders
    ${unit(mail.sendingDomains)} sending hosts/domains
    ${unit(mail.recipients)} recipients
    ${unit(mail.recipientDomains)} recipient hosts/domains`);
}

function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim().replace(/\s+/g, ' '))
    .filter((line) => line !== '');
}

/** It prints large numbers in units of 1,024, cut to whole ones. */
function unit(value: number): string {
  if (value > 536_870_912) return `${Math.trunc(value / 1_048_576)}m`;
  return value > 524_288 ? `${Math.trunc(value / 1_024)}k` : String(value);
}
