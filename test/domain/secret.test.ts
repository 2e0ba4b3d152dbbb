import { expect, it } from 'vitest';
import { maskPassword, maskPasswordsIn, maskWebhook } from '../../src/domain/secret.js';

it.each([
  ['redis://:secret@host:6379/2', 'redis://:***@host:6379/2'],
  ['rediss://user:se@cr:et@host', 'rediss://user:***@host'],
  ['sentinel://:secret@a:1,b:2/name', 'sentinel://:***@a:1,b:2/name'],
  ['unix:/run/redis.sock?user=u&password=secret&db=1', 'unix:/run/redis.sock?user=u&password=***&db=1'],
  ['redis:/:secret@host', 'redis:/:***@host'],
  [':secret@host', ':***@host'],
  ['redis://user@host:6379', 'redis://user@host:6379'],
  ['redis://host:6379', 'redis://host:6379'],
  ['lmdb:/var/lib/blockd/store', 'lmdb:/var/lib/blockd/store'],
])('masks the password of %s', (url, masked) => {
  expect(maskPassword(url)).toBe(masked);
});

it('masks passwords within a text', () => {
  const text = '1:  [store]\n2:  url = "redis://u:secret@host:1\n3:  other = "unix:/x?password=secret"\n';
  expect(maskPasswordsIn(text)).toBe(
    '1:  [store]\n2:  url = "redis://u:***@host:1\n3:  other = "unix:/x?password=***"\n',
  );
});

it.each([
  ['https://chat.example.net/hooks/secret?key=secret#secret', 'https://chat.example.net/***'],
  ['https://user:secret@chat.example.net:8443/', 'https://chat.example.net:8443/***'],
  ['https:secret.example.net/secret', 'https://secret.example.net/***'],
  ['secret', '***'],
  ['//secret', '***'],
  ['mailto:secret', '***'],
])('shows of the webhook %s only where it leads', (url, masked) => {
  expect(maskWebhook(url)).toBe(masked);
});

it('masks webhooks within a text', () => {
  const text = '3:  webhook = "https://chat.example.net/hooks/secret\n4:  webhook=secret\n';
  expect(maskPasswordsIn(text)).toBe('3:  webhook = "https://chat.example.net/***\n4:  webhook=***\n');
});
