import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Clients } from '../../src/filter/clients.js';
import { Line } from '../../src/filter/line.js';

const host = fc.oneof(
  fc.constantFrom('', 'unknown', 'Mail.Example', 'mail.example', `${'long.'.repeat(20)}example`),
  fc.string({ unit: fc.constantFrom('a', 'b', '.', '-'), maxLength: 20 }),
);
const address = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.integer({ min: 0, max: 9_999 }).map((n) => `198.51.${n % 100}.${Math.floor(n / 100)}`),
  fc.constantFrom('1.2.3', '::1', 'fe80', '::ffff:192.0.2.1', '192.0.2.999', '2001:DB8::1'),
);

test('a client that is remembered is the one that was logged', () => {
  const clients = new Clients();
  fc.assert(
    fc.property(fc.array(fc.tuple(host, address), { maxLength: 50 }), (some) => {
      for (const [name, ip] of [...some, ...some]) {
        const line = new Line();
        line.useBytes(Buffer.from(`reject from ${name}[${ip}]`, 'latin1'));
        const start = 'reject from '.length;
        const at = start + name.length + 1;
        expect(clients.at(line, start, at, at + ip.length)).toEqual(clients.of(name, ip));
      }
    }),
    { numRuns: 400 },
  );
});

test('one without a host name is not one whose name is empty but for its first letters', () => {
  const clients = new Clients();
  const line = new Line();
  line.useBytes(Buffer.from('x from a[192.0.2.1] 192.0.2.1', 'latin1'));
  expect(clients.at(line, 7, 9, 18)).toEqual({ ip: '192.0.2.1', host: 'a' });
  expect(clients.at(line, 20, 20, 29)).toEqual({ ip: '192.0.2.1', host: null });
});
