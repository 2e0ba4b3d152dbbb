/** Does something take ended bans out of the map even when the daemon is dead? */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Finding, ok, warn } from '../postfix/finding.js';

const UNIT_FOLDERS = ['etc/systemd/system', 'run/systemd/system', 'usr/lib/systemd/system', 'lib/systemd/system'];
const CRON_FILES = ['etc/crontab', 'var/spool/cron/crontabs/root', 'var/spool/cron/root'];
const CRON_FOLDERS = ['etc/cron.d', 'etc/cron.hourly'];

/** `root` stands in for `/` in tests. */
export function sweepFindings(root = '/'): Finding[] {
  const schedule = findSchedule(root);
  if (schedule?.active) return [ok('sweep', `"blockctl sweep" is run by ${schedule.by}`)];
  if (schedule !== null) {
    return [
      warn(
        'sweep',
        `${schedule.by} is there but not enabled: no second hand ends bans`,
        `systemctl enable --now ${schedule.by}`,
      ),
    ];
  }
  return [
    warn(
      'sweep',
      'nothing runs "blockctl sweep": should the daemon die, nobody takes ended bans out of the map',
      'In /etc/cron.d/blockd, with the path that "command -v blockctl" tells:\n*/5 * * * * root /usr/bin/blockctl sweep',
    ),
  ];
}

function findSchedule(root: string): { readonly by: string; readonly active: boolean } | null {
  for (const folder of CRON_FOLDERS) {
    const found = namesIn(join(root, folder)).find((name) => sweeps(join(root, folder, name)));
    if (found !== undefined) return { by: `/${folder}/${found}`, active: true };
  }
  const table = CRON_FILES.find((file) => sweeps(join(root, file)));
  if (table !== undefined) return { by: `/${table}`, active: true };
  for (const folder of UNIT_FOLDERS) {
    const service = namesIn(join(root, folder)).find(
      (name) => name.endsWith('.service') && sweeps(join(root, folder, name)),
    );
    if (service === undefined) continue;
    const timer = service.replace(/\.service$/, '.timer');
    const wanted = UNIT_FOLDERS.map((one) => join(root, one, 'timers.target.wants', timer));
    return { by: timer, active: wanted.some((link) => existsSync(link)) };
  }
  return null;
}

/** A comment runs nothing. */
function sweeps(file: string): boolean {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .some((line) => /^[^#]*\bblockctl\b.*\bsweep\b/.test(line));
  } catch {
    return false;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
