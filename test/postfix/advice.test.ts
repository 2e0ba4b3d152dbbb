/** Each piece of advice: a main.cf that gets it, and one that does not. */
import { describe, expect, it } from 'vitest';
import { adviseOn } from '../../src/postfix/advice.js';
import type { Level } from '../../src/postfix/finding.js';
import { settingsOf } from './settings-of.js';

const MAP = { type: 'hash', path: '/var/lib/blockd/postfix/client_access' };
type Case = readonly [
  name: string,
  check: string,
  level: Level,
  text: RegExp,
  values: Readonly<Record<string, string>>,
  more?: Parameters<typeof settingsOf>[1],
];

const SUBMISSION = ['smtp inet n - y - - smtpd', 'submission inet n - y - - smtpd'];
const LOGIN = ['submission/inet/smtpd_sasl_auth_enable = yes'];
const RECIPIENT_ONLY = (list: string) => ({ smtpd_relay_restrictions: '', smtpd_recipient_restrictions: list });

const CASES: readonly Case[] = [
  ['the default relay list', 'relay', 'ok', /defer_unauth_destination in smtpd_relay_restrictions/, {}],
  [
    'a recipient list that permits everybody, without a relay list',
    'relay',
    'fail',
    /smtpd_relay_restrictions is empty, and "permit" in smtpd_recipient_restrictions/,
    RECIPIENT_ONLY('permit_mynetworks, permit'),
  ],
  [
    'a sender table before the guard, without a relay list',
    'relay',
    'fail',
    /check_sender_access hash:\/x stands before reject_unauth_destination in smtpd_recipient_restrictions: an OK there lets whoever claims/,
    RECIPIENT_ONLY('permit_mynetworks, check_sender_access hash:/x, reject_unauth_destination'),
  ],
  [
    'a client table before the guard, without a relay list',
    'relay',
    'warn',
    /check_client_access hash:\/x stands before/,
    RECIPIENT_ONLY('check_client_access hash:/x reject_unauth_destination'),
  ],
  [
    'a table behind the guard, without a relay list',
    'relay',
    'ok',
    /reject_unauth_destination in smtpd_recipient/,
    RECIPIENT_ONLY('permit_mynetworks reject_unauth_destination check_sender_access hash:/x'),
  ],
  [
    'a sender table in the recipient list behind a relay list of its own',
    'relay',
    'ok',
    /can't relay/,
    { smtpd_recipient_restrictions: 'check_sender_access hash:/x, permit' },
  ],
  ['no guard at all', 'relay', 'fail', /has no reject_unauth_destination/, RECIPIENT_ONLY('permit_mynetworks')],
  [
    'a guard that only warns',
    'relay',
    'fail',
    /has no reject_unauth_destination/,
    { smtpd_relay_restrictions: 'permit_mynetworks, warn_if_reject reject_unauth_destination' },
  ],
  [
    'a guard within a restriction class',
    'relay',
    'ok',
    /can't relay/,
    { smtpd_restriction_classes: 'ours', ours: 'reject_unauth_destination', smtpd_relay_restrictions: 'ours' },
  ],
  [
    'a Postfix that is too old for a relay list',
    'relay',
    'fail',
    /smtpd_recipient_restrictions has no/,
    { mail_version: '2.9.6', smtpd_recipient_restrictions: 'permit_mynetworks' },
  ],

  ['own networks', 'networks', 'ok', /narrow/, { mynetworks: '127.0.0.0/8 10.0.0.0/8 [fd00::]/8 192.0.2.0/24' }],
  ['a wide network', 'networks', 'warn', /holds 198\.0\.0\.0\/8/, { mynetworks: '127.0.0.0/8, 198.0.0.0/8' }],
  ['everybody', 'networks', 'fail', /holds 0\.0\.0\.0\/0, everybody/, { mynetworks: '127.0.0.0/8 0.0.0.0/0' }],
  ['everybody by IPv6', 'networks', 'fail', /\[::\]\/0/, { mynetworks: '[::]/0' }],

  ['no logins', 'logins', 'ok', /no service takes logins/, {}],
  [
    'logins at submission, refused late',
    'logins',
    'warn',
    /submission\/inet takes logins with smtpd_delay_reject = yes/,
    {},
    { master: SUBMISSION, overrides: LOGIN },
  ],
  [
    'logins at submission, refused in the greeting',
    'logins',
    'ok',
    /1 of 1 services with logins refuse in the greeting/,
    {},
    { master: SUBMISSION, overrides: [...LOGIN, 'submission/inet/smtpd_delay_reject = no'] },
  ],
  ['logins at port 25', 'logins', 'warn', /^smtp\/inet takes logins/, { smtpd_sasl_auth_enable: 'yes' }],

  ['HELO asked for', 'helo', 'ok', /have to greet/, {}],
  ['HELO not asked for', 'helo', 'warn', /smtpd_helo_required = no/, { smtpd_helo_required: 'no' }],
  ['VRFY off', 'vrfy', 'ok', /off/, {}],
  ['VRFY on', 'vrfy', 'warn', /disable_vrfy_command = no/, { disable_vrfy_command: 'no' }],
  ['no postscreen', 'postscreen', 'ok', /not used/, {}],
  [
    'postscreen in front',
    'postscreen',
    'ok',
    /stands in front/,
    {},
    { master: ['smtp inet n - y - 1 postscreen', 'smtpd pass - - y - - smtpd'] },
  ],

  [
    'names of today',
    'names',
    'ok',
    /no restriction with an old name/,
    { smtpd_helo_restrictions: 'reject_invalid_helo_hostname' },
  ],
  [
    'a restriction that goes with 3.9, before that',
    'names',
    'warn',
    /^reject_maps_rbl in smtpd_client_restrictions is gone in Postfix 3\.9/,
    { smtpd_client_restrictions: 'reject_maps_rbl' },
  ],
  [
    'a restriction that went with 3.9, since then',
    'names',
    'fail',
    /^check_relay_domains in smtpd_recipient_restrictions: removed in Postfix 3\.9/,
    { mail_version: '3.10.5', smtpd_recipient_restrictions: 'check_relay_domains' },
  ],
  [
    'an old name in a service of master.cf',
    'names',
    'warn',
    /of submission\/inet is an old name/,
    {},
    { master: SUBMISSION, overrides: ['submission/inet/smtpd_helo_restrictions = reject_invalid_hostname'] },
  ],
  [
    'what postconf itself says will go',
    'names',
    'warn',
    /virtual_maps/,
    {},
    {
      warnings: [
        'main.cf: support for parameter "virtual_maps" will be removed; instead, specify "virtual_alias_maps"',
      ],
    },
  ],
  [
    'a parameter that stands twice',
    'names',
    'warn',
    /overriding earlier entry/,
    {},
    { warnings: ['/etc/postfix/main.cf, line 3: overriding earlier entry: myhostname=a'] },
  ],

  ...[
    'reject_unknown_helo_hostname',
    'reject_unknown_client_hostname',
    'reject_unverified_sender',
    'reject_unknown_client',
  ].map(
    (name): Case => [
      `${name} hurts decent senders`,
      'senders',
      'warn',
      new RegExp(`^${name} in smtpd_sender_restrictions refuses wanted mail`),
      { smtpd_sender_restrictions: `permit_mynetworks, ${name}` },
    ],
  ),

  ['the default limits', 'errors', 'ok', /slowed by 1 s an answer from 10 mistakes on, and ended at 20/, {}],
  [
    'equal limits',
    'errors',
    'warn',
    /only one answer is delayed by 600 s, then the client is cut off/,
    { smtpd_soft_error_limit: '3', smtpd_hard_error_limit: '3', smtpd_error_sleep_time: '10m' },
  ],
  [
    'a soft limit above the hard one',
    'errors',
    'warn',
    /no answer is ever delayed/,
    { smtpd_soft_error_limit: '30', smtpd_hard_error_limit: '20' },
  ],
  [
    'ten minutes of sleep',
    'errors',
    'warn',
    /= 600 s: each client that makes 5 mistakes keeps one of your own smtpd processes/,
    { smtpd_soft_error_limit: '5', smtpd_error_sleep_time: '10m' },
  ],
  ['no hard limit to speak of', 'errors', 'warn', /may try that many/, { smtpd_hard_error_limit: '1000' }],
];

