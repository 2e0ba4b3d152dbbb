/** A log and what rotation made of its past: `mail.log`, `mail.log.1`, `mail.log.2.gz`, `mail.log-20261125`, … */
import { readdirSync, realpathSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';

export interface Member {
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
  readonly size: number;
  /** Last change, milliseconds. */
  readonly changedAt: number;
  /** The file that the configured path names now. */
  readonly isLive: boolean;
  /** `gz`, `xz`, …; null for a plain file. */
  readonly compression: string | null;
}

/** Rotation renames while we look: a picture that two looks in a row agree on is one that really was. */
const MAX_LOOKS = 8;

/** The log's files, oldest first; those in `elsewhere` (logrotate's `olddir`) included. */
export function familyOf(log: string, elsewhere: string | null = null): Member[] {
  let members = look(log, elsewhere);
  for (let looks = 1; looks < MAX_LOOKS; looks++) {
    const again = look(log, elsewhere);
    if (sameNames(members, again)) return again;
    members = again;
  }
  return members;
}

/** Folders below the log's own that hold rotated files of its name. */
export function oldFoldersOf(log: string): string[] {
  const nameOf = rotatedNames(basename(log));
  return placesOf(log).flatMap(({ folder }) =>
    entriesOf(folder)
      .map((entry) => join(folder, entry))
      .filter((path) => statIfAny(path)?.isDirectory() && entriesOf(path).some((entry) => nameOf(entry) !== null)),
  );
}

/** The file with that inode, under whatever name, beside the log. */
export function findByInode(log: string, file: { readonly dev: number; readonly ino: number }): Member | null {
  for (const { folder } of placesOf(log)) {
    for (const entry of entriesOf(folder)) {
      const path = join(folder, entry);
      const stats = statIfAny(path);
      if (stats?.isFile() && stats.ino === file.ino && stats.dev === file.dev) return memberOf(path, stats, false);
    }
  }
  return null;
}

/** The file that the log's symbolic link leads to, unless that was switched since `member` was looked at. */
export function targetOf(member: Member): Member {
  try {
    const path = realpathSync.native(member.path);
    const stats = statIfAny(path);
    return stats?.ino === member.ino && stats.dev === member.dev ? { ...member, path } : member;
  } catch {
    return member;
  }
}

/** Files beside the log that begin with its name but are named in no way that tells their order: `mail.log.save`. */
export function findLookalikes(log: string): Member[] {
  return placesOf(log).flatMap(({ folder, name }) =>
    entriesOf(folder)
      .filter((entry) => entry.startsWith(name) && entry !== name)
      .flatMap((entry) => {
        const path = join(folder, entry);
        const stats = statIfAny(path);
        return stats?.isFile() ? [memberOf(path, stats, false, entry.endsWith('.gz') ? 'gz' : undefined)] : [];
      }),
  );
}

export function statIfAny(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** Folder and name of the log as configured, and of what it points to when it is a symbolic link. */
export function placesOf(log: string): { readonly folder: string; readonly name: string }[] {
  const own = { folder: dirname(log), name: basename(log) };
  try {
    const real = realpathSync.native(log);
    if (real !== log) return [own, { folder: dirname(real), name: basename(real) }];
  } catch {
    // The log does not exist now: its rotated files lie where it was configured.
  }
  return [own];
}

interface Stamped {
  readonly member: Member;
  /** `number`: the larger the older; `date`: the smaller the older. */
  readonly scheme: 'number' | 'date';
  readonly stamp: string;
}

function look(log: string, elsewhere: string | null): Member[] {
  const places = placesOf(log);
  const folders = elsewhere === null ? places : [...places, ...places.map(({ name }) => ({ folder: elsewhere, name }))];
  const live = statIfAny(log);
  const rotated = new Map<string, Stamped>();
  for (const { folder, name } of folders) {
    const nameOf = rotatedNames(name);
    const entries = entriesOf(folder);
    for (const entry of entries) {
      const rotatedName = nameOf(entry);
      if (rotatedName === null) continue;
      // While it is being compressed both exist, and the plain one is the whole one.
      const { scheme, stamp, compression } = rotatedName;
      if (compression !== undefined && entries.includes(entry.slice(0, -compression.length - 1))) continue;
      const path = join(folder, entry);
      const stats = statIfAny(path);
      if (!stats?.isFile() || (stats.ino === live?.ino && stats.dev === live.dev)) continue;
      rotated.set(`${stats.dev}:${stats.ino}`, { member: memberOf(path, stats, false, compression), scheme, stamp });
    }
  }
  const members = inOrder([...rotated.values()]);
  return live?.isFile() ? [...members, memberOf(log, live, true)] : members;
}

/** Names tell the order; where two naming schemes meet, only the time of the last change does. */
function inOrder(rotated: Stamped[]): Member[] {
  const [first] = rotated;
  if (rotated.every(({ scheme }) => scheme === first?.scheme)) {
    rotated.sort((a, b) =>
      a.scheme === 'number' ? Number(b.stamp) - Number(a.stamp) : a.stamp < b.stamp ? -1 : a.stamp > b.stamp ? 1 : 0,
    );
  } else {
    rotated.sort((a, b) => a.member.changedAt - b.member.changedAt);
  }
  return rotated.map(({ member }) => member);
}

interface RotatedName {
  readonly scheme: 'number' | 'date';
  readonly stamp: string;
  readonly compression: string | undefined;
}

/** Reads `NAME.1`, `NAME-20261125`, and with logrotate's `extension` `mail.1.log`, `mail-20261125.log`; compressed or not. */
function rotatedNames(name: string): (entry: string) => RotatedName | null {
  const extension = extname(name);
  const stem = name.slice(0, name.length - extension.length);
  const stamp = '[.-](?:(?<number>\\d{1,3})|(?<date>\\d{4}(?:[-_T:.]?\\d{2,})+))';
  const packed = '(?:\\.(?<compression>gz|bz2|xz|zst|lz4|Z))?$';
  const patterns = [new RegExp(`^${escaped(name)}${stamp}${packed}`)];
  if (extension !== '') patterns.push(new RegExp(`^${escaped(stem)}${stamp}${escaped(extension)}${packed}`));
  return (entry) => {
    for (const pattern of patterns) {
      const groups = pattern.exec(entry)?.groups;
      if (groups === undefined) continue;
      const { number, date, compression } = groups;
      return { scheme: number === undefined ? 'date' : 'number', stamp: number ?? date ?? '', compression };
    }
    return null;
  };
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

function memberOf(path: string, stats: Stats, isLive: boolean, compression?: string): Member {
  const { dev, ino, size, mtimeMs: changedAt } = stats;
  return { path, dev, ino, size, changedAt, isLive, compression: compression ?? null };
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function sameNames(a: readonly Member[], b: readonly Member[]): boolean {
  return a.length === b.length && a.every((member, i) => member.path === b[i]?.path && member.ino === b[i]?.ino);
}
