/**
 * Lists of others: got, read, and kept. What they are worth is the policy's. This file joins the three for whoever only
 * looks; the daemon's own keeper refreshes them.
 */
import { createHash } from 'node:crypto';
import type { Config, ListConfig } from '../config/schema.js';
import { UnavailableError } from '../domain/errors.js';
import { Lists, type PointList } from '../policy/lists.js';
import { type Before, type Fetched, readListFile } from './fetch-list.js';
import { readKept, sourceOf } from './kept-list.js';
import { type ListText, parseList } from './list-text.js';

/** What a list said when it was right last. */
export interface Got extends Before {
  readonly text: ListText;
  /** Of its bytes. */
  readonly digest: string;
  /** Milliseconds. */
  readonly refreshedAt: number;
}

/** A list as it could be read here. */
export interface ReadList {
  readonly config: ListConfig;
  /** Null when there is nothing to go by. */
  readonly got: Got | null;
  /** What is wrong, to go on after its name; null when nothing is. */
  readonly problem: string | null;
}

/** Reads the config's lists without asking anybody: files as they are, URLs by the copies that are kept in `folder`. */
export async function readLists({ lists, ban }: Config, folder: string | null): Promise<ReadList[]> {
  const all: ReadList[] = [];
  for (const config of lists) all.push(await readList(config, folder, ban.ipv6_prefix));
  return all;
}

async function readList(config: ListConfig, folder: string | null, ipv6Prefix: number): Promise<ReadList> {
  let problem: string | null = null;
  const ways = [
    () => (config.file === undefined ? null : readListFile(config.file)),
    () => (folder === null ? null : readKept(folder, config)),
  ];
  for (const way of ways) {
    try {
      const fetched = await way();
      if (fetched !== null) return { config, got: await understood(fetched, ipv6Prefix), problem };
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      problem ??= error.message;
    }
  }
  return { config, got: null, problem: problem ?? 'has not been fetched yet' };
}

/** @throws UnavailableError that goes on after the list's name. */
export async function understood({ body, ...rest }: Fetched, ipv6Prefix: number): Promise<Got> {
  const digest = createHash('sha256').update(body).digest('base64');
  return { ...rest, digest, text: await parseList(body.toString('latin1'), ipv6Prefix) };
}

/** As the policy takes them. */
export function listsOf(all: readonly Pick<ReadList, 'config' | 'got'>[]): Lists {
  return new Lists(
    all.flatMap(({ config, got }) => (got === null ? [] : [pointList(config, got.text, got.refreshedAt)])),
  );
}

function pointList(config: ListConfig, { networks }: ListText, refreshedAt: number): PointList {
  const { name, points, max_age: maxAgeMs } = config;
  return { name, source: sourceOf(config), points, refreshedAt, maxAgeMs, networks };
}
