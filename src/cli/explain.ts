/** `blockctl explain`: all that led to a decision about one subject, from the log lines to the ban and its end. */
import { contains } from '../domain/address.js';
import type { Ban } from '../domain/ban.js';
import { formatDuration } from '../domain/duration.js';
import type { ExitCode } from '../domain/errors.js';
import { isFresh, type Lists } from '../policy/lists.js';
import type { Policy } from '../policy/policy.js';
import type { Evidence, SubjectState } from '../policy/state.js';
import { UNKNOWN } from '../policy/state.js';
import { atDesk, type Context, type Desk } from './desk.js';
import {
  BANNED_BY,
  banJson,
  iso,
  listingJson,
  listingSentence,
  localTime,
  plural,
  RELEASED,
  relative,
  roughly,
  rounded,
  shortNumber,
} from './format.js';
import { listsAtHand } from './lists.js';
import { readable } from './logtext.js';
import { bannerOf } from './mode.js';
import type { Output } from './output.js';
import { subjectFrom } from './subject.js';
import { type Style, safe, styled } from './terminal.js';

export async function explain(text: string, context: Context): Promise<ExitCode> {
  return atDesk(context, { create: false }, async (desk) => {
    const { output, globals } = context;
    const subject = subjectFrom(text, desk.config.ban.ipv6_prefix);
    const facts = await gather(desk, subject, await listsAtHand(desk.config, desk.note, output));
    if (globals.json === true) await output.json(toJson(facts));
    else if (facts.known) await print(facts, output);
    else await output.line(`Nothing is known about ${facts.subject}: no line of the log ever scored for it.`);
    return facts.known ? 0 : 1;
  });
}

interface Facts {
  readonly desk: Desk;
  readonly policy: Policy;
  readonly subject: string;
  readonly state: SubjectState;
  readonly known: boolean;
  readonly score: number;
  readonly threshold: number;
  readonly strikes: number;
  readonly protectedWhy: string | null;
  /** The subject's own ban, else that of a network around it. */
  readonly ban: Ban | null;
  readonly evidence: readonly Evidence[];
  /** Lists of others that name it; of the fresh ones the first counts. */
  readonly listed: ReturnType<Lists['all']>;
}

async function gather(desk: Desk, subject: string, lists: Lists): Promise<Facts> {
  const { store, now } = desk;
  const policy = await desk.policy();
  const stored = (await store.states([subject])).get(subject);
  const state = stored ?? UNKNOWN;
  const evidence = await store.evidence(subject);
  const own = state.ban !== null && state.ban.until > now ? state.ban : null;
  const ban = own ?? (await store.bans(now)).findLast((one) => contains(one.subject, subject)) ?? null;
  const protectedWhy = policy.protectedWhy(subject, stored, now);
  const listed = lists.all(subject);
  return {
    desk,
    policy,
    subject,
    state,
    known: stored !== undefined || evidence.length > 0 || ban !== null || protectedWhy !== null || listed.length > 0,
    score: policy.scoreAt(state, now),
    threshold: policy.thresholdAt(state, now),
    strikes: policy.strikesAt(state, now),
    protectedWhy,
    ban,
    evidence,
    listed,
  };
}

function toJson(facts: Facts) {
  const { desk, subject, state, score, threshold, strikes, protectedWhy, ban, evidence, listed } = facts;
  return {
    subject,
    mode: desk.mode,
    host: state.host,
    score,
    threshold,
    offenses: state.offenses,
    strikes: rounded(strikes),
    protected: protectedWhy,
    listed: listed.map((one) => ({
      ...listingJson(one),
      fresh: isFresh(one, desk.now),
      counts: one === counting(facts),
    })),
    ban: ban === null ? null : banJson(ban),
    evidence: evidence.map(({ at, rule, points, line }) => ({
      at: iso(at),
      rule,
      points,
      line: readable(line),
    })),
    releases: releasesOf(state, desk.now).map(({ at, how }) => ({ at: iso(at), how })),
  };
}

/** The list whose points are its head start. */
function counting({ listed, desk }: Facts) {
  return listed.find((one) => isFresh(one, desk.now));
}

/** A ban that is over and that no daemon has settled yet ended on time all the same. */
function releasesOf(state: SubjectState, now: number) {
  const over =
    state.ban !== null && state.ban.until <= now
      ? [{ at: state.ban.until, how: 'expired' as const, ban: state.ban }]
      : [];
  return [...over, ...state.releases];
}

