/**
 * The demonstration: the real daemon follows a log into which made-up traffic is written, with seconds in place of
 * hours, while bans are shown as they begin and end. Leaves nothing behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import { Traffic, type TrafficLine } from './traffic.js';

const TRAFFIC_MS = 20_000;
const LONGEST_END_MS = 15_000;
const VISITS_PER_SECOND = 16;
const WRITE_EVERY_MS = 50;
/** Seconds in place of hours; a botnet's network is banned when four of its addresses are. */
const SETTINGS = [
  'score.half_life=20s',
  'ban.first=4s',
  'ban.max=8s',
  'ban.strikes_half_life=1m',
  'ban.networks=4',
  'allow.mynetworks=false',
  'postfix.reload=[]',
  'log_output.format=json',
];

interface Tally {
  lines: number;
  offenses: number;
  refused: number;
  accepted: number;
  bans: number;
  readonly decent: Set<string>;
  readonly decentRefused: Set<string>;
  readonly ends: Map<string, number>;
}

/** What the daemon says of itself, one JSON object a line. */
interface Said {
  readonly event?: string;
  readonly subject?: string;
  readonly since?: string;
  readonly until?: string;
  readonly reason?: string;
  readonly how?: string;
  readonly msg?: string;
}

/** Shows `why` it runs, runs for about half a minute, and ends with a summary. Ctrl-C ends it sooner. */
export async function demonstrate(why: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'blockd-demonstration-'));
  const log = join(folder, 'mail.log');
  const map = join(folder, 'client_access');
  writeFileSync(log, '');
  const tally: Tally = {
    lines: 0,
    offenses: 0,
    refused: 0,
    accepted: 0,
    bans: 0,
    decent: new Set(),
    decentRefused: new Set(),
    ends: new Map(),
  };
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort());
  // A reader that went away, such as `head`, ends it like a Ctrl-C: the daemon and its folder must not stay behind.
  process.stdout.on('error', () => interrupted.abort());
  const daemon = startDaemon(log, map, join(folder, 'store'));
  try {
    say(why);
    say('The daemon is the real one; the traffic is made up, and a ban takes seconds');
    say('where it would take hours.\n');
    const ready = showBans(daemon, tally);
    await Promise.race([ready, once(daemon, 'exit')]);
    if (daemon.exitCode !== null) throw new Error('the daemon ended at once; what it says stands above');
    await writeTraffic(log, map, tally, interrupted.signal);
    await untilAllEnded(tally, interrupted.signal);
  } finally {
    await stop(daemon);
    rmSync(folder, { recursive: true, force: true });
  }
  summarise(tally);
}

