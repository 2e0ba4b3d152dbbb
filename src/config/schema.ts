/** Every config key with its default; the example in `systemd/blockd.toml` documents each for the admin. */
import { hostname } from 'node:os';
import { z } from 'zod';
import { parseNetwork } from '../domain/address.js';
import { parseDuration } from '../domain/duration.js';

/** A duration text, as milliseconds. */
const duration = (fallback: string, atLeastMs = 1_000) =>
  z
    .string({ error: 'wants a duration in quotes, such as "90s", "15m", "6h" or "7d"' })
    .default(fallback)
    .transform((text, context) => {
      const ms = parseDuration(text);
      if (ms === null) context.addIssue(`"${text}" is no duration: write a number and a unit, such as "90s", "15m", "6h" or "7d"`);
      else if (ms < atLeastMs) context.addIssue(`"${text}" is too short: at least ${atLeastMs / 1_000}s`);
      else if (ms > 3_660 * 86_400_000) context.addIssue(`"${text}" is too long: at most 3660d`);
      return ms ?? 0;
    });

const network = z.string().check((context) => {
  if (parseNetwork(context.value) !== null) return;
  context.issues.push({
    code: 'custom',
    input: context.value,
    message: `"${context.value}" is no address or network: write "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32"`,
  });
});

const hostnameSuffix = z
  .string()
  .regex(/^\.?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+[A-Za-z0-9-]{2,63}$/, {
    error: (issue) => `"${issue.input}" is no host name of at least two labels, such as "mail.example.org" or ".example.org"`,
  })
  .transform((name) => name.toLowerCase());

export const MODES = ['dry-run', 'shadow', 'enforce'] as const;
export type Mode = (typeof MODES)[number];

const MAP_TYPES = ['hash', 'btree', 'lmdb', 'cdb', 'texthash', 'cidr'] as const;

export const configSchema = z.strictObject({
  mode: z.enum(MODES).default('dry-run'),
  log: z
    .strictObject({
      files: z.array(z.string().min(1)).default([]),
      journal: z.boolean().default(false),
      filters: z.string().min(1).default('/etc/blockd/filters'),
    })
    .prefault({}),
  store: z
    .strictObject({
      url: z
        .string()
        .regex(/^(lmdb:.|redis:\/\/|rediss:\/\/|unix:.|sentinel:\/\/|cluster:\/\/|memory:)/, {
          error: (issue) => `"${issue.input}" is no store: write lmdb:/DIR, redis://HOST:PORT, rediss://…, unix:/SOCKET or memory:`,
        })
        .default('lmdb:/var/lib/blockd/store'),
      prefix: z
        .string()
        .regex(/^[A-Za-z0-9_.:-]{1,64}$/, { error: 'wants 1 to 64 letters, digits, or _ . : -' })
        .default('blockd'),
      host: z
        .string()
        .regex(/^[A-Za-z0-9_.-]{1,253}$/, { error: 'wants the name of this host: letters, digits, or _ . -' })
        .default(() => hostname().replace(/[^A-Za-z0-9_.-]/g, '-').slice(0, 253) || 'localhost'),
      keep: duration('30d', 60_000),
    })
    .prefault({}),
  score: z
    .strictObject({
      threshold: z.number().positive().max(1e6).default(5),
      half_life: duration('6h'),
      standing: z.boolean().default(true),
    })
    .prefault({}),
  ban: z
    .strictObject({
      first: duration('1h'),
      factor: z.number().min(1).max(100).default(2),
      max: duration('7d'),
      strikes_half_life: duration('14d'),
      ipv6_prefix: z.int().min(32).max(128).default(64),
      networks: z.int().min(0).max(256).default(8),
    })
    .prefault({}),
  allow: z
    .strictObject({
      addresses: z.array(network).default([]),
      hostnames: z.array(hostnameSuffix).default([]),
      mynetworks: z.boolean().default(true),
      authenticated_for: duration('30d', 0),
    })
    .prefault({}),
  points: z.record(z.string(), z.number().min(0).max(1_000)).default({}),
  postfix: z
    .strictObject({
      map: z
        .string()
        .regex(new RegExp(`^(${MAP_TYPES.join('|')}):/.+$`), {
          error: (issue) => `"${issue.input}" is no access map: write TYPE:/ABSOLUTE/PATH with TYPE one of ${MAP_TYPES.join(', ')}`,
        })
        .optional(),
      reply: z
        .string()
        .max(160, { error: 'is too long: Postfix cuts log records; at most 160 characters' })
        .regex(/^[\x20-\x7e]*$/, { error: 'wants printable ASCII only' })
        .regex(/^Blocked until \{until\}/, { error: 'must begin with "Blocked until {until}": blockd finds its own refusals and their end by it' })
        .default('Blocked until {until} after repeated rejects'),
      postmap: z.string().min(1).default('postmap'),
      postconf: z.string().min(1).default('postconf'),
      reload: z.array(z.string()).default(['postfix', 'reload']),
      config_directory: z.string().min(1).optional(),
    })
    .prefault({}),
  handover: z.strictObject({ enabled: z.boolean().default(true), every: z.string().default('17 * * * *') }).prefault({}),
  report: z
    .strictObject({ schedule: z.string().optional(), mail_to: z.string().optional(), html_dir: z.string().optional() })
    .prefault({}),
  metrics: z.strictObject({ listen: z.string().optional(), textfile: z.string().optional() }).prefault({}),
  log_output: z
    .strictObject({
      level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info'),
      format: z.enum(['auto', 'json', 'pretty']).default('auto'),
    })
    .prefault({}),
});

/** The whole config, validated; durations in milliseconds. */
export type Config = z.output<typeof configSchema>;