async function print(facts: Facts, output: Output): Promise<void> {
  const { desk, subject, state, ban, protectedWhy, evidence } = facts;
  const { look } = output;
  const { now } = desk;
  const name = (label: string) => `  ${label.padEnd(11)}`;
  const banner = bannerOf(desk.mode);
  if (banner !== null) await output.line(styled(look, 'yellow', banner));
  await output.line(styled(look, 'bold', subject) + (state.host === null ? '' : `  ${safe(state.host)}`));
  await output.line(name('ban') + banSentence(facts, (style, text) => styled(look, style, text)));
  if (ban !== null) {
    await output.line(
      `${name('since')}${localTime(ban.since)} (${roughly(ban.since, now)}), by ${BANNED_BY[ban.by]}: ${safe(ban.reason)}`,
    );
    if (ban.listed !== undefined)
      await output.line(
        `${name('')}with ${plural(ban.listed.points, 'point')} by ${listingSentence(ban.listed, ban.since)}`,
      );
  }
  if (protectedWhy !== null)
    await output.line(`${name('protected')}${styled(look, 'green', 'never banned')}: ${safe(protectedWhy)}`);
  await output.line(name('score') + scoreSentence(facts));
  for (const one of facts.listed) {
    const worth = !isFresh(one, now)
      ? 'too old, no points'
      : one !== counting(facts)
        ? 'another gives more points'
        : `a head start of ${plural(one.points, 'point')}`;
    await output.line(`${name('listed')}by ${listingSentence(one, now)}: ${worth}`);
  }
  await output.line(name('offenses') + String(state.offenses));
  await output.line(name('strikes') + strikesSentence(facts));
  if (ban !== null)
    await output.line(
      `${name('refused')}${desk.dryRun ? 'would have been ' : ''}${plural(ban.refused, 'time')} since then`,
    );
  if (evidence.length > 0) {
    await output.line(`\n${styled(look, 'bold', `Last lines that scored (${evidence.length})`)}`);
    for (const one of evidence) {
      await output.line(
        `  ${localTime(one.at)}  ${`+${rounded(one.points)}`.padStart(5)}  ${styled(look, 'cyan', safe(one.rule))}`,
      );
      await output.line(styled(look, 'dim', `    ${safe(readable(one.line))}`));
    }
  }
  const releases = releasesOf(state, now);
  if (releases.length > 0) await output.line(`\n${styled(look, 'bold', 'Earlier bans')}`);
  for (const { at, how, ban: ended } of releases) {
    const length = formatDuration(ended.until - ended.since);
    await output.line(
      `  ${localTime(ended.since)}  for ${length}, ended ${localTime(at)}: ${RELEASED[how]} (${safe(ended.reason)})`,
    );
  }
}

function banSentence({ desk, subject, ban }: Facts, style: (style: Style, text: string) => string): string {
  if (ban === null) return 'not banned';
  const { now, dryRun } = desk;
  const whose = ban.subject === subject ? '' : ` with its network ${ban.subject}`;
  const head = dryRun ? style('yellow', `would be banned${whose}`) : style('red', `banned${whose}`);
  return `${head} until ${localTime(ban.until)} (${relative(ban.until, now)})`;
}

function scoreSentence({ desk, policy, score, threshold, state, ban }: Facts): string {
  const { halfLifeMs } = policy.settings;
  const raised =
    threshold > policy.settings.threshold ? ` (raised from ${policy.settings.threshold} by accepted mail)` : '';
  const bannedAt = `${shortNumber(score)} now, banned at ${shortNumber(threshold)}${raised}; halves every ${formatDuration(halfLifeMs)}`;
  if (score < 0.005)
    return `0 now, banned at ${shortNumber(threshold)}${raised}${ban?.by === 'person' || ban === null ? '' : '; spent by the ban'}`;
  if (score < threshold) return bannedAt;
  // Asked about the past a sum answers for its last addition: late lines are rare enough to leave it at that.
  const belowInMs = Math.max(0, state.score.at - desk.now) + halfLifeMs * Math.log2(score / threshold);
  return `${bannedAt}, below that in ${formatDuration(belowInMs)}`;
}

function strikesSentence({ policy, strikes }: Facts): string {
  const { firstMs, factor, maxMs, strikesHalfLifeMs } = policy.settings;
  const next = formatDuration(Math.min(maxMs, firstMs * factor ** strikes));
  const decay = strikes < 0.005 ? '' : `, halve every ${formatDuration(strikesHalfLifeMs)}`;
  return `${strikes < 0.005 ? '0' : shortNumber(strikes)}${decay}; its next ban would last ${next}`;
}
