/** fail2ban's numbers as a config of blockd, with a sentence on how each was converted. Pure. */
import { isAbsolute } from 'node:path';
import { parseNetwork } from '../domain/address.js';
import { formatDuration } from '../domain/duration.js';
import type { SourceLine } from './ini.js';
import type { Jail, Remark } from './jails.js';
import type { Heavier } from './rules.js';
import { textOf } from './settings.js';

/** When a jail bans, and for how long. */
export interface Measure {
  readonly maxRetry: number;
  readonly findTimeMs: number;
  /** Null: for ever. */
  readonly banTimeMs: number | null;
}

export function measureOf(jail: Jail): Measure {
  const read = (name: string, fallback: string) => {
    const lines = jail.option(name);
    return lines === null ? fallback : textOf(lines).trim();
  };
  const banTime = read('bantime', '10m');
  return {
    maxRetry: Math.min(10_000, Math.max(1, Math.trunc(Number(read('maxretry', '5'))) || 5)),
    findTimeMs: Math.min(LONGEST_MS, Math.max(1_000, secondsOf(read('findtime', '10m')) * 1_000 || 600_000)),
    banTimeMs: banTime.startsWith('-')
      ? null
      : Math.min(LONGEST_MS, Math.max(1_000, secondsOf(banTime) * 1_000 || 600_000)),
  };
}

const LONGEST_MS = 3_660 * 86_400_000;
const DEFAULT_MAX_MS = 7 * 86_400_000;

/** Seconds of `600`, `10m`, `1d 12h`, `1week`; 0 for what is none. */
function secondsOf(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)\s*([a-z]*)/gi)];
  return Math.round(
    parts.reduce((sum, [, count, unit = '']) => {
      const [, seconds] = UNITS.find(([name]) => name.test(unit)) ?? [null, 0];
      return sum + Number(count) * seconds;
    }, 0),
  );
}

const UNITS: readonly (readonly [RegExp, number])[] = [
  [/^(?:s|se|sec|secs|second|seconds)?$/i, 1],
  [/^(?:m|mi|min|mins|minute|minutes|mm)$/i, 60],
  [/^(?:h|ho|hh|hour|hours)$/i, 3_600],
  [/^(?:d|da|dd|day|days)$/i, 86_400],
  [/^(?:w|we|ww|week|weeks)$/i, 604_800],
  [/^(?:mo|mon|month|months)$/i, 2_629_800],
  [/^(?:y|ye|yr|year|years)$/i, 31_557_600],
];

/**
 * The threshold that `maxretry` failures within `findtime` reach, wherever in it they lie, and one less do not: with
 * `halfLifeOf` the earlier ones have lost less than half a point together, (n-1)(1 - 2^(-1/1.5n)) < ln 2 / 1.5.
 */
export function thresholdOf({ maxRetry }: Measure): number {
  return maxRetry - 0.5;
}

/** Milliseconds. */
export function halfLifeOf({ maxRetry, findTimeMs }: Measure): number {
  return Math.min(LONGEST_MS, 1.5 * maxRetry * findTimeMs);
}

/** What one failure is worth in a jail with another `maxretry` than the one that the threshold is made for. */
export function pointsFor(measure: Measure, base: Measure): number {
  const failures = measure.maxRetry === 1 ? 1 : thresholdOf(measure);
  return Math.min(1_000, Math.ceil((thresholdOf(base) / failures) * 1e4) / 1e4);
}

/** The jail whose numbers become the general ones. */
export function baseJail(jails: readonly Jail[]): Jail | undefined {
  return jails.find(({ name }) => name === 'postfix') ?? jails.find(({ filter }) => filter === 'postfix') ?? jails[0];
}

export function suggest(
  jails: readonly Jail[],
  filters: string | null,
  heavier: readonly Heavier[],
): { readonly text: string; readonly remarks: Remark[] } {
  const base = baseJail(jails);
  if (base === undefined) return { text: '', remarks: [] };
  const remarks: Remark[] = [];
  const sections = [
    [
      '# Suggested by "blockctl import fail2ban". What is not here keeps blockd\'s default; systemd/blockd.toml shows all keys.',
      'mode = "dry-run"',
    ],
    log(jails, filters, remarks),
    score(jails, base),
    ban(base, remarks),
    allow(jails, remarks),
    points(jails, base, heavier),
  ];
  for (const jail of jails) remarkOn(jail, remarks);
  return {
    text: `${sections
      .filter((lines) => lines.length > 0)
      .map((lines) => lines.join('\n'))
      .join('\n\n')}\n`,
    remarks: once(remarks),
  };
}

