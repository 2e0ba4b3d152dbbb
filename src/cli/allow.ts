/** `blockctl allow`, `disallow` and `allowed`: the list of the never-banned that people keep. */

import type { Ban } from '../domain/ban.js';
import type { ExitCode } from '../domain/errors.js';
import type { Policy } from '../policy/policy.js';
import { atDesk, type Context, type Desk } from './desk.js';
import { iso, localTime } from './format.js';
import { allowEntryFrom } from './subject.js';
import { table } from './terminal.js';

/** Adds an entry, and releases whoever is banned and now never to be. */
export async function allow(text: string, context: Context): Promise<ExitCode> {
  const entry = allowEntryFrom(text);
  return atDesk(context, { create: true, publishes: true }, async (desk) => {
    const { store, now } = desk;
    const { output, globals } = context;
    const people = (await store.allowed()).map((one) => one.entry);
    const known = people.includes(entry);
    const policy = await desk.policyWith([...people, entry]);
    const subjects = (await store.bans(now)).filter((ban) => isNowAllowed(policy, ban)).map((ban) => ban.subject);
    const outcome = await store.commit(subjects, (states) => {
      const verdict = policy.releaseProtected(subjects, states, now);
      if (known) return verdict;
      return {
        ...verdict,
        allow: [{ entry, at: now }],
        changes: [{ type: 'allow', at: now, entry }, ...verdict.changes],
      };
    });
    const released = (outcome.changes ?? []).flatMap((change) =>
      change.type === 'release' ? [change.release.ban.subject] : [],
    );
    await desk.publishChange();
    desk.remindOfSets(released);
    if (globals.json === true) {
      await output.json({ entry, released });
      return 0;
    }
    await output.line(
      known ? `${entry} was already never banned` : `${entry} is never banned from now on${alsoNamed(entry)}`,
    );
    for (const subject of released) await output.line(`Released ${subject}`);
    return 0;
  });
}

export async function disallow(text: string, context: Context): Promise<ExitCode> {
  const entry = allowEntryFrom(text);
  return atDesk(context, { create: false }, async (desk) => {
    const { store, now } = desk;
    const { output, globals } = context;
    if (!(await store.allowed()).some((one) => one.entry === entry)) {
      output.error(`${entry} is not in the list of "blockctl allow"${await elsewhere(desk, entry)}`);
      return 1;
    }
    await store.commit([], () => ({ disallow: [entry], changes: [{ type: 'disallow', at: now, entry }] }));
    if (globals.json === true) await output.json({ entry });
    else await output.line(`${entry} can be banned again`);
    return 0;
  });
}

/** All entries, wherever they come from. */
export async function allowed(context: Context): Promise<ExitCode> {
  return atDesk(context, { create: false }, async (desk) => {
    const { output, globals } = context;
    const since = new Map((await desk.store.allowed()).map(({ entry, at }) => [entry, at]));
    const { addresses, hostnames } = await desk.allowRules([...since.keys()]);
    const rows = [...addresses, ...hostnames].map(({ entry, why }) => ({
      entry,
      why,
      at: why === 'blockctl allow' ? (since.get(entry) ?? null) : null,
    }));
    if (globals.json === true)
      await output.json(rows.map(({ at, ...row }) => ({ ...row, at: at === null ? null : iso(at) })));
    else {
      const columns = [
        { title: 'NEVER BANNED', text: (row: (typeof rows)[number]) => row.entry, style: () => 'cyan' as const },
        { title: 'WHY', text: (row: (typeof rows)[number]) => row.why },
        { title: 'SINCE', text: (row: (typeof rows)[number]) => (row.at === null ? '' : localTime(row.at)) },
      ];
      await output.print(table(output.look, columns, rows));
    }
    return 0;
  });
}

function isNowAllowed(policy: Policy, ban: Ban): boolean {
  return policy.allowlist.why(ban.subject, ban.host) !== null;
}

/** A name holds for all names below it, which a person may not expect. */
function alsoNamed(entry: string): string {
  return /[a-z]/.test(entry) && !entry.includes(':') ? `, nor are hosts whose confirmed name ends in .${entry}` : '';
}

async function elsewhere(desk: Desk, entry: string): Promise<string> {
  const { addresses, hostnames } = await desk.allowRules([]);
  const why = [...addresses, ...hostnames].find((rule) => rule.entry === entry)?.why;
  return why === undefined
    ? '; "blockctl allowed" shows who is never banned, and why'
    : `: it is never banned because of ${why}`;
}
