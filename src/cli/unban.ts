/** `blockctl unban`: a person ends bans, and clears the score that led to them. */
import { contains } from '../domain/address.js';
import type { Ban } from '../domain/ban.js';
import { type ExitCode, UsageError } from '../domain/errors.js';
import type { Policy } from '../policy/policy.js';
import type { Outcome } from '../store/store.js';
import { atDesk, type Context, type Desk } from './desk.js';
import { plural, shortNumber } from './format.js';
import { subjectFrom } from './subject.js';

export async function unban(
  texts: readonly string[],
  options: { readonly all?: boolean },
  context: Context,
): Promise<ExitCode> {
  if (options.all === true && texts.length > 0) throw new UsageError('unban takes subjects or --all, not both');
  if (options.all !== true && texts.length === 0) {
    throw new UsageError(
      'unban wants an address or network, several of them, or --all; "blockctl list" shows who is banned',
    );
  }
  return atDesk(context, { create: false, publishes: true }, async (desk) => {
    const subjects = texts.map((text) => subjectFrom(text, desk.config.ban.ipv6_prefix));
    return options.all === true ? unbanAll(desk, context) : unbanEach(desk, [...new Set(subjects)], context);
  });
}

/** One thing that was asked for, and what came of it. */
interface Answer {
  readonly subject: string;
  /** Subjects whose bans ended: itself, the network around it, or both. */
  readonly unbanned: readonly string[];
  readonly sentence: string;
}

async function unbanEach(desk: Desk, subjects: readonly string[], { output, globals }: Context): Promise<ExitCode> {
  const policy = await desk.policyWithoutAllowlist();
  const answers: Answer[] = [];
  for (const subject of subjects) answers.push(await unbanOne(desk, policy, subject));
  const released = answers.flatMap(({ unbanned }) => unbanned);
  if (released.length > 0) await desk.publishChange();
  if (globals.json === true) await output.json(answers.map(({ subject, unbanned }) => ({ subject, unbanned })));
  for (const { unbanned, sentence } of answers) {
    if (unbanned.length === 0) output.notice(sentence);
    else if (globals.json !== true) await output.line(sentence);
  }
  desk.remindOfSets(released);
  return answers.every(({ unbanned }) => unbanned.length > 0) ? 0 : 1;
}

async function unbanOne({ store, now }: Desk, policy: Policy, subject: string): Promise<Answer> {
  let score = 0;
  const outcome = await store.commit(policy.subjectsFor(subject), (states) => {
    const state = states.get(subject);
    score = state === undefined ? 0 : policy.scoreAt(state, now);
    return policy.unban(subject, states, now);
  });
  const unbanned = releasedIn(outcome);
  const cleared = score < 0.05 ? '' : `; its score of ${shortNumber(score)} is cleared`;
  const bans = await store.bans(now);
  if (unbanned.length === 0)
    return { subject, unbanned, sentence: `${subject} is not banned${cleared}${otherBans(subject, bans)}` };
  const still = around(subject, bans);
  const held = still === '' ? '' : `; it is still in ${still}, which is banned: unban that as well`;
  return { subject, unbanned, sentence: `${unbannedSentence(subject, unbanned)}${cleared}${held}` };
}

function unbannedSentence(subject: string, unbanned: readonly string[]): string {
  const network = unbanned.find((one) => one !== subject);
  if (network === undefined) return `Unbanned ${subject}`;
  if (!unbanned.includes(subject)) return `Unbanned ${network}, the network whose ban held ${subject}`;
  return `Unbanned ${subject} and ${network}, the network around it`;
}

/** Bans that the person may have meant. */
function otherBans(subject: string, bans: readonly Ban[]): string {
  const networks = around(subject, bans);
  if (networks !== '') return `, but ${networks} around it: unban that`;
  const inside = bans.filter((ban) => contains(subject, ban.subject)).map((ban) => ban.subject);
  if (inside.length === 0) return '';
  const some = inside.length > 3 ? `${inside.slice(0, 3).join(', ')}, …` : inside.join(', ');
  return `, but ${plural(inside.length, 'subject')} in it (${some}): unban those`;
}

/** Banned networks that hold the subject. */
function around(subject: string, bans: readonly Ban[]): string {
  return bans
    .filter((ban) => ban.subject !== subject && contains(ban.subject, subject))
    .map((ban) => ban.subject)
    .join(', ');
}

/** In one commit: each waits for the disk. */
const AT_ONCE = 500;

async function unbanAll(desk: Desk, { output, globals }: Context): Promise<ExitCode> {
  const { store, now } = desk;
  const policy = await desk.policyWithoutAllowlist();
  const banned = (await store.bans(now)).map((ban) => ban.subject);
  const unbanned: string[] = [];
  for (let from = 0; from < banned.length; from += AT_ONCE) {
    const some = banned.slice(from, from + AT_ONCE);
    const subjects = new Set(some.flatMap((subject) => policy.subjectsFor(subject)));
    unbanned.push(...releasedIn(await store.commit([...subjects], (states) => policy.unbanAll(some, states, now))));
  }
  if (unbanned.length > 0) await desk.publishChange();
  desk.remindOfSets(unbanned);
  if (globals.json === true) await output.json(unbanned.map((subject) => ({ subject, unbanned: [subject] })));
  else
    await output.line(
      unbanned.length === 0 ? 'Nobody is banned.' : `Unbanned ${plural(unbanned.length, 'subject')}, all that were`,
    );
  return 0;
}

function releasedIn(outcome: Outcome): string[] {
  return (outcome.changes ?? []).flatMap((change) =>
    change.type === 'release' && change.release.how === 'unbanned' ? [change.release.ban.subject] : [],
  );
}
