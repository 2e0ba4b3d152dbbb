/** The totals agree with pflogsumm's on the same log; where they differ, it is on purpose. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { Traffic } from '../../src/demo/traffic.js';
import { startPostfix } from '../support/postfix.js';
import { smtpSession } from '../support/smtp.js';
import { asPflogsumm, pflogsumm } from './pflogsumm.js';
import { Folder, NOON, reportOn, Scribe } from './support.js';

const folder = new Folder();
afterAll(() => folder.remove());
const exec = promisify(execFile);

test.each(['rfc3339', 'traditional'] as const)("a day's log with %s stamps", async (stamps) => {
  const startAt = NOON - 86_400_000;
  const traffic = new Traffic({ seed: 7, startAt, perSecond: 0.1, attackShare: 0.4, stamps });
  const log = folder.log('day.log', `${[...traffic.lines(30_000)].map(({ text }) => text).join('\n')}\n`);
  const { mail } = await reportOn([log]);
  expect(mail.received).toBeGreaterThan(1_000);
  expect(asPflogsumm(mail)).toEqual(await pflogsumm(log));
});

test('the log of a real Postfix that received, delivered, deferred, bounced, rejected, warned, held and discarded', async () => {
  const postfix = await startPostfix({ mapType: 'hash' });
  try {
    const checks = join(postfix.configDirectory, 'header_checks');
    await writeFile(
      checks,
      '/^X-Act: reject/ REJECT no\n/^X-Act: warn/ WARN look\n/^X-Act: hold/ HOLD wait\n/^X-Act: discard/ DISCARD gone\n',
    );
    const settings = [
      'relay_domains = bounce.example, later.example',
      'relay_recipient_maps =',
      'transport_maps = inline:{bounce.example=bouncing:,later.example=deferring:}',
      `header_checks = regexp:${checks}`,
      'smtpd_recipient_restrictions = check_recipient_access inline:{{hold@bounce.example = HOLD for now}, {discard@bounce.example = DISCARD gone}}, warn_if_reject check_recipient_access inline:{{ok2@lab.example = REJECT soon}}',
    ];
    await exec('postconf', ['-c', postfix.configDirectory, '-e', ...settings]);
    // sysexits(3): EX_NOUSER and EX_TEMPFAIL, which pipe(8) makes a bounce and a deferral of.
    for (const [name, status] of [
      ['bouncing', 67],
      ['deferring', 75],
    ] as const) {
      const service = `${name} unix - n n - - pipe user=nobody argv=/bin/sh -c {exit ${status}}`;
      await exec('postconf', ['-c', postfix.configDirectory, '-M', `${name}/unix=${service}`]);
    }
    await postfix.reload();
    const send = async (recipients: readonly string[], act?: string) => {
      const { port } = postfix;
      const session = await smtpSession({ port, address: '198.51.100.7', name: 'mx.b.example', sender: 'A@B.Example' });
      let accepted = false;
      for (const one of recipients) accepted = (await session.rcpt(one)).startsWith('250') || accepted;
      if (accepted) {
        await session.command('DATA');
        await session.command(`Subject: x\r\n${act === undefined ? '' : `X-Act: ${act}\r\n`}\r\ntext\r\n.`);
      }
      await session.quit();
    };
    await send(['ok1@lab.example', 'ok2@lab.example', 'nobody@lab.example']);
    await send(['ok1@LAB.example', 'a@bounce.example', 'b@later.example', 'c@later.example']);
    await send(['x@elsewhere.example']);
    await send(['hold@bounce.example']);
    await send(['discard@bounce.example']);
    for (const act of ['reject', 'warn', 'hold', 'discard']) await send(['ok1@lab.example'], act);
    await settled(postfix.logFile);
    const { mail } = await reportOn([postfix.logFile]);
    expect(mail.received).toBeGreaterThan(5);
    for (const figure of ['deferred', 'bounced', 'rejected', 'rejectWarnings', 'held', 'discarded'] as const)
      expect(mail[figure], figure).toBeGreaterThan(0);
    expect(asPflogsumm(mail)).toEqual(await pflogsumm(postfix.logFile));
  } finally {
    await postfix.stop();
  }
});

test('on purpose other than pflogsumm: all instances, repeated lines, queue ids used again, imitations', async () => {
  const scribe = new Scribe();
  const reject =
    'reject: RCPT from unknown[203.0.113.9]: 550 5.1.1 <x@lab.example>: Recipient address rejected: User unknown';
  scribe
    .say(`NOQUEUE: ${reject}`, 'postfix-in/smtpd')
    .say(`NOQUEUE: ${reject}`, 'postfix/relay/smtpd')
    .say(`message repeated 3 times: [ NOQUEUE: ${reject}]`)
    .say('NOQUEUE: milter-reject: RCPT from unknown[203.0.113.9]: 550 5.7.1 no; from=<a@b.example>')
    .say(`4F00000009: message-id=<x reject: header y@z>`, 'postfix/cleanup');
  for (let i = 0; i < 2; i++) {
    scribe
      .say('4F00000001: client=mx.b.example[198.51.100.7]')
      .say('4F00000001: from=<a@b.example>, size=1000, nrcpt=1 (queue active)', 'postfix/qmgr')
      .say('4F00000001: removed', 'postfix/qmgr');
  }
  const { mail } = await folder.report(scribe.lines);
  expect(mail).toMatchObject({ rejected: 5, milterRejected: 1, received: 2, bytesReceived: 2_000 });
});

/** Until Postfix has logged all that it does with these messages. */
async function settled(log: string): Promise<void> {
  let before = -1;
  for (let tries = 0; tries < 30; tries++) {
    const { length } = await readFile(log);
    const text = await readFile(log, 'utf8');
    if (length === before && text.includes('status=bounced') && text.includes('status=deferred')) return;
    before = length;
    await sleep(500);
  }
  throw new Error(`Postfix does not come to rest:\n${await readFile(log, 'utf8')}`);
}
