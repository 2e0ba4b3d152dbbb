import { isIP } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contains, networkOf, parseAddress, parseNetwork, parseSubject, subjectOf } from '../../src/domain/address.js';

describe('an address', () => {
  it('is refused when it only looks like one', () => {
    for (const text of [
      '',
      '1',
      '1.2.3',
      '1.2.3.4.5',
      '1.2.3.',
      '.1.2.3',
      '1..2.3',
      '999.1.1.1',
      '256.1.1.1',
      '010.0.0.1',
      '1.2.3.04',
      '1.2.3.4 ',
      ' 1.2.3.4',
      '+1.2.3.4',
      '0x7f.0.0.1',
      '1.2.3.4\n',
      'fe80::1%eth0',
      '::g',
      ':::',
      '1::2::3',
      '[::1]',
      'unknown',
      '1.2.3.4/32',
      '12345::1',
      '2001:db8',
      'a'.repeat(1_000),
      '1:2:3:4:5:6:7:8:9',
    ]) {
      expect(parseAddress(text), text).toBeNull();
    }
  });

  it('has one spelling', () => {
    expect(parseAddress('203.0.113.9')).toBe('203.0.113.9');
    expect(parseAddress('0.0.0.0')).toBe('0.0.0.0');
    expect(parseAddress('2001:DB8:0:0:1:0:0:1')).toBe('2001:db8::1:0:0:1');
    expect(parseAddress('::ffff:203.0.113.9')).toBe('203.0.113.9');
    expect(parseAddress('::ffff:cb00:7109')).toBe('203.0.113.9');
  });

  it('is what the system calls an IPv4 address, exactly', () => {
    const almost = fc.array(fc.oneof(fc.nat(300).map(String), fc.constantFrom('01', '', ' 1', '1e1')), {
      minLength: 3,
      maxLength: 5,
    });
    fc.assert(
      fc.property(
        fc.oneof(
          fc.ipV4(),
          almost.map((parts) => parts.join('.')),
        ),
        (text) => {
          expect(parseAddress(text)).toBe(isIP(text) === 4 ? text : null);
        },
      ),
    );
  });

  it('of IPv6 is what the system and the URL standard say, in every spelling and for what is almost one', () => {
    const group = fc.oneof(
      fc.constantFrom('0', '0', '', 'ffff', '00001', 'g', '1.2.3.4'),
      fc.nat(0xffff).map((n) => n.toString(16)),
    );
    const almost = fc.array(group, { minLength: 1, maxLength: 9 }).map((parts) => parts.join(':'));
    fc.assert(
      fc.property(fc.oneof(fc.ipV6(), almost), (text) => {
        fc.pre(text.includes(':'));
        // WHATWG's serialiser of hosts compresses as RFC 5952 does, but knows no dotted quads.
        const spelt = isIP(text) === 6 ? new URL(`http://[${text}]/`).hostname.slice(1, -1) : null;
        const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(spelt ?? '');
        const [high, low] = [mapped?.[1], mapped?.[2]].map((hex) => Number.parseInt(hex ?? '', 16));
        const quad = mapped ? [(high ?? 0) >> 8, (high ?? 0) & 255, (low ?? 0) >> 8, (low ?? 0) & 255].join('.') : null;
        expect(parseAddress(text)).toBe(quad ?? spelt);
      }),
      { numRuns: 3_000 },
    );
  });

  it('of IPv6 is read in every spelling, and reading its spelling again changes nothing', () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const address = parseAddress(text);
        expect(address).not.toBeNull();
        expect(parseAddress(address ?? '')).toBe(address);
      }),
    );
  });
});

describe('a subject', () => {
  it('is the address itself for IPv4, the /64 for IPv6', () => {
    expect(subjectOf('203.0.113.9')).toBe('203.0.113.9');
    expect(subjectOf('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64');
    expect(subjectOf('2001:db8:1:2:3:4:5:6', 56)).toBe('2001:db8:1::/56');
    expect(subjectOf('2001:db8::1', 128)).toBe('2001:db8::1');
  });

  it('is read from what a person types', () => {
    expect(parseSubject('203.0.113.9')).toBe('203.0.113.9');
    expect(parseSubject('203.0.113.9/32')).toBe('203.0.113.9');
    expect(parseSubject('203.0.113.9/24')).toBe('203.0.113.0/24');
    expect(parseSubject('2001:db8::7')).toBe('2001:db8::/64');
    expect(parseSubject('2001:db8::7/48')).toBe('2001:db8::/48');
    for (const text of [
      '203.0.113.0/33',
      '203.0.113.0/',
      '203.0.113.0/-1',
      '203.0.113.0/024',
      'x/24',
      'mail.example',
      '2001:db8::/129',
    ]) {
      expect(parseSubject(text), text).toBeNull();
    }
  });

  it('lies in one network, of /24 or /48, unless it is as large itself', () => {
    expect(networkOf('203.0.113.9')).toBe('203.0.113.0/24');
    expect(networkOf('2001:db8:1:2::/64')).toBe('2001:db8:1::/48');
    expect(networkOf('203.0.113.0/24')).toBeNull();
    expect(networkOf('203.0.0.0/16')).toBeNull();
    expect(networkOf('2001:db8:1::/48')).toBeNull();
  });

  it('holds its parts and nothing else', () => {
    expect(contains('203.0.113.0/24', '203.0.113.9')).toBe(true);
    expect(contains('203.0.113.0/24', '203.0.113.128/25')).toBe(true);
    expect(contains('203.0.113.9', '203.0.113.9')).toBe(true);
    expect(contains('203.0.113.128/25', '203.0.113.0/24')).toBe(false);
    expect(contains('0.0.0.0/0', '2001:db8::1')).toBe(false);
    expect(contains('2001:db8::/32', '2001:db8:1:2::/64')).toBe(true);
  });

  it('of a network has its host bits cleared', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.integer({ min: 0, max: 32 }), (address, prefix) => {
        const network = parseNetwork(`${address}/${prefix}`);
        expect(network).not.toBeNull();
        expect(contains(`${network?.base}/${prefix}`, address)).toBe(true);
        expect(parseNetwork(`${network?.base}/${prefix}`)).toEqual(network);
      }),
    );
  });
});
