/** The Debian package on a fresh Debian 13, with that Debian's own Node.js and Postfix: installed, at work, gone. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DebianRoot } from '../support/debian-root.js';
import { freePort } from '../support/redis.js';
import { smtpSession } from '../support/smtp.js';

const exec = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAP = 'hash:/var/lib/blockd/postfix/client_access';
const PROBER = '203.0.113.9';
const CIDR = 'cidr:/var/lib/blockd/postfix/client_access.cidr';
const CONFIG = '/etc/blockd/blockd.toml';
const USER = 'ok1@lab.example';

describe('the package on a fresh Debian 13', () => {
  const folder = mkdtempSync(join(tmpdir(), 'blockd-package-test-'));
  let debian: DebianRoot | null = null;
  let port = 0;
  let deb = '';

  beforeAll(async () => {
    const arch = (await exec('dpkg', ['--print-architecture'])).stdout.trim();
    const [root] = await Promise.all([
      DebianRoot.build().catch((error: Error) => {
        // A developer without a mirror still tests the rest; nothing lands without this.
        if (process.env['CI'] === 'true') throw error;
        console.warn(`not tested: ${error.message}`);
        return null;
      }),
      exec(process.execPath, ['scripts/package.mjs', '--arch', arch, '--out', folder], { cwd: ROOT }),
    ]);
    debian = root;
    if (debian === null) return;
    port = await freePort();
    deb = debian.take(join(folder, readdirSync(folder)[0] ?? ''));
  }, 540_000);

  afterAll(async () => {
    await debian?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  const inDebian = (name: string, test: (root: DebianRoot) => Promise<void>) =>
    it(name, async (context) => {
      if (debian === null) context.skip();
      else await test(debian);
    }, 120_000);

  /** What Postfix answers a client at this address, to a recipient that it has. */
  const ask = async (address: string, recipient = USER): Promise<string> => {
    const session = await smtpSession({ port, address });
    try {
      return await session.rcpt(recipient);
    } finally {
      await session.quit();
    }
  };

  inDebian('installs with dpkg alone, and follows the log in dry-run; the map is there, and empty', async (root) => {
    await startMailHost(root, port);
    await root.must(`dpkg -i ${deb}`);
    expect(await root.must('id -Gn blockd')).toMatch(/\badm\b/);
    expect(await root.must('stat -c "%U %a" /var/lib/blockd /var/lib/blockd/postfix /var/lib/blockd/store')).toBe(
      'blockd 755\nblockd 755\nblockd 750',
    );
    expect(await root.must(`postmap -s ${MAP}`)).toBe('');
    // Not found is 1 with nothing said; a table that can't be used has something to say.
    expect(await root.sh(`postmap -q ${PROBER} ${CIDR}`)).toEqual({ code: 1, stdout: '', stderr: '' });
    expect(await root.must('blockctl check')).toContain('All is well');
    expect(await root.must('dpkg -V blockd')).toBe('');
    // It is active only since it has said itself that it is ready.
    expect(await root.must('systemctl is-active blockd.service blockd-sweep.timer')).toBe('active\nactive');
    expect(await property(root, 'StatusText')).toMatch(/^dry-run: /);
  });

  inDebian('starts sooner by what its own Node.js has compiled, also after that was replaced', async (root) => {
    const compiled = 'ls /usr/lib/blockd/compiled/*/blockd-program.js';
    expect(await root.must(compiled)).toContain(`-${await root.must('node --version')}-`);
    await root.must('rm -r /usr/lib/blockd/compiled');
    await root.must('dpkg-trigger --by-package=nodejs /usr/bin/node && dpkg --configure --pending');
    await root.must(compiled);
  });

  inDebian('bans a probing client for that Postfix, and says so', async (root) => {
    await root.must(
      `postconf -e 'smtpd_client_restrictions = check_client_access ${MAP}, check_client_access ${CIDR}, permit_mynetworks'`,
    );
    await root.must('postfix reload');
    await root.must(`sed -i 's/^mode = .*/mode = "enforce"/' ${CONFIG} && systemctl restart blockd`);
    expect(await ask(PROBER)).toMatch(/^250/);
    for (let probe = 0; probe < 10; probe++) await ask(PROBER, `nobody${probe}@lab.example`);
    await until(async () =>
      (await root.sh(`postmap -q ${PROBER} ${MAP}`)).stdout.startsWith('554 5.7.1 Blocked until'),
    );
    expect(await ask(PROBER)).toMatch(/^554 5\.7\.1 .*Blocked until .* after repeated rejects/);
    expect(await ask('198.51.100.77')).toMatch(/^250/);

    const bans = JSON.parse(await root.must('blockctl --json list')) as { subject: string; by: string }[];
    expect(bans).toMatchObject([{ subject: PROBER, by: 'score' }]);
    const status = JSON.parse(await root.must('blockctl --json status')) as Record<string, unknown>;
    expect(status).toMatchObject({
      mode: 'enforce',
      banned: 1,
      map: { type: 'hash', entries: 1 },
      store: { ok: true },
    });
    expect(await root.must(`stat -c %U /proc/${await property(root, 'MainPID')}`)).toBe('blockd');
  });

  inDebian('is reloaded by systemctl, and started anew by systemd when it stands still', async (root) => {
    await root.must('systemctl reload blockd');
    await until(async () => (await root.must('journalctl -u blockd')).includes('config and filters reloaded'));
    expect(await root.must('systemctl is-active blockd')).toBe('active');

    await root.must('mkdir -p /run/systemd/system/blockd.service.d');
    const quick = '[Service]\\nWatchdogSec=3\\nRestartSec=0\\n';
    await root.must(`printf '${quick}' > /run/systemd/system/blockd.service.d/quick.conf && systemctl daemon-reload`);
    await root.must('systemctl restart blockd');
    await sleep(5_000);
    expect(await property(root, 'NRestarts')).toBe('0');
    await root.must('kill -STOP "$(systemctl show -P MainPID blockd)"');
    await until(async () => (await property(root, 'NRestarts')) === '1');
    await until(async () => (await root.sh('systemctl is-active blockd')).stdout.trim() === 'active');
    expect(await ask(PROBER)).toMatch(/^554/);
    await root.must('rm -r /run/systemd/system/blockd.service.d && systemctl daemon-reload');
  });

  inDebian('ends bans by its sweep also while the daemon is stopped', async (root) => {
    const other = '198.51.100.99';
    await root.must(`blockctl ban ${other} --for 2s && systemctl stop blockd`);
    expect(await ask(other)).toMatch(/^554/);
    // Ends are whole seconds, and rounded up.
    await sleep(3_500);
    await root.must('systemctl start blockd-sweep.service');
    expect(await ask(other)).toMatch(/^250/);
    expect(await ask(PROBER)).toMatch(/^554/);
  });

  inDebian('keeps its config and its bans over an upgrade', async (root) => {
    const config = root.read(CONFIG);
    await root.must(`dpkg -i ${deb}`);
    expect(root.read(CONFIG)).toBe(config);
    expect(await root.must('systemctl is-active blockd')).toBe('active');
    expect(await ask(PROBER)).toMatch(/^554/);
    expect(await root.must('blockctl list')).toContain(PROBER);
  });

  inDebian("keeps the kernel's sets with the rights that the front line's page tells to give", async (root) => {
    const told = readFileSync(join(ROOT, 'docs/frontline.md'), 'utf8');
    const rights = /^ {4}(\[Service\]\n(?: {4}.+\n)+)/m.exec(told)?.[1]?.replace(/^ {4}/gm, '') ?? '';
    expect(rights).toContain('CAP_NET_ADMIN');
    const folder = '/etc/systemd/system/blockd.service.d';
    await root.must(`mkdir -p ${folder}`);
    // A network of its own: the sets of this machine are none of a test's business.
    writeFileSync(join(root.folder, folder, 'rights.conf'), `${rights}PrivateNetwork=yes\n`);
    await root.must(`sed -i 's/^nftables = .*/nftables = true/' ${CONFIG}`);
    await root.must('systemctl daemon-reload && systemctl restart blockd');
    const sets = 'nsenter -n -t "$(systemctl show -P MainPID blockd)" nft list set inet blockd banned4';
    await until(async () => (await root.sh(sets)).stdout.includes(PROBER));
    expect(await root.must(sets)).toMatch(new RegExp(`${PROBER.replaceAll('.', '\\.')} timeout \\S+ expires \\S+`));
    expect(await root.must('stat -c %U /proc/$(systemctl show -P MainPID blockd)')).toBe('blockd');
    await root.must('blockctl unban 203.0.113.9');
    await until(async () => !(await root.sh(sets)).stdout.includes(PROBER));
    await root.must(`rm -r ${folder} && sed -i 's/^nftables = .*/nftables = false/' ${CONFIG}`);
    await root.must('systemctl daemon-reload && systemctl restart blockd');
  });

  inDebian(
    "has Postfix reloaded for postscreen's table by the units that the front line's page shows",
    async (root) => {
      const page = readFileSync(join(ROOT, 'docs/frontline.md'), 'utf8').replace(/^ {4}/gm, '');
      for (const [, path = '', unit = ''] of page.matchAll(/^# (\/etc\/systemd\/system\/\S+)\n((?:[[A-Z].*\n)+)/gm)) {
        writeFileSync(join(root.folder, path), unit);
      }
      const table = '/var/lib/blockd/postfix/postscreen.cidr';
      await root.must(`sed -i 's|^# postscreen_map = .*|postscreen_map = "${table}"|' ${CONFIG}`);
      await root.must('systemctl restart blockd');
      await until(async () => (await root.sh(`test -e ${table}`)).code === 0);
      await root.must('systemctl daemon-reload && systemctl enable --now blockd-postscreen.path');
      const reloads = () => root.read('/var/log/mail.log').split(' reload -- version ').length;
      const before = reloads();
      await root.must('blockctl ban 198.51.100.200');
      expect(await root.must(`cat ${table}`)).toContain('198.51.100.200/32\treject');
      await until(async () => reloads() > before);
      await root.must(`systemctl disable --now blockd-postscreen.path && sed -i 's|^postscreen_map|# &|' ${CONFIG}`);
      await root.must('systemctl restart blockd');
    },
  );

  inDebian('follows the journal, where a Debian has no other mail log', async (root) => {
    const stranger = '198.51.100.55';
    await root.must(`sed -i 's/^journal = .*/journal = true/' ${CONFIG} && systemctl restart blockd`);
    expect(await property(root, 'StatusText')).toMatch(/^enforce: /);
    const line = `NOQUEUE: reject: RCPT from unknown[${stranger}]: 550 5.1.1 <a@lab.example>: Recipient address rejected: User unknown in local recipient table; from=<b@remote.example> to=<a@lab.example> proto=ESMTP helo=<x.example>`;
    await root.must(`for n in 1 2 3 4 5 6 7 8 9; do logger -t postfix/smtpd --id=$((100 + n)) '${line}'; done`);
    await until(async () => (await ask(stranger)).startsWith('554'));
  });

  inDebian('hands the digest to Postfix although no setgid program works in its service', async (root) => {
    // The daemon's own unit, with the mail in its place.
    const mail = `/bin/sh -c "printf 'Subject: digest\\\\n\\\\nall is well\\\\n' | /usr/sbin/sendmail -i ${USER}"`;
    const unit = root
      .read('/usr/lib/systemd/system/blockd.service')
      .replace(/^(?:Restart|WatchdogSec|NotifyAccess).*\n/gm, '')
      .replace(/^Type=notify$/m, 'Type=oneshot')
      .replace(/^ExecStart=.*/m, `ExecStart=${mail}`);
    writeFileSync(join(root.folder, 'etc/systemd/system/trial-digest.service'), unit);
    await root.must('systemctl daemon-reload && systemctl start trial-digest');
    await until(async () => /postfix\/pickup\[\d+\]: .*from=<blockd/.test(root.read('/var/log/mail.log')));
  });

  inDebian('removed, it takes the bans out of the map, and mail is taken as before', async (root) => {
    const { code, stderr } = await root.sh('dpkg -r blockd');
    expect(code, stderr).toBe(0);
    expect((await root.sh('systemctl is-active blockd.service blockd-sweep.timer')).stdout).toBe(
      'inactive\ninactive\n',
    );
    expect(stderr).toMatch(/take out:\n\/etc\/postfix\/main\.cf, line \d+:.*check_client_access hash:/);
    expect(await root.must(`postmap -s ${MAP}`)).toBe('');
    await until(async () => (await ask(PROBER)).startsWith('250'));
    expect(root.read(CONFIG)).toContain('mode = "enforce"');
  });

  inDebian('purged, it leaves the map that main.cf still names, and warns; no mail is refused', async (root) => {
    const { code, stderr } = await root.sh('dpkg -P blockd');
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(/WARNING: Postfix still names the access map[\s\S]*main\.cf, line \d+:/);
    expect((await root.sh(`test -e ${CONFIG} || test -e /var/lib/blockd/store`)).code).not.toBe(0);
    await root.must('postfix reload');
    for (let session = 0; session < 5; session++) expect(await ask(PROBER)).toMatch(/^250/);
  });

  inDebian('purged when Postfix no longer names its map, it leaves nothing behind', async (root) => {
    await root.must('postconf -e smtpd_client_restrictions= && postfix reload');
    await root.must(`dpkg -i ${deb}`);
    const { code, stderr } = await root.sh('dpkg -P blockd');
    expect(code, stderr).toBe(0);
    expect(stderr).not.toContain('WARNING');
    expect((await root.sh('ls -d /var/lib/blockd /etc/blockd /usr/lib/blockd')).stdout).toBe('');
    expect(await ask(PROBER)).toMatch(/^250/);
    await root.must('postfix stop');
  });
});

