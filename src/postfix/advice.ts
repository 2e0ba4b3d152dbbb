/** What the field knows of a sound main.cf, asked of one that is in force. Pure. */
import { errorLimits } from './advice-limits.js';
import { deprecations, restrictionNames } from './advice-names.js';
import { networks, relay } from './advice-relay.js';
import { logins } from './advice-sasl.js';
import { type Finding, ok, warn } from './finding.js';
import type { Settings } from './settings.js';
import type { MapName } from './wiring.js';

/** All advice; `map` is what services with logins have to ask. */
export function adviseOn(settings: Settings, map: MapName | null): Finding[] {
  return [
    ...relay(settings),
    ...networks(settings),
    ...logins(settings, map),
    ...helo(settings),
    ...restrictionNames(settings),
    ...deprecations(settings),
    ...errorLimits(settings),
    ...vrfy(settings),
    ...postscreen(settings),
  ];
}

function helo({ values }: Settings): Finding[] {
  if (values.get('smtpd_helo_required') === 'yes') return [ok('helo', 'clients have to greet (smtpd_helo_required)')];
  return [
    warn(
      'helo',
      'smtpd_helo_required = no: who never says HELO passes by all HELO restrictions',
      'postconf -e smtpd_helo_required=yes',
    ),
  ];
}

function vrfy({ values }: Settings): Finding[] {
  if (values.get('disable_vrfy_command') === 'yes') return [ok('vrfy', 'VRFY is off')];
  return [
    warn(
      'vrfy',
      'disable_vrfy_command = no: VRFY tells anybody which of your addresses exist, without a mail',
      'postconf -e disable_vrfy_command=yes',
    ),
  ];
}

/** A choice, not a fault: it is told and never warned of. */
function postscreen({ services }: Settings): Finding[] {
  if (services.some(({ command, type }) => command === 'postscreen' && type === 'inet'))
    return [ok('postscreen', 'postscreen stands in front of smtpd; it does not ask the map, the smtpd behind it does')];
  return [
    ok(
      'postscreen',
      'not used; it could keep bots from smtpd before they cost a process (POSTSCREEN_README), beside the map',
    ),
  ];
}
