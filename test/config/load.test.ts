import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_CONFIG_FILE, knownKeys, loadConfig, toPolicySettings } from '../../src/config/load.js';
import { configSchema, defaultConfig } from '../../src/config/schema.js';
import { UsageError } from '../../src/domain/errors.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'blockd-config-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function fileWith(text: string | Uint8Array): string {
  const file = join(dir, 'blockd.toml');
  writeFileSync(file, text);
  return file;
}

/** What is said of the config, or null when it is accepted. */
function complaint(options: Parameters<typeof loadConfig>[0]): string | null {
  try {
    loadConfig(options);
    return null;
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return (error as UsageError).message;
  }
}

describe('the config file', () => {
  it.skipIf(existsSync(DEFAULT_CONFIG_FILE))('may be absent at its default place: then the defaults hold', () => {
    expect(loadConfig()).toEqual({
      config: defaultConfig(),
      file: null,
      explicit: new Set(),
      onCommandLine: new Set(),
    });
  });

  it('must exist when it is named', () => {
    expect(complaint({ file: '/nowhere/blockd.toml' })).toBe(
      "The config file /nowhere/blockd.toml can't be read: no such file or directory.",
    );
  });

  it('gives its values, and tells which keys it gave', () => {
    const file = fileWith(
      'mode = "enforce"\n[score]\nthreshold = 7.5\nhalf_life = "90m"\n[points]\n"postfix/user-unknown" = 0\n',
    );
    const { config, file: read, explicit } = loadConfig({ file });
    expect(read).toBe(file);
    expect(config.mode).toBe('enforce');
    expect(config.score).toEqual({
      threshold: 7.5,
      half_life: 5_400_000,
      standing: true,
    });
    expect(config.points).toEqual({ 'postfix/user-unknown': 0 });
    expect([...explicit]).toEqual(['mode', 'score.threshold', 'score.half_life', 'points."postfix/user-unknown"']);
  });

  it('is told line and column of a TOML error', () => {
    const file = fileWith('mode = "enforce"\n[score\nthreshold = 3\n');
    expect(complaint({ file })).toMatch(new RegExp(`^${file}: line 2, column \\d+: .+\n`));
  });

  it('must be UTF-8', () => {
    expect(complaint({ file: fileWith(Uint8Array.of(0x23, 0xff, 0xfe, 0x0a)) })).toMatch(/is not UTF-8 text/);
  });

  it('gets all its problems listed at once, each with file and key', () => {
    const file = fileWith(
      [
        'moed = "enforce"',
        '[score]',
        'treshold = 3',
        'half_life = 6',
        '[ban]',
        'first = "soon"',
        'factor = 0.5',
        '[allow]',
        'addresses = ["192.0.2.0/33"]',
        'hostnames = ["com"]',
      ].join('\n'),
    );
    expect(complaint({ file })?.split('\n')).toEqual([
      `${file}: unknown key moed; did you mean mode?`,
      `${file}: unknown key score.treshold; did you mean score.threshold?`,
      `${file}: score.half_life wants a duration in quotes, such as "90s", "15m", "6h" or "7d", not 6`,
      `${file}: ban.first wants a duration in quotes, such as "90s", "15m", "6h" or "7d", not "soon"`,
      `${file}: ban.factor wants a number from 1 to 100, without quotes, not 0.5`,
      `${file}: allow.addresses "192.0.2.0/33" is no address or network: write "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32"`,
      `${file}: allow.hostnames "com" is no host name of at least two labels, such as "mail.example.org" or ".example.org"`,
    ]);
  });

  it.each([
    ['threshold = 3', 'unknown key threshold; did you mean score.threshold?'],
    ['[scores]\nthreshold = 3', 'unknown key scores; did you mean score?'],
    ['[score]\nstrikes_half_life = "1d"', 'unknown key score.strikes_half_life; did you mean ban.strikes_half_life?'],
    ['xyzzy = 1', 'unknown key xyzzy'],
    ['score = 5', 'score is a section: write its keys under [score], not 5'],
    ['[log]\nfiles = "mail.log"', 'log.files wants a list of texts, such as ["…", "…"], not "mail.log"'],
    ['[log]\nfiles = ["mail.log"]', 'log.files "mail.log" is a relative path: write it from / on'],
    ['[store]\nurl = "lmdb:var/store"', 'store.url "lmdb:var/store" is a relative path: write it from / on'],
    [
      '[store]\nurl = "mysql://db"',
      'store.url "mysql://db" is no store: write lmdb:/DIR, redis://HOST:PORT, rediss://…, unix:/SOCKET or memory:',
    ],
    [
      '[postfix]\nmap = "pcre:/etc/x"',
      'postfix.map "pcre:/etc/x" is no access map: write TYPE:/ABSOLUTE/PATH with TYPE one of hash, btree, lmdb, cdb, cidr',
    ],
    [
      '[postfix]\nmap = "texthash:/x"',
      'postfix.map is a texthash map, whose changes Postfix never notices: use hash, btree, lmdb or cdb',
    ],
    [
      '[postfix]\nreply = "Blocked until {until} from {address}"',
      'postfix.reply holds {address}: only {until}, {reason} and {ip} are filled in',
    ],
    [
      '[postfix]\nreply = "Go away"',
      'postfix.reply must begin with "Blocked until {until}", and a blank before more: blockd finds its own refusals and their end by it',
    ],
    [
      '[metrics]\nlisten = "everywhere"',
      'metrics.listen "everywhere" is no HOST:PORT, such as "127.0.0.1:9717" or "[::1]:9717", and no unix:/SOCKET',
    ],
    [
      '[metrics]\ntextfile = "/var/lib/blockd.txt"',
      'metrics.textfile "/var/lib/blockd.txt" does not end in .prom: node_exporter reads no other files',
    ],
    [
      '[notify]\nwebhook = "ftp://chat.example.net/hooks/s3cret"',
      'notify.webhook "ftp://chat.example.net/***" is no URL: write https://HOST/PATH',
    ],
    ['[notify]\non = ["wave", "waves"]', 'notify.on wants a list of "wave", "spared", "store", "map", not "waves"'],
    [
      '[notify]\ncommand = ["page-someone"]',
      'notify.command begins with "page-someone", which is a relative path: write the program\'s from / on',
    ],
    ['[report]\nmail_to = "-oQ/tmp"', 'report.mail_to "-oQ/tmp" is no mail address: write one, without a name'],
    ['[points]\n"postfix/x" = "1"', 'points."postfix/x" wants a number from 0 to 1000, without quotes, not "1"'],
    ['[ban]\nipv6_prefix = 64.5', 'ban.ipv6_prefix wants a whole number from 32 to 128, without quotes, not 64.5'],
    ['[score]\nthreshold = 0', 'score.threshold wants a number above 0, at most 1000000, without quotes, not 0'],
    ['[score]\nthreshold = nan', 'score.threshold wants a number above 0, at most 1000000, without quotes, not NaN'],
    ['[score]\nhalf_life = "0s"', 'score.half_life "0s" is too short: at least 1s'],
    ['[ban]\nmax = "9999d"', 'ban.max "9999d" is too long: at most 3660d'],
    ['[ban]\nfirst = "8d"', 'ban.first is longer than ban.max (8 d against 7 d): the first ban is the shortest'],
    ['[ban]\nnetworks = 1', 'ban.networks would ban a whole network for one address: write 0 (never), or 2 and more'],
    [
      '[handover]\nevery = "hourly"',
      'handover.every "hourly" is no cron expression: write five fields, such as "17 * * * *" (minute hour day month weekday)',
    ],
    [
      '[report]\nschedule = "0 7 * * *"',
      'report.schedule has nowhere to go: set report.mail_to or report.html_dir too',
    ],
  ])('with %j is told what is wrong', (text, sentence) => {
    const file = fileWith(text);
    expect(complaint({ file })).toBe(`${file}: ${sentence}`);
  });

  it('whatever it holds, is accepted or refused with a sentence', () => {
    const empty = fileWith('');
    const key = fc.constantFrom(...knownKeys(configSchema, []), 'score.x', '__proto__.x', 'constructor');
    const value = fc.oneof(
      fc.string(),
      fc.double(),
      fc.boolean(),
      fc.constantFrom('[]', '{}', '1979-05-27', '[[1]]', '"6h"', '{ a = 1 }'),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(key, value), { maxLength: 5 }), (pairs) => {
        const said = complaint({
          file: empty,
          set: pairs.map(([k, v]) => `${k}=${String(v)}`),
        });
        if (said !== null) expect(said).toMatch(/\S/);
      }),
    );
  });
});

