/** Restrictions whose names Postfix has changed or removed, and those that refuse decent senders. */
import { type Finding, fail, ok, warn } from './finding.js';
import { parseRestrictions, type Restriction } from './restrictions.js';
import { isAtLeast, type Settings, smtpServices } from './settings.js';

const LISTS = ['client', 'helo', 'sender', 'relay', 'recipient', 'data', 'end_of_data', 'etrn'].map(
  (stage) => `smtpd_${stage}_restrictions`,
);

export function restrictionNames(settings: Settings): Finding[] {
  const found = listsOf(settings).flatMap(({ where, items }) =>
    items.flatMap((one) => [...renamed(where, one, settings.version), ...harsh(where, one)]),
  );
  return found.length > 0 ? found : [ok('names', 'no restriction with an old name, none that refuses decent senders')];
}

/** What this version of postconf itself says will be removed, or counts twice. */
export function deprecations({ warnings }: Settings): Finding[] {
  return warnings.flatMap((text) => {
    if (/will be removed|deprecated/.test(text)) {
      return [warn('names', `postconf warns: ${text}`, 'Do as it says before the next update of Postfix.')];
    }
    if (/overriding earlier entry/.test(text)) {
      return [warn('names', `postconf warns: ${text}`, 'Keep one of the two; the last one counts.')];
    }
    return [];
  });
}

/** DEPRECATION_README for what was removed in 3.9; postconf(5) for the names before 2.3. */
const NEW_NAMES: Readonly<Record<string, { readonly now: string; readonly removed?: readonly [number, number] }>> = {
  reject_invalid_hostname: { now: 'reject_invalid_helo_hostname' },
  reject_non_fqdn_hostname: { now: 'reject_non_fqdn_helo_hostname' },
  reject_unknown_hostname: { now: 'reject_unknown_helo_hostname' },
  reject_unknown_client: { now: 'reject_unknown_client_hostname' },
  reject_maps_rbl: { now: 'reject_rbl_client DOMAIN', removed: [3, 9] },
  check_relay_domains: { now: 'permit_mynetworks, reject_unauth_destination', removed: [3, 9] },
  permit_naked_ip_address: { now: 'permit_mynetworks, permit_sasl_authenticated', removed: [3, 9] },
  permit_mx_backup: { now: 'relay_domains' },
};

function renamed(where: string, { name }: Restriction, version: string): Finding[] {
  const change = Object.hasOwn(NEW_NAMES, name) ? NEW_NAMES[name] : undefined;
  if (change === undefined) return [];
  const { now, removed } = change;
  const fix = `Write ${now} in place of ${name}.`;
  if (removed !== undefined && isAtLeast(version, ...removed)) {
    return [
      fail(
        'names',
        `${name} in ${where}: removed in Postfix ${removed.join('.')}, which answers all mail with 451`,
        fix,
      ),
    ];
  }
  const when = removed === undefined ? 'an old name' : `gone in Postfix ${removed.join('.')}`;
  return [warn('names', `${name} in ${where} is ${when}`, fix)];
}

const HARSH: Readonly<Record<string, string>> = {
  reject_unknown_helo_hostname: 'many decent servers greet with a name that DNS does not know',
  reject_unknown_client_hostname: 'many decent servers have no name that leads back to their address',
  reject_unverified_sender: 'each sender costs a call-back to his server, which may list you for it',
};
const OLD_TO_HARSH: Readonly<Record<string, string>> = {
  reject_unknown_hostname: 'reject_unknown_helo_hostname',
  reject_unknown_client: 'reject_unknown_client_hostname',
};
const MILDER: Readonly<Record<string, string>> = {
  reject_unknown_helo_hostname:
    'reject_invalid_helo_hostname and reject_non_fqdn_helo_hostname refuse bots all the same',
  reject_unknown_client_hostname: 'reject_unknown_reverse_client_hostname refuses only those without any name',
  reject_unverified_sender: 'reject_unknown_sender_domain asks DNS alone',
};

function harsh(where: string, { name, warnOnly }: Restriction): Finding[] {
  const known = OLD_TO_HARSH[name] ?? name;
  const why = Object.hasOwn(HARSH, known) ? HARSH[known] : undefined;
  if (why === undefined || warnOnly) return [];
  return [
    warn(
      'senders',
      `${name} in ${where} refuses wanted mail: ${why}`,
      `${MILDER[known]}; or put warn_if_reject in front and read the log for a week.`,
    ),
  ];
}

function listsOf(settings: Settings): { where: string; items: Restriction[] }[] {
  const classes = (settings.values.get('smtpd_restriction_classes') ?? '')
    .split(/[\s,]+/)
    .filter((name) => name !== '');
  const main = [...LISTS, ...classes].map((list) => ({ where: list, text: settings.values.get(list) ?? '' }));
  const own = smtpServices(settings).flatMap(({ name, overrides }) =>
    LISTS.flatMap((list) => {
      const text = overrides.get(list);
      return text === undefined ? [] : [{ where: `${list} of ${name}`, text }];
    }),
  );
  return [...main, ...own].map(({ where, text }) => ({ where, items: parseRestrictions(text) }));
}
