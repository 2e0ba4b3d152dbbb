/** The access map as it lies on disk: whole, fresh, its owner's, and giving the answer that Postfix is to give. */
import { type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { BlockdError } from '../domain/errors.js';
import type { PublishedEntry } from '../postfix/access-map.js';
import { keyOfLine, tableOf } from '../postfix/entry.js';
import { type Finding, fail, ok, warn } from '../postfix/finding.js';
import { lookUp } from '../postfix/lookup.js';
import { MapFiles } from '../postfix/map-files.js';
import { type MapName, tablesOf } from '../postfix/wiring.js';
import type { Desk } from './desk.js';
import { plural, relative } from './format.js';

/** Bans end by the second in the map; the sweep timer comes every five minutes. */
const LATE_MS = 10 * 60_000;
const ENDING_MS = 10_000;

export async function mapFindings(desk: Desk, spec: MapName | null): Promise<Finding[]> {
  if (spec === null) {
    return [
      warn(
        'map',
        'the config names no map, and dry-run needs none: it can not be checked',
        'Run "blockctl setup", which makes it and has Postfix ask it.',
      ),
    ];
  }
  const files = new MapFiles(spec.type, spec.path);
  const missing = files.all.filter((file) => statOf(file) === null);
  if (missing.length > 0) {
    const how = desk.dryRun ? 'blockctl setup' : 'blockctl sync';
    return [
      fail(
        'map',
        `${missing.join(' and ')} missing or not to be seen: once main.cf names it, Postfix answers all mail with a temporary error`,
        `Run "${how}", which makes it, then "postfix reload".`,
      ),
    ];
  }
  return [...ownership(files), ...(await content(desk, spec)), ...(await answers(desk, spec))];
}

function ownership({ all, path, lock, state }: MapFiles): Finding[] {
  const folder = dirname(path);
  const owner = statOf(folder);
  const there = [folder, ...all, lock, state].flatMap((file) => {
    const stat = statOf(file);
    return stat === null ? [] : [{ file, stat }];
  });
  const open = there.filter(({ stat }) => (stat.mode & 0o002) !== 0 && (stat.mode & 0o1000) === 0);
  if (open.length > 0) {
    const names = open.map(({ file }) => file).join(' ');
    return [fail('map', `anybody on this host may write ${names}, and so refuse your mail`, `chmod o-w ${names}`)];
  }
  const strange = there.filter(({ stat }) => stat.uid !== owner?.uid);
  if (strange.length > 0) {
    return [
      warn(
        'map',
        `${strange.map(({ file }) => file).join(', ')}: not the owner of ${folder} (user ${owner?.uid}), who may fail to change the map`,
        `chown -R --reference=${folder} ${folder}`,
      ),
    ];
  }
  return [];
}

async function content(desk: Desk, spec: MapName): Promise<Finding[]> {
  const map = await desk.map();
  if (map === null) return [];
  const { entries, publishedAt } = await map.read();
  const name = `${spec.type}:${spec.path}`;
  const late = entries.filter(({ until }) => until < desk.now - LATE_MS);
  if (late.length > 0) {
    return [
      fail(
        'map',
        `${plural(late.length, 'ban')} in ${name} should have ended, the first one ${relative(Math.min(...late.map(({ until }) => until)), desk.now)}`,
        'Neither daemon nor timer took them out: run "blockctl sweep", then see to blockd and the timer below.',
      ),
    ];
  }
  if (!(await map.intact())) {
    return [
      warn(
        'map',
        `${name} is not what blockd published last: never published, changed by hand, or damaged`,
        desk.dryRun ? 'Start blockd; or run "blockctl sweep".' : 'Run "blockctl sync".',
      ),
    ];
  }
  if (!desk.dryRun && !desk.missing) {
    const inMap = new Set(entries.map(({ subject }) => subject));
    const bans = await desk.store.bans(desk.now);
    // A ban of this very second is on its way.
    const lacking = bans.filter(
      ({ subject, since, until }) => !inMap.has(subject) && since < desk.now - 10_000 && until > desk.now,
    );
    if (lacking.length > 0 && bans.length <= desk.maxEntries) {
      return [
        fail(
          'map',
          `${name} lacks ${plural(lacking.length, 'ban')} of the store, such as ${lacking[0]?.subject}`,
          'Run "blockctl sync".',
        ),
      ];
    }
  }
  const when = publishedAt === null ? '' : `, changed ${relative(publishedAt, desk.now)}`;
  return [ok('map', `${name}: ${plural(entries.length, 'entry', 'entries')}${when}`)];
}

/** Asks both tables as Postfix does: for a banned client if there is one, else for somebody. */
async function answers(desk: Desk, spec: MapName): Promise<Finding[]> {
  const all = (await (await desk.map())?.read())?.entries ?? [];
  // One that ends right now may be gone at the next look.
  const entries = all.filter(({ until }) => until > desk.now + ENDING_MS);
  const findings: Finding[] = [];
  for (const table of tablesOf(spec)) {
    const isCidr = table.startsWith('cidr:');
    const entry = entries.find(({ subject }) => spec.type === 'cidr' || (tableOf(subject) === 'cidr') === isCidr);
    findings.push(await answerOf(table, entry, isCidr, desk.config.postfix));
  }
  return findings;
}

async function answerOf(
  table: string,
  entry: PublishedEntry | undefined,
  isCidr: boolean,
  { postmap, config_directory }: Desk['config']['postfix'],
): Promise<Finding> {
  const key = entry === undefined ? '192.0.2.1' : keyOfLine(entry.line);
  const asked = isCidr ? (key.split('/')[0] ?? key) : key;
  try {
    const answer = await lookUp(table, asked, { postmap, configDirectory: config_directory });
    if (entry === undefined) return ok('lookup', `${table} answers; nobody is in it`);
    if (answer === entry.line.slice(key.length + 1)) {
      return ok('lookup', `${table} ${answer.startsWith('WARN') ? 'warns of' : 'refuses'} ${asked}: ${answer}`);
    }
    return fail(
      'lookup',
      `${table} says ${answer === null ? 'nothing' : `"${answer}"`} of ${asked}, which is banned`,
      'Run "blockctl sync", which builds it anew.',
    );
  } catch (error) {
    if (!(error instanceof BlockdError)) throw error;
    return fail('lookup', error.message, 'Run "blockctl sync", which builds it anew; or set postfix.postmap.');
  }
}

function statOf(file: string): Stats | null {
  try {
    return statSync(file);
  } catch {
    return null;
  }
}
