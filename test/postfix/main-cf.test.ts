import { describe, expect, it } from 'vitest';
import { MAIN_CF_MARK, restrictionsIn, withoutTables, withTables } from '../../src/postfix/main-cf.js';

const TABLES = ['hash:/map', 'cidr:/map.cidr'];
const ASKS = 'check_client_access hash:/map, check_client_access cidr:/map.cidr';

describe('main.cf with the map', () => {
  it.each([
    ['smtpd_client_restrictions = reject_x\n', `smtpd_client_restrictions = ${ASKS}, reject_x\n`],
    ['smtpd_client_restrictions=permit_mynetworks', `smtpd_client_restrictions=permit_mynetworks, ${ASKS}`],
    ['smtpd_client_restrictions =\n', `smtpd_client_restrictions = ${ASKS}\n`],
    [
      'smtpd_client_restrictions = permit_mynetworks permit_sasl_authenticated reject_x\n',
      `smtpd_client_restrictions = permit_mynetworks permit_sasl_authenticated ${ASKS}, reject_x\n`,
    ],
    ['smtpd_client_restrictions = $ours, permit\n', `smtpd_client_restrictions = ${ASKS}, $ours, permit\n`],
    [
      'smtpd_client_restrictions = permit_mynetworks, warn_if_reject reject_x\n',
      `smtpd_client_restrictions = permit_mynetworks, ${ASKS}, warn_if_reject reject_x\n`,
    ],
    [
      'a = b\nsmtpd_client_restrictions =\n  permit_mynetworks,\n# why\n\n  # also why\n  check_client_access hash:/own,\n  reject_x\nc = d\n',
      'a = b\nsmtpd_client_restrictions =\n  permit_mynetworks,\n# why\n\n  # also why\n  check_client_access hash:/map,\n  check_client_access cidr:/map.cidr,\n  check_client_access hash:/own,\n  reject_x\nc = d\n',
    ],
    [
      'smtpd_client_restrictions =\n\tpermit_mynetworks,\n\tpermit_sasl_authenticated\n\n# next\nc = d\n',
      'smtpd_client_restrictions =\n\tpermit_mynetworks,\n\tpermit_sasl_authenticated,\n\tcheck_client_access hash:/map,\n\tcheck_client_access cidr:/map.cidr\n\n# next\nc = d\n',
    ],
    [
      'smtpd_client_restrictions = permit_mynetworks, check_client_access hash:/map, reject_x\n',
      'smtpd_client_restrictions = permit_mynetworks, check_client_access hash:/map, check_client_access cidr:/map.cidr, reject_x\n',
    ],
    [
      '#smtpd_client_restrictions = old\nsmtpd_client_restrictions = first\nsmtpd_client_restrictions = second\n',
      `#smtpd_client_restrictions = old\nsmtpd_client_restrictions = first\nsmtpd_client_restrictions = ${ASKS}, second\n`,
    ],
  ])('%j', (before, after) => {
    expect(withTables(before, TABLES)).toBe(after);
    expect(withTables(after, TABLES)).toBe(after);
  });

  it('gets the parameter where there is none, and loses it again', () => {
    for (const before of ['a = b\n', 'a = b', '']) {
      const after = withTables(before, TABLES);
      expect(after).toContain(
        `\n${MAIN_CF_MARK}\nsmtpd_client_restrictions =\n    permit_mynetworks,\n    permit_sasl_authenticated,\n    check_client_access hash:/map,\n`,
      );
      expect(withTables(after, TABLES)).toBe(after);
      expect(withoutTables(after, TABLES).trimEnd()).toBe(before.trimEnd());
      expect(withoutTables(`${after}c = d\n`, TABLES).trimEnd()).toBe(`${before.trimEnd()}\nc = d`.trimStart());
    }
  });
});

describe('main.cf without the map', () => {
  it.each([
    'smtpd_client_restrictions = reject_x\n',
    'smtpd_client_restrictions = permit_mynetworks permit_sasl_authenticated reject_x\n',
    'smtpd_client_restrictions = permit_mynetworks\nc = d\n',
    'a = b\nsmtpd_client_restrictions =\n  permit_mynetworks,\n# why\n\n  # also why\n  reject_y,\n  reject_x\nc = d\n',
    'smtpd_client_restrictions =\n\tpermit_mynetworks,\n\tpermit_sasl_authenticated\n\n# next\nc = d\n',
    'smtpd_client_restrictions = permit_mynetworks,\n   $ours\nc = d\n',
  ])('is again what it was: %j', (before) => {
    expect(withoutTables(withTables(before, TABLES), TABLES)).toBe(before);
  });

  it('keeps what the admin has added since', () => {
    const after = withTables('a = b\n', TABLES).replace(
      'cidr:/map.cidr',
      'cidr:/map.cidr,\n    reject_unknown_reverse_client_hostname',
    );
    const left = withoutTables(`${after}c = d\n`, TABLES);
    expect(restrictionsIn(left)).toEqual([
      'permit_mynetworks',
      'permit_sasl_authenticated',
      'reject_unknown_reverse_client_hostname',
    ]);
    expect(left).not.toContain(MAIN_CF_MARK);
    expect(left).toMatch(/^a = b\n[\s\S]*\nc = d\n$/);
  });

  it('touches nothing where the parameter is set again further down', () => {
    const text = `${withTables('a = b\n', TABLES)}smtpd_client_restrictions = permit_mynetworks\n`;
    expect(withoutTables(text, TABLES)).toBe(text);
  });

  it('touches no other map, and nothing where the map is not named', () => {
    const other = 'smtpd_client_restrictions = check_client_access hash:/map2, check_client_access hash:/own\n';
    expect(withoutTables(other, TABLES)).toBe(other);
    expect(withoutTables('a = b\n', TABLES)).toBe('a = b\n');
  });
});
