/** A real Postfix of the test's own: own configuration, queue and log under /tmp, on a loopback port. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const exec = promisify(execFile);

export interface LabPostfix {
  readonly port: number;
  /** Of the second service; the same as `port` where none was asked for. */
  readonly submissionPort: number;
  /** Of postscreen, which wants the PROXY protocol; the same as `port` where none was asked for. */
  readonly postscreenPort: number;
  readonly configDirectory: string;
  readonly logFile: string;
  /** Access map as main.cf names it, without type. Its folder and an empty map are there. */
  readonly mapPath: string;
  /** `postfix reload`. */
  reload(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Datagrams that wait for postlogd(8). master(8) logs through it too: with the kernel's ten, others' lines fill the queue
 * while a reload ends one postlogd, and master waits for room that only the next one would make, which it alone can
 * start. systemd sets the same at each boot; a container has what the kernel has.
 */
const QUEUE_FILE = '/proc/sys/net/unix/max_dgram_qlen';
const QUEUE = 512;

async function makeRoomForLogLines(): Promise<void> {
  if (Number(await readFile(QUEUE_FILE, 'utf8')) < QUEUE) await writeFile(QUEUE_FILE, `${QUEUE}\n`);
}

/** Needs root; master(8) starts its services as their own users. */
export async function startPostfix(options: {
  readonly mapType: string;
  /** Parameters of main.cf beside the usual ones, or in their place. */
  readonly main?: Readonly<Record<string, string>>;
  /** `-o` lines of a second service, on a port of its own. */
  readonly submission?: readonly string[];
  /** postscreen in front of smtpd, on a port of its own. */
  readonly postscreen?: boolean;
  /** Another place than this machine's loopback: its address, and the command that runs another one there. */
  readonly site?: { readonly address: string; readonly through: readonly string[] };
}): Promise<LabPostfix> {
  if (process.getuid?.() !== 0) throw new Error('these tests start a Postfix of their own, and that needs root');
  if (!existsSync('/usr/sbin/postfix')) throw new Error('these tests need Postfix: apt-get install postfix');
  const root = await mkdtemp(join(tmpdir(), 'blockd-postfix-'));
  await chmod(root, 0o755);
  const folder = (name: string) => join(root, name);
  const configDirectory = folder('etc');
  const mapPath = folder('map/client_access');
  const logFile = folder('log/mail.log');
  const port = await freePort();
  const submissionPort = options.submission === undefined ? port : await freePort();
  const postscreenPort = options.postscreen === true ? await freePort() : port;
  for (const name of ['etc', 'queue', 'data', 'map', 'log']) await mkdir(folder(name), { mode: 0o755 });
  const postfixUid = Number((await exec('id', ['-u', 'postfix'])).stdout);
  await chown(folder('data'), postfixUid, -1);

  const { mapType, site } = options;
  const address = site?.address ?? '127.0.0.1';
  const main = {
    compatibility_level: '3.6',
    queue_directory: folder('queue'),
    data_directory: folder('data'),
    maillog_file: logFile,
    maillog_file_prefixes: root,
    myhostname: 'mx.lab.example',
    mydestination: 'lab.example',
    inet_interfaces: site === undefined ? '127.0.0.1' : 'all',
    inet_protocols: 'all',
    mynetworks: '127.0.0.0/8',
    local_recipient_maps: 'inline:{ok1=1,ok2=1}',
    local_transport: 'discard:',
    default_transport: 'discard:',
    smtpd_authorized_xclient_hosts: '127.0.0.0/8',
    smtpd_client_restrictions: `check_client_access ${mapType}:${mapPath}, check_client_access cidr:${mapPath}.cidr`,
    smtpd_relay_restrictions: 'reject_unauth_destination',
    smtpd_recipient_restrictions: '',
    smtpd_error_sleep_time: '0',
    smtpd_client_connection_rate_limit: '0',
    smtpd_client_connection_count_limit: '0',
    smtpd_peername_lookup: 'no',
    alias_maps: '',
    alias_database: '',
    ...options.main,
  };
  await writeFile(
    join(configDirectory, 'main.cf'),
    `${Object.entries(main)
      .map(([key, value]) => `${key} = ${value}`)
      .join('\n')}\n`,
  );
  await writeFile(
    join(configDirectory, 'master.cf'),
    [
      `${address}:${port} inet n - n - 20 smtpd`,
      ...(options.submission === undefined
        ? []
        : [`${address}:${submissionPort} inet n - n - 20 smtpd`, ...options.submission.map((line) => `  ${line}`)]),
      ...(options.postscreen === true
        ? [
            `${address}:${postscreenPort} inet n - n - 1 postscreen`,
            '  -o postscreen_upstream_proxy_protocol=haproxy',
            'smtpd pass - - n - - smtpd',
            'dnsblog unix - - n - 0 dnsblog',
          ]
        : []),
      'postlog unix-dgram n - n - 1 postlogd',
      'pickup unix n - n 60 1 pickup',
      'cleanup unix n - n - 0 cleanup',
      'qmgr unix n - n 300 1 qmgr',
      'rewrite unix - - n - - trivial-rewrite',
      'bounce unix - - n - 0 bounce',
      'defer unix - - n - 0 bounce',
      'trace unix - - n - 0 bounce',
      'verify unix - - n - 1 verify',
      'error unix - - n - - error',
      'retry unix - - n - - error',
      'discard unix - - n - - discard',
      'anvil unix - - n - 1 anvil',
      '',
    ].join('\n'),
  );
  // Both tables must be there before a smtpd opens them: one that found none goes on without.
  await writeFile(mapPath, '');
  await writeFile(`${mapPath}.cidr`, '');
  await exec('postmap', ['-c', configDirectory, `${mapType}:${mapPath}`]);
  const postfix = (...args: string[]) => {
    const [command = '', ...rest] = [...(site?.through ?? []), 'postfix', '-c', configDirectory, ...args];
    return exec(command, rest);
  };
  const stop = async () => {
    await postfix('stop').catch(() => undefined);
    await rm(root, { recursive: true, force: true });
  };
  try {
    // Where it may not be set, as in some containers, the lab has been seen to hang once in some hundred reloads.
    await makeRoomForLogLines().catch(() => undefined);
    await postfix('start');
    // Elsewhere it is out of our reach; who connects from there waits for it.
    if (site === undefined) await untilListening(port, logFile);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    port,
    submissionPort,
    postscreenPort,
    configDirectory,
    logFile,
    mapPath,
    reload: async () => {
      await postfix('reload');
    },
    stop,
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

async function untilListening(port: number, logFile: string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('data', () => {
        socket.end('QUIT\r\n');
        resolve(true);
      });
      socket.once('error', () => resolve(false));
      socket.setTimeout(2_000, () => socket.destroy(new Error('no greeting')));
    });
    if (open) return;
    await sleep(100);
  }
  throw new Error(`Postfix does not answer on port ${port}:\n${await readFile(logFile, 'utf8').catch(() => 'no log')}`);
}
