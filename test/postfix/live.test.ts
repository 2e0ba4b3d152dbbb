import { readFileSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AccessMap } from '../../src/postfix/access-map.js';
import { mynetworks } from '../../src/postfix/postconf.js';
import { type LabPostfix, startPostfix } from '../support/postfix.js';
import { smtpSession } from '../support/smtp.js';

const UNTIL = Date.parse('2031-05-11T04:00:00Z');
const BANNED = '203.0.113.9';
const OTHER = '198.51.100.7';
const ACCEPTED = /^250 2\.1\.5 /;
const REFUSED =
  /^554 5\.7\.1 <unknown\[[0-9a-f.:]+\]>: Client host rejected: Blocked until 2031-05-11T04:00Z after repeated rejects$/;
/** Every client, listed or not, when a table can't be read. */
const TABLE_ERROR = /^451 4\.3\.5 .*Server configuration error/;

describe.each(['hash', 'lmdb'])('a real Postfix with a %s map', (type) => {
  let postfix: LabPostfix;
  let map: AccessMap;

  beforeAll(async () => {
    postfix = await startPostfix({ mapType: type });
    map = new AccessMap({
      type,
      path: postfix.mapPath,
      reply: 'Blocked until {until} after repeated rejects',
      action: 'reject',
      postmap: 'postmap',
      reload: ['postfix', 'reload'],
      configDirectory: postfix.configDirectory,
    });
    await publish();
  });
  afterAll(() => postfix?.stop());

  const publish = (...subjects: string[]) =>
    map.publish(async () => subjects.map((subject) => ({ subject, until: UNTIL, reason: 'repeated rejects' })));

  /** What the next client with this address is answered. */
  async function answer(address: string): Promise<string> {
    const session = await smtpSession({ port: postfix.port, address });
    const reply = await session.rcpt('ok1@lab.example');
    await session.quit();
    return reply;
  }

  it('refuses a banned address in the very next session, with our text, and nobody else', async () => {
    expect(await answer(BANNED)).toMatch(ACCEPTED);
    for (let round = 0; round < 3; round++) {
      await publish(BANNED);
      expect(await answer(BANNED)).toMatch(REFUSED);
      expect(await answer(OTHER)).toMatch(ACCEPTED);
      await publish();
      expect(await answer(BANNED)).toMatch(ACCEPTED);
    }
  });

  it('refuses a whole /24 and a whole IPv6 /64, in the very next session, and not their neighbours', async () => {
    expect(await answer('2001:db8:1:2::5')).toMatch(ACCEPTED);
    await publish(BANNED, '192.0.2.0/24', '2001:db8:1:2::/64');
    expect(await answer('192.0.2.200')).toMatch(REFUSED);
    expect(await answer('2001:db8:1:2::5')).toMatch(REFUSED);
    expect(await answer('2001:db8:1:2:ffff:1:2:3')).toMatch(REFUSED);
    expect(await answer('2001:db8:1:3::5')).toMatch(ACCEPTED);
    expect(await answer('192.0.3.200')).toMatch(ACCEPTED);
    await publish(BANNED);
    expect(await answer('2001:db8:1:2::5')).toMatch(ACCEPTED);
    expect(await answer(BANNED)).toMatch(REFUSED);
  });

  it('takes mail again after a map that was deleted has been published anew', async () => {
    await publish(BANNED);
    for (const suffix of ['', '.db', '.lmdb', '.cidr']) rmSync(postfix.mapPath + suffix, { force: true });
    await postfix.reload();
    expect(await answer(OTHER)).toMatch(TABLE_ERROR);
    expect(await map.intact()).toBe(false);
    expect(await publish(BANNED)).toMatchObject({ repaired: true });
    expect(await answer(OTHER)).toMatch(ACCEPTED);
    expect(await answer(BANNED)).toMatch(REFUSED);
  });

  it('sees the end of an entry by a sweep alone', async () => {
    await publish(BANNED, '2001:db8:1:2::/64');
    expect(await answer(BANNED)).toMatch(REFUSED);
    expect(await answer('2001:db8:1:2::5')).toMatch(REFUSED);
    expect(await map.sweep(UNTIL)).toMatchObject({ dropped: 2, left: 0 });
    expect(await answer(BANNED)).toMatch(ACCEPTED);
    expect(await answer('2001:db8:1:2::5')).toMatch(ACCEPTED);
  });

  it('logs whom it would have refused in shadow mode, and refuses nobody', async () => {
    const shadow = new AccessMap({
      type,
      path: postfix.mapPath,
      reply: 'Blocked until {until} after repeated rejects',
      action: 'warn',
      postmap: 'postmap',
      reload: [],
    });
    await shadow.publish(async () => [{ subject: BANNED, until: UNTIL, reason: 'x' }]);
    expect(await answer(BANNED)).toMatch(ACCEPTED);
    // The client has its answer before postlogd has written the line.
    await expect
      .poll(() => readFileSync(postfix.logFile, 'utf8'), { timeout: 10_000 })
      .toMatch(
        /NOQUEUE: warn: RCPT from unknown\[203\.0\.113\.9\]: blockd: Blocked until 2031-05-11T04:00Z after repeated rejects; from=/,
      );
  });

  it('answers which networks are its own', async () => {
    const options = { postconf: 'postconf', configDirectory: postfix.configDirectory };
    expect(await mynetworks(options)).toEqual(['127.0.0.0/8']);
  });

  it('has complained about no table but those that were deleted', () => {
    const log = readFileSync(postfix.logFile, 'utf8');
    const complaints = log.split('\n').filter((line) => /\b(?:warning|error|fatal|panic): /.test(line));
    const expected = /open (?:database|file)|is unavailable|lookup error for|No such file/;
    expect(complaints.filter((line) => !expected.test(line))).toEqual([]);
  });
});
