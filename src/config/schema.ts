/** Every config key with its default; the example in `systemd/blockd.toml` documents each for the admin. */
import { hostname } from 'node:os';
import { parseAddress, parseNetwork } from '../domain/address.js';
import { maskPassword, maskQuery, maskWebhook } from '../domain/secret.js';
import {
  duration,
  flag,
  number,
  numbersByName,
  oneOf,
  optionalText,
  PATH,
  section,
  someOf,
  type TextRule,
  tables,
  text,
  texts,
  type Value,
} from './field.js';

export const MODES = ['dry-run', 'shadow', 'enforce'] as const;
export type Mode = (typeof MODES)[number];

/** What a notification may be about. */
export const OCCASIONS = ['wave', 'spared', 'store', 'map'] as const;
export type Occasion = (typeof OCCASIONS)[number];

export const DEFAULT_STATE_FOLDER = '/var/lib/blockd';
/** Where blockd keeps the access map unless `postfix.map` says otherwise; the type is Postfix's own default. */
export const DEFAULT_MAP_PATH = `${DEFAULT_STATE_FOLDER}/postfix/client_access`;

const MAP_TYPES = ['hash', 'btree', 'lmdb', 'cdb', 'cidr'];

const NETWORK: TextRule = {
  wrong: (text) =>
    parseNetwork(text) === null
      ? `"${text}" is no address or network: write "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32"`
      : null,
};

/** At least two labels: a whole top-level domain would exempt half the world. */
const HOSTNAME: TextRule = {
  wrong: (text) =>
    /^\.?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+(?!\d+$)[a-z0-9-]{2,63}$/.test(text)
      ? null
      : `"${text}" is no host name of at least two labels, such as "mail.example.org" or ".example.org"`,
  canonical: (text) => text.toLowerCase(),
};

const STORE_URL: TextRule = {
  wrong: (text) => {
    if (/^(lmdb|unix):(?!\/)/.test(text)) return `"${maskPassword(text)}" is a relative path: write it from / on`;
    if (/^(lmdb:.|redis:\/\/|rediss:\/\/|unix:.|sentinel:\/\/|cluster:\/\/|memory:)/.test(text)) return null;
    return `"${maskPassword(text)}" is no store: write lmdb:/DIR, redis://HOST:PORT, rediss://…, unix:/SOCKET or memory:`;
  },
  canonical: (text, base) =>
    text.replace(/^(lmdb|unix):(.+)$/, (_, kind, path) => `${kind}:${PATH.canonical?.(path, base)}`),
};

const MAP: TextRule = {
  wrong: (text) => {
    if (text.startsWith('texthash:'))
      return 'is a texthash map, whose changes Postfix never notices: use hash, btree, lmdb or cdb';
    if (new RegExp(`^(${MAP_TYPES.join('|')}):/[^\\s,]*[^\\s,/]$`).test(text)) return null;
    return `"${text}" is no access map: write TYPE:/ABSOLUTE/PATH with TYPE one of ${MAP_TYPES.join(', ')}`;
  },
  canonical: (text, base) =>
    text.replace(/^([a-z]+):(.+)$/, (_, type, path) => `${type}:${PATH.canonical?.(path, base)}`),
};

/** As main.cf can name it. */
const TABLE_PATH: TextRule = {
  ...PATH,
  wrong: (text) =>
    PATH.wrong?.(text) ??
    (/^\/[^\s,]*[^\s,/]$/.test(text) ? null : `"${text}" holds a blank or comma, or names no file`),
};

const REPLY: TextRule = {
  wrong: (text) => {
    if (text.length > 160) return 'is too long: Postfix cuts log records; at most 160 characters';
    if (!/^[\x20-\x7e]*$/.test(text)) return 'wants printable ASCII only: it is spoken over SMTP';
    if (!/^Blocked until \{until\}(?: |$)/.test(text)) {
      return 'must begin with "Blocked until {until}", and a blank before more: blockd finds its own refusals and their end by it';
    }
    const unfilled = /\{\w+\}/.exec(text.replace(/\{(?:until|reason|ip)\}/g, ''))?.[0];
    return unfilled === undefined ? null : `holds ${unfilled}: only {until}, {reason} and {ip} are filled in`;
  },
};

