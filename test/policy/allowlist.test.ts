import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Allowlist, allowRules } from '../../src/policy/allowlist.js';

const list = (from: Partial<Parameters<typeof allowRules>[0]>) =>
  new Allowlist(allowRules({ own: [], mynetworks: [], addresses: [], hostnames: [], people: [], ...from }));

describe('the never-banned', () => {
  it('always hold loopback', () => {
    expect(list({}).why('127.0.0.53', null)).toBe('loopback');
    expect(list({}).why('::1', null)).toBe('loopback');
    expect(list({ mynetworks: ['127.0.0.0/8', '::1/128'] }).why('127.0.0.53', null)).toBe('loopback');
    expect(list({ mynetworks: ['127.0.0.0/8', '::1/128'] }).why('::1', null)).toBe('loopback');
    expect(list({}).why('203.0.113.9', null)).toBeNull();
  });

  it('hold addresses and networks of either family, each with its reason', () => {
    const allow = list({
      own: ['192.0.2.1'],
      mynetworks: ['198.51.100.0/25'],
      addresses: ['2001:db8:1::/48'],
      people: ['203.0.113.9'],
    });
    expect(allow.why('192.0.2.1', null)).toBe('an address of this host');
    expect(allow.why('198.51.100.127', null)).toBe("Postfix's mynetworks");
    expect(allow.why('198.51.100.128', null)).toBeNull();
    expect(allow.why('2001:db8:1:2::/64', null)).toBe('allow.addresses in the config');
    expect(allow.why('2001:db8:2::1', null)).toBeNull();
    expect(allow.why('203.0.113.9', null)).toBe('blockctl allow');
  });

  it('protect a network that holds one of them', () => {
    const allow = list({ people: ['203.0.113.9'], addresses: ['2001:db8:1:2::/64'] });
    expect(allow.why('203.0.113.0/24', null)).toBe('blockctl allow');
    expect(allow.why('203.0.112.0/24', null)).toBeNull();
    expect(allow.why('2001:db8:1::/48', null)).toBe('allow.addresses in the config');
    expect(allow.why('2001:db8:2::/48', null)).toBeNull();
  });

  it('hold names by whole labels, never by a part of one', () => {
    const allow = list({ hostnames: ['.example.org', 'mail.example.net'], people: ['partner.example'] });
    expect(allow.why('203.0.113.9', 'mx1.example.org')).toBe('allow.hostnames in the config');
    expect(allow.why('203.0.113.9', 'EXAMPLE.ORG')).toBe('allow.hostnames in the config');
    expect(allow.why('203.0.113.9', 'notexample.org')).toBeNull();
    expect(allow.why('203.0.113.9', 'example.org.attacker.test')).toBeNull();
    expect(allow.why('203.0.113.9', 'a.mail.example.net')).toBe('allow.hostnames in the config');
    expect(allow.why('203.0.113.9', 'example.net')).toBeNull();
    expect(allow.why('203.0.113.9', 'x.partner.example')).toBe('blockctl allow');
    expect(allow.why('203.0.113.9', null)).toBeNull();
  });

  it('agree with arithmetic on IPv4 prefixes', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.nat(0xffffffff), fc.integer({ min: 1, max: 32 }), (base, other, prefix) => {
        const mask = (0xffffffff << (32 - prefix)) >>> 0;
        const text = (n: number) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join('.');
        fc.pre(base >>> 24 !== 127 && other >>> 24 !== 127);
        const allow = list({ addresses: [`${text(base)}/${prefix}`] });
        expect(allow.why(text(other), null) !== null).toBe((base & mask) === (other & mask));
        expect(allow.why(text(base), null)).not.toBeNull();
      }),
    );
  });
});