describe('advice on main.cf', () => {
  for (const [name, check, level, text, values, more] of CASES) {
    it(name, () => {
      const found = adviseOn(settingsOf(values, more), MAP).filter((one) => one.check === check);
      expect(found).toContainEqual(expect.objectContaining({ level, text: expect.stringMatching(text) }));
    });
  }

  it.each([
    ['reject_invalid_hostname', 'reject_invalid_helo_hostname'],
    ['reject_non_fqdn_hostname', 'reject_non_fqdn_helo_hostname'],
    ['reject_unknown_hostname', 'reject_unknown_helo_hostname'],
    ['reject_unknown_client', 'reject_unknown_client_hostname'],
  ])('says that %s is %s today', (old, now) => {
    const found = adviseOn(settingsOf({ smtpd_helo_restrictions: `permit_mynetworks ${old}` }), MAP);
    expect(found).toContainEqual({
      level: 'warn',
      check: 'names',
      text: `${old} in smtpd_helo_restrictions is an old name`,
      fix: `Write ${now} in place of ${old}.`,
    });
  });

  it('finds nothing to say of a good main.cf, and says what to do wherever it warns', () => {
    expect(adviseOn(settingsOf(), MAP).filter(({ level }) => level !== 'ok')).toEqual([]);
    for (const [, , , , values, more] of CASES) {
      for (const { level, fix } of adviseOn(settingsOf(values, more), MAP)) {
        expect(fix === undefined).toBe(level === 'ok');
      }
    }
  });

  it('lets warn_if_reject take the sting out of a harsh restriction', () => {
    const values = { smtpd_helo_restrictions: 'warn_if_reject reject_unknown_helo_hostname' };
    expect(adviseOn(settingsOf(values), MAP).filter(({ check }) => check === 'senders')).toEqual([]);
  });

  it('writes for master.cf what refuses in the greeting and still lets users log in', () => {
    const settings = settingsOf(
      { smtpd_helo_restrictions: 'reject_non_fqdn_helo_hostname' },
      {
        master: SUBMISSION,
        overrides: [...LOGIN, 'submission/inet/smtpd_client_restrictions = permit_sasl_authenticated,reject'],
      },
    );
    const found = adviseOn(settings, MAP).find(({ check }) => check === 'logins');
    expect(found?.fix?.split('\n').slice(1)).toEqual([
      '  -o smtpd_delay_reject=no',
      `  -o smtpd_client_restrictions=check_client_access,hash:${MAP.path},check_client_access,cidr:${MAP.path}.cidr,permit`,
      '  -o smtpd_helo_restrictions=',
      '  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject',
    ]);
  });
});
