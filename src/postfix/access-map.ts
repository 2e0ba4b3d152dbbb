/**
 * The access map: a projection of the bans that any process may publish, under a lock, with the same bytes as result.
 * It is built aside and renamed, or changed transactionally, so that Postfix finds it whole at every instant.
 */
import { constants } from 'node:fs';
import { access, chmod, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, isAbsolute } from 'node:path';
import { BlockdError, reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import { acquireLock } from '../domain/lock.js';
import { type MapEntry, type PublishedEntry, parseLine, type Rendering, renderLine, type Table, tableOf } from './entry.js';
import { complaintOf, run } from './run.js';

export type { MapEntry, PublishedEntry } from './entry.js';

export interface AccessMapOptions extends Rendering {
  /** Postfix's map type: hash, btree, lmdb, cdb or cidr. */
  readonly type: string;
  /** Absolute, as main.cf names it: without the `.db` that postmap adds. */
  readonly path: string;
  readonly postmap: string;
  /** Command that makes every smtpd open its tables anew: once after a repair, and for what Postfix does not notice. */
  readonly reload: readonly string[];
  readonly configDirectory?: string;
  /** How long one run of postmap may take; 60 s unless told. */
  readonly timeoutMs?: number;
  readonly onNotice?: (level: 'info' | 'warn' | 'error', message: string) => void;
}

export interface PublishResult {
  readonly changed: boolean;
  readonly added: number;
  readonly removed: number;
  /** Entries in the map now. */
  readonly entries: number;
  /** Was the map missing, damaged or edited by somebody else? */
  readonly repaired: boolean;
}

/** Suffix of the file that postmap makes; measured with Postfix 3.7. */
const SUFFIX: Record<string, string> = { hash: '.db', btree: '.db', lmdb: '.lmdb', cdb: '.cdb' };
const LOCK_WAIT_MS = 20_000;
/** From here on a changed copy is cheaper than a rebuild: 0.19 s against 0.41 s at 100,000 entries. */
const INCREMENTAL_FROM = 20_000;
const HEADER = '# Written by blockd; changes made here are overwritten. To let somebody in: blockctl unban ADDRESS\n';

/** @throws UsageError that says how a map is named. */
export function parseMapSpec(text: string): { readonly type: string; readonly path: string } {
  const colon = text.indexOf(':');
  const [type, path] = [text.slice(0, colon), text.slice(colon + 1)];
  if (type === 'texthash') {
    throw new UsageError(`map ${text}: Postfix never notices changes of a texthash map; use hash, btree, lmdb or cdb`);
  }
  if (colon < 0 || !(type in SUFFIX || type === 'cidr')) {
    throw new UsageError(`map ${text}: write TYPE:PATH with TYPE one of hash, btree, lmdb, cdb, cidr`);
  }
  if (!isAbsolute(path) || path.endsWith('/') || /[\s,]/.test(path)) {
    throw new UsageError(`map ${text}: the path must be absolute, name a file, and hold no blank or comma, as in main.cf`);
  }
  return { type, path };
}

/** Lines of the two files, by key, in the order in which they are written. */
type Lines = Readonly<Record<Table, ReadonlyMap<string, string>>>;

export class AccessMap {
  readonly type: string;
  readonly path: string;
  readonly #options: AccessMapOptions;

  constructor(options: AccessMapOptions) {
    this.type = options.type;
    this.path = options.path;
    this.#options = options;
  }

  /**
   * Makes the map hold exactly the entries that `readEntries`, called with the lock held, tells: the last writer has
   * the newest picture. Writes nothing when nothing changed.
   * @throws UnavailableError when it can't; the map stays as it was.
   */
  async publish(readEntries: () => Promise<readonly MapEntry[]>): Promise<PublishResult> {
    return this.#locked(async () => this.#write(this.#render(await readEntries())));
  }

  /** What the map's text says. */
  async read(): Promise<{ readonly entries: PublishedEntry[]; readonly publishedAt: number | null }> {
    const texts = await Promise.all(this.#textFiles().map((file) => textOf(file)));
    const lines = texts.flatMap((text) => (text ?? '').split('\n'));
    const entries = lines.map(parseLine).filter((entry) => entry !== null);
    const published = await stampOf(this.#compiledFile());
    return { entries, publishedAt: published === null ? null : published.mtimeMs };
  }

  /** Drops the entries that ended, from the map alone; does nothing where there is no map. */
  async sweep(now: number): Promise<{ readonly dropped: number; readonly left: number }> {
    if ((await textOf(this.path)) === null) return { dropped: 0, left: 0 };
    return this.#locked(async () => {
      const { entries } = await this.read();
      const left = entries.filter(({ until }) => until > now);
      if (left.length < entries.length) await this.#write(this.#keep(left));
      return { dropped: entries.length - left.length, left: left.length };
    });
  }

  /** Is on disk what was last published? Looks at inodes, sizes and times only. */
  async intact(): Promise<boolean> {
    const stamps = await textOf(this.#stampFile());
    return stamps !== null && stamps === (await this.#stamps());
  }

  #render(entries: readonly MapEntry[]): Lines {
    const lines = { indexed: new Map<string, string>(), cidr: new Map<string, string>() };
    for (const entry of entries) {
      const table = this.type === 'cidr' ? 'cidr' : tableOf(entry.subject);
      const line = renderLine(entry, table, this.#options);
      lines[table].set(keyOf(line), line);
    }
    return sorted(lines);
  }

  #keep(entries: readonly PublishedEntry[]): Lines {
    const lines = { indexed: new Map<string, string>(), cidr: new Map<string, string>() };
    for (const { subject, line } of entries) {
      const table = this.type === 'cidr' ? 'cidr' : tableOf(subject);
      lines[table].set(keyOf(line), line);
    }
    return sorted(lines);
  }

  async #write(lines: Lines): Promise<PublishResult> {
    await this.#removeLeftovers();
    const before = await this.#linesOnDisk();
    const isNew = before === null;
    const repaired = !isNew && !(await this.intact());
    const was = before ?? { indexed: new Map(), cidr: new Map() };
    const indexed = differences(was.indexed, lines.indexed);
    const cidr = differences(was.cidr, lines.cidr);
    const entries = lines.indexed.size + lines.cidr.size;
    const added = indexed.put.size + cidr.put.size;
    const removed = indexed.gone.length + cidr.gone.length;
    if (!isNew && !repaired && added === 0 && removed === 0) return { changed: false, added, removed, entries, repaired };
    if (repaired) this.#notice('warn', `the access map ${this.type}:${this.path} was missing, damaged or edited: it is built anew`);

    const cidrChanged = cidr.put.size > 0 || cidr.gone.length > 0;
    if (isNew || repaired || cidrChanged) await this.#replace(this.#cidrFile(), textFrom(lines.cidr));
    // A fresh inode of the indexed map makes smtpd open every table anew, the cidr one included (measured).
    if (this.type !== 'cidr') await this.#writeIndexed(lines.indexed, indexed, isNew || repaired);
    await this.#replace(this.#stampFile(), await this.#stamps());
    const unnoticed = (this.type === 'lmdb' || this.type === 'cidr') && cidrChanged && !isNew;
    if (repaired || unnoticed) await this.#reload();
    return { changed: true, added, removed, entries, repaired };
  }

  async #writeIndexed(lines: ReadonlyMap<string, string>, changes: Differences, whole: boolean): Promise<void> {
    const few = changes.put.size + changes.gone.length < lines.size / 2;
    if (this.type === 'lmdb' && !whole && few) return this.#changeInPlace(lines, changes);
    const canCopy = this.type === 'hash' || this.type === 'btree';
    const copy = canCopy && !whole && few && lines.size >= INCREMENTAL_FROM;
    const aside = `${this.path}.new`;
    await this.#create(aside, textFrom(lines));
    if (copy) {
      await this.#tool(['cp', '--sparse=always', this.#compiledFile(), aside + this.#suffix()]);
      await this.#change(aside, changes);
    } else {
      await this.#postmap([`${this.type}:${aside}`]);
    }
    await this.#checkOne(aside, lines);
    await this.#guard(async () => {
      await chmod(aside + this.#suffix(), 0o644);
      await sync(aside + this.#suffix());
      await rename(aside + this.#suffix(), this.#compiledFile());
      await rename(aside, this.path);
      await sync(dirname(this.path));
    });
  }

  /** LMDB's own transactions: an open smtpd sees the change at its next look-up, and nothing restarts. */
  async #changeInPlace(lines: ReadonlyMap<string, string>, changes: Differences): Promise<void> {
    // The text first: a text newer than its map would be complained about, and a crash in between is seen by the stamps.
    await this.#replace(this.path, textFrom(lines));
    await this.#change(this.path, changes);
    await this.#checkOne(this.path, changes.put);
  }

  async #change(path: string, { put, gone }: Differences): Promise<void> {
    const map = `${this.type}:${path}`;
    if (put.size > 0) await this.#postmap(['-r', '-i', map], `${[...put.values()].join('\n')}\n`);
    // postmap -d ends with 1 when there was nothing to delete.
    if (gone.length > 0) await this.#postmap(['-d', '-', map], `${gone.join('\n')}\n`, [0, 1]);
  }

  /** postmap can end well and still have skipped a line. */
  async #checkOne(path: string, lines: ReadonlyMap<string, string>): Promise<void> {
    for (const [key, line] of lines) {
      const { stdout } = await this.#postmap(['-q', key, `${this.type}:${path}`], '', [0, 1]);
      if (stdout.trimEnd() === line.slice(key.length + 1)) return;
      throw new UnavailableError(`${this.#options.postmap} built a map that lacks ${key}: ${this.type}:${path}`);
    }
  }

  async #postmap(args: readonly string[], input = '', goodCodes: readonly number[] = [0]) {
    const { postmap, configDirectory } = this.#options;
    const where = configDirectory === undefined ? [] : ['-c', configDirectory];
    return this.#tool([postmap, ...where, ...args], input, goodCodes);
  }

  async #tool(argv: readonly string[], input = '', goodCodes: readonly number[] = [0]) {
    const { timeoutMs } = this.#options;
    const result = await run(argv, { input, ...(timeoutMs !== undefined && { timeoutMs }) });
    const fatal = /\b(?:fatal|panic): /.test(result.stderr);
    if (fatal || !goodCodes.includes(result.code)) throw new UnavailableError(`${argv[0]} failed: ${complaintOf(result)}`);
    return result;
  }

  /** Bans work without it; only a smtpd that had found no map goes on without one, for at most 100 sessions. */
  async #reload(): Promise<void> {
    const { reload, configDirectory } = this.#options;
    if (reload.length === 0) return;
    const [program = '', ...args] = reload;
    const where = program === 'postfix' && configDirectory !== undefined ? ['-c', configDirectory] : [];
    try {
      await this.#tool([program, ...where, ...args]);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#notice('warn', `Postfix was not reloaded (${error.message}); run "postfix reload" as root, so that every smtpd opens the map anew`);
    }
  }

  async #locked<T>(work: () => Promise<T>): Promise<T> {
    const { path } = this;
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o755 });
      await access(dirname(path), constants.W_OK);
    } catch (error) {
      throw new UnavailableError(`the access map's folder ${dirname(path)} can't be written: ${reasonOf(error)}`, { cause: error });
    }
    if ((await stat(path).catch(() => null))?.isDirectory()) throw new UsageError(`the access map ${path} is a directory; name a file`);
    const lock = await acquireLock(`${path}.lock`, { waitMs: LOCK_WAIT_MS });
    if (lock === null) throw new UnavailableError(`another process has been writing the access map ${path} for ${LOCK_WAIT_MS / 1_000} s`);
    try {
      return await work();
    } finally {
      await lock.release();
    }
  }

  /** Null where there is no map yet. Lines that blockd did not write are left out, so that they go. */
  async #linesOnDisk(): Promise<Lines | null> {
    const [indexed, cidr] = await Promise.all([this.type === 'cidr' ? '' : textOf(this.path), textOf(this.#cidrFile())]);
    const known = (await stampOf(this.#stampFile())) !== null;
    if (!known && indexed === null && cidr === null) return null;
    if (!known && this.type === 'cidr' && cidr === null) return null;
    return { indexed: linesFrom(indexed ?? ''), cidr: linesFrom(cidr ?? '') };
  }

  async #stamps(): Promise<string> {
    const files = [...new Set([...this.#textFiles(), this.#compiledFile()])];
    const stamps = await Promise.all(files.map((file) => stampOf(file)));
    return `${JSON.stringify(stamps)}\n`;
  }

  /** Replaces a file atomically. */
  async #replace(file: string, text: string): Promise<void> {
    await this.#create(`${file}.new`, text);
    await this.#guard(() => rename(`${file}.new`, file));
  }

  async #create(file: string, text: string): Promise<void> {
    await this.#guard(async () => {
      await writeFile(file, text, { mode: 0o644 });
      await sync(file);
    });
  }

  /** What a killed publisher left. The files that Postfix reads are never unlinked. */
  async #removeLeftovers(): Promise<void> {
    const suffixes = ['.new', `.new${this.#suffix()}`, '.cidr.new', '.state.new', '.new.cdb.tmp'];
    await this.#guard(() => Promise.all(suffixes.map((suffix) => rm(this.path + suffix, { force: true }))));
  }

  async #guard<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof BlockdError) throw error;
      throw new UnavailableError(`the access map ${this.path} can't be written: ${reasonOf(error)}`, { cause: error });
    }
  }

  #notice(level: 'info' | 'warn' | 'error', message: string): void {
    this.#options.onNotice?.(level, message);
  }

  #suffix(): string {
    return SUFFIX[this.type] ?? '';
  }

  #compiledFile(): string {
    return this.path + this.#suffix();
  }

  #cidrFile(): string {
    return this.type === 'cidr' ? this.path : `${this.path}.cidr`;
  }

  #textFiles(): string[] {
    return this.type === 'cidr' ? [this.path] : [this.path, this.#cidrFile()];
  }

  #stampFile(): string {
    return `${this.path}.state`;
  }
}