/** That Debian's Postfix, on a port of its own. */
async function startMailHost(root: DebianRoot, port: number): Promise<void> {
  const settings = {
    compatibility_level: '3.6',
    maillog_file: '/var/log/mail.log',
    myhostname: 'mx.lab.example',
    mydestination: 'lab.example',
    inet_interfaces: '127.0.0.1',
    mynetworks: '127.0.0.0/8',
    local_recipient_maps: 'inline:{ok1=1}',
    local_transport: 'discard:',
    smtpd_authorized_xclient_hosts: '127.0.0.0/8',
    smtpd_peername_lookup: 'no',
    smtpd_error_sleep_time: '0',
  };
  const assignments = Object.entries(settings).map(([key, value]) => `'${key} = ${value}'`);
  await root.must('echo mx.lab.example > /etc/hostname; touch /etc/postfix/main.cf; newaliases || true');
  await root.must(`postconf -e ${assignments.join(' ')}`);
  await root.must(
    `postconf -MX smtp/inet; postconf -Me '127.0.0.1:${port}/inet = 127.0.0.1:${port} inet n - n - - smtpd'`,
  );
  await root.must('touch /var/log/mail.log; chown root:adm /var/log/mail.log; chmod 0640 /var/log/mail.log');
  await root.must('postfix start');
}

async function property(root: DebianRoot, name: string): Promise<string> {
  return root.must(`systemctl show -P ${name} blockd`);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 150; tries++) {
    if (await holds()) return;
    await sleep(100);
  }
  throw new Error('it did not come about within 15 s');
}
