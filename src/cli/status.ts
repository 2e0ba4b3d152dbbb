/** `blockctl status`: is blockd at work here, how far has it read, what does it hold. */
import type { ExitCode } from '../domain/errors.js';
import { BlockdError } from '../domain/errors.js';
import { maskPassword } from '../domain/secret.js';
import { lagOf } from '../source/lag.js';
import type { ListNote } from '../store/daemon-note.js';
import type { Store } from '../store/store.js';
import { atDesk, type Context, configOf, type Desk } from './desk.js';
import { iso, plural, relative } from './format.js';
import { listNoteJson, listNoteSentence, listNotes } from './lists.js';
import { describeMode } from './mode.js';
import type { Output } from './output.js';
import { safe, styled } from './terminal.js';
import { wrap } from './wrap.js';

export async function status(context: Context): Promise<ExitCode> {
  const { output, globals } = context;
  try {
    return await atDesk(context, { create: false }, async (desk) => {
      const facts = await gather(desk);
      if (globals.json === true) await output.json(toJson(facts));
      else await print(facts, output);
      return desk.missing ? 3 : 0;
    });
  } catch (error) {
    if (!(error instanceof BlockdError && error.exitCode === 3) || globals.json !== true) throw error;
    // Without the store next to nothing is known; a monitor still gets its JSON.
    const { config } = configOf(globals);
    await output.json({
      mode: config.mode,
      logs: [],
      store: { url: maskPassword(config.store.url), ok: false },
      map: null,
      scored: null,
      banned: null,
    });
    output.error(error.message);
    return error.exitCode;
  }
}

interface Facts {
  readonly desk: Desk;
  readonly logs: readonly LogFacts[];
  readonly map: MapFacts | null;
  readonly counts: Awaited<ReturnType<Store['counts']>>;
  readonly lists: readonly ListNote[];
}

export interface LogFacts {
  readonly log: string;
  /** Bytes not read yet; null when that can't be told. */
  readonly lagBytes: number | null;
  readonly lastLineAt: number | null;
}

export interface MapFacts {
  readonly type: string;
  readonly path: string;
  readonly entries: number | null;
  /** Bans for which the full map has no room. */
  readonly leftOut: number;
  readonly publishedAt: number | null;
  readonly problem: string | null;
}

async function gather(desk: Desk): Promise<Facts> {
  const logs = await logFacts(desk);
  const counts = await desk.store.counts(desk.now);
  return { desk, logs, map: await mapFacts(desk, counts.banned), counts, lists: await listNotes(desk) };
}

/** How far each log was counted. */
export async function logFacts({ store, config, note }: Desk): Promise<LogFacts[]> {
  const progress = await store.progress(config.store.host);
  const names = new Set([...(note?.logs ?? []), ...progress.keys()]);
  return [...names].map((log) => {
    const counted = progress.get(log);
    return {
      log,
      lagBytes: counted === undefined ? null : lagOf(log, counted.position),
      lastLineAt: counted?.lastLineAt ?? null,
    };
  });
}

/** The access map as it lies there, whose bans number `banned`. Reads all of it. */
export async function mapFacts(desk: Desk, banned: number): Promise<MapFacts | null> {
  const spec = await desk.mapSpec();
  const leftOut = desk.dryRun ? 0 : Math.max(0, banned - desk.maxEntries);
  const map = spec === null ? null : await desk.map();
  if (spec === null || map === null) return null;
  try {
    const { entries, publishedAt } = await map.read();
    return { ...spec, entries: entries.length, leftOut, publishedAt, problem: null };
  } catch (error) {
    if (!(error instanceof BlockdError)) throw error;
    return { ...spec, entries: null, leftOut, publishedAt: null, problem: error.message };
  }
}

export function storeUrl({ store, missing, config }: Desk): string {
  return missing ? maskPassword(config.store.url) : store.url;
}