function log(jails: readonly Jail[], filters: string | null, remarks: Remark[]): string[] {
  const files = new Set<string>();
  let journal = false;
  for (const jail of jails) {
    if (/^systemd/.test(textOf(jail.option('backend') ?? []).trim())) {
      journal = true;
      continue;
    }
    for (const line of jail.option('logpath') ?? []) {
      for (const path of line.text
        .replace(/\s+(?:head|tail)$/, '')
        .trim()
        .split(/\s+/)) {
        if (isAbsolute(path) && !/[*?[\]%]|\p{C}/u.test(path)) files.add(path);
        else if (path !== '')
          remarks.push(
            at(line, `logpath ${path} is not carried over: blockd's log.files takes absolute paths, without wildcards`),
          );
      }
    }
  }
  const lines = ['[log]'];
  const whole = [...files].filter((path) => /\/(?:mail\.log|maillog)$/.test(path));
  const kept = [...files].filter((path) => whole.length === 0 || !/\/mail\.(?:warn|info|err)$/.test(path)).sort();
  if (kept.length < files.size)
    lines.push(`# Without mail.warn and its like: ${whole[0]} has the same lines, and each would count twice.`);
  if (kept.length > 0) lines.push(`files = [${kept.map((path) => JSON.stringify(path)).join(', ')}]`);
  if (journal && kept.length > 0)
    lines.push(
      '# Some jails read the journal. Where it has the lines of these files too, each would count twice: so it is off.',
    );
  lines.push(`journal = ${journal && kept.length === 0}`);
  if (filters !== null) lines.push(`filters = ${JSON.stringify(filters)}`);
  return lines;
}

function score(jails: readonly Jail[], base: Jail): string[] {
  const measure = measureOf(base);
  const threshold = thresholdOf(measure);
  const halfLifeMs = Math.max(...jails.map((jail) => halfLifeOf(measureOf(jail))));
  return [
    '[score]',
    `# Jail ${plain(base.name)}: maxretry = ${measure.maxRetry}, findtime = ${formatDuration(measure.findTimeMs)}. A failure is worth about a point, and points fade instead of`,
    '# being dropped when findtime is over. At maxretry - 0.5, with a half-life of 1.5 times maxretry times findtime (the',
    "# longest of all jails), whoever fail2ban banned is banned, and maxretry - 1 failures at once are not enough. blockd's",
    '# own defaults (5 and "6h") also catch what probes slowly: "blockctl tune" compares them on your logs.',
    `threshold = ${threshold}`,
    `half_life = "${written(halfLifeMs)}"`,
  ];
}

function ban(base: Jail, remarks: Remark[]): string[] {
  const { banTimeMs } = measureOf(base);
  const flag = base.option('bantime.increment');
  const grows = flag !== null && /^(?:true|yes|on|1)$/i.test(textOf(flag).trim());
  const maxTime = base.option('bantime.maxtime');
  const maxMs = grows && maxTime !== null ? Math.min(LONGEST_MS, secondsOf(textOf(maxTime)) * 1_000) : 0;
  const firstMs = banTimeMs ?? DEFAULT_MAX_MS;
  for (const name of ['bantime.formula', 'bantime.multipliers', 'bantime.rndtime']) {
    const [line] = base.option(name) ?? [];
    if (grows && line !== undefined && line.text !== '')
      remarks.push(at(line, `${name} is not carried over: each earlier ban makes the next one longer by ban.factor`));
  }
  const lines = ['[ban]'];
  if (banTimeMs === null)
    lines.push("# bantime = -1, for ever: every ban of blockd's ends, so the first one lasts as long as the longest.");
  else lines.push(`# bantime = ${formatDuration(banTimeMs)}.`);
  lines.push(`first = "${written(firstMs)}"`);
  if (grows) lines.push('# bantime.increment: bans double there, and here.', 'factor = 2');
  else
    lines.push(
      "# Without bantime.increment fail2ban's bans stay as long; blockd's double with each earlier one. factor = 1 keeps them.",
    );
  const longestMs = Math.max(firstMs, maxMs);
  if (longestMs > DEFAULT_MAX_MS || (maxMs > 0 && maxMs >= firstMs)) {
    lines.push(maxMs > 0 ? '# bantime.maxtime.' : '# At least as long as the first.', `max = "${written(longestMs)}"`);
  }
  return lines;
}