function startDaemon(log: string, map: string, store: string): ChildProcess {
  const program = fileURLToPath(new URL('../blockd.js', import.meta.url));
  const settings = SETTINGS.flatMap((setting) => ['--set', setting]);
  // A cidr map is text alone: the demonstration needs no Postfix.
  const args = ['--log', log, '--store', `lmdb:${store}`, '--map', `cidr:${map}`, '--mode', 'enforce', '--from-start'];
  return spawn(process.execPath, [program, ...args, ...settings], {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
}

/** Prints bans and releases as the daemon tells them; resolves when it follows the log. */
function showBans(daemon: ChildProcess, tally: Tally): Promise<void> {
  const startedAt = Date.now();
  return new Promise((ready) => {
    if (daemon.stderr === null) return;
    createInterface({ input: daemon.stderr }).on('line', (line) => {
      const said = parse(line);
      const clock = `${((Date.now() - startedAt) / 1_000).toFixed(1).padStart(4)} s`;
      if (said.event === 'started') ready();
      else if (said.event === 'ban') {
        tally.bans++;
        const seconds = (Date.parse(said.until ?? '') - Date.parse(said.since ?? '')) / 1_000;
        say(`${clock} ${paint('red', 'ban    ')} ${(said.subject ?? '').padEnd(19)} for ${seconds} s: ${said.reason}`);
      } else if (said.event === 'release') {
        const how = said.how ?? 'ended';
        tally.ends.set(how, (tally.ends.get(how) ?? 0) + 1);
        say(`${clock} ${paint('green', 'release')} ${(said.subject ?? '').padEnd(19)} ${how}`);
      } else if (said.event === undefined || /error|away/.test(said.event)) say(said.msg ?? line);
    });
  });
}

async function writeTraffic(log: string, map: string, tally: Tally, signal: AbortSignal): Promise<void> {
  let refusals = new Map<string, string>();
  const traffic = new Traffic({
    seed: 7,
    startAt: Date.now(),
    perSecond: VISITS_PER_SECOND,
    attackShare: 0.5,
    refusal: (client) => refusals.get(client) ?? refusals.get(networkOf(client)) ?? null,
  });
  const endAt = Date.now() + TRAFFIC_MS;
  while (Date.now() < endAt && !signal.aborted) {
    refusals = publishedIn(map);
    const lines = traffic.until(Date.now());
    if (lines.length > 0) appendFileSync(log, lines.map(({ text }) => `${text}\n`).join(''));
    for (const line of lines) count(line, tally);
    await sleep(WRITE_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

function count({ says, attacker, client }: TrafficLine, tally: Tally): void {
  tally.lines++;
  if (says === 'offense') tally.offenses++;
  if (says === 'accepted' || says === 'authenticated') tally.accepted++;
  if (says === 'refused') tally.refused++;
  if (client === null || attacker) return;
  tally.decent.add(client);
  if (says === 'refused') tally.decentRefused.add(client);
}

/** What Postfix would read in the map now: address, /64 or /24 → text of the refusal. */
function publishedIn(map: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of readOr(map).split('\n')) {
    const entry = /^(\S+)\t554 5\.7\.1 (.*)$/.exec(line);
    if (entry?.[1] !== undefined && entry[2] !== undefined) found.set(entry[1].replace(/\/(?:32|128)$/, ''), entry[2]);
  }
  return found;
}

/** The made-up clients' networks: /24 for IPv4, and a /64 that is spelt with four groups. */
function networkOf(client: string): string {
  if (client.includes(':')) return `${client.split(':').slice(0, 4).join(':')}::/64`;
  return `${client.split('.').slice(0, 3).join('.')}.0/24`;
}

async function untilAllEnded(tally: Tally, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  say('\nThe traffic has stopped; the last bans end by themselves.');
  const endAt = Date.now() + LONGEST_END_MS;
  const ended = () => [...tally.ends.values()].reduce((sum, count) => sum + count, 0);
  while (ended() < tally.bans && Date.now() < endAt && !signal.aborted) await sleep(200);
}

async function stop(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return;
  const exited = once(daemon, 'exit');
  daemon.kill('SIGTERM');
  await exited;
}

function summarise(tally: Tally): void {
  const ends = [...tally.ends].map(([how, count]) => `${count} ${how}`).join(', ') || 'none';
  const harmed = tally.decentRefused.size;
  const rows: [string, string][] = [
    ['log lines written', String(tally.lines)],
    ['misdeeds among them', String(tally.offenses)],
    ['bans', `${tally.bans}; ended: ${ends}`],
    ['attempts stopped by a ban', String(tally.refused)],
    ['messages accepted', String(tally.accepted)],
    ['decent clients turned away', `${paint(harmed === 0 ? 'green' : 'red', String(harmed))} of ${tally.decent.size}`],
  ];
  say(`\n${rows.map(([name, value]) => `  ${name.padEnd(30)} ${value}`).join('\n')}\n`);
  say('Next, on a mail server, in dry-run, so that nobody is blocked:\n');
  say('  npm start -- --log /var/log/mail.log');
  say('  npm start -- --set log.journal=true   where Postfix logs to the journal alone');
  say('\nREADME.md goes on from there.');
}

/** Colours are for a terminal only. */
function paint(colour: 'red' | 'green', text: string): string {
  return process.stdout.isTTY && process.env['NO_COLOR'] === undefined ? styleText(colour, text) : text;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function parse(line: string): Said {
  try {
    return JSON.parse(line) as Said;
  } catch {
    return { msg: line };
  }
}

function readOr(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