describe('--set', () => {
  it('goes over the file, and takes TOML values, bare texts and single items of a list', () => {
    const file = fileWith('[score]\nthreshold = 7\nstanding = true\n[ban]\nfirst = "2h"\n');
    const set = [
      'score.threshold=3',
      'score.standing=false',
      'ban.first=30m',
      'ban.max="3d"',
      'mode=shadow',
      'store.host=1234',
      'log.files=/var/log/mail.log',
      'allow.addresses=["192.0.2.0/24", "2001:db8::/32"]',
      'points.postfix/user-unknown=2',
      'handover.every=*/5 * * * *',
    ];
    const { config, explicit } = loadConfig({ file, set });
    expect(config.score).toEqual({
      threshold: 3,
      half_life: 21_600_000,
      standing: false,
    });
    expect(config.ban).toMatchObject({ first: 1_800_000, max: 259_200_000 });
    expect(config.mode).toBe('shadow');
    expect(config.store.host).toBe('1234');
    expect(config.log.files).toEqual(['/var/log/mail.log']);
    expect(config.allow.addresses).toEqual(['192.0.2.0/24', '2001:db8::/32']);
    expect(config.points).toEqual({ 'postfix/user-unknown': 2 });
    expect(explicit.has('score.standing')).toBe(true);
    expect(explicit.has('score.half_life')).toBe(false);
  });

  it('may give a section as an inline table, which leaves the other keys of the section', () => {
    const file = fileWith('[score]\nthreshold = 7\n');
    const { config, explicit, onCommandLine } = loadConfig({
      file,
      set: ['score={ standing = false }'],
    });
    expect(config.score).toMatchObject({ threshold: 7, standing: false });
    expect([...explicit]).toEqual(['score.threshold', 'score.standing']);
    expect([...onCommandLine]).toEqual(['score.standing']);
  });

  it.each([
    ['score.treshold=3', '--set unknown key score.treshold; did you mean score.threshold?'],
    ['score.threshold', '--set score.threshold: wants KEY=VALUE, such as score.threshold=3'],
    ['=3', '--set =3: wants KEY=VALUE, such as score.threshold=3'],
    [
      'score.threshold=low',
      '--set score.threshold: wants a number above 0, at most 1000000, without quotes, not "low"',
    ],
    ['__proto__.x=1', '--set unknown key __proto__'],
  ])('%j is refused, naming --set', (pair, sentence) => {
    expect(complaint({ file: fileWith(''), set: [pair] })).toBe(sentence);
  });
});