function allow(jails: readonly Jail[], remarks: Remark[]): string[] {
  const addresses = new Set<string>();
  const hostnames = new Set<string>();
  for (const jail of jails) {
    for (const line of jail.option('ignoreip') ?? []) {
      for (const entry of line.text.split(/[\s,]+/)) {
        const network = parseNetwork(entry);
        if (entry === '' || network?.base === '::1' || network?.base.startsWith('127.') === true) continue;
        if (network !== null) addresses.add(entry.includes('/') ? `${network.base}/${network.prefix}` : network.base);
        else if (HOSTNAME.test(entry.toLowerCase())) hostnames.add(entry.toLowerCase());
        else
          remarks.push(
            at(
              line,
              `ignoreip ${entry} is not carried over: it is no address, network (as ADDRESS/BITS) or host name of two labels`,
            ),
          );
      }
    }
  }
  const list = (values: Set<string>) =>
    `[${[...values]
      .sort()
      .map((value) => JSON.stringify(value))
      .join(', ')}]`;
  if (addresses.size + hostnames.size === 0) return [];
  return [
    '[allow]',
    ...(addresses.size > 0
      ? [
          "# ignoreip of all mail jails; loopback and this host's own addresses are never banned anyway.",
          `addresses = ${list(addresses)}`,
        ]
      : []),
    ...(hostnames.size > 0
      ? [
          '# fail2ban looks up the addresses of a name; here the name that Postfix has confirmed counts, with all below it.',
          `hostnames = ${list(hostnames)}`,
        ]
      : []),
  ];
}

const HOSTNAME = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+(?!\d+$)[a-z0-9-]{2,63}$/;

/** Jails for one of the packaged rules' signs alone, which ban sooner or later than the others. */
function points(jails: readonly Jail[], base: Jail, heavier: readonly Heavier[]): string[] {
  const measure = measureOf(base);
  const lines: string[] = [];
  const told = new Set<string>();
  for (const jail of jails) {
    const rule = SINGLE.find(([name]) => name.test(jail.name))?.[1];
    const own = measureOf(jail);
    if (rule === undefined || own.maxRetry === measure.maxRetry || told.has(rule)) continue;
    told.add(rule);
    lines.push(
      `# Jail ${plain(jail.name)}: maxretry = ${own.maxRetry}.`,
      `${JSON.stringify(rule)} = ${pointsFor(own, measure)}`,
    );
  }
  let said = '';
  for (const { rule, points: wanted, jail } of heavier) {
    if (told.has(rule) || wanted <= 1) continue;
    told.add(rule);
    const heading = `# Jail ${plain(jail)} is stricter, about a part of the lines of these:`;
    if (heading !== said) lines.push(heading);
    said = heading;
    lines.push(`# ${JSON.stringify(rule)} = ${wanted}`);
  }
  return lines.length === 0 ? [] : ['[points]', ...lines];
}

const SINGLE: readonly (readonly [RegExp, string])[] = [
  [/^postfix-rbl/, 'postfix/rbl'],
  [/^postfix-(?:sasl|auth)/, 'postfix/sasl-failed'],
  [/^postfix-(?:many-)?errors/, 'postfix/too-many-errors'],
  [/^dovecot$/, 'dovecot/auth-failed'],
];

function remarkOn(jail: Jail, remarks: Remark[]): void {
  const [command] = jail.option('ignorecommand') ?? [];
  if (command !== undefined)
    remarks.push(at(command, 'ignorecommand is not carried over: see [allow], and blockctl allow'));
  for (const line of jail.option('action') ?? []) {
    const name = /^[\w.-]+/.exec(line.text)?.[0];
    if (name === undefined || BLOCKING.test(name)) continue;
    remarks.push(
      at(
        line,
        `action ${name} is not carried over: blockd refuses in Postfix itself, and [report] mails a digest of the day`,
      ),
    );
  }
}

const BLOCKING =
  /^(?:iptables|nftables|ufw|firewalld|firewallcmd|shorewall|ipfw|pf$|npf|hostsdeny|route|apf|dummy|port|chain)/;

function at({ file, line }: SourceLine, sentence: string): Remark {
  return { file, line, sentence };
}

function once(remarks: readonly Remark[]): Remark[] {
  return [...new Map(remarks.map((remark) => [`${remark.file} ${remark.line} ${remark.sentence}`, remark])).values()];
}

/** `90s`, `10m`, `2h`, `7d`: the largest unit that says it exactly. */
function written(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  for (const [unit, size] of [
    ['d', 86_400],
    ['h', 3_600],
    ['m', 60],
  ] as const)
    if (seconds % size === 0) return `${seconds / size}${unit}`;
  return `${seconds}s`;
}

function plain(text: string): string {
  return text.replace(/\p{C}+/gu, ' ');
}
