import { expect, it } from 'vitest';
import { maskPassword, maskPasswordsIn } from '../../src/domain/secret.js';

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