describe('flags', () => {
  it('go over --set, and their relative paths count from the working directory', () => {
    const { config, explicit } = loadConfig({
      file: fileWith(''),
      set: ['mode=enforce', 'store.url=memory:'],
      overrides: {
        mode: 'shadow',
        store: 'lmdb:var/store',
        map: 'hash:var/map',
        log: ['mail.log', '/var/log/mail.log'],
        filters: 'filters',
      },
    });
    const here = process.cwd();
    expect(config.mode).toBe('shadow');
    expect(config.store.url).toBe(`lmdb:${here}/var/store`);
    expect(config.postfix.map).toBe(`hash:${here}/var/map`);
    expect(config.log).toEqual({
      files: [`${here}/mail.log`, '/var/log/mail.log'],
      journal: false,
      filters: `${here}/filters`,
    });
    expect(explicit).toEqual(new Set(['mode', 'store.url', 'postfix.map', 'log.files', 'log.filters']));
  });

  it('that are wrong are named', () => {
    expect(complaint({ file: fileWith(''), overrides: { mode: 'on' } })).toBe(
      '--mode: mode wants one of "dry-run", "shadow", "enforce", not "on"',
    );
  });
});

it('the policy gets its settings in milliseconds', () => {
  expect(toPolicySettings(defaultConfig())).toEqual({
    threshold: 5,
    halfLifeMs: 21_600_000,
    standing: true,
    firstMs: 3_600_000,
    factor: 2,
    maxMs: 604_800_000,
    strikesHalfLifeMs: 1_209_600_000,
    ipv6Prefix: 64,
    networks: 8,
    authenticatedForMs: 2_592_000_000,
    dryRun: true,
  });
});