function toJson({ desk, logs, map, counts, lists }: Facts) {
  const { note } = desk;
  const time = (at: number | null) => (at === null ? null : iso(at));
  return {
    mode: desk.mode,
    daemon:
      note === null
        ? null
        : {
            running: desk.running,
            version: note.version,
            pid: note.pid,
            startedAt: iso(note.startedAt),
            heartbeatAt: iso(note.heartbeatAt),
            stoppedAt: time(note.stoppedAt),
          },
    logs: logs.map(({ log, lagBytes, lastLineAt }) => ({ log, lagBytes, lastLineAt: time(lastLineAt) })),
    store: { url: storeUrl(desk), ok: !desk.missing },
    map:
      map === null
        ? null
        : {
            type: map.type,
            path: map.path,
            entries: map.entries,
            leftOut: map.leftOut,
            publishedAt: time(map.publishedAt),
          },
    lists: lists.map((list) => listNoteJson(list, desk.now)),
    scored: counts.scored,
    banned: counts.banned,
    counters: note?.counters ?? null,
  };
}

async function print({ desk, logs, map, counts, lists }: Facts, output: Output): Promise<void> {
  const { look } = output;
  const { now, note } = desk;
  const row = (label: string, text: string) =>
    output.line(`${styled(look, 'bold', label.padEnd(8))} ${wrap(text, look.width, ' '.repeat(9))}`);
  const mode = describeMode(desk.mode);
  await row('mode', desk.mode === 'enforce' ? mode : styled(look, 'yellow', mode));
  if (desk.configuredMode !== desk.mode) {
    await row('', `the config says ${desk.configuredMode}: reload blockd to have that`);
  }
  await row(
    'daemon',
    daemonSentence(desk, (text) => styled(look, 'red', text)),
  );
  for (const one of logs) await row('log', logSentence(one, now));
  await row(
    'store',
    `${safe(storeUrl(desk))}: ${desk.missing ? 'not there yet; ' : ''}${plural(counts.scored, 'subject')} known, ${counts.banned} banned`,
  );
  await row('map', map === null ? 'none: dry-run needs none' : mapSentence(map, now));
  for (const list of lists) await row('list', listNoteSentence(list, now));
  if (note === null) return;
  const { lines, offenses, bans, releases, refused } = note.counters;
  const counted = [
    plural(lines, 'line'),
    plural(offenses, 'offense'),
    plural(bans, 'ban'),
    plural(releases, 'release'),
    `${refused} refused`,
  ];
  await row('counted', `${counted.join(', ')}, since its start ${relative(note.startedAt, now)}`);
}

function daemonSentence({ note, running, now, config }: Desk, alarm: (text: string) => string): string {
  if (note === null) return `has not run on this host (${config.store.host}) with this store`;
  if (running) return `running, version ${note.version}, process ${note.pid}, started ${relative(note.startedAt, now)}`;
  if (note.stoppedAt !== null)
    return `${alarm('stopped')} ${relative(note.stoppedAt, now)}; bans still end on time, no new ones are made`;
  return `${alarm('not running')}: it died without a word, last seen ${relative(note.heartbeatAt, now)}`;
}

export function logSentence({ log, lagBytes, lastLineAt }: LogFacts, now: number): string {
  const lag = lagBytes === null ? 'not counted yet' : lagBytes === 0 ? 'all read' : `${bytes(lagBytes)} still to read`;
  const where = log === 'journal' && lagBytes === null && lastLineAt !== null ? 'followed' : lag;
  return `${safe(log)}: ${where}${lastLineAt === null ? '' : `; last line ${relative(lastLineAt, now)}`}`;
}

export function mapSentence({ type, path, entries, leftOut, publishedAt, problem }: MapFacts, now: number): string {
  const name = `${type}:${safe(path)}`;
  if (problem !== null) return `${name}: ${safe(problem)}`;
  const full = leftOut === 0 ? '' : ` (postfix.max_entries), ${plural(leftOut, 'ban')} that end sooner left out`;
  return `${name}: ${plural(entries ?? 0, 'entry', 'entries')}${full}${publishedAt === null ? ', never published' : `, published ${relative(publishedAt, now)}`}`;
}

function bytes(count: number): string {
  if (count < 1024) return plural(count, 'byte');
  return count < 1024 * 1024 ? `${Math.round(count / 1024)} KiB` : `${Math.round(count / 1024 / 1024)} MiB`;
}
