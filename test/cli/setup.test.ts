/** `blockctl setup` on a real Postfix: what it shows, does, and takes back. */
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type LabPostfix, startPostfix } from '../support/postfix.js';
import { smtpSession } from '../support/smtp.js';
import { Bench, BLOCKCTL } from './support.js';

const RESTRICTIONS = `
    permit_sasl_authenticated,
    # our own checks
    $our_checks,

    reject_unauth_pipelining`;

// Each check and reload of a Postfix takes seconds.
vi.setConfig({ testTimeout: 120_000 });

let bench: Bench;
let postfix: LabPostfix;
let main: string;
let map: string;
/** The configuration of this Postfix before each test. */
let pristine: ReadonlyMap<string, string>;

beforeAll(async () => {
  postfix = await startPostfix({
    mapType: 'hash',
    main: { smtpd_client_restrictions: RESTRICTIONS, our_checks: 'check_client_access static:DUNNO' },
    submission: ['-o smtpd_client_restrictions=permit_sasl_authenticated,reject'],
  });
  const folder = postfix.configDirectory;
  main = join(folder, 'main.cf');
  pristine = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'latin1')]));
}, 60_000);

beforeEach(() => {
  bench = new Bench();
  rmSync(bench.config);
  map = join(bench.dir, 'state/map/client_access');
});

afterEach(async () => {
  const folder = postfix.configDirectory;
  for (const name of readdirSync(folder)) if (!pristine.has(name)) rmSync(join(folder, name));
  chmodSync(main, 0o644);
  const changed = [...pristine].filter(([name, content]) => readFileSync(join(folder, name), 'latin1') !== content);
  for (const [name, content] of changed) writeFileSync(join(folder, name), content, 'latin1');
  if (changed.length > 0) await postfix.reload();
  bench.remove();
}, 30_000);

afterAll(() => postfix?.stop(), 30_000);

const setup = (...args: readonly string[]) =>
  bench.run('--set', `postfix.config_directory=${postfix.configDirectory}`, '--map', `hash:${map}`, 'setup', ...args);

/** Every file with its content, mode and time. */
function picture(): string[] {
  return [bench.dir, postfix.configDirectory].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => {
      const file = join(folder, name);
      const { mode, mtimeMs, uid } = lstatSync(file);
      return lstatSync(file).isFile()
        ? `${file} ${mode} ${mtimeMs} ${uid} ${readFileSync(file, 'latin1')}`
        : `${file} ${mode}`;
    }),
  );
}

/** The reply to a recipient who exists. */
async function reply(address: string): Promise<string> {
  const session = await smtpSession({ port: postfix.port, address });
  try {
    return await session.rcpt('ok1@lab.example');
  } finally {
    await session.quit();
  }
}