describe('lists of others', () => {
  const list = (more: string, name = 'drop') => `[[lists]]\nname = "${name}"\n${more}\n`;
  const FILE = 'file = "/etc/drop.txt"';

  it('are taken from a file or a URL, with what they leave out', () => {
    const { config } = loadConfig({
      file: fileWith(
        list(`${FILE}\npoints = 2`) +
          list('url = "https://lists.example.net/x"\npoints = 1.5\nmax_age = "3d"', 'other'),
      ),
    });
    expect(config.lists).toEqual([
      { name: 'drop', file: '/etc/drop.txt', points: 2, schedule: '41 */6 * * *', max_age: 7 * 86_400_000 },
      {
        name: 'other',
        url: 'https://lists.example.net/x',
        points: 1.5,
        schedule: '41 */6 * * *',
        max_age: 3 * 86_400_000,
      },
    ]);
  });

  it.each([
    [
      'as many points as ban',
      `${FILE}\npoints = 5`,
      /lists\.1\.points must be below score\.threshold \(5 against 5\): a list alone never bans/,
    ],
    ['no points', FILE, /lists\.1\.points is missing/],
    ['no place', 'points = 2', /lists\.1\.file or url is needed, and not both/],
    ['two places', `${FILE}\nurl = "https://lists.example.net/x"\npoints = 2`, /file or url is needed, and not both/],
    ['a URL of another kind', 'url = "file:///etc/passwd"\npoints = 2', /is no URL: write https:/],
    ['a URL with a password', 'url = "https://me:secret@lists.example.net/x"\npoints = 2', /holds a user or password/],
    ['a relative path', 'file = "drop.txt"\npoints = 2', /lists\.1\.file "drop\.txt" is a relative path/],
    [
      'a key that is none',
      `${FILE}\npoints = 2\nmaxage = "1d"`,
      /unknown key lists\.1\.maxage; did you mean lists\.max_age/,
    ],
    ['a schedule that is none', `${FILE}\npoints = 2\nschedule = "daily"`, /lists\.1\.schedule "daily" is no schedule/],
  ])('are refused with %s', (_, more, why) => {
    const said = complaint({ file: fileWith(list(more)) });
    expect(said).toMatch(why);
    expect(said).not.toContain('secret');
    expect(said).toContain('blockd.toml:');
  });

  it('are refused when two have one name, a name that is none, or when they are no tables', () => {
    const one = list(`${FILE}\npoints = 2`);
    expect(complaint({ file: fileWith(one + one) })).toContain('lists.2.name "drop" is the name of a list above');
    expect(complaint({ file: fileWith(list(`${FILE}\npoints = 2`, '../x')) })).toContain('"../x" is no name');
    expect(complaint({ file: fileWith('lists = "drop"\n') })).toContain('write the keys of each under [[lists]]');
    expect(complaint({ file: fileWith('lists = ["drop"]\n') })).toContain(
      'lists.1 is a table: write its keys under [[lists]], not "drop"',
    );
  });
});
