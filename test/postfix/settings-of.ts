/** Settings of an imagined main.cf and master.cf, over the defaults that matter. */
import { parseServices, type Settings } from '../../src/postfix/settings.js';

const DEFAULTS = {
  mail_version: '3.7.11',
  default_database_type: 'hash',
  mynetworks: '127.0.0.0/8 [::1]/128',
  smtpd_relay_restrictions: 'permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination',
  smtpd_helo_required: 'yes',
  disable_vrfy_command: 'yes',
  smtpd_delay_reject: 'yes',
  smtpd_sasl_auth_enable: 'no',
  smtpd_soft_error_limit: '10',
  smtpd_hard_error_limit: '20',
  smtpd_error_sleep_time: '1s',
};
const MX = 'smtp inet n - y - - smtpd';

/** `master` is what `postconf -M` tells, `overrides` what `postconf -Px` does. */
export function settingsOf(
  values: Readonly<Record<string, string>> = {},
  more: {
    readonly master?: readonly string[];
    readonly overrides?: readonly string[];
    readonly mapTypes?: readonly string[];
    readonly warnings?: readonly string[];
  } = {},
): Settings {
  const all = new Map(Object.entries({ ...DEFAULTS, ...values }));
  return {
    version: all.get('mail_version') ?? '',
    mapTypes: more.mapTypes ?? ['btree', 'cidr', 'hash', 'lmdb'],
    values: all,
    explicit: new Set(Object.keys(values)),
    services: parseServices((more.master ?? [MX]).join('\n'), (more.overrides ?? []).join('\n')),
    warnings: more.warnings ?? [],
  };
}
