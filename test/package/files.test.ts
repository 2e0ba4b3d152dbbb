/** What is in the packages, for Debian and for npm; each is at work without this repository. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { defaultConfig } from '../../src/config/schema.js';
import { parseToml } from '../../src/config/toml.js';
import { Filter } from '../../src/filter/filter.js';
import { toBeKnown } from '../../src/filter/known-automata.js';
import { loadRules } from '../../src/filter/load.js';
import { readRuleFile } from '../../src/filter/rule-file.js';
import { startRedis } from '../support/redis.js';

const exec = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'blockd-package-files-'));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the Debian package', () => {
  const unpacked = join(folder, 'unpacked');
  const programs = join(unpacked, 'usr/lib/blockd/dist');
  let deb = '';

  const build = async (into: string): Promise<string> => {
    const arch = (await exec('dpkg', ['--print-architecture'])).stdout.trim();
    await exec(process.execPath, ['scripts/package.mjs', '--arch', arch, '--out', into], { cwd: ROOT });
    return join(into, readdirSync(into)[0] ?? '');
  };

  beforeAll(async () => {
    deb = await build(join(folder, 'first'));
    await exec('dpkg-deb', ['-x', deb, unpacked]);
  });

  test('the same sources give the same bytes', async () => {
    const [one, other] = [deb, await build(join(folder, 'second'))].map((file) =>
      createHash('sha256').update(readFileSync(file)).digest('hex'),
    );
    expect(other).toBe(one);
  });

  test('its manual pages and completions are where Debian looks for them', () => {
    for (const page of ['man8/blockd.8', 'man8/blockctl.8', 'man5/blockd.toml.5', 'man5/blockd-filters.5'])
      expect(existsSync(join(unpacked, 'usr/share/man', `${page}.gz`)), page).toBe(true);
    for (const file of [
      'bash-completion/completions/blockctl',
      'zsh/vendor-completions/_blockctl',
      'fish/vendor_completions.d/blockctl.fish',
    ])
      expect(existsSync(join(unpacked, 'usr/share', file)), file).toBe(true);
  });

  test('every file that a program names by its own address is beside it', () => {
    const named = readdirSync(programs)
      .filter((name) => /\.c?js$/.test(name))
      .flatMap((name) => {
        const text = readFileSync(join(programs, name), 'utf8');
        const short = text.replaceAll('require("url").pathToFileURL(__filename).href', 'HERE');
        const addresses = [...short.matchAll(/new URL\("(\.[^"]+)", HERE\)/g)];
        const required = [...short.matchAll(/createRequire\)\(HERE\)\("(\.[^"]+)"\)/g)];
        return [...addresses, ...required].map(([, address]) => address ?? '');
      });
    expect(named.length).toBeGreaterThan(4);
    expect(named.filter((address) => !existsSync(join(programs, address)))).toEqual([]);
  });

  test('it holds everything that its programs import', () => {
    const required = readdirSync(programs)
      .filter((name) => name.endsWith('.js'))
      .flatMap((name) => {
        const text = readFileSync(join(programs, name), 'utf8');
        return [...text.matchAll(/^(?:const|let|var) [^=]+ = require\("([^"]+)"\)/gm)].map(([, from]) => from ?? '');
      });
    expect(new Set(required)).toContain('./console.js');
    const foreign = required.filter((from) => !isBuiltin(from) && !existsSync(join(programs, from)));
    expect(foreign).toEqual([]);
  });

  describe('what V8 has made of the programs', () => {
    // A program that says of each file whether V8 took what it had made of it before.
    const watched = `
      const vm = require('node:vm');
      vm.Script = class extends vm.Script {
        constructor(text, options) {
          super(text, options);
          console.log(require('node:path').basename(options.filename), this.cachedDataRejected);
        }
      };
      require(${JSON.stringify(join(programs, 'compiled.js'))}).run('blockctl-program.js');`;
    const told = async () => {
      const { stdout } = await exec(process.execPath, ['-e', watched, 'blockctl', 'check']);
      expect(stdout).toContain('All is well');
      return [...stdout.matchAll(/^(\S+\.js) (\S+)$/gm)].map(([, name, rejected]) => `${name} ${rejected}`);
    };
    const compiled = () => {
      const parent = join(unpacked, 'usr/lib/blockd/compiled');
      const [only = ''] = readdirSync(parent);
      return join(parent, only);
    };
    beforeAll(async () => {
      await exec(process.execPath, [join(programs, 'warm-up.js')]);
    }, 120_000);

    test('is taken as it is', async () => {
      const files = await told();
      expect(files).toContain('console.js false');
      expect(files).toContain('reading.js false');
      expect(files.filter((file) => file.endsWith('true'))).toEqual([]);
    });

    test('is made of the daemon, of its log under systemd and of a look into its store', () => {
      const names = readdirSync(compiled());
      for (const name of ['blockd-program.js', 'pino-pretty.js', 'embedded.js', 'list.js', 'report.js'])
        expect(names).toContain(name);
    });

    test.each([
      ['noise', () => randomBytes(50_000)],
      ['its first half', (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1)],
      ['nothing', () => Buffer.alloc(0)],
      ['of another V8', (bytes: Buffer) => Buffer.concat([bytes.subarray(0, 4), randomBytes(4), bytes.subarray(8)])],
    ])('is left aside when it is %s', async (_, spoil) => {
      const file = join(compiled(), 'console.js');
      const bytes = readFileSync(file);
      writeFileSync(file, spoil(bytes));
      expect(await told()).toContain('console.js true');
      writeFileSync(file, bytes);
    });

    test('is of one build only: with other programs nobody looks at it', async () => {
      const about = join(programs, 'package.json');
      const text = readFileSync(about, 'utf8');
      writeFileSync(about, text.replace(/"build":"../, '"build":"zz'));
      expect(await told()).toContain('console.js undefined');
      writeFileSync(about, text);
    });
  });

  describe('its rule files', () => {
    const filters = join(unpacked, 'usr/lib/blockd/filters');
    const LINE = 'Nov 25 01:12:15 mx postfix/smtpd[7]: lost connection after AUTH from unknown[198.51.100.3]';
    const pointsOf = async (line: string): Promise<unknown> => {
      const log = join(folder, 'one-line.log');
      writeFileSync(log, `${line}\n`);
      const { stdout } = await exec(process.execPath, [join(programs, 'blockctl.js'), '--json', 'test', log]);
      return (JSON.parse(stdout) as { points?: unknown }).points;
    };

    test('are known to the programs as they are, but for their samples', () => {
      const known = JSON.parse(readFileSync(join(programs, 'known-rules.json'), 'utf8')) as Record<string, unknown>;
      const expected = readdirSync(filters).map((name) => {
        const content = readFileSync(join(filters, name));
        const { rules } = readRuleFile(parseToml(content, name, false));
        const hash = createHash('sha256').update(content).digest('hex');
        return [hash, rules.map((rule) => ({ ...rule, matches: [], ignores: [] }))];
      });
      expect(expected.length).toBeGreaterThan(2);
      expect(known).toEqual(JSON.parse(JSON.stringify(Object.fromEntries(expected))));
    });

    test('are worked out to the end for the reply that is usual', () => {
      const keysOf = (file: Buffer) =>
        Object.keys(JSON.parse(file.subarray(8, 8 + file.readUInt32LE(4)).toString()) as Record<string, unknown>);
      const rules = loadRules(join(ROOT, 'filters'), null, 'own');
      const filter = Filter.compile(rules, { reply: defaultConfig().postfix.reply });
      const expected = keysOf(toBeKnown(filter.toKnown()));
      expect(expected.length).toBeGreaterThan(3);
      expect(keysOf(readFileSync(join(programs, 'known-automata.bin')))).toEqual(expected);
    });

    test('count as they are: one that is edited, one without what is known of them, and one that is spoilt', async () => {
      const file = join(filters, 'postfix.toml');
      const known = join(programs, 'known-rules.json');
      const [text, json] = [readFileSync(file, 'utf8'), readFileSync(known)];
      const points = await pointsOf(LINE);
      expect(points).toBeGreaterThan(0);
      try {
        const at = text.indexOf('points = ', text.indexOf('name = "postfix/lost-after-auth"'));
        writeFileSync(file, `${text.slice(0, at)}points = 77${text.slice(text.indexOf('\n', at))}`);
        expect(await pointsOf(LINE)).toBe(77);
        writeFileSync(file, text.replace(/^(pattern = .*)\{client\}/m, '$1({client}'));
        await expect(pointsOf(LINE)).rejects.toThrow(/postfix\.toml, rule "/);
        writeFileSync(file, text);
        rmSync(known);
        expect(await pointsOf(LINE)).toBe(points);
        writeFileSync(known, json.subarray(0, 100));
        expect(await pointsOf(LINE)).toBe(points);
      } finally {
        writeFileSync(file, text);
        writeFileSync(known, json);
      }
    });
  });

  test('nothing in it is for others to write, and all of it is root’s', async () => {
    const { stdout } = await exec('dpkg-deb', ['-c', deb]);
    for (const line of stdout.trim().split('\n'))
      expect(line).toMatch(/^[-ld]rw[-x]r-[-x]r-[-x] root\/root |^lrwxrwxrwx root\/root /);
    expect(lstatSync(join(unpacked, 'usr/sbin/blockd')).isSymbolicLink()).toBe(true);
    expect(statSync(join(unpacked, 'usr/bin/blockctl')).mode & 0o111).toBe(0o111);
  });

  test('its programs are at work with Redis as with the store of their own', async () => {
    const redis = await startRedis();
    try {
      for (const store of [redis.url, `lmdb:${join(folder, 'store')}`]) {
        const blockctl = async (...args: string[]) =>
          (await exec(process.execPath, [join(programs, 'blockctl.js'), '--store', store, ...args])).stdout;
        expect(await blockctl('ban', '203.0.113.9')).toContain('banned: 203.0.113.9');
        expect(JSON.parse(await blockctl('--json', 'list'))).toMatchObject([{ subject: '203.0.113.9' }]);
      }
      // In a process of its own the daemon has the store looked through before it opens it.
      await exec(process.execPath, [join(programs, 'lmdb-walk.js'), join(folder, 'store')]);
      const cron = ['--set', 'store.prune=5 4 * * *', 'check'];
      await exec(process.execPath, [join(programs, 'blockctl.js'), ...cron]);
    } finally {
      await redis.stop();
    }
  });
});

test('what npm packs can be installed for all, and is at work', async () => {
  const { stdout } = await exec('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: ROOT });
  const prefix = join(folder, 'prefix');
  const archive = join(folder, stdout.trim().split('\n').at(-1) ?? '');
  await exec('npm', [
    'install',
    '--global',
    '--prefix',
    prefix,
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    archive,
  ]);
  const at = (name: string) => join(prefix, 'bin', name);
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  for (const name of ['blockd', 'blockctl']) expect((await exec(at(name), ['--version'])).stdout.trim()).toBe(version);
  expect((await exec(at('blockctl'), ['check'])).stdout).toContain('All is well');
  const store = `lmdb:${join(folder, 'npm-store')}`;
  expect((await exec(at('blockctl'), ['--store', store, 'ban', '203.0.113.9'])).stdout).toContain(
    'banned: 203.0.113.9',
  );
  const manual = join(prefix, 'share/man');
  const pages = ['man8/blockd.8', 'man8/blockctl.8', 'man5/blockd.toml.5', 'man5/blockd-filters.5'];
  for (const page of pages)
    expect(readFileSync(join(manual, page), 'utf8')).toContain(`.TH ${basename(page, page.slice(-2)).toUpperCase()} `);
  const inside = readdirSync(join(prefix, 'lib/node_modules/blockd'), { recursive: true }).map(String);
  expect(
    inside.filter((name) => !name.startsWith('node_modules') && /\.map$|(^|\/)\.|^src|^test|\.ts$/.test(name)),
  ).toEqual([]);
}, 180_000);
