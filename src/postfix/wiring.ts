/** Is the access map asked, where, and does something before it let everybody pass? Pure. */
import { type Finding, fail, ok, warn } from './finding.js';
import { flatten, parseRestrictions, type Restriction } from './restrictions.js';
import { type Service, type Settings, smtpServices, valueFor } from './settings.js';

export interface MapName {
  /** `hash`, `lmdb`, … or `cidr`. */
  readonly type: string;
  /** As main.cf names it. */
  readonly path: string;
}

/** The tables that main.cf has to name, in this order: the map, and its sibling for what it can't hold. */
export function tablesOf({ type, path }: MapName): string[] {
  return type === 'cidr' ? [`cidr:${path}`] : [`${type}:${path}`, `cidr:${path}.cidr`];
}

/** Lists in which Postfix may ask for the client's address. */
const LISTS = [
  'smtpd_client_restrictions',
  'smtpd_helo_restrictions',
  'smtpd_sender_restrictions',
  'smtpd_relay_restrictions',
  'smtpd_recipient_restrictions',
] as const;

/**
 * Permits whom they should: own networks, own users, own certificates. None of these is ever in the map, so that it
 * need not be asked for them.
 */
export const OWN_PERMITS: readonly string[] = [
  'permit_mynetworks',
  'permit_sasl_authenticated',
  'permit_tls_clientcerts',
  'permit_inet_interfaces',
];

/** The services that take mail, each with how it asks the map. */
export function wiringFindings(settings: Settings, map: MapName): Finding[] {
  const services = smtpServices(settings);
  if (services.length === 0) {
    return [fail('wiring', 'master.cf has no smtpd service', 'Without one Postfix takes no mail and asks no map.')];
  }
  const main = findingsFor(settings, map, null);
  const overridden = services.filter(({ overrides }) => LISTS.some((list) => overrides.has(list)));
  return [...main, ...overridden.flatMap((service) => findingsFor(settings, map, service))];
}

/** Those of the map's tables that main.cf doesn't ask yet, by whatever name or class. */
export function missingTables(settings: Settings, map: MapName): string[] {
  return tablesOf(map).filter((table) => asked(settings, null, table) === null);
}

/** Services whose own `smtpd_client_restrictions` hide what main.cf says. */
export function overridingServices(settings: Settings): Service[] {
  return smtpServices(settings).filter(({ overrides }) => overrides.has('smtpd_client_restrictions'));
}

function findingsFor(settings: Settings, map: MapName, service: Service | null): Finding[] {
  const where = service === null ? 'main.cf' : `the service ${service.name}`;
  const [table = '', sibling] = tablesOf(map);
  const found = asked(settings, service, table);
  if (found === null) {
    if (service === null) {
      return [
        fail(
          'wiring',
          `main.cf does not name ${table}: nobody is refused, whatever is banned`,
          'Run "blockctl setup", or name it in smtpd_client_restrictions.',
        ),
      ];
    }
    // What a service sets without changing how the map is asked is of no concern here.
    if (!service.overrides.has('smtpd_client_restrictions')) return [];
    const own = service.overrides.get('smtpd_client_restrictions') ?? '';
    return [
      warn(
        'wiring',
        `${where} has smtpd_client_restrictions of its own in master.cf, without the map: bans don't hold there`,
        isLate(settings, service)
          ? 'See "logins" below: it says what to write.'
          : `In master.cf, below ${service.name.split('/')[0]}, in place of what is there:\n${serviceOption([table, sibling], own)}`,
      ),
    ];
  }
  const { list, before } = found;
  const findings: Finding[] = [];
  const blocking = before.find((one) => blocks(one, list));
  const doubtful = before.filter(({ name, warnOnly }) => !warnOnly && DOUBTFUL.includes(name));
  if (blocking !== undefined) {
    findings.push(
      fail(
        'wiring',
        `${where}: "${spelt(blocking)}" in ${list} decides before the map is asked`,
        `Move check_client_access ${table} in front of it.`,
      ),
    );
  } else if (doubtful.length > 0) {
    findings.push(
      warn(
        'wiring',
        `${where}: ${doubtful.map(spelt).join(', ')} in ${list} spares whom somebody else's list or certificate names`,
        `If that is not meant, move check_client_access ${table} in front of it.`,
      ),
    );
  } else findings.push(ok('wiring', `${where} asks ${table} in ${list}`));
  if (sibling !== undefined) findings.push(...siblingFinding(settings, service, sibling, where));
  return findings;
}

function siblingFinding(settings: Settings, service: Service | null, sibling: string, where: string): Finding[] {
  const found = asked(settings, service, sibling);
  if (found !== null && !found.before.some((one) => blocks(one, found.list))) {
    return service === null ? [ok('wiring', `${where} asks ${sibling} for IPv6 and odd networks`)] : [];
  }
  return [
    fail(
      'wiring',
      `${where} does not ${found === null ? 'name' : 'reach'} ${sibling}: banned IPv6 clients are not refused`,
      `Put check_client_access ${sibling} right behind the map.`,
    ),
  ];
}

/** Where a table is asked, and what is asked before it in that list; null where it never is. */
function asked(
  settings: Settings,
  service: Service | null,
  table: string,
): { readonly list: string; readonly before: readonly Restriction[] } | null {
  for (const list of LISTS) {
    const text = service === null ? (settings.values.get(list) ?? '') : valueFor(settings, service, list);
    const items = flatten(parseRestrictions(text), classesOf(settings));
    const at = items.findIndex(({ name, argument }) => name === 'check_client_access' && argument === table);
    if (at >= 0) return { list, before: items.slice(0, at) };
  }
  return null;
}

/** What smtpd_restriction_classes names, by its parameter. */
export function classesOf({ values }: Settings): (name: string) => string | undefined {
  const names = new Set((values.get('smtpd_restriction_classes') ?? '').split(/[\s,]+/));
  return (name) => (names.has(name) ? values.get(name) : undefined);
}

/** Does nobody get past it? */
function blocks({ name, argument, warnOnly }: Restriction, list: string): boolean {
  if (argument !== null) return /^static:(?:OK|REJECT|PERMIT)$/i.test(argument) && name.startsWith('check_');
  if (warnOnly && !name.startsWith('permit')) return false;
  if (['permit', 'reject', 'defer'].includes(name)) return true;
  // Everybody who writes to us is permitted by it, and so are those whom the map names.
  return name === 'permit_auth_destination' && list !== 'smtpd_relay_restrictions';
}

const DOUBTFUL = ['permit_dnswl_client', 'permit_rhswl_client', 'permit_tls_all_clientcerts', 'permit_mx_backup'];

function spelt({ name, argument }: Restriction): string {
  return argument === null ? name : `${name} ${argument}`;
}

/** Does it take logins, and refuse nobody before RCPT? */
export function isLate(settings: Settings, service: Service): boolean {
  const is = (name: string) => valueFor(settings, service, name) === 'yes';
  return is('smtpd_sasl_auth_enable') && is('smtpd_delay_reject');
}

/** The `-o` line for master.cf: the map, then `rest`. Lists without blanks are understood by every version of Postfix. */
export function serviceOption(tables: readonly (string | undefined)[], rest: string): string {
  const asks = tables.filter((table) => table !== undefined).map((table) => `check_client_access,${table}`);
  const value = [...asks, ...(rest === '' ? [] : [rest])].join(',');
  if (value.includes('{')) return `  -o { smtpd_client_restrictions = ${value} }`;
  return `  -o smtpd_client_restrictions=${value.replace(/[\s,]+/g, ',')}`;
}
