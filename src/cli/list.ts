/** `blockctl list`: who is banned, and with `--all` who was. */
import { type Ban, type Release, reasonWithList } from '../domain/ban.js';
import type { ExitCode } from '../domain/errors.js';
import { MAX_CHANGES } from '../store/store.js';
import { atDesk, type Context, type Desk } from './desk.js';
import { banJson, iso, roughly, rounded } from './format.js';
import { bannerOf } from './mode.js';
import { type Column, styled, table } from './terminal.js';

export async function list(options: { readonly all?: boolean }, context: Context): Promise<ExitCode> {
  return atDesk(context, { create: false }, async (desk) => {
    const rows = await rowsOf(desk, options.all === true);
    const { output, globals } = context;
    if (globals.json === true) {
      await output.json(
        rows.map(({ ban, released }) =>
          options.all === true ? { ...banJson(ban), released: releasedJson(released) } : banJson(ban),
        ),
      );
      return 0;
    }
    const banner = bannerOf(desk.mode);
    if (banner !== null) await output.line(styled(output.look, 'yellow', banner));
    if (rows.length === 0) await output.line(options.all === true ? 'No bans, active or released.' : 'No active bans.');
    else await output.print(table(output.look, columnsOf(desk, options.all === true), rows));
    return 0;
  });
}

interface Row {
  readonly ban: Ban;
  /** How it ended, or null while it holds. */
  readonly released: Pick<Release, 'at' | 'how'> | null;
}

/** Active bans, newest first; then ended ones, the last first. */
async function rowsOf({ store, now }: Desk, all: boolean): Promise<Row[]> {
  const active = (await store.bans(now)).map((ban): Row => ({ ban, released: null }));
  active.sort((a, b) => b.ban.since - a.ban.since);
  if (!all) return active;
  const ended: Row[] = [];
  // Bans that are over but that no daemon has settled yet are in no history.
  for (const state of (await store.states(await store.endedBans(now, MAX_CHANGES))).values()) {
    if (state.ban !== null) ended.push({ ban: state.ban, released: { at: state.ban.until, how: 'expired' } });
  }
  for (const change of await store.history(MAX_CHANGES)) {
    if (change.type === 'release') ended.push({ ban: change.release.ban, released: change.release });
  }
  ended.sort((a, b) => (b.released?.at ?? 0) - (a.released?.at ?? 0));
  return [...active, ...ended];
}

function releasedJson(released: Row['released']) {
  return released === null ? null : { at: iso(released.at), how: released.how };
}

function columnsOf({ now }: Desk, all: boolean): Column<Row>[] {
  const dimmed = ({ released }: Row) => (released === null ? undefined : 'dim');
  const columns: (Column<Row> | false)[] = [
    { title: 'SUBJECT', text: ({ ban }) => ban.subject, style: ({ released }) => (released === null ? 'cyan' : 'dim') },
    { title: 'HOST', text: ({ ban }) => ban.host ?? '-', least: 12, spare: 1, style: dimmed },
    { title: 'SINCE', text: ({ ban }) => roughly(ban.since, now), style: dimmed },
    { title: 'ENDS', text: ({ ban, released }) => roughly(released?.at ?? ban.until, now), style: dimmed },
    all && { title: 'HOW', text: ({ released }) => (released === null ? 'active' : released.how), style: dimmed },
    {
      title: 'STRIKES',
      text: ({ ban }) => String(rounded(Math.round(ban.strikes * 10) / 10)),
      right: true,
      spare: 3,
      style: dimmed,
    },
    { title: 'REFUSED', text: ({ ban }) => String(ban.refused), right: true, style: dimmed },
    { title: 'BY', text: ({ ban }) => ban.by, spare: 2, style: dimmed },
    { title: 'REASON', text: ({ ban }) => reasonWithList(ban), least: 16, style: dimmed },
  ];
  return columns.filter((column) => column !== false);
}
