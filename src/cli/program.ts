/** The commands of `blockctl` and their options. Each loads its own file only when it is called: `list` starts fast. */
import { Command, CommanderError } from 'commander';
import { BlockdError, type ExitCode } from '../domain/errors.js';
import type { Context, Globals } from './desk.js';
import type { Output } from './output.js';

/** Runs the command that `args` name, and says what went wrong; resolves with the exit code. */
export async function runCommand(args: readonly string[], version: string, output: Output): Promise<ExitCode> {
  let code: ExitCode = 0;
  try {
    await buildProgram(version, output, (answer) => {
      code = answer;
    }).parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    // Commander has printed its message or the help already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (!(error instanceof BlockdError)) throw error;
    output.error(error.message);
    if (/permission denied|not permitted/i.test(error.message) && process.getuid?.() !== 0) {
      output.notice('run it with sudo, or as the user that blockd runs as');
    }
    return error.exitCode;
  }
}

/** `finish` takes the exit code of the command that ran. What the manual and the completions know comes from here too. */
export function buildProgram(version: string, output: Output, finish: (code: ExitCode) => void): Command {
  const program = new Command('blockctl')
    .description('Looks into blockd and gives it orders: who is banned, why, and for how long.')
    .version(version)
    .option('--config <file>', 'the config (default: /etc/blockd/blockd.toml; without a file, the defaults)')
    .option('--store <url>', 'where blockd keeps its state: lmdb:/DIR, redis://HOST:PORT, rediss://…, unix:/SOCKET')
    .option('--map <type:path>', 'the access map, such as hash:/var/lib/blockd/postfix/client_access')
    .option('--set <key=value>', 'any config key, such as score.threshold=3; may be given several times', collect)
    .option('--json', 'the answer as JSON on stdout')
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(--help shows all options)')
    .configureOutput({
      writeOut: (text) => output.print(text),
      writeErr: (text) => output.errorText(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'blockctl: ')),
    })
    .exitOverride()
    .addHelpText('after', PROGRAM_EXAMPLES);
  const context = (): Context => ({ globals: program.opts<Globals>(), output });
  /** Adds a command; `examples` are its lines in the help. */
  const command = (usage: string, description: string, examples: readonly string[]): Command =>
    program
      .command(usage)
      .description(description)
      .addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`);

  command('list', 'shows active bans', [
    'blockctl list',
    'blockctl list --all',
    "blockctl list --json | jq -r '.[].subject'",
  ])
    .option('--all', 'released ones too, with how and when they ended')
    .action(async (options) => finish(await (await import('./list.js')).list(options, context())));

  command('ban <subject>', 'bans an address or network, for a time that ends', [
    'blockctl ban 203.0.113.9',
    'blockctl ban 203.0.113.0/24 --for 2h --reason "dictionary attack, ticket 4711"',
    'blockctl ban 2001:db8:1:2::7             (its whole /64)',
  ])
    .option('--for <duration>', 'how long: 90s, 15m, 2h, 7d (default: ban.first; at most 365d)')
    .option('--reason <text>', 'for those who ask later')
    .action(async (subject, options) => finish(await (await import('./ban.js')).ban(subject, options, context())));

  command('unban [subjects...]', 'ends bans and clears the scores', [
    'blockctl unban 203.0.113.9',
    'blockctl unban 203.0.113.9 198.51.100.0/24',
    'blockctl unban --all',
  ])
    .option('--all', 'everybody who is banned')
    .action(async (subjects, options) =>
      finish(await (await import('./unban.js')).unban(subjects, options, context())),
    );

  command('allow <entry>', 'never bans an address, network or host name (with all names below it)', [
    'blockctl allow 198.51.100.7',
    'blockctl allow 192.0.2.0/24',
    'blockctl allow customer.example          (confirmed names only, never HELO)',
  ]).action(async (entry) => finish(await (await import('./allow.js')).allow(entry, context())));

  command('disallow <entry>', 'takes back an "allow"', ['blockctl disallow 198.51.100.7']).action(async (entry) =>
    finish(await (await import('./allow.js')).disallow(entry, context())),
  );

  command('allowed', 'shows who is never banned, and why', ['blockctl allowed', 'blockctl allowed --json']).action(
    async () => finish(await (await import('./allow.js')).allowed(context())),
  );

  command('explain <subject>', 'shows what is known of an address: lines, points, score, ban and its end', [
    'blockctl explain 203.0.113.9',
    "blockctl explain 203.0.113.9 --json | jq '.evidence[].rule'",
  ]).action(async (subject) => finish(await (await import('./explain.js')).explain(subject, context())));

  command('status', 'shows mode, daemon, logs, store and map', [
    'blockctl status',
    "blockctl status --json | jq '.logs[].lagBytes'",
  ]).action(async () => finish(await (await import('./status.js')).status(context())));

  command('top', 'shows live what happens: rejects, new bans, who is next; q quits', [
    'blockctl top',
    'ssh -t mx1 sudo blockctl top',
    "blockctl top --json | jq '.offenders[].subject'      (what it shows, once)",
  ]).action(async () => finish(await (await import('./top.js')).top(context())));

  command('setup', 'has Postfix ask the map, in dry-run: shows each change, asks, and can take it back', [
    'blockctl setup --dry-run                 (shows the plan only)',
    'blockctl setup',
    'blockctl setup --mode shadow --instance postfix-in',
    'blockctl setup --undo',
  ])
    .option('--dry-run', 'shows what it would change, and changes nothing')
    .option('--yes', 'does it without asking')
    .option('--undo', 'takes out what it has done, and nothing else')
    .option('--mode <mode>', 'dry-run (default) or shadow, for a config that is not there yet')
    .option('--instance <name>', 'which Postfix, where there are several: a name, a folder, or "all"')
    .action(async (options) => finish(await (await import('./setup.js')).setup(options, context())));

  command('doctor', 'checks Postfix, map, log, clock and daemon, and says how to mend what is wrong', [
    'blockctl doctor',
    'blockctl doctor --json | jq \'.findings[] | select(.level == "fail")\'',
  ]).action(async () => finish(await (await import('./doctor.js')).doctor(context(), version)));

  command('check', 'checks the config, the rules and their sample lines', [
    'blockctl check',
    'blockctl check --config ./blockd.toml',
  ]).action(async () => finish(await (await import('./check.js')).check(context())));

  command('test [logs...]', 'shows what the rules see in each line of logs, or of standard input', [
    'blockctl test /var/log/mail.log',
    'blockctl test /var/log/mail.log.2.gz',
    'journalctl -u postfix@- -o short-iso | blockctl test -',
    'blockctl test --json mail.log | jq -c \'select(.rule == "postfix/user-unknown")\'',
  ])
    .option('--all', 'also the lines that no rule matches')
    .action(async (logs, options) => finish(await (await import('./test.js')).test(logs, options, context())));

  command('report [logs...]', 'shows what the policy would have done with these logs, and whom it would have hurt', [
    'blockctl report /var/log/mail.log*               (rotated and packed ones too; oldest first by itself)',
    'blockctl report --html report.html mail.log',
    'blockctl report --since 7d --set score.threshold=3 /var/log/mail.log*',
    'xz -dc mail.log.3.xz | blockctl report -',
    'blockctl report --since 24h                      (no log: what blockd itself has counted)',
  ])
    .option('--html <file>', 'also writes a page with charts: one file, readable offline, on a phone and in print')
    .option('--since <time>', 'only lines from then on: 24h (ago), 2026-11-25, "2026-11-25 14:30"')
    .option('--until <time>', 'only lines before then')
    .addHelpText('after', REPORT_NOTES)
    .action(async (logs, options) => finish(await (await import('./report.js')).report(logs, options, context())));

  command('tune [logs...]', 'tries many policies on the same logs: what each stops, and what wanted mail it costs', [
    'blockctl tune /var/log/mail.log*',
    'blockctl tune --html tune.html --since 14d /var/log/mail.log*',
  ])
    .option('--all', 'all policies, not only those that no other beats')
    .option('--html <file>', 'also writes the page of "report" with a picture of the trade')
    .option('--since <time>', 'only lines from then on: 24h (ago), 2026-11-25, "2026-11-25 14:30"')
    .option('--until <time>', 'only lines before then')
    .action(async (logs, options) => finish(await (await import('./tune.js')).tune(logs, options, context())));

  command('sync', 'publishes the access map from the store now', ['blockctl sync']).action(async () =>
    finish(await (await import('./sync.js')).sync(context())),
  );

  command('sweep', 'drops ended entries from the access map; needs neither daemon nor store', [
    'blockctl sweep',
    'blockctl sweep --map hash:/var/lib/blockd/postfix/client_access',
  ]).action(async () => finish(await (await import('./sync.js')).sweep(context())));

  const imports = program
    .command('import')
    .description('takes bans, lists and the set-up of fail2ban over')
    .addHelpText('after', IMPORT_EXAMPLES);

  imports
    .command('fail2ban [directory]')
    .description("fail2ban's mail jails as rules and a config, on stdout (default: /etc/fail2ban), or its live bans")
    .option('--write <dir>', 'writes blockd.toml and filters/ there; overwrites nothing')
    .option('--force', 'overwrites')
    .option('--bans [sqlite]', 'its live bans instead (default: /var/lib/fail2ban/fail2ban.sqlite3); wants "sqlite3"')
    .option(
      '--jail <name>',
      'only bans of this jail; may be given several times (default: those named after mail)',
      collect,
    )
    .option('--dry-run', 'only shows which bans it would make')
    .addHelpText('after', IMPORT_EXAMPLES)
    .action(async (directory, options) =>
      finish(await (await import('./import-fail2ban.js')).importFail2ban(directory, options, context())),
    );

  imports
    .command('list <file>')
    .description('bans the addresses and networks of a plain list, one a line; - is standard input')
    .option('--for <duration>', 'how long: 90s, 15m, 2h, 7d (default: ban.first; at most 365d)')
    .option('--reason <text>', 'for those who ask later')
    .option('--skip-bad', 'takes the rest where a line is wrong, instead of nothing')
    .option('--dry-run', 'only shows which bans it would make')
    .addHelpText('after', IMPORT_EXAMPLES)
    .action(async (file, options) =>
      finish(await (await import('./import-list.js')).importList(file, options, context())),
    );

  command('export', 'prints the active bans for other programs', [
    'blockctl export                          (one a line)',
    'blockctl export --format nft | nft -f -   (sets with timeouts for nftables)',
    'blockctl export --format cidr > /etc/postfix/banned.cidr',
  ])
    .option('--format <format>', 'plain, json, nft (an nftables script) or cidr (a Postfix table)')
    .action(async (options) => finish(await (await import('./export.js')).exportBans(options, context())));

  command('completion <shell>', 'prints the completion for bash, zsh or fish', [
    'blockctl completion bash > /etc/bash_completion.d/blockctl',
    'blockctl completion zsh > /usr/local/share/zsh/site-functions/_blockctl',
    'blockctl completion fish > ~/.config/fish/completions/blockctl.fish',
  ]).action(async (shell) => finish(await (await import('./completion.js')).completion(shell, output)));

  // What those scripts ask at each Tab: the words behind "blockctl", the last one as far as it is typed.
  program
    .command('complete [words...]', { hidden: true })
    .allowUnknownOption()
    .action(async (words) => finish(await (await import('./completion.js')).complete(program, words, context())));

  for (const one of [...program.commands, ...imports.commands])
    one.exitOverride().showHelpAfterError(`(blockctl ${one.name()} --help shows examples)`);
  return program;
}

const PROGRAM_EXAMPLES = `
Examples:
  blockctl list                                   who is banned now
  blockctl explain 203.0.113.9                    why, and until when
  blockctl unban 203.0.113.9                      end it now
  blockctl allow customer.example                 never again
  blockctl test /var/log/mail.log                 what the rules see

