import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UnavailableError, UsageError } from '../../src/domain/errors.js';
import { defaultMapType, mynetworks } from '../../src/postfix/postconf.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'blockd-postconf-'));
  mkdirSync(join(folder, 'etc'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function configure(text: string) {
  writeFileSync(join(folder, 'etc/main.cf'), `compatibility_level = 3.6\n${text}\n`);
  return { postconf: 'postconf', configDirectory: join(folder, 'etc') };
}

describe('mynetworks', () => {
  it('are read as Postfix writes them, in canonical form', async () => {
    const options = configure(
      'mynetworks = 127.0.0.0/8, 192.0.2.77/24 [::1]/128\n  [2001:DB8:0:0::1]/64, 198.51.100.7 [2001:db8::7]',
    );
    expect(await mynetworks(options)).toEqual([
      '127.0.0.0/8',
      '192.0.2.0/24',
      '::1/128',
      '2001:db8::/64',
      '198.51.100.7/32',
      '2001:db8::7/128',
    ]);
  });

  it('follow variables, files and tables of addresses', async () => {
    writeFileSync(
      join(folder, 'networks'),
      '# ours\n192.0.2.0/24 198.51.100.0/24 # two\n!192.0.2.5\n\n[2001:db8::]/48\n',
    );
    writeFileSync(
      join(folder, 'table'),
      '203.0.113.0/24 OK\n! 203.0.113.9 OK\nif 10.0.0.0/8\n10.1.0.0/16\tpermit\nendif\n',
    );
    const options = configure(
      `lab = ${folder}\nmynetworks = $lab/networks cidr:$lab/table hash:$lab/missing /nowhere/file`,
    );
    expect(await mynetworks(options)).toEqual([
      '192.0.2.0/24',
      '198.51.100.0/24',
      '2001:db8::/48',
      '203.0.113.0/24',
      '10.1.0.0/16',
    ]);
  });

  it('leave out what is no address: exclusions, names, other tables, nonsense', async () => {
    const options = configure(
      'mynetworks = !192.0.2.5, host.example, pcre:/etc/x, static:all, 192.0.2.0/33, 192.0.2.1/24',
    );
    expect(await mynetworks(options)).toEqual(['192.0.2.0/24']);
  });

  it('are none of a Postfix that can’t be asked, which is told', async () => {
    await expect(mynetworks({ postconf: '/nowhere/postconf' })).rejects.toThrow(UnavailableError);
    const broken = mynetworks({ postconf: 'postconf', configDirectory: join(folder, 'nowhere') });
    await expect(broken).rejects.toThrow(/^postconf can't tell mynetworks: .*(fatal|open)/);
  });
});

describe('the default map type', () => {
  it('is what Postfix says', async () => {
    expect(await defaultMapType(configure('default_database_type = lmdb'))).toBe('lmdb');
  });

  it('that blockd can’t write is refused with the key to set', async () => {
    await expect(defaultMapType(configure('default_database_type = sdbm'))).rejects.toThrow(UsageError);
    await expect(defaultMapType(configure('default_database_type = sdbm'))).rejects.toThrow(
      /is sdbm, .*set postfix\.map/,
    );
  });
});
