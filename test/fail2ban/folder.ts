/** A folder as fail2ban's, in its syntax and our words. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export function fail2banFolder(directory: string, files: Readonly<Record<string, string>>): string {
  for (const [name, text] of Object.entries({ ...COMMON, ...files })) {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  return directory;
}

const COMMON = {
  'jail.conf': `
[INCLUDES]
before = paths-common.conf
[DEFAULT]
ignoreip = 127.0.0.1/8 ::1
maxretry = 5
findtime = 10m
bantime  = 10m      ; short
mode = normal
backend = auto
filter = %(__name__)s[mode=%(mode)s]
enabled = false
[postfix]
logpath = %(mail_log)s
[postfix-rbl]
filter = postfix[mode=rbl]
maxretry = 1
logpath = %(mail_log)s
[dovecot]
logpath = %(mail_log)s
[sshd]
logpath = /var/log/auth.log
`,
  'paths-common.conf': '[DEFAULT]\nmail_log = /var/log/mail.log\n',
  'filter.d/common.conf': `
[DEFAULT]
_daemon = \\S*
__prefix_line = \\s*\\S+ <_daemon>(?:\\[\\d+\\])?:\\s+
`,
  'filter.d/postfix.conf': `
# What Postfix rejects.
[INCLUDES]
before = common.conf
[Definition]
_daemon = postfix(?:-\\w+)?/\\w+
_client = from [^[]*\\[<HOST>\\](?::\\d+)?
prefregex = ^%(__prefix_line)s<pre-<mode>> <F-CONTENT>.+</F-CONTENT>$
pre-normal = \\w+: reject:
re-normal = ^RCPT %(_client)s: 55[04] 5\\.\\d\\.\\d (?:<[^>]*>: )?(?:Recipient address rejected: User unknown|Relay access denied)
            ^RCPT %(_client)s: 454 4\\.7\\.1 (?:<[^>]*>: )?Our own words
pre-rbl = %(pre-normal)s
re-rbl = ^RCPT %(_client)s: 554 5\\.7\\.1 Service unavailable; Client host \\[\\S+\\] blocked
failregex = <re-<mode>>
mode = normal
ignoreregex =
`,
  'filter.d/dovecot.conf': `
[INCLUDES]
before = common.conf
[Definition]
_daemon = (?:dovecot|auth)
failregex = ^%(__prefix_line)s(?:imap|pop3)-login: (?:Disconnected|Aborted login)[^(]*\\(auth failed, \\d+ attempts(?: in \\d+ secs)?\\):(?: user=<<F-USER>[^>]*</F-USER>>,)? method=\\S+, rip=<HOST>, .*$
`,
};
