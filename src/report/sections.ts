/** The parts of the page, from the verdict to what it rests on. */
import { formatDuration } from '../domain/duration.js';
import type { Counted } from './counter.js';
import { logText, type Markup, markup } from './markup.js';
import { attemptsPicture, bannedPicture, scorePicture, stampOf } from './pictures.js';
import type { ReasonRow } from './rejects.js';
import type { CollateralRow, NetworkRow, Offender, Report } from './report.js';
import type { Shape } from './shapes.js';
import { lengthWords, linesWords, mailRows, number, percent, sourceWords, verdictOf } from './words.js';

const REASONS_SHOWN = 15;
const COLLATERAL_SHOWN = 50;
const LOSSES_SHOWN = 20;
const OFFENDERS_SHOWN = 9;

export function head(report: Report): Markup {
  const { from, to } = report;
  const { level, headline, sentences } = verdictOf(report);
  const tag =
    level === 'good' ? 'No wanted mail lost' : level === 'careful' ? 'Look before you enforce' : 'Nothing to do';
  const lines = linesWords(report);
  const time =
    from === null || to === null ? '' : ` · ${stampOf(from)} to ${stampOf(to)} (${formatDuration(to - from)})`;
  return markup`<header><p><span class="brand">blockd report</span> · ${logText(sourceWords(report, 4))}${lines === '' ? '' : ` · ${lines}`}${time}</p></header>
<div class="verdict ${level}"><span class="tag">${tag}</span><h1>${headline}</h1>${sentences.map((sentence) => markup`<p>${sentence}</p>`)}</div>`;
}

export function figures({ policy, accepted }: Report): Markup {
  const figure = (title: string, value: string, about: string) =>
    markup`<div><dt>${title}</dt><dd>${value}<small>${about}</small></dd></div>`;
  return markup`<dl class="figures">
${figure('Attempts stopped', percent(policy.stopped, policy.rejects), `${number(policy.stopped)} of ${number(policy.rejects)}`)}
${figure('Wanted mail refused', number(policy.hurt), `of ${number(accepted)} messages`)}
${figure('Bans', number(policy.bans), `of ${number(policy.subjects)} clients; ${number(policy.repeatOffenders)} came back`)}
${figure('Banned at one time', number(policy.bannedAtOnce), `at most; ${number(policy.bannedAtEnd)} at the end`)}
</dl>`;
}

export function attempts(report: Report): Markup {
  const { timeline, policy } = report;
  if (timeline.buckets.length === 0 || policy.rejects === 0) return none();
  const lengths = policy.lengths.map(({ uptoMs, bans }) => `${number(bans)} ${lengthWords(uptoMs)}`).join(', ');
  return markup`<section><h2>Rejected attempts over time</h2>
<p class="lead">Each bar is ${formatDuration(timeline.stepMs)}. A stopped attempt would have met its client's ban, and never have reached the recipient check.</p>
<p class="key"><span style="--swatch:var(--stopped)">would have been stopped</span><span style="--swatch:var(--passed)">not stopped</span></p>
${attemptsPicture(report)}</section>
<section><h2>Banned at one time</h2><p class="lead">The size of the access map. Ban lengths: ${lengths === '' ? 'none' : lengths}.</p>
${bannedPicture(report)}</section>`;
}

export function collateral({ collateral: rows }: Report): Markup {
  const body =
    rows.length === 0
      ? markup`<p class="empty">None. No client that scored enough for a ban had accepted mail or a login.</p>`
      : markup`<div class="scroll"><table><thead><tr><th>Client</th><th class="n">Accepted</th><th class="n spare">Before</th><th class="n">Refused</th><th class="n spare">After</th><th class="n spare">Bans</th><th></th></tr></thead><tbody>${rows.slice(0, COLLATERAL_SHOWN).map(collateralRow)}</tbody></table></div>${moreRows(rows.length - COLLATERAL_SHOWN)}`;
  return markup`<section id="collateral"><h2>Collateral</h2>
<p class="lead">Clients that scored enough for a ban and that also delivered accepted mail or logged in. Refused is what they would have lost.</p>${body}</section>`;
}

function collateralRow(row: CollateralRow): Markup {
  const chip =
    row.protected !== null
      ? markup`<span class="chip good">spared: ${row.protected}</span>`
      : row.refused > 0
        ? markup`<span class="chip bad">would lose mail</span>`
        : markup`<span class="chip">no mail lost</span>`;
  const login = row.loggedIn ? markup` <span class="chip">logs in</span>` : null;
  return markup`<tr><td class="who"><code>${row.subject}</code><small>${row.host ?? 'no confirmed name'}</small></td><td class="n">${number(row.accepted)}</td><td class="n spare">${number(row.before)}</td><td class="n">${number(row.refused)}</td><td class="n spare">${number(row.after)}</td><td class="n spare">${number(row.bans)}</td><td>${chip}${login}${evidence('What scored', row.offenses)}${evidence('What it would have lost', row.lost)}</td></tr>`;
}

export function shadow({ shadow: { wouldRefuse, losses } }: Report): Markup {
  if (wouldRefuse === 0 || losses === null) return none();
  const rows = losses
    .slice(-LOSSES_SHOWN)
    .map(
      ({ subject, host, at, line }) =>
        markup`<tr><td>${stampOf(at)}</td><td class="who"><code>${subject}</code><small>${host ?? 'no confirmed name'}</small></td><td><div class="log">${logText(line)}</div></td></tr>`,
    );
  const body =
    losses.length === 0
      ? markup`<p class="empty">None: no session that Postfix would have refused delivered mail.</p>`
      : markup`<div class="scroll"><table><thead><tr><th>When</th><th>Client</th><th>What was taken</th></tr></thead><tbody>${rows}</tbody></table></div>`;
  return markup`<section><h2>Shadow mode: what enforcing would have cost</h2>
<p class="lead">Postfix logged ${number(wouldRefuse)} times that it would have refused a client. Mail taken in those sessions:</p>${body}</section>`;
}

