/** How long smtpd bears with a client that makes mistakes. postconf(5): smtpd_error_sleep_time and its two limits. */
import { type Finding, ok, warn } from './finding.js';
import type { Settings } from './settings.js';

/** One sleeping client keeps one smtpd; with the default of 100 processes it takes a hundred of them to keep all. */
const LONG_SLEEP_S = 30;

export function errorLimits({ values }: Settings): Finding[] {
  const soft = numberOf(values.get('smtpd_soft_error_limit'));
  const hard = numberOf(values.get('smtpd_hard_error_limit'));
  const sleep = secondsOf(values.get('smtpd_error_sleep_time'));
  if (soft === null || hard === null || sleep === null) return [];
  const findings: Finding[] = [];
  if (sleep > 0 && soft >= hard) {
    // Measured with 3.7: at equal limits one answer is delayed, then comes "421 too many errors".
    const what = soft === hard ? `only one answer is delayed by ${sleep} s, then` : 'no answer is ever delayed:';
    findings.push(
      warn(
        'errors',
        `smtpd_soft_error_limit (${soft}) is not below smtpd_hard_error_limit (${hard}): ${what} the client is cut off`,
        `Set the soft limit below the hard one, such as 5 and ${Math.max(10, hard)}; or smtpd_error_sleep_time=0s, if cutting off is all you want.`,
      ),
    );
  }
  if (sleep >= LONG_SLEEP_S) {
    findings.push(
      warn(
        'errors',
        `smtpd_error_sleep_time = ${sleep} s: each client that makes ${soft} mistakes keeps one of your own smtpd processes for that long an answer, and default_process_limit (${values.get('default_process_limit') ?? '100'}) such clients keep everybody out`,
        'postconf -e smtpd_error_sleep_time=1s; a ban costs no process.',
      ),
    );
  }
  if (hard > 100) {
    findings.push(
      warn(
        'errors',
        `smtpd_hard_error_limit = ${hard}: a client may try that many recipients or passwords in one session`,
        'postconf -e smtpd_hard_error_limit=20',
      ),
    );
  }
  if (findings.length > 0) return findings;
  return [ok('errors', `a session is slowed by ${sleep} s an answer from ${soft} mistakes on, and ended at ${hard}`)];
}

/** Null for what can't be read. */
function numberOf(text = ''): number | null {
  return /^\d+$/.test(text) ? Number(text) : null;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };

function secondsOf(text = ''): number | null {
  const [, digits, unit] = /^(\d+)([smhdw]?)$/.exec(text) ?? [];
  return digits === undefined ? null : Number(digits) * (UNITS[unit ?? ''] ?? 1);
}
