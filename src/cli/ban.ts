/** `blockctl ban`: a person bans an address or network, for a time that ends. */
import { formatDuration } from '../domain/duration.js';
import type { ExitCode } from '../domain/errors.js';
import { atDesk, type Context } from './desk.js';
import { banJson, localTime } from './format.js';
import { lengthFrom, reasonFrom } from './order.js';
import { subjectToBan } from './subject.js';

export async function ban(
  text: string,
  options: { readonly for?: string; readonly reason?: string },
  context: Context,
): Promise<ExitCode> {
  const askedMs = options.for === undefined ? null : lengthFrom(options.for);
  const reason = reasonFrom(options.reason ?? 'banned by a person');
  return atDesk(context, { create: true, publishes: true }, async (desk) => {
    const { store, config, now } = desk;
    const { output, globals } = context;
    const subject = subjectToBan(text, config.ban.ipv6_prefix);
    const forMs = askedMs ?? config.ban.first;
    const policy = await desk.policy();
    const subjects = policy.subjectsFor(subject);
    let protectedWhy: string | null = null;
    const outcome = await store.commit(subjects, (states) => {
      protectedWhy = policy.protectedWhy(subject, states.get(subject), now);
      return protectedWhy === null ? policy.ban(subject, states, { at: now, forMs, reason }) : {};
    });
    if (protectedWhy !== null) {
      output.error(`${subject} is never banned: ${protectedWhy}. ${remedyFor(protectedWhy, text)}`);
      return 1;
    }
    await desk.publishChange();
    const made = (outcome.changes ?? []).find((change) => change.type === 'ban')?.ban;
    if (made === undefined) throw new Error('a ban was ordered and none was made');
    if (globals.json === true) await output.json({ ...banJson(made), mode: desk.mode });
    else
      await output.line(`${said(desk.mode)} ${subject} until ${localTime(made.until)} (for ${formatDuration(forMs)})`);
    return 0;
  });
}

function said(mode: string): string {
  if (mode === 'dry-run') return 'DRY-RUN: recorded, not enforced; would be banned:';
  if (mode === 'shadow') return 'SHADOW: recorded, Postfix only logs whom it would refuse; would be banned:';
  return 'Banned';
}

/** How to ban it nevertheless, for those who must. */
function remedyFor(why: string, text: string): string {
  if (why.includes('blockctl allow'))
    return `Take it off that list first: blockctl disallow ${text} ("blockctl allowed" shows the entries).`;
  if (why.includes('config')) return 'Take it out of [allow] in the config first.';
  if (why.includes('mynetworks')) return 'To ban in them, set allow.mynetworks = false.';
  if (why.includes('logged')) return 'It can be banned when that is longer ago than allow.authenticated_for.';
  return 'Nothing changes that.';
}
