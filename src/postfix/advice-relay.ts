/** Who may send mail through this server to others: SMTPD_ACCESS_README, "Dangerous use of smtpd_recipient_restrictions". */
import { isIPv4, parseNetwork } from '../domain/address.js';
import { type Finding, fail, ok, warn } from './finding.js';
import { flatten, parseRestrictions, type Restriction } from './restrictions.js';
import { isAtLeast, type Settings } from './settings.js';
import { classesOf, OWN_PERMITS } from './wiring.js';

const RELAY = 'smtpd_relay_restrictions';
const RECIPIENT = 'smtpd_recipient_restrictions';
const REPAIR = `postconf -e "${RELAY}=permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination"`;

export function relay(settings: Settings): Finding[] {
  const { values } = settings;
  const hasRelayList = isAtLeast(settings.version, 2, 10) && (values.get(RELAY) ?? '') !== '';
  const name = hasRelayList ? RELAY : RECIPIENT;
  const list = flatten(parseRestrictions(values.get(name) ?? '', 'check_recipient_access'), classesOf(settings));
  const guard = list.findIndex(({ name: one, warnOnly }) => GUARDS.includes(one) && !warnOnly);
  const before = guard < 0 ? list : list.slice(0, guard);
  const empty = hasRelayList ? '' : `${RELAY} is empty, and `;
  // A list is good for both as long as nothing in front of the guard says OK.
  const open = before.find(({ name: one }) => OPEN.includes(one));
  if (open !== undefined) {
    return [fail('relay', `${empty}"${open.name}" in ${name} permits relaying to people it should not`, REPAIR)];
  }
  if (guard < 0)
    return [fail('relay', `${empty}${name} has no reject_unauth_destination: relaying is not refused`, REPAIR)];
  const forgeable = before.find(({ name: one }) => FORGEABLE.test(one));
  if (forgeable !== undefined) {
    return [
      fail(
        'relay',
        `${empty}${spelt(forgeable)} stands before ${list[guard]?.name} in ${name}: an OK there lets whoever claims that name relay`,
        hasRelayList ? `Move it into ${RECIPIENT}, which asks behind ${RELAY}.` : REPAIR,
      ),
    ];
  }
  const table = before.find(({ name: one }) => /^check_/.test(one));
  if (table !== undefined) {
    return [
      warn(
        'relay',
        `${empty}${spelt(table)} stands before ${list[guard]?.name} in ${name}: an OK there also permits relaying`,
        hasRelayList ? `Move it into ${RECIPIENT}, or let it say DUNNO in place of OK.` : REPAIR,
      ),
    ];
  }
  return [ok('relay', `strangers can't relay (${list[guard]?.name} in ${name})`)];
}

/** Whom permit_mynetworks and blockd's own allowlist take for one of ours. */
export function networks({ values }: Settings): Finding[] {
  const wide = (values.get('mynetworks') ?? '').split(/[\s,]+/).filter((item) => {
    const network = parseNetwork(item.replace(/^\[([^\]]*)\]/, '$1'));
    if (network === null || isPrivate(network.base)) return false;
    return network.prefix < (isIPv4(network.base) ? 16 : 32);
  });
  const all = wide.find((item) => item.endsWith('/0'));
  if (all !== undefined) {
    return [
      fail(
        'networks',
        `mynetworks holds ${all}, everybody: all of them may relay, and none of them can ever be banned`,
        'Name only your own networks in mynetworks.',
      ),
    ];
  }
  if (wide.length === 0) return [ok('networks', 'mynetworks is narrow')];
  return [
    warn(
      'networks',
      `mynetworks holds ${wide.join(', ')}: all of these addresses may relay, and are never banned`,
      'Name only your own networks in mynetworks.',
    ),
  ];
}

const GUARDS = ['reject_unauth_destination', 'defer_unauth_destination', 'reject', 'defer', 'check_relay_domains'];
const OPEN = [
  'permit',
  'permit_naked_ip_address',
  'permit_tls_all_clientcerts',
  'permit_dnswl_client',
  'permit_rhswl_client',
];
/** What the client says of itself. */
const FORGEABLE = /^check_(?:sender|helo)_/;

function spelt({ name, argument }: Restriction): string {
  return OWN_PERMITS.includes(name) || argument === null ? name : `${name} ${argument}`;
}

/** RFC 1122 loopback, RFC 1918, RFC 3927 link-local, RFC 4193, RFC 4291. */
function isPrivate(base: string): boolean {
  return /^(?:127\.|10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\.|::1$|f[cd]|fe80:)/.test(base);
}