describe('blockctl setup', () => {
  it('--dry-run shows the plan and changes nothing, byte by byte', async () => {
    const before = picture();
    const { code, stdout } = await setup('--dry-run');
    expect(code).toBe(0);
    expect(picture()).toEqual(before);
    expect(stdout).toContain(`log      ${postfix.logFile} (main.cf says so: maillog_file)`);
    expect(stdout).toContain(`  +    check_client_access hash:${map},\n  +    check_client_access cidr:${map}.cidr,\n`);
    expect(stdout).toContain('  +mode = "dry-run"\n');
    expect(stdout).toMatch(/! master\.cf gives \S+\/inet smtpd_client_restrictions of its own/);
    expect(stdout).toMatch(/Nothing was changed \(--dry-run\)\.\n$/);
  });

  it('without a terminal and without --yes refuses, and changes nothing', async () => {
    const before = picture();
    const { code, stderr } = await bench.execute(
      {},
      '--set',
      `postfix.config_directory=${postfix.configDirectory}`,
      '--map',
      `hash:${map}`,
      'setup',
    );
    expect(code).toBe(2);
    expect(stderr).toMatch(/nothing was changed: there is no terminal on which to ask\. .*--dry-run.*--yes/);
    expect(picture()).toEqual(before);
  });

  it('has Postfix ask the map; mail is taken before and after, and a ban is refused in enforce', async () => {
    expect(await reply('203.0.113.9')).toMatch(/^250 /);
    const { code, stdout, stderr } = await setup('--yes');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^done {2}made the map, empty: hash:/m);
    expect(readFileSync(main, 'utf8')).toContain(
      `    permit_sasl_authenticated,\n    # our own checks\n    check_client_access hash:${map},\n    check_client_access cidr:${map}.cidr,\n    $our_checks,\n\n    reject_unauth_pipelining\n`,
    );
    expect(await reply('203.0.113.9')).toMatch(/^250 /);
    await bench.run('ban', '203.0.113.9');
    expect(await reply('203.0.113.9')).toMatch(/^250 /);

    writeFileSync(bench.config, readFileSync(bench.config, 'utf8').replace('"dry-run"', '"enforce"'));
    await bench.run('ban', '2001:db8:1:2::7');
    expect(await reply('203.0.113.9')).toMatch(/^554 5\.7\.1 .*Blocked until /);
    expect(await reply('2001:db8:1:2::99')).toMatch(/^554 5\.7\.1 .*Blocked until /);
    expect(await reply('198.51.100.7')).toMatch(/^250 /);
  }, 60_000);

  it('done twice is as done once', async () => {
    await setup('--yes');
    const once = picture();
    const { code, stdout } = await setup('--yes');
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/Everything is set up already/) });
    expect(picture()).toEqual(once);
  });

  it('--undo takes out all of it, and Postfix goes on', async () => {
    const before = picture().map((one) => one.replace(/ \d+(\.\d+)? 0 /, ' '));
    await setup('--yes');
    const { code, stdout } = await setup('--undo', '--yes');
    expect(code).toBe(0);
    expect(stdout).toContain(`removed the map ${map}`);
    expect(picture().map((one) => one.replace(/ \d+(\.\d+)? 0 /, ' '))).toEqual(before);
    expect(await reply('203.0.113.9')).toMatch(/^250 /);
    expect((await setup('--undo', '--yes')).stdout).toMatch(/nothing of setup here/);
  });

  it('--undo keeps what was changed since', async () => {
    await setup('--yes');
    appendFileSync(main, '# mine\nsmtpd_helo_required = yes\n');
    appendFileSync(bench.config, '[score]\nthreshold = 7\n');
    const { code, stdout } = await setup('--undo', '--yes');
    expect(code).toBe(0);
    const left = readFileSync(main, 'utf8');
    expect(left).not.toContain(map);
    expect(left).toContain(RESTRICTIONS);
    expect(left).toMatch(/# mine\nsmtpd_helo_required = yes\n$/);
    expect(stdout).toContain(`${bench.config} has been changed since, and stays as it is.`);
    expect(readFileSync(bench.config, 'utf8')).toContain('threshold = 7');
    expect(existsSync(map)).toBe(false);
  });

  it('--undo touches nothing that was not its own', async () => {
    const wired = (text: string) =>
      text.replace('    $our_checks', `    check_client_access hash:${map},\n    $our_checks`);
    writeFileSync(main, wired(readFileSync(main, 'utf8')));
    const before = readFileSync(main, 'utf8');
    expect((await setup('--undo', '--yes')).stdout).toMatch(/nothing of setup here/);
    expect(readFileSync(main, 'utf8')).toBe(before);
    await setup('--yes');
    expect(readFileSync(main, 'utf8')).toContain(`hash:${map},\n    check_client_access cidr:${map}.cidr,\n`);
    const { stdout } = await setup('--undo', '--yes');
    expect(readFileSync(main, 'utf8')).toBe(before);
    expect(stdout).toMatch(/main\.cf still names .*client_access, so the map stays/);
    expect(existsSync(`${map}.db`)).toBe(true);
  });

  it('--undo leaves the map where master.cf still names it', async () => {
    await setup('--yes');
    const master = join(postfix.configDirectory, 'master.cf');
    writeFileSync(
      master,
      readFileSync(master, 'utf8').replace(
        'permit_sasl_authenticated,reject',
        `check_client_access,hash:${map},permit`,
      ),
    );
    const { stdout } = await setup('--undo', '--yes');
    expect(stdout).toMatch(/master\.cf still names .*client_access, so the map stays/);
    expect(existsSync(`${map}.db`)).toBe(true);
  });

  it.each([
    ['postfix.reload=["false"]', /"false" failed/],
    ['postfix.postmap=/nowhere/postmap', /can't run \/nowhere\/postmap/],
  ])('that fails (%s) leaves everything as it was, and says so', async (setting, message) => {
    const before = picture().map((one) => one.replace(/ \d+(\.\d+)? 0 /, ' '));
    const { code, stderr } = await setup('--yes', '--set', setting);
    expect(code).toBe(3);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(
      setting.includes('false') ? /please do it by hand:\n.*run "postfix reload"/ : /Everything is as it was before\./,
    );
    expect(picture().map((one) => one.replace(/ \d+(\.\d+)? 0 /, ' '))).toEqual(before);
    expect(await reply('203.0.113.9')).toMatch(/^250 /);
  });

  it('changes nothing where Postfix’s own check fails already', async () => {
    // A copy, so that the Postfix at work starts no process with it.
    const broken = join(bench.dir, 'broken');
    cpSync(postfix.configDirectory, broken, { recursive: true });
    appendFileSync(join(broken, 'main.cf'), 'queue_directory = /nowhere/queue\n');
    const before = picture();
    const { code, stderr } = await setup('--yes', '--set', `postfix.config_directory=${broken}`);
    expect(code).toBe(3);
    expect(stderr).toMatch(/already before anything was changed; mend that first\n.*Everything is as it was before\./);
    expect(picture()).toEqual(before);
  });

  it('keeps mode and owner of main.cf, and a copy of it', async () => {
    chmodSync(main, 0o640);
    await setup('--yes');
    expect(statSync(main).mode & 0o777).toBe(0o640);
    const copy = readdirSync(postfix.configDirectory).filter((name) => name.startsWith('main.cf.before-blockd-'));
    expect(copy).toHaveLength(1);
    expect(readFileSync(join(postfix.configDirectory, copy[0] ?? ''), 'utf8')).not.toContain(map);
  });

  it('writes the settings of its command line into a new config, and the map alone into one that is there', async () => {
    await setup('--yes', '--mode', 'shadow', '--set', 'score.threshold=3', '--set', 'points.postfix/user-unknown=2');
    const written = readFileSync(bench.config, 'utf8');
    expect(written).toContain('mode = "shadow"\n');
    expect(written).toContain('[score]\nthreshold = 3\n');
    expect(written).toContain('[points]\n"postfix/user-unknown" = 2\n');
    expect((await bench.run('check')).code).toBe(0);

    await setup('--undo', '--yes');
    writeFileSync(bench.config, '# ours\nmode = "shadow"\n[postfix] # for the map\nmax_entries = 5\n');
    expect((await setup('--yes')).code).toBe(0);
    expect(readFileSync(bench.config, 'utf8')).toBe(
      `# ours\nmode = "shadow"\n[postfix] # for the map\nmap = "hash:${map}"\nmax_entries = 5\n`,
    );
  });

  it('refuses to begin with enforce, a map that Postfix has not, and an instance that is none', async () => {
    expect((await setup('--mode', 'enforce')).code).toBe(2);
    expect((await setup('--set', 'mode=enforce')).stderr).toMatch(/setup begins in dry-run or shadow/);
    expect((await setup('--map', `sdbm:${map}`)).code).toBe(2);
    const { code, stderr } = await setup('--instance', 'postfix-none');
    expect({ code, stderr }).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/"postfix-none" is none of its Postfix instances/),
    });
  });

  it('sets up one of several instances, or all', async () => {
    const second = join(bench.dir, 'second');
    cpSync(postfix.configDirectory, second, { recursive: true });
    const queue = join(bench.dir, 'queue');
    for (const folder of [queue, join(bench.dir, 'data')]) mkdirSync(folder);
    const other = readFileSync(main, 'utf8').replace(/^queue_directory = .*$/m, `queue_directory = ${queue}`);
    writeFileSync(join(second, 'main.cf'), `${other}multi_instance_name = postfix-in\n`);
    appendFileSync(main, `multi_instance_directories = ${second}\n`);
    const names = (folder: string) => readFileSync(join(folder, 'main.cf'), 'utf8').includes(map);

    await setup('--yes', '--instance', 'postfix-in');
    expect([names(second), names(postfix.configDirectory)]).toEqual([true, false]);
    await setup('--yes', '--instance', 'all');
    expect([names(second), names(postfix.configDirectory)]).toEqual([true, true]);
    await setup('--undo', '--yes');
    expect([names(second), names(postfix.configDirectory)]).toEqual([false, false]);
  });

  it('asks on a terminal, and takes no for an answer', async () => {
    const before = picture();
    const command = [
      process.execPath,
      BLOCKCTL,
      '--config',
      bench.config,
      '--set',
      `postfix.config_directory=${postfix.configDirectory}`,
      '--map',
      `hash:${map}`,
      'setup',
    ];
    const no = await onTerminal(command.join(' '), 'n\n');
    expect(no.output).toMatch(/Do this\? \[y\/N\] .*Nothing was changed\./s);
    expect(no.code).toBe(1);
    expect(picture()).toEqual(before);
    const yes = await onTerminal(command.join(' '), 'y\n');
    expect(yes.code).toBe(0);
    expect(readFileSync(main, 'utf8')).toContain(map);
  });

  it('--json tells the plan and what was done', async () => {
    const { stdout } = await bench.run(
      '--json',
      '--set',
      `postfix.config_directory=${postfix.configDirectory}`,
      '--map',
      `hash:${map}`,
      'setup',
      '--yes',
    );
    expect(JSON.parse(stdout)).toMatchObject({
      map: { type: 'hash', path: map },
      mode: 'dry-run',
      changes: [{ file: bench.config, before: null }, { file: main }],
      done: expect.arrayContaining(['reloaded Postfix']),
    });
  });
});

/** Runs `command` on a terminal of script(1). */
async function onTerminal(command: string, input: string): Promise<{ code: number | null; output: string }> {
  const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const code = new Promise<number | null>((resolve) => child.on('close', resolve));
  child.stdout.on('data', (data) => {
    if (String(data).includes('[y/N]')) child.stdin.write(input);
  });
  const output = await text(child.stdout);
  child.stdin.end();
  return { code: await code, output };
}