interface Differences {
  /** New and changed lines, by key. */
  readonly put: ReadonlyMap<string, string>;
  readonly gone: readonly string[];
}

function differences(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): Differences {
  const put = new Map([...after].filter(([key, line]) => before.get(key) !== line));
  return { put, gone: [...before.keys()].filter((key) => !after.has(key)) };
}

/** Sorted by key: the same entries give the same bytes. */
function sorted(lines: Lines): Lines {
  const order = (table: ReadonlyMap<string, string>) => new Map([...table].sort(([a], [b]) => (a < b ? -1 : 1)));
  return { indexed: order(lines.indexed), cidr: order(lines.cidr) };
}

function textFrom(lines: ReadonlyMap<string, string>): string {
  return lines.size === 0 ? HEADER : `${HEADER}${[...lines.values()].join('\n')}\n`;
}

function linesFrom(text: string): Map<string, string> {
  const entries = text.split('\n').map(parseLine);
  return new Map(entries.flatMap((entry) => (entry === null ? [] : [[keyOf(entry.line), entry.line] as const])));
}

function keyOf(line: string): string {
  return line.slice(0, line.indexOf('\t'));
}

async function textOf(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'latin1');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw new UnavailableError(`the access map's file ${basename(file)} can't be read: ${reasonOf(error)}`, { cause: error });
  }
}

async function stampOf(file: string): Promise<{ ino: number; size: number; mtimeMs: number } | null> {
  try {
    const { ino, size, mtimeMs } = await stat(file);
    return { ino, size, mtimeMs };
  } catch {
    return null;
  }
}

async function sync(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
