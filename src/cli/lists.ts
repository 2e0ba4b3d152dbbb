/** The lists of others as the commands see them: what is worth how much, how old, and from where. */
import type { Config } from '../config/schema.js';
import { formatDuration } from '../domain/duration.js';
import { isFresh, type Lists, NO_LISTS } from '../policy/lists.js';
import { type Finding, ok, warn } from '../postfix/finding.js';
import type { DaemonNote, ListNote } from '../store/daemon-note.js';
import type { Desk } from './desk.js';
import { iso, plural, relative } from './format.js';
import type { Output } from './output.js';
import { safe } from './terminal.js';

/** Read from the files and copies of this host, as its daemon does; what can't be read is said. */
export async function listsAtHand(config: Config, note: DaemonNote | null, output: Output): Promise<Lists> {
  if (config.lists.length === 0) return NO_LISTS;
  const { listsOf, readLists } = await import('../lists/lists.js');
  const { listsFolder } = await import('../lists/kept-list.js');
  const all = await readLists(config, note?.lists?.folder ?? listsFolder(config));
  for (const { config: list, problem } of all)
    if (problem !== null) output.notice(`list ${list.name} ${safe(problem)}`);
  return listsOf(all);
}

/** As the daemon last told; those that it does not have yet have nothing to go by. */
export async function listNotes({ config, note }: Pick<Desk, 'config' | 'note'>): Promise<readonly ListNote[]> {
  if (config.lists.length === 0) return [];
  const { sourceOf } = await import('../lists/kept-list.js');
  return config.lists.map((list) => {
    const source = sourceOf(list);
    const told = note?.lists?.all.find((one) => one.name === list.name && one.source === source);
    const { name, points, max_age: maxAgeMs } = list;
    return { name, source, entries: null, refreshedAt: null, problem: null, ...told, points, maxAgeMs };
  });
}

export function listNoteJson({ name, source, points, entries, refreshedAt, problem, maxAgeMs }: ListNote, now: number) {
  return {
    name,
    source,
    points,
    entries,
    refreshedAt: refreshedAt === null ? null : iso(refreshedAt),
    fresh: refreshedAt !== null && isFresh({ refreshedAt, maxAgeMs }, now),
    problem,
  };
}

/** `drop: 1,012 networks, 2 points, refreshed 3 h ago; https://lists.example.net/drop.txt` */
export function listNoteSentence(list: ListNote, now: number): string {
  const { name, source, points, entries, refreshedAt, problem, maxAgeMs } = list;
  const from = safe(source);
  const wrong = problem === null ? '' : `; it ${safe(problem)}`;
  if (entries === null || refreshedAt === null)
    return `${name}: nothing to go by${problem === null ? ' yet' : ''}; ${from}${wrong}`;
  const isOld = !isFresh({ refreshedAt, maxAgeMs }, now);
  const worth = isOld ? `no points: older than ${formatDuration(maxAgeMs)}` : plural(points, 'point');
  return `${name}: ${plural(entries, 'network')}, ${worth}, refreshed ${relative(refreshedAt, now)}; ${from}${wrong}`;
}

export async function listFindings(desk: Desk): Promise<Finding[]> {
  const fix =
    "Its source must be reachable: a file for blockd's user; a URL through the unit's IPAddressAllow=, see docs/lists.md.";
  return (await listNotes(desk)).map((list) => {
    const { entries, refreshedAt, problem, maxAgeMs } = list;
    const isFine = problem === null && entries !== null && refreshedAt !== null;
    const text = listNoteSentence(list, desk.now);
    return isFine && isFresh({ refreshedAt, maxAgeMs }, desk.now) ? ok('list', text) : warn('list', text, fix);
  });
}
