/**
 * The access map: a projection of the bans that any process may publish, under a lock, with the same bytes as result.
 * It is built aside and renamed, or changed transactionally, so that Postfix finds it whole at every instant.
 */
import { constants } from 'node:fs';
import { access, mkdir, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute } from 'node:path';
import { LONGEST_BAN_MS } from '../domain/ban.js';
import { reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import { acquireLock } from '../domain/lock.js';
import { eachInTurns, sortedInTurns } from '../domain/turns.js';
import {
  isSubject,
  keyOfLine,
  type MapEntry,
  type PublishedEntry,
  parseLine,
  type Rendering,
  renderLine,
  type Table,
  tableOf,
} from './entry.js';
import { MapChanges } from './map-changes.js';
import {
  asideOf,
  changedAt,
  INDEXED_TYPES,
  inodesOf,
  MapFiles,
  removeAsides,
  replaceAll,
  type Step,
  settle,
  stampOf,
  stampsOf,
  textOf,
  writeWhole,
} from './map-files.js';
import { copying, MapSpare } from './map-spare.js';
import { isNamed } from './named.js';
import { type Differences, Postmap, type PostmapOptions } from './postmap.js';
import { reloadPostfix } from './reload.js';
import { complaintOf, run } from './run.js';

export type { MapEntry, PublishedEntry } from './entry.js';

export interface AccessMapOptions extends Rendering, PostmapOptions {
  /** Absolute, as main.cf names it: without the `.db` that postmap adds. */
  readonly path: string;
  /** How many entries the map holds at most; those that end soonest are left out. Unbounded unless told. */
  readonly maxEntries?: number;
  /** From so many entries on changes go into a journal beside the text; 5,000 unless told. A smaller text stays whole. */
  readonly journalFrom?: number;
  /** Does a process publish that goes on? Then it keeps a copy of a large map ready for the next change, until `close`. */
  readonly keepsSpare?: boolean;
  /** Command that makes every smtpd open its tables anew: once after a repair, and for what Postfix does not notice. */
  readonly reload: readonly string[];
  readonly onNotice?: (level: 'info' | 'warn' | 'error', message: string) => void;
}

/** The bans as they are, and what changed since the picture before, null when that is not known. */
export interface Picture {
  readonly changes: BanChanges | null;
  readonly all: () => readonly MapEntry[];
}

export interface BanChanges {
  /** New bans, and those that changed. */
  readonly put: readonly MapEntry[];
  /** Subjects that are no longer banned. */
  readonly gone: readonly string[];
}

export interface PublishResult {
  readonly changed: boolean;
  readonly added: number;
  readonly removed: number;
  /** Entries in the map now. */
  readonly entries: number;
  /** Was the map missing, damaged or edited by somebody else? */
  readonly repaired: boolean;
  /** Bans for which `maxEntries` left no room. */
  readonly leftOut: number;
}

export interface SweepResult {
  readonly dropped: number;
  readonly left: number;
  /** When the next entry ends; infinite when none is left. */
  readonly soonestEnd: number;
}

const DAY_MS = 86_400_000;
const LOCK_WAIT_MS = 20_000;
/** A reload takes a fraction of a second; one that hangs ends here. */
const RELOAD_MS = 10_000;
/** How long `intact` waits for a publisher that is at it; the next look comes anyway. */
const LOOK_WAIT_MS = 1_000;
/** From here on changes are cheaper than all anew: 22 ms against 40 at 10,000 entries of `lmdb`, 44 against 65 of `hash`. */
const INCREMENTAL_FROM = 5_000;
const HEADER = '# Written by blockd; changes made here are overwritten. To let somebody in: blockctl unban ADDRESS\n';

/** @throws UsageError that says how a map is named. */
export function parseMapSpec(text: string): { readonly type: string; readonly path: string } {
  const colon = text.indexOf(':');
  const [type, path] = [text.slice(0, colon), text.slice(colon + 1)];
  if (colon > 0 && type === 'texthash') {
    throw new UsageError(`map ${text}: Postfix never notices changes of a texthash map; use hash, btree, lmdb or cdb`);
  }
  if (colon < 0 || !(INDEXED_TYPES.includes(type) || type === 'cidr')) {
    throw new UsageError(`map ${text}: write TYPE:PATH with TYPE one of ${INDEXED_TYPES.join(', ')}, cidr`);
  }
  if (!isAbsolute(path) || path.endsWith('/') || /[\s,]/.test(path)) {
    throw new UsageError(
      `map ${text}: the path must be absolute, name a file, and hold no blank or comma, as in main.cf`,
    );
  }
  return { type, path };
}

/** Lines of the two tables, by key, in the order in which they are written. */
type Lines = Readonly<Record<Table, ReadonlyMap<string, string>>>;
type OwnLines = Readonly<Record<Table, Map<string, string>>>;

/** One entry as it was rendered last: most bans are the same in the next picture. */
interface Rendered {
  readonly until: number;
  readonly reason: string;
  readonly table: Table;
  readonly line: string;
}

/** What lies on disk. */
interface Found {
  readonly lines: Lines;
  /** Lines that blockd did not write. */
  readonly foreign: readonly string[];
  /** Was it ever published? */
  readonly known: boolean;
  readonly intact: boolean;
  readonly stamps: string;
}

/** Somebody has touched the files between our look at them and our change. */
class TouchedError extends Error {}

export class AccessMap {
  readonly type: string;
  readonly path: string;
  readonly #options: AccessMapOptions;
  readonly #files: MapFiles;
  readonly #changes: MapChanges;
  readonly #postmap: Postmap;
  readonly #spare: MapSpare | null;
  /** What this process published last: spares reading it back. */
  #last: { readonly stamps: string; readonly lines: OwnLines } | null = null;
  #reloadDue = false;
  #rendered = new Map<string, Rendered>();
  #leftOut = 0;
  /** Bans that no map can hold, when it was published last. */
  #unfit = 0;

  constructor(options: AccessMapOptions) {
    this.type = options.type;
    this.path = options.path;
    this.#options = options;
    this.#files = new MapFiles(options.type, options.path);
    this.#changes = new MapChanges(this.#files.changes, this.#files.path);
    this.#postmap = new Postmap(options);
    this.#spare = options.keepsSpare === true && this.#isCopied ? new MapSpare(options.type, this.#files) : null;
  }

  /**
   * Makes the map hold exactly the entries that `readEntries`, called with the lock held, tells: the last writer has
   * the newest picture. Writes nothing when nothing changed.
   * @throws UnavailableError when it can't; the map stays as it was.
   * @throws UsageError when the path is a directory, or a map that somebody else keeps.
   */
  async publish(readEntries: () => Promise<readonly MapEntry[]>): Promise<PublishResult> {
    return this.#locked(async () => {
      return this.#publishAll(await readEntries());
    });
  }

  /** The same, from a picture that also tells what has changed since the one before: then only that costs. */
  async publishPicture(readPicture: () => Promise<Picture>): Promise<PublishResult> {
    return this.#locked(async () => {
      const { changes, all } = await readPicture();
      const result = (changes && (await this.#publishChanges(changes))) ?? (await this.#publishAll(all()));
      this.#prepareSpare(result);
      return result;
    });
  }

  /** Leaves nothing of its own beside the map. */
  async close(): Promise<void> {
    await this.#spare?.close();
  }

  #prepareSpare({ changed }: PublishResult): void {
    if (this.#spare === null || (!changed && this.#spare.isBegun)) return;
    if ((this.#last?.lines.indexed.size ?? 0) >= this.#journalFrom) this.#spare.prepare();
  }

  get #journalFrom(): number {
    return this.#options.journalFrom ?? INCREMENTAL_FROM;
  }

  /** Is it changed in a copy, which then takes its place? */
  get #isCopied(): boolean {
    return this.type === 'hash' || this.type === 'btree';
  }

  async #publishAll(entries: readonly MapEntry[]): Promise<PublishResult> {
    const { lines, leftOut } = await this.#render(entries);
    return { ...(await this.#write(lines, await this.#find())), leftOut };
  }

  /** Null when the whole picture is needed: a small map, somebody else published last, a cidr map changes, a long journal. */
  async #publishChanges({ put, gone }: BanChanges): Promise<PublishResult | null> {
    const last = this.#last;
    if (last === null || this.#leftOut > 0 || this.#unfit > 0) return null;
    if (last.lines.indexed.size < this.#journalFrom) return null;
    const [published, stamps] = await Promise.all([textOf(this.#files.state), stampsOf(this.#files.stamped)]);
    if (published !== stamps || stamps !== last.stamps) return null;

    const latest = Date.now() + LONGEST_BAN_MS;
    if (!put.every(({ subject, until }) => until <= latest && isSubject(subject))) return null;
    const rendered = put.map((entry) => [entry.subject, this.#renderEntry(entry)] as const);
    const leaving = gone.flatMap((subject) => this.#rendered.get(subject) ?? []);
    if ([...rendered.map(([, one]) => one), ...leaving].some(({ table }) => table === 'cidr')) return null;
    const { indexed } = last.lines;
    const differs = rendered.filter(([, { line }]) => indexed.get(keyOfLine(line)) !== line);
    const changes = {
      put: new Map(differs.map(([, { line }]) => [keyOfLine(line), line])),
      gone: leaving.map(({ line }) => keyOfLine(line)).filter((key) => indexed.has(key)),
    };
    const added = [...changes.put.keys()].filter((key) => !indexed.has(key)).length;
    const entries = indexed.size + last.lines.cidr.size + added - changes.gone.length;
    const result = { added: changes.put.size, removed: changes.gone.length, entries, repaired: false, leftOut: 0 };
    if (changes.put.size + changes.gone.length === 0) return { ...result, changed: false };
    if (entries > (this.#options.maxEntries ?? Number.POSITIVE_INFINITY)) return null;
    if (!isSmall(changes, indexed) || !(await this.#changes.hasRoom())) return null;

    const after = await this.#change(changes, stamps);
    if (after === null) return null;
    for (const [key, line] of changes.put) indexed.set(key, line);
    for (const key of changes.gone) indexed.delete(key);
    for (const [subject, one] of rendered) this.#rendered.set(subject, one);
    for (const subject of gone) this.#rendered.delete(subject);
    this.#last = { stamps: after, lines: last.lines };
    return { ...result, changed: true };
  }

  /** Changes the compiled map and the journal; returns the new stamps, or null when the map must be written whole. */
  async #change(changes: Differences, before: string): Promise<string | null> {
    const files = this.#files;
    if (!this.#isCopied && !(await this.#canChangeInPlace())) return null;
    const spare = (await this.#spare?.take()) ?? null;
    const aside = spare ?? asideOf(this.type, this.path);
    await removeAsides(this.path, spare?.path);
    try {
      if (this.#isCopied) {
        if (spare === null) await this.#copyTo(aside);
        await this.#changeCopy(aside, changes);
        if ((await stampsOf(files.stamped)) !== before) return null;
        await replaceAll([[aside.compiled, files.compiled]]);
      } else {
        const inodes = await inodesOf(files.all);
        await this.#postmap.change(this.path, changes);
        await this.#postmap.verify(this.path, changes);
        // postmap makes a map that was deleted meanwhile anew, with nothing in it but the change.
        if ((await inodesOf(files.all)) !== inodes) return null;
      }
      await this.#changes.add(changes);
      const stamps = await stampsOf(files.stamped);
      await writeWhole(aside.state, stamps);
      await replaceAll([[aside.state, files.state]]);
      return stamps;
    } finally {
      await removeAsides(this.path);
    }
  }

  async #copyTo(aside: MapFiles): Promise<void> {
    const copied = await run(copying(this.#files.compiled, aside.compiled));
    if (copied.code !== 0) throw new UnavailableError(`can't copy the access map: ${complaintOf(copied)}`);
  }

  /** Puts the changes into a copy of the compiled map. */
  async #changeCopy(aside: MapFiles, changes: Differences): Promise<void> {
    await this.#postmap.change(aside.path, changes);
    await this.#postmap.verify(aside.path, changes);
    await settle(aside.compiled);
  }

  /** What the map's text says. */
  async read(): Promise<{ readonly entries: PublishedEntry[]; readonly publishedAt: number | null }> {
    const { lines } = await this.#onDisk();
    const entries = [...lines.indexed.values(), ...lines.cidr.values()]
      .map(parseLine)
      .filter((entry) => entry !== null);
    return { entries, publishedAt: await changedAt(this.#files.compiled) };
  }

  /** Size of its text. */
  async bytes(): Promise<number> {
    return (await stampOf(this.path))?.size ?? 0;
  }

  /** Drops the entries that ended, from the map alone, and mends a damaged one; does nothing where there is none. */
  async sweep(now: number): Promise<SweepResult> {
    const found = await Promise.all(this.#files.all.map((file) => changedAt(file)));
    if (found.every((at) => at === null)) return { dropped: 0, left: 0, soonestEnd: Number.POSITIVE_INFINITY };
    return this.#locked(async () => {
      const found = await this.#find();
      const before = found.intact ? found.lines : await this.#inForce(found);
      let soonestEnd = Number.POSITIVE_INFINITY;
      const isLeft = (line: string) => {
        const until = parseLine(line)?.until ?? 0;
        // No blockd wrote what lasts longer, and nothing is blocked for ever.
        if (until <= now || until > now + LONGEST_BAN_MS + DAY_MS) return false;
        soonestEnd = Math.min(soonestEnd, until);
        return true;
      };
      const keep = (table: ReadonlyMap<string, string>) =>
        sorted(new Map([...table].filter(([, line]) => isLeft(line))));
      const after = { indexed: await keep(before.indexed), cidr: await keep(before.cidr) };
      const dropped = sizeOf(before) - sizeOf(after);
      if (dropped > 0 || (found.known && !found.intact)) await this.#write(after, found);
      return { dropped, left: sizeOf(after), soonestEnd };
    });
  }

  /** Is on disk what was last published? Looks at inodes, sizes and times only. */
  async intact(): Promise<boolean> {
    if (await this.#isIntact()) return true;
    try {
      // Another process may be publishing at this very moment.
      const lock = await acquireLock(this.#files.lock, { waitMs: LOOK_WAIT_MS });
      if (lock === null) return true;
      return await this.#isIntact().finally(() => lock.release());
    } catch (error) {
      if (error instanceof UnavailableError) return false;
      throw error;
    }
  }

  async #isIntact(): Promise<boolean> {
    const [state, stamps] = await Promise.all([textOf(this.#files.state), stampsOf(this.#files.stamped)]);
    return state === stamps;
  }

  async #render(entries: readonly MapEntry[]): Promise<{ readonly lines: OwnLines; readonly leftOut: number }> {
    const lines = { indexed: new Map<string, string>(), cidr: new Map<string, string>() };
    const rendered = new Map<string, Rendered>();
    const latest = Date.now() + LONGEST_BAN_MS;
    let unfit = 0;
    await eachInTurns(entries, (entry) => {
      const last = this.#rendered.get(entry.subject);
      const isSame = last?.until === entry.until && last.reason === entry.reason;
      // What no blockd stored, such as an end that is no number: it must stop neither the others nor the daemon.
      const fits = Number.isFinite(entry.until) && entry.until <= latest && (isSame || isSubject(entry.subject));
      if (fits) rendered.set(entry.subject, isSame ? last : this.#renderEntry(entry));
      else unfit++;
    });
    this.#complainOf(unfit);
    const surplus = Math.max(0, rendered.size - (this.#options.maxEntries ?? Number.POSITIVE_INFINITY));
    if (surplus > 0) await leaveOutSoonestEnding(rendered, surplus);
    await eachInTurns(rendered.values(), ({ table, line }) => lines[table].set(keyOfLine(line), line));
    this.#rendered = rendered;
    this.#leftOut = surplus;
    return { lines: { indexed: await sorted(lines.indexed), cidr: await sorted(lines.cidr) }, leftOut: surplus };
  }

  #complainOf(unfit: number): void {
    if (unfit > 0 && unfit !== this.#unfit) {
      this.#notice(
        'warn',
        `${unfit} bans of the store are not put into the access map: no address, or no end in sight`,
      );
    }
    this.#unfit = unfit;
  }

  #renderEntry(entry: MapEntry): Rendered {
    const table = this.type === 'cidr' ? 'cidr' : tableOf(entry.subject);
    return { until: entry.until, reason: entry.reason, table, line: renderLine(entry, table, this.#options) };
  }

  async #find(): Promise<Found> {
    const { state, stamped } = this.#files;
    const [published, stamps] = await Promise.all([textOf(state), stampsOf(stamped)]);
    const known = published !== null;
    const intact = published === stamps;
    if (intact && this.#last?.stamps === stamps) return { lines: this.#last.lines, foreign: [], known, intact, stamps };
    const { lines, foreign, texts } = await this.#onDisk();
    if (!known && foreign.length > 0 && sizeOf(lines) === 0 && texts.every((text) => !text?.startsWith(HEADER))) {
      throw new UsageError(
        `${this.path} is not blockd's: it holds ${quoted(foreign[0])}. Give postfix.map a file of its own, or move this one away`,
      );
    }
    return { lines, foreign, known, intact, stamps };
  }

  /** What the texts and the journal say. */
  async #onDisk() {
    const texts = await Promise.all(this.#texts().map((file) => textOf(file)));
    const lines = { indexed: new Map<string, string>(), cidr: new Map<string, string>() };
    const foreign: string[] = [];
    for (const [index, text] of texts.entries()) {
      const table = index === 0 && this.type !== 'cidr' ? 'indexed' : 'cidr';
      for (const line of (text ?? '').split('\n')) {
        if (line.trim() === '' || line.startsWith('#')) continue;
        if (parseLine(line) === null) foreign.push(line);
        else lines[table].set(keyOfLine(line), line);
      }
    }
    foreign.push(...(await this.#changes.applyTo(texts[0] ?? '', lines.indexed, (line) => parseLine(line) !== null)));
    return { lines, foreign, texts };
  }

  /** What Postfix goes by while the text can't be trusted: the compiled map is asked itself where that is possible. */
  async #inForce({ lines, foreign }: Found): Promise<Lines> {
    const text = await textOf(this.path);
    const isWhole = text?.startsWith(HEADER) && text.endsWith('\n') && foreign.length === 0;
    if (isWhole || this.type === 'cidr') return lines;
    const listed = (await this.#postmap.list(this.path)) ?? [];
    const own = listed.filter((line) => parseLine(line) !== null).map((line) => [keyOfLine(line), line] as const);
    return { indexed: await sorted(new Map([...own, ...lines.indexed])), cidr: lines.cidr };
  }

  async #write(wanted: OwnLines, found: Found): Promise<Omit<PublishResult, 'leftOut'>> {
    const indexed = await differences(found.lines.indexed, wanted.indexed);
    const cidr = await differences(found.lines.cidr, wanted.cidr);
    const isNew = !found.known && sizeOf(found.lines) === 0;
    const repaired = !isNew && !found.intact;
    const added = indexed.put.size + cidr.put.size;
    const removed = indexed.gone.length + cidr.gone.length;
    const changed = isNew || repaired || added > 0 || removed > 0;
    const result = { changed, added, removed, entries: sizeOf(wanted), repaired };
    if (!changed) {
      this.#last = { stamps: found.stamps, lines: wanted };
      return result;
    }

    const missing = await this.#missing();
    const cidrChanged = cidr.put.size > 0 || cidr.gone.length > 0;
    const whole = isNew || repaired;
    await removeAsides(this.path);
    try {
      const stamps =
        !whole && !cidrChanged && isSmall(indexed, wanted.indexed) && (await this.#canChangeInPlace())
          ? await this.#changeInPlace(wanted, indexed)
          : await this.#replace(wanted, { indexed, whole, withCidr: whole || cidrChanged, before: found.stamps });
      this.#last = { stamps, lines: wanted };
    } catch (error) {
      if (!(error instanceof TouchedError)) throw error;
      return await this.#write(wanted, { ...(await this.#find()), known: true, intact: false });
    } finally {
      // Above all after a failure: a full disk is not filled further.
      await removeAsides(this.path);
    }
    if (repaired) this.#notice('warn', this.#damage(missing, found.foreign));
    // An smtpd that started without the map never looks for it again; and none ever looks at a cidr map again.
    if (
      repaired ||
      this.type === 'cidr' ||
      (missing.length > 0 && (await isNamed(this.path, this.#options.configDirectory)))
    )
      this.#reloadDue = true;
    return result;
  }

  /**
   * Builds everything aside, then renames: the cidr sibling first, because a fresh inode of the indexed map makes
   * every smtpd start anew and open both (measured; lmdb included).
   */
  async #replace(
    wanted: Lines,
    how: {
      readonly indexed: Differences;
      readonly whole: boolean;
      readonly withCidr: boolean;
      /** Stamps of the files on which the differences are based. */
      readonly before: string;
    },
  ): Promise<string> {
    const files = this.#files;
    const aside = asideOf(this.type, this.path);
    const steps: Step[] = [];
    if (how.withCidr) {
      await writeWhole(aside.cidr, textFrom(wanted.cidr));
      steps.push([aside.cidr, files.cidr]);
    }
    if (this.type !== 'cidr') {
      await this.#buildIndexed(aside, wanted.indexed, how);
      steps.push([aside.compiled, files.compiled], [aside.path, files.path], [null, files.changes]);
    }
    const sources = new Map([...steps.map(([from, to]) => [to, from] as const), [files.changes, aside.changes]]);
    const stamps = await stampsOf(files.stamped.map((file) => sources.get(file) ?? file));
    await writeWhole(aside.state, stamps);
    // A map deleted meanwhile would come back without the reload that every smtpd needs which found none.
    if (!how.whole && (await stampsOf(files.stamped)) !== how.before) throw new TouchedError();
    await replaceAll([...steps, [aside.state, files.state]]);
    return stamps;
  }

  async #buildIndexed(
    aside: MapFiles,
    lines: ReadonlyMap<string, string>,
    { indexed, whole }: { readonly indexed: Differences; readonly whole: boolean },
  ): Promise<void> {
    await writeWhole(aside.path, textFrom(lines));
    if (this.#isCopied && lines.size >= INCREMENTAL_FROM && !whole && isSmall(indexed, lines)) {
      await this.#copyTo(aside);
      await this.#changeCopy(aside, indexed);
      return;
    }
    await this.#postmap.build(aside.path);
    await this.#postmap.verify(aside.path, { put: indexed.put.size > 0 ? indexed.put : lines, gone: indexed.gone });
    await settle(aside.compiled);
  }

  async #canChangeInPlace(): Promise<boolean> {
    if (this.type !== 'lmdb') return false;
    const writable = access(this.#files.compiled, constants.W_OK);
    return writable.then(
      () => true,
      () => false,
    );
  }

  /** LMDB's own transactions: an open smtpd sees the change at its next look-up, and nothing restarts. */
  async #changeInPlace(wanted: Lines, indexed: Differences): Promise<string> {
    const files = this.#files;
    const aside = asideOf(this.type, this.path);
    await writeWhole(aside.path, textFrom(wanted.indexed));
    const before = await inodesOf(files.all);
    await this.#postmap.change(this.path, indexed);
    await this.#postmap.verify(this.path, indexed);
    // postmap makes a map that was deleted meanwhile anew, with nothing in it but the change.
    if ((await inodesOf(files.all)) !== before) throw new TouchedError();
    const sources = new Map([
      [files.path, aside.path],
      [files.changes, aside.changes],
    ]);
    const stamps = await stampsOf(files.stamped.map((file) => sources.get(file) ?? file));
    await writeWhole(aside.state, stamps);
    await replaceAll([
      [aside.path, files.path],
      // It belongs to the old text; after this one, should both be the same.
      [null, files.changes],
      [aside.state, files.state],
    ]);
    return stamps;
  }

  async #missing(): Promise<string[]> {
    const found = await Promise.all(this.#files.all.map((file) => changedAt(file)));
    return this.#files.all.filter((_, index) => found[index] === null);
  }

  #damage(missing: readonly string[], foreign: readonly string[]): string {
    const why =
      missing.length > 0
        ? `${missing.map((file) => basename(file)).join(' and ')} missing`
        : foreign.length > 0
          ? `${foreign.length} lines are not blockd's and go, such as ${quoted(foreign[0])}`
          : 'changed by somebody else, damaged, or left halfway';
    return `the access map ${this.type}:${this.path} was not what was last published (${why}): it has been built anew`;
  }

  /** Bans work without it; only an smtpd that had found no map goes on without one, for at most 100 sessions. */
  async #reloadIfDue(): Promise<void> {
    if (!this.#reloadDue) return;
    this.#reloadDue = false;
    // Whoever waits to publish need not wait for Postfix too, and not for long.
    const problem = await reloadPostfix({ timeoutMs: RELOAD_MS, ...this.#options });
    if (problem === null) return;
    this.#notice('warn', `${problem}; run it as root, so that every smtpd opens the access map anew`);
  }

  async #locked<T>(work: () => Promise<T>): Promise<T> {
    const { path } = this;
    const folder = dirname(path);
    try {
      await mkdir(folder, { recursive: true, mode: 0o755 });
      await access(folder, constants.W_OK);
    } catch (error) {
      throw new UnavailableError(`the access map's folder ${folder} can't be written: ${reasonOf(error)}`, {
        cause: error,
      });
    }
    if ((await stat(path).catch(() => null))?.isDirectory()) {
      throw new UsageError(`the access map ${path} is a directory; name a file`);
    }
    const lock = await acquireLock(this.#files.lock, { waitMs: LOCK_WAIT_MS });
    if (lock === null) {
      const seconds = LOCK_WAIT_MS / 1_000;
      throw new UnavailableError(`another process has been writing the access map ${path} for ${seconds} s`);
    }
    try {
      return await work();
    } finally {
      await lock.release();
      await this.#reloadIfDue();
    }
  }

  #texts(): string[] {
    return this.type === 'cidr' ? [this.path] : [this.path, this.#files.cidr];
  }

  #notice(level: 'info' | 'warn' | 'error', message: string): void {
    this.#options.onNotice?.(level, message);
  }
}

async function differences(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): Promise<Differences> {
  const put = new Map<string, string>();
  await eachInTurns(after, ([key, line]) => {
    if (before.get(key) !== line) put.set(key, line);
  });
  const gone: string[] = [];
  await eachInTurns(before.keys(), (key) => {
    if (!after.has(key)) gone.push(key);
  });
  return { put, gone };
}

/** Takes out so many bans that end first: what is lost by leaving them out is the least. */
async function leaveOutSoonestEnding(rendered: Map<string, Rendered>, count: number): Promise<void> {
  // Sorting plain numbers takes a tenth of what sorting entries does.
  const ends = Float64Array.from(rendered.values(), ({ until }) => until).sort();
  const lastEnd = ends[count - 1] ?? Number.NEGATIVE_INFINITY;
  let surplus = count;
  const leaveOut = (fits: (until: number) => boolean) =>
    eachInTurns(rendered, ([subject, { until }]) => {
      if (surplus > 0 && fits(until) && rendered.delete(subject)) surplus--;
    });
  await leaveOut((until) => until < lastEnd);
  await leaveOut((until) => until === lastEnd);
}

/** When most of a map changes, building it anew is cheaper. */
function isSmall({ put, gone }: Differences, lines: ReadonlyMap<string, string>): boolean {
  return put.size + gone.length < lines.size / 2;
}

/** By key: the same entries give the same bytes. */
async function sorted(lines: ReadonlyMap<string, string>): Promise<Map<string, string>> {
  const inOrder = new Map<string, string>();
  await eachInTurns(await sortedInTurns([...lines.keys()]), (key) => inOrder.set(key, lines.get(key) ?? ''));
  return inOrder;
}

function sizeOf({ indexed, cidr }: Lines): number {
  return indexed.size + cidr.size;
}

function textFrom(lines: ReadonlyMap<string, string>): string {
  return lines.size === 0 ? HEADER : `${HEADER}${[...lines.values()].join('\n')}\n`;
}

/** Somebody else's text for a sentence: short and printable. */
function quoted(line = ''): string {
  return JSON.stringify(line.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 60));
}
