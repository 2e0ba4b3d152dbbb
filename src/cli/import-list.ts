/** `blockctl import list`: a plain list of addresses and networks becomes bans, all of it or nothing. */
import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { formatDuration } from '../domain/duration.js';
import { type ExitCode, reasonOf, UsageError } from '../domain/errors.js';
import { atDesk, type Context } from './desk.js';
import { plural } from './format.js';
import { lengthFrom, reasonFrom } from './order.js';
import { tellOrders } from './order-told.js';
import { lastOfEach } from './orders.js';
import { subjectToBan } from './subject.js';

export interface ListOptions {
  readonly for?: string;
  readonly reason?: string;
  readonly skipBad?: boolean;
  readonly dryRun?: boolean;
}

export async function importList(name: string, options: ListOptions, context: Context): Promise<ExitCode> {
  const askedMs = options.for === undefined ? null : lengthFrom(options.for);
  const reason = reasonFrom(options.reason ?? 'from an imported list');
  const text = await textOf(name);
  const { output } = context;
  return atDesk(context, { create: options.dryRun !== true, publishes: options.dryRun !== true }, async (desk) => {
    const { subjects, problems } = readList(text, desk.config.ban.ipv6_prefix);
    for (const { line, sentence } of problems.slice(0, MOST_TOLD)) output.error(`${name}, line ${line}: ${sentence}`);
    if (problems.length > MOST_TOLD) output.error(`… and ${problems.length - MOST_TOLD} more lines like these`);
    if (problems.length > 0 && options.skipBad !== true) {
      throw new UsageError(
        `${plural(problems.length, 'line')} of ${name} can't be taken, so nothing is; mend them, or take the rest with --skip-bad`,
      );
    }
    const forMs = askedMs ?? desk.config.ban.first;
    const orders = lastOfEach(subjects.map((subject) => ({ subject, until: desk.now + forMs, reason })));
    return tellOrders(
      desk,
      orders,
      { dryRun: options.dryRun === true, ending: `for ${formatDuration(forMs)}` },
      context,
    );
  });
}

export interface List {
  readonly subjects: readonly string[];
  readonly problems: readonly { readonly line: number; readonly sentence: string }[];
}

/** One address or network a line; `#` and `;` begin a comment. */
export function readList(text: string, ipv6Prefix: number): List {
  const subjects: string[] = [];
  const problems: { line: number; sentence: string }[] = [];
  for (const [index, whole] of text
    .replace(/^\ufeff/, '')
    .split('\n')
    .entries()) {
    const entry = whole.replace(/[#;].*/, '').trim();
    if (entry === '') continue;
    try {
      subjects.push(subjectToBan(entry.length > LONGEST ? `${entry.slice(0, LONGEST)}…` : entry, ipv6Prefix));
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      problems.push({ line: index + 1, sentence: error.message });
    }
  }
  return { subjects, problems };
}

/** Of a file that is no list at all, as many lines say it. */
const MOST_TOLD = 20;

/** No address is as long; of what is none, the beginning is told. */
const LONGEST = 80;

async function textOf(name: string): Promise<string> {
  try {
    return (name === '-' ? await buffer(process.stdin) : readFileSync(name)).toString('utf8');
  } catch (error) {
    throw new UsageError(`The list ${name} can't be read: ${reasonOf(error)}`, { cause: error });
  }
}
