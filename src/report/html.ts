/** The report as one page: no script, nothing to load, and a policy that forbids both, whatever the log's text holds. */
import { formatDuration } from '../domain/duration.js';
import { Markup, markup } from './markup.js';
import type { Report } from './report.js';
import {
  attempts,
  collateral,
  figures,
  head,
  mail,
  networks,
  offenders,
  reasons,
  shadow,
  unmatched,
} from './sections.js';
import { STYLE } from './style.js';
import { verdictOf } from './words.js';

/** `more`: sections of others, such as the picture of `blockctl tune`. */
export function renderHtml(report: Report, more: readonly Markup[] = []): string {
  const { threshold, halfLifeMs, firstMs, maxMs } = report.settings;
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>blockd: ${verdictOf(report).headline}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<main>
${head(report)}
${figures(report)}
${attempts(report)}
${collateral(report)}
${shadow(report)}
${more}
${reasons(report)}
${networks(report)}
${offenders(report)}
${mail(report)}
${unmatched(report)}
<footer>Policy: banned at ${threshold} points, which halve in ${formatDuration(halfLifeMs)}; first ban ${formatDuration(firstMs)}, longest ${formatDuration(maxMs)}. Times are local to the machine that made this page.</footer>
</main>
</body>
</html>
`.text;
}
