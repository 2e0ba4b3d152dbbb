import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MOST_ENTRIES, parseList } from '../../src/lists/list-text.js';

const DROP = `; Spamhaus-like DROP list 2026/11/25
; Expires: Thu, 26 Nov 2026 00:00:00 GMT
203.0.113.0/24 ; SBL000001
198.51.100.0/25 ; SBL000002
2001:db8:bad::/48 ; SBL000003
`;
const JSON_LINES = `{"cidr":"203.0.113.0/24","sblid":"SBL1","rir":"ripencc"}
{"cidr":"2001:db8:bad::/48","sblid":"SBL2","rir":"arin"}
{"type":"metadata","timestamp":1795566704,"size":99,"records":2,"copyright":"x","terms":"y"}
`;

describe('a list', () => {
  it('may be DROP-like', async () => {
    const { networks, entries, bogus } = await parseList(DROP, 64);
    expect([entries, bogus]).toEqual([3, 0]);
    const asked = ['203.0.113.9', '198.51.100.127', '198.51.100.128', '2001:db8:bad:7::/64', '2001:db8:be::/64'];
    expect(asked.map((one) => networks.holds(one))).toEqual([true, true, false, true, false]);
  });

  it('may be plain, with comments behind # or ;, blank lines and any line ends', async () => {
    const text =
      '\ufeff# mine\r\n203.0.113.9\r\n\r\n  203.0.113.10   # twice seen\r\n2001:DB8::7;x\n198.51.100.0/24#\t\n192.0.2.1';
    const { networks, entries, bogusLine } = await parseList(text, 64);
    expect([entries, bogusLine]).toEqual([5, null]);
    for (const one of ['203.0.113.9', '203.0.113.10', '198.51.100.77', '192.0.2.1'])
      expect(networks.holds(one)).toBe(true);
  });

  it('may be JSON objects, a line each, of which one tells about the list', async () => {
    const { networks, entries, bogus } = await parseList(JSON_LINES, 64);
    expect([entries, bogus, networks.holds('203.0.113.200')]).toEqual([2, 0, true]);
  });

  it('names an IPv6 subject by any of its addresses', async () => {
    const { networks } = await parseList('2001:db8:1:2::7\n2001:db8:1:3:4::/80\n', 64);
    expect(networks.holds('2001:db8:1:2::/64')).toBe(true);
    expect(networks.holds('2001:db8:1:3::/64')).toBe(true);
    expect(networks.holds('2001:db8:1:4::/64')).toBe(false);
  });

  it('counts lines that name no network, and shows the first harmlessly', async () => {
    const text = '203.0.113.9\n203.0.113.10\n203.0.113.999 \u001b[31m\n10.0.0.1-10.0.0.9\n';
    const { entries, bogus, bogusLine } = await parseList(text, 64);
    expect([entries, bogus, bogusLine]).toEqual([2, 2, '203.0.113.999 \\x1b[31m']);
  });

  it('gives nobody away to half the world: networks wider than any owner has are left out', async () => {
    const { networks, entries, tooWide } = await parseList(
      '0.0.0.0/0\n128.0.0.0/7\n10.0.0.0/8\n::/0\n2001::/18\n2001:db8::/19\n',
      64,
    );
    expect([entries, tooWide]).toEqual([2, 4]);
    expect([networks.holds('203.0.113.9'), networks.holds('10.9.9.9')]).toEqual([false, true]);
  });

  it.each([
    ['a web page', '\n <!DOCTYPE html>\n<p>203.0.113.9\n', /web page/],
    ['empty', '', /is empty/],
    ['nothing but comments', '# 203.0.113.9\n; nothing\n', /is empty/],
    [
      'something else',
      'Sorry, come back later.\nReally.\n203.0.113.9\n',
      /is no list of addresses: 2 of its lines are none, such as "Sorry/,
    ],
    ['a JSON document', '["203.0.113.9",\n"203.0.113.10"]\n', /is no list/],
  ])('is refused when it is %s', async (_, text, why) => {
    await expect(parseList(text, 64)).rejects.toThrow(why);
  });

  it('is refused when it is longer than anybody needs', async () => {
    const text = '203.0.113.9\n'.repeat(MOST_ENTRIES + 1);
    await expect(parseList(text, 64)).rejects.toThrow('more than 1,000,000 entries');
  });

  it('takes no time over lines made to take it', async () => {
    const blanks = `a${' '.repeat(4_000)}b\n`;
    const begunAt = performance.now();
    await expect(parseList(blanks.repeat(2_000), 64)).rejects.toThrow('is no list');
    await expect(parseList(`a${' '.repeat(8 << 20)}b\n`, 64)).rejects.toThrow('is no list');
    await expect(parseList('{'.repeat(8 << 20), 64)).rejects.toThrow('is no list');
    expect(performance.now() - begunAt).toBeLessThan(3_000);
  });

  it('is refused or read, whatever it holds', async () => {
    const line = fc.oneof(
      fc.string(),
      fc.json(),
      fc.ipV4(),
      fc.ipV6(),
      fc.constantFrom('{', '{"cidr":7}', '{"cidr":"x"}', 'null'),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(line), async (lines) => {
        await parseList(lines.join('\n'), 64).catch((error: Error) => expect(error.name).toBe('UnavailableError'));
      }),
    );
  });
});
