/** Services that take logins: with smtpd_delay_reject a banned client may go on guessing passwords (measured, 3.7). */
import { type Finding, ok, warn } from './finding.js';
import { type Service, type Settings, smtpServices, valueFor } from './settings.js';
import { isLate, type MapName, serviceOption, tablesOf } from './wiring.js';

export function logins(settings: Settings, map: MapName | null): Finding[] {
  const services = smtpServices(settings).filter(
    (service) => valueFor(settings, service, 'smtpd_sasl_auth_enable') === 'yes',
  );
  if (services.length === 0) return [ok('logins', 'no service takes logins')];
  const late = services.filter((service) => isLate(settings, service));
  const early = services.length - late.length;
  const good =
    early === 0 ? [] : [ok('logins', `${early} of ${services.length} services with logins refuse in the greeting`)];
  return [...good, ...late.map((service) => lateFinding(settings, service, map))];
}

function lateFinding(settings: Settings, service: Service, map: MapName | null): Finding {
  const short = service.name.split('/')[0] ?? '';
  const text = `${service.name} takes logins with smtpd_delay_reject = yes: a banned client may go on guessing passwords`;
  // On port 25 an early refusal would cost the log its recipients, and users who log in there their permit.
  if (isPublic(short, service)) {
    return warn(
      'logins',
      text,
      `Let users log in at submission only: -o smtpd_sasl_auth_enable=no below ${short} in master.cf.`,
    );
  }
  const tables = map === null ? ['TYPE:PATH', 'cidr:PATH.cidr'] : tablesOf(map);
  const lines = ['  -o smtpd_delay_reject=no', serviceOption(tables, 'permit')];
  // Asked at HELO, before anybody could log in, these would now refuse users.
  if (valueFor(settings, service, 'smtpd_helo_restrictions') !== '') lines.push('  -o smtpd_helo_restrictions=');
  lines.push('  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject');
  return warn(
    'logins',
    text,
    `In master.cf, below ${short}, in place of what is there by these names:\n${lines.join('\n')}`,
  );
}

function isPublic(name: string, { type }: Service): boolean {
  return type === 'pass' || /(?:^|:)(?:smtp|25)$/.test(name);
}
