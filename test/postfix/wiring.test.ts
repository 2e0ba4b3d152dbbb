import { describe, expect, it } from 'vitest';
import { chooseType, typeFindings } from '../../src/postfix/map-type.js';
import { missingTables, wiringFindings } from '../../src/postfix/wiring.js';
import { settingsOf } from './settings-of.js';

const MAP = { type: 'hash', path: '/map' };
const BOTH = 'check_client_access hash:/map, check_client_access cidr:/map.cidr';
const SUBMISSION = { master: ['smtp inet n - y - - smtpd', 'submission inet n - y - - smtpd'] };
const found = (list: string, name = 'smtpd_client_restrictions') =>
  wiringFindings(settingsOf({ [name]: list }), MAP).map(({ level, text }) => `${level} ${text}`);

describe('the wiring of the map', () => {
  it.each([
    BOTH,
    `permit_mynetworks permit_sasl_authenticated ${BOTH} reject_unknown_client_hostname`,
    `permit_tls_clientcerts, check_client_access hash:/own_allowlist, ${BOTH}, permit_dnswl_client list.example`,
    `warn_if_reject reject_rbl_client bl.example, ${BOTH}`,
    'hash:/map cidr:/map.cidr',
  ])('is good: %s', (list) => {
    expect(found(list)).toEqual([
      expect.stringMatching(/^ok main\.cf asks hash/),
      expect.stringMatching(/^ok main\.cf asks cidr/),
    ]);
  });

  it.each([
    ['permit', /^fail main\.cf: "permit" in smtpd_client_restrictions decides before/],
    ['permit_mynetworks, reject', /^fail main\.cf: "reject" /],
    ['permit_auth_destination', /^fail main\.cf: "permit_auth_destination"/],
    ['check_client_access static:OK', /^fail main\.cf: "check_client_access static:OK"/],
    ['permit_dnswl_client list.example', /^warn main\.cf: permit_dnswl_client list\.example /],
  ])('is behind what decides for others: %s', (before, expected) => {
    expect(found(`${before}, ${BOTH}`)[0]).toMatch(expected);
  });

  it('is missing: map, sibling, or both', () => {
    expect(found('permit_mynetworks')).toEqual([
      expect.stringMatching(/^fail main\.cf does not name hash:\/map: nobody/),
    ]);
    expect(found('check_client_access hash:/map')[1]).toMatch(/^fail main\.cf does not name cidr:\/map\.cidr/);
    expect(found('check_client_access hash:/map, permit, cidr:/map.cidr')[1]).toMatch(
      /does not reach cidr:\/map\.cidr/,
    );
    expect(missingTables(settingsOf({ smtpd_client_restrictions: 'hash:/map' }), MAP)).toEqual(['cidr:/map.cidr']);
    expect(found('check_client_access hash:/map_of_others')[0]).toMatch(/^fail/);
  });

  it('may stand in another list, or in a class', () => {
    expect(found(`reject_unauth_destination, ${BOTH}`, 'smtpd_recipient_restrictions')[0]).toMatch(
      /^ok .* in smtpd_recipient/,
    );
    const settings = settingsOf({ smtpd_restriction_classes: 'bans', bans: BOTH, smtpd_client_restrictions: 'bans' });
    expect(missingTables(settings, MAP)).toEqual([]);
  });

  it('is not asked where a service has restrictions of its own', () => {
    const overrides = ['submission/inet/smtpd_client_restrictions = permit_sasl_authenticated, reject'];
    const settings = settingsOf({ smtpd_client_restrictions: BOTH }, { ...SUBMISSION, overrides });
    const findings = wiringFindings(settings, MAP).filter(({ level }) => level !== 'ok');
    expect(findings).toMatchObject([{ level: 'warn', text: expect.stringMatching(/service submission\/inet has/) }]);
    expect(findings[0]?.fix).toMatch(/cidr:\/map\.cidr,permit_sasl_authenticated,reject$/);
  });

  it('is asked by a service whose own restrictions name it', () => {
    const overrides = [
      'submission/inet/smtpd_client_restrictions = check_client_access,hash:/map,check_client_access,cidr:/map.cidr,permit',
    ];
    const settings = settingsOf({ smtpd_client_restrictions: BOTH }, { ...SUBMISSION, overrides });
    expect(wiringFindings(settings, MAP).every(({ level }) => level === 'ok')).toBe(true);
  });
});

describe('the type of the map', () => {
  const level = (type: string, values: Record<string, string>, mapTypes?: string[]) =>
    typeFindings(type, settingsOf(values, mapTypes === undefined ? {} : { mapTypes }))[0]?.level;

  it('is judged by what this Postfix has and where its distribution goes', () => {
    expect(level('hash', { mail_version: '3.7.11' })).toBe('ok');
    expect(level('hash', { mail_version: '3.8.5', default_database_type: 'lmdb' })).toBe('warn');
    expect(level('hash', { mail_version: '3.11.1' })).toBe('warn');
    expect(level('lmdb', { mail_version: '3.11.1' })).toBe('ok');
    expect(level('hash', {}, ['cidr', 'lmdb'])).toBe('fail');
    expect(level('lmdb', {}, ['lmdb'])).toBe('fail');
    expect(level('hash', { mail_version: '3.11.1', non_bdb_migration_level: 'enable-reindex' })).toBe('fail');
  });

  it('of a new map is Postfix’s own default, unless that is going or none that blockd can write', () => {
    const chosen = (values: Record<string, string>, mapTypes: string[]) => chooseType(settingsOf(values, { mapTypes }));
    expect(chosen({}, ['hash', 'lmdb', 'cidr'])).toBe('hash');
    expect(chosen({ mail_version: '3.11.0' }, ['hash', 'lmdb'])).toBe('lmdb');
    expect(chosen({ default_database_type: 'dbm' }, ['dbm', 'cdb'])).toBe('cdb');
    expect(chosen({}, ['texthash'])).toBeNull();
  });
});