Exit codes: 0 done, 1 the answer is no, 2 usage or config error,
            3 store or Postfix unavailable.`;

const IMPORT_EXAMPLES = `
Examples:
  blockctl import fail2ban                           (shows rules and config, and what can't be carried over)
  blockctl import fail2ban --write ./from-fail2ban
  blockctl import fail2ban --bans --dry-run
  blockctl import list blocklist.txt --for 7d --reason "shared list"
  curl -s https://lists.example.org/drop.txt | blockctl import list - --dry-run`;

const REPORT_NOTES = `
Without a log it tells what the daemon of this host has counted from live
events, by the hour, in any mode: rejects by rule, what bans stopped or would
have, and the accepted mail that they would have cost. It has no totals of the
mail, and rejects that no rule sees, such as greylisting, are not in it. An
attempt or a message within ten seconds of a ban's begin is taken as of a
session that was open before.

With logs, nothing is changed, and the daemon need not run. Lines go through
the same rules and the same policy as in the daemon, on the log's own time;
allow rules, mynetworks and "blockctl allow" are honoured.

"stopped" are attempts that your server refused by a rule of its own while
their client would have been banned since before its session began. Attempts
at postscreen's door are never counted as stopped: it does not ask the map.

The totals under "Mail" are counted as pflogsumm counts them. On purpose
otherwise: every Postfix instance and service name counts (postfix-in/smtpd,
postfix/relay/smtp); a queue id that Postfix gives out again is another
message; a line "message repeated N times" counts N; text of a sender or a
header that imitates a log line counts nothing. Rejects by milters and content
filters in smtpd, which pflogsumm leaves out of "rejected", stand in a line of
their own.`;

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}