const NAME_SERVER: TextRule = {
  wrong: (text) => {
    const address = /^\[([^\]]+)\](?::\d{1,5})?$/.exec(text)?.[1] ?? /^([^:]+):\d{1,5}$/.exec(text)?.[1] ?? text;
    return parseAddress(address) === null
      ? `"${text}" is no name server: write an address, such as "192.0.2.53", "192.0.2.53:5353" or "[2001:db8::53]:5353"`
      : null;
  },
};

const LISTEN: TextRule = {
  wrong: (text) => {
    if (/^unix:\/./.test(text)) return null;
    const port = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})$/.exec(text)?.[1];
    return port !== undefined && Number(port) <= 65_535
      ? null
      : `"${text}" is no HOST:PORT, such as "127.0.0.1:9717" or "[::1]:9717", and no unix:/SOCKET`;
  },
  // Whoever names no host wants no strangers.
  canonical: (text, base) =>
    /^\d{1,5}$/.test(text)
      ? `127.0.0.1:${text}`
      : text.replace(/^unix:(.+)$/, (_, path) => `unix:${PATH.canonical?.(path, base)}`),
};

const TEXTFILE: TextRule = {
  ...PATH,
  wrong: (text) =>
    PATH.wrong?.(text) ??
    (text.endsWith('.prom') ? null : `"${text}" does not end in .prom: node_exporter reads no other files`),
};

const WEBHOOK: TextRule = {
  wrong: (text) => {
    const url = URL.canParse(text) ? new URL(text) : null;
    if (url === null || !['https:', 'http:'].includes(url.protocol) || url.hostname === '')
      return `"${maskWebhook(text)}" is no URL: write https://HOST/PATH`;
    // As fetch wants it.
    return url.username === '' && url.password === ''
      ? null
      : `"${maskWebhook(text)}" holds a user or password: put a token into its path, or call a command instead`;
  },
};

const LIST_URL: TextRule = {
  wrong: (text) => {
    const url = URL.canParse(text) ? new URL(text) : null;
    if (url === null || !['https:', 'http:'].includes(url.protocol) || url.hostname === '')
      return `"${maskQuery(text)}" is no URL: write https://HOST/PATH`;
    return url.username === '' && url.password === '' ? null : 'holds a user or password: name a list that wants none';
  },
};

/** Part of a file's name, and said in one word. */
const LIST_NAME: TextRule = {
  wrong: (text) =>
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$/.test(text)
      ? null
      : `"${text}" is no name: write 1 to 32 letters, digits, _ or -, such as "drop"`,
};

/** Seconds may stand in front; names of months and days are not taken. */
const CRON_RANGES = [59, 59, 23, 31, 12, 7];

const CRON: TextRule = {
  wrong: (text) => {
    const fields = text.trim().split(/\s+/);
    const ranges = CRON_RANGES.slice(-fields.length);
    const fits = (field: string, most = 0) =>
      field.split(',').every((part) => {
        const numbers = /^(?:\*|(\d+)(?:-(\d+))?)(?:\/[1-9]\d?)?$/.exec(part);
        return numbers !== null && Number(numbers[1] ?? 0) <= most && Number(numbers[2] ?? 0) <= most;
      });
    if ([5, 6].includes(fields.length) && fields.every((field, i) => fits(field, ranges[i]))) return null;
    return `"${text}" is no schedule: write minute, hour, day, month and weekday, such as "23 * * * *"`;
  },
};

const MAIL_ADDRESS: TextRule = {
  // It becomes an argument of sendmail: a leading dash would be an option.
  wrong: (text) =>
    /^[^\s\p{Cc},-][^\s\p{Cc},]*$/u.test(text) ? null : `"${text}" is no mail address: write one, without a name`,
};

const matching = (pattern: RegExp, sentence: string): TextRule => ({
  wrong: (text) => (pattern.test(text) ? null : `"${text}": ${sentence}`),
});

