/** Is this host's clock kept right? Bans end by it. */
import { existsSync } from 'node:fs';
import { UnavailableError } from '../domain/errors.js';
import { type Finding, ok, warn } from '../postfix/finding.js';
import { run } from '../postfix/run.js';

export async function clockFindings(): Promise<Finding[]> {
  const synchronized = await isSynchronized();
  if (synchronized === null)
    return [ok('ntp', 'whether the clock is kept right can not be told here (timedatectl does not answer)')];
  if (synchronized) return [ok('ntp', 'the clock is kept right (NTP)')];
  return [
    warn(
      'ntp',
      'the clock is not kept right by NTP: bans end, and log lines count, by a clock that may be wrong',
      'Install chrony, or "timedatectl set-ntp true".',
    ),
  ];
}

/** Null where nobody can tell. timedatectl(1) asks the kernel, whichever program sets the clock. */
async function isSynchronized(): Promise<boolean | null> {
  // systemd-timesyncd touches it at each adjustment.
  if (existsSync('/run/systemd/timesync/synchronized')) return true;
  try {
    const { code, stdout } = await run(['timedatectl', 'show', '--property=NTPSynchronized', '--value'], {
      timeoutMs: 5_000,
    });
    const answer = stdout.trim();
    return code === 0 && (answer === 'yes' || answer === 'no') ? answer === 'yes' : null;
  } catch (error) {
    if (error instanceof UnavailableError) return null;
    throw error;
  }
}