export function reasons({ reasons: rows }: Report): Markup {
  if (rows.length === 0) return none();
  const most = rows[0]?.count ?? 1;
  // The daemon's own history counts rules, not who broke them.
  const told = rows.some(({ clients }) => clients.length > 0);
  const row = ({ stage, reason, count, clients, recipients }: ReasonRow) =>
    markup`<tr><td><span class="chip">${stage}</span> ${logText(reason)}<div class="bar" style="width:${Math.max(1, (count / most) * 100)}%"><i class="p" style="width:100%"></i></div></td><td class="n">${number(count)}</td>${told ? markup`<td class="spare">${named(clients[0])}</td><td class="spare">${named(recipients[0])}</td>` : null}</tr>`;
  return markup`<section><h2>Why mail was rejected</h2><p class="lead">${told ? 'By stage and reason, with the client and the recipient named most.' : 'By rule.'}</p>
<div class="scroll"><table><thead><tr><th>Stage and reason</th><th class="n">Count</th>${told ? markup`<th class="spare">Most from</th><th class="spare">Most to</th>` : null}</tr></thead><tbody>${rows.slice(0, REASONS_SHOWN).map(row)}</tbody></table></div>${moreRows(rows.length - REASONS_SHOWN)}</section>`;
}

function named(top: Counted | undefined): Markup | null {
  return top === undefined
    ? null
    : markup`<code>${logText(top.name, 80)}</code> <span class="chip">${number(top.count)}</span>`;
}

export function networks({ networks: rows }: Report): Markup {
  if (rows.length === 0) return none();
  const most = rows[0]?.rejects ?? 1;
  const row = ({ network, rejects, stopped }: NetworkRow) => {
    const share = (Math.min(stopped, rejects) / Math.max(1, rejects)) * 100;
    return markup`<tr><td class="who"><code>${network}</code></td><td class="wide"><div class="bar" style="width:${Math.max(1, (rejects / most) * 100)}%"><i class="s" style="width:${share}%"></i><i class="p" style="width:${100 - share}%"></i></div></td><td class="n">${number(rejects)}</td><td class="n">${percent(Math.min(stopped, rejects), rejects)}</td></tr>`;
  };
  return markup`<section><h2>Where it came from</h2><p class="lead">Networks with the most rejects and failed logins, and the share that bans would have stopped.</p>
<div class="scroll"><table><thead><tr><th>Network</th><th></th><th class="n">Rejects</th><th class="n">Stopped</th></tr></thead><tbody>${rows.map(row)}</tbody></table></div></section>`;
}

export function offenders(report: Report): Markup {
  if (report.offenders.length === 0) return none();
  const card = (offender: Offender) => {
    const { subject, host, reason, bans, stopped, curve } = offender;
    const picture =
      curve.bans.length === 0
        ? null
        : curve.offenses.length === 0
          ? markup`<p class="lead">A network scores nothing itself: it is banned while many of its addresses are.</p>`
          : scorePicture(offender, report);
    return markup`<figure><figcaption><code>${subject}</code><span class="chip">${number(stopped)} stopped</span></figcaption>
<p class="sub">${host === null ? '' : `${host} · `}${reason} · ${number(bans)} ${bans === 1 ? 'ban' : 'bans'}</p>${picture}${evidence('Last lines that scored', offender.lines)}</figure>`;
  };
  return markup`<section><h2>${report.mail === null ? 'The worst' : 'Scores of the worst'}</h2>
${report.mail === null ? null : markup`<p class="lead">Every offense adds points, points decay, and a ban spends them. Shaded: banned, lighter with its network. Dashed: the threshold.</p>`}
<div class="curves">${report.offenders.slice(0, OFFENDERS_SHOWN).map(card)}</div></section>`;
}

export function mail(report: Report): Markup {
  if (report.mail === null) return none();
  const rows = mailRows(report.mail).map(([count, what]) => markup`<div><dt>${what}</dt><dd>${count}</dd></div>`);
  return markup`<section><h2>Mail</h2><p class="lead">Counted as pflogsumm counts.</p><dl class="totals">${rows}</dl></section>`;
}

export function unmatched({ unmatched: { count, shapes } }: Report): Markup {
  if (count === 0) return none();
  const row = ({ program, shape, count: times, temporary, example }: Shape) =>
    markup`<tr><td class="n">${number(times)}</td><td><code>${logText(`${program}: ${shape}`)}</code> ${temporary ? markup`<span class="chip">temporary</span>` : markup`<span class="chip warn">no rule</span>`}${evidence('A line', [example])}</td></tr>`;
  return markup`<section><h2>Lines that look like a reject and match no rule</h2>
<p class="lead">A sign that a rule is missing. Temporary refusals, such as greylisting and faults of your own server, score nothing on purpose.</p>
<div class="scroll"><table><thead><tr><th class="n">Lines</th><th>Shape</th></tr></thead><tbody>${shapes.map(row)}</tbody></table></div></section>`;
}

function evidence(title: string, lines: readonly string[]): Markup | null {
  if (lines.length === 0) return null;
  return markup`<details><summary>${title}</summary>${lines.map((line) => markup`<div class="log">${logText(line)}</div>`)}</details>`;
}

function moreRows(count: number): Markup | null {
  return count > 0 ? markup`<p class="sub">and ${number(count)} more, in the JSON</p>` : null;
}

function none(): Markup {
  return markup``;
}