export const configSchema = section({
  mode: oneOf(MODES, 'dry-run'),
  log: section({
    files: texts([], PATH),
    journal: flag(false),
    filters: text('/etc/blockd/filters', PATH),
  }),
  store: section({
    url: text('lmdb:/var/lib/blockd/store', STORE_URL),
    password_file: optionalText(PATH),
    ca_file: optionalText(PATH),
    prefix: text('blockd', matching(/^[A-Za-z0-9_.:-]{1,64}$/, 'wants 1 to 64 letters, digits, or _ . : -')),
    host: text(thisHost, matching(/^[A-Za-z0-9_.-]{1,253}$/, 'wants the name of this host: letters, digits, or _ . -')),
    keep: duration('30d', '60s'),
    prune: text('23 * * * *', CRON),
  }),
  score: section({
    threshold: number({ fallback: 5, above: 0, atMost: 1e6 }),
    half_life: duration('6h'),
    standing: flag(true),
  }),
  ban: section({
    first: duration('1h'),
    factor: number({ fallback: 2, atLeast: 1, atMost: 100 }),
    max: duration('7d'),
    strikes_half_life: duration('14d'),
    ipv6_prefix: number({
      fallback: 64,
      atLeast: 32,
      atMost: 128,
      whole: true,
    }),
    networks: number({ fallback: 8, atLeast: 0, atMost: 256, whole: true }),
  }),
  allow: section({
    addresses: texts([], NETWORK),
    hostnames: texts([], HOSTNAME),
    mynetworks: flag(true),
    authenticated_for: duration('30d', '0s'),
  }),
  points: numbersByName(0, 1_000),
  postfix: section({
    map: optionalText(MAP),
    reply: text('Blocked until {until} after repeated rejects', REPLY),
    postmap: text('postmap'),
    postconf: text('postconf'),
    reload: texts(['postfix', 'reload']),
    max_entries: number({ fallback: 100_000, atLeast: 1, atMost: 10_000_000, whole: true }),
    config_directory: optionalText(PATH),
    postscreen_map: optionalText(TABLE_PATH),
    postscreen_every: duration('1m', '1s', '1h'),
  }),
  frontline: section({
    nftables: flag(false),
    nft: text('nft'),
    table: text('blockd', matching(/^[A-Za-z][A-Za-z0-9_]{0,30}$/, 'wants a letter, then letters, digits or _')),
    drop: flag(false),
  }),
  lists: tables({
    name: text('', LIST_NAME),
    file: optionalText(PATH),
    url: optionalText(LIST_URL),
    points: number({ fallback: 0, atLeast: 0, atMost: 1e6 }),
    schedule: text('41 */6 * * *', CRON),
    max_age: duration('7d', '60s'),
  }),
  export: section({
    file: optionalText(PATH),
    format: oneOf(['plain', 'json', 'nft', 'cidr'], 'plain'),
    schedule: text('*/10 * * * *', CRON),
    sign_key: optionalText(PATH),
  }),
  handover: section({
    enabled: flag(true),
    every: text('17 * * * *'),
    servers: texts([], NAME_SERVER),
  }),
  report: section({
    schedule: optionalText(),
    mail_to: optionalText(MAIL_ADDRESS),
    html_dir: optionalText(PATH),
  }),
  metrics: section({
    listen: optionalText(LISTEN),
    textfile: optionalText(TEXTFILE),
  }),
  notify: section({
    command: texts([]),
    webhook: optionalText(WEBHOOK),
    on: someOf(OCCASIONS, OCCASIONS),
    wave: number({ fallback: 30, atLeast: 1, atMost: 100_000, whole: true }),
    every: duration('15m'),
    timeout: duration('10s', '1s', '5m'),
  }),
  log_output: section({
    level: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal'], 'info'),
    format: oneOf(['auto', 'json', 'pretty'], 'auto'),
  }),
});

/** The whole config, validated; durations in milliseconds. */
export type Config = Value<typeof configSchema>;
export type ListConfig = Config['lists'][number];

/** What holds when nobody set anything. */
export function defaultConfig(): Config {
  return configSchema.read(undefined, [], {
    problem: () => undefined,
    baseOf: () => null,
  });
}

function thisHost(): string {
  return (
    hostname()
      .replace(/[^A-Za-z0-9_.-]/g, '-')
      .slice(0, 253) || 'localhost'
  );
}
