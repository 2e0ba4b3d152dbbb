/** A day's report as a mail: text for reading, the page for looking. */
import { createHash } from 'node:crypto';
import { logText, Markup, markup } from './markup.js';
import type { Report } from './report.js';
import { STYLE } from './style.js';
import { number, percent, verdictOf } from './words.js';

export interface DigestMail {
  readonly to: string;
  readonly host: string;
  /** `2026-11-24` */
  readonly day: string;
  readonly report: Report;
  readonly html: string;
}

/** The whole message, ASCII, lines ended by `\n` as sendmail(1) wants them. The sender's address is sendmail's to add. */
export function digestMail({ to, host, day, report, html }: DigestMail): string {
  const subject = `blockd ${host}, ${day}: ${verdictOf(report).headline}`;
  const name = createHash('sha256').update(`${host} ${day}`).digest('hex').slice(0, 24);
  const boundary = `=_blockd_${name}`;
  const part = (type: string, text: string) =>
    `--${boundary}\nContent-Type: ${type}; charset=utf-8\nContent-Transfer-Encoding: base64\n\n${base64(text)}\n`;
  return [
    `To: ${to}`,
    `Subject: ${headerText(subject)}`,
    // The same for the same day: should a crash make it go out twice, a reader's program can tell.
    `Message-ID: <${day}.${name}@blockd.invalid>`,
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    'Auto-Submitted: auto-generated',
    'MIME-Version: 1.0',
    `Content-Type: multipart/alternative; boundary="${boundary}"`,
    '',
    `${part('text/plain', digestText(report, host, day))}${part('text/html', html)}--${boundary}--`,
    '',
  ].join('\n');
}

const SHOWN = 8;

/** For a mail program that shows no HTML; text of the log is made harmless as on the page. */
export function digestText(report: Report, host: string, day: string): string {
  const { policy, reasons, networks, collateral, offenders } = report;
  const { headline, sentences } = verdictOf(report);
  const lines = [`blockd on ${host}, ${day}`, '', headline, ...sentences];
  if (report.from === null) lines.push('Nothing was counted on that day: blockd did not run, or the log was silent.');
  const list = (title: string, rows: readonly string[]) => {
    if (rows.length > 0) lines.push('', title, ...rows.slice(0, SHOWN).map((row) => `  ${row}`));
  };
  list(
    'Wanted mail at risk',
    collateral
      .filter((row) => row.refused > 0 || row.protected !== null)
      .map(
        (row) =>
          `${row.subject}: ${number(row.refused)} of ${number(row.accepted)} messages${row.protected === null ? '' : `; spared: ${row.protected}`}`,
      ),
  );
  list(
    'Why',
    reasons.map(({ reason, count }) => `${number(count).padStart(8)}  ${reason}`),
  );
  list(
    'Where from',
    networks.map(
      ({ network, rejects, stopped }) =>
        `${number(rejects).padStart(8)}  ${network} (${percent(stopped, rejects)} stopped)`,
    ),
  );
  if (policy.bans > 0)
    list(
      'Banned',
      offenders.map(({ subject, bans, reason }) => `${subject}: ${bans} times, ${reason}`),
    );
  return `${lines.map((line) => harmless(line)).join('\n')}\n`;
}

/** A page that lists the days, newest first. `title` is of the day's own page, as escaped there. */
export function digestIndex(days: readonly { readonly day: string; readonly title: string }[]): string {
  const rows = [...days]
    .sort((a, b) => (a.day < b.day ? 1 : -1))
    .map(
      ({ day, title }) =>
        markup`<tr><td class="who"><a href="${day}.html">${day}</a></td><td>${new Markup(title)}</td></tr>`,
    );
  return markup`<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>blockd: days</title><style>${new Markup(STYLE)}a{color:inherit}</style></head>
<body><main><h1>blockd, day by day</h1><section><table><tbody>${rows}</tbody></table></section></main></body></html>
`.text;
}

function harmless(line: string): string {
  return logText(line, 300).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
}

/** RFC 2047 where it is no plain ASCII, and never more than one line. */
function headerText(text: string): string {
  const line = text.replace(/[\p{Cc}]+/gu, ' ').slice(0, 180);
  return /^[\x20-\x7e]*$/.test(line) ? line : `=?utf-8?B?${Buffer.from(line.slice(0, 40)).toString('base64')}?=`;
}

function base64(text: string): string {
  return (
    Buffer.from(text)
      .toString('base64')
      .match(/.{1,76}/g) ?? []
  ).join('\n');
}
