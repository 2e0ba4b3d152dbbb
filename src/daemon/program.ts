/** The options of `blockd`: for the program, and for its manual. */
import { Command } from 'commander';

const collect = (value: string, before: string[] = []): string[] => [...before, value];

export function blockdProgram(version: string): Command {
  return new Command('blockd')
    .description(
      'Follows the mail log, scores what Postfix rejects, and bans in an access map; every ban ends by itself.',
    )
    .version(version)
    .option('--config <FILE>', 'the config (default: /etc/blockd/blockd.toml; without a file, the defaults)')
    .option('--log <FILE>', 'mail log to follow; may be given several times', collect)
    .option('--store <URL>', 'lmdb:/DIR, redis://HOST:PORT, rediss://…, unix:/SOCKET')
    .option('--map <TYPE:PATH>', 'access map to publish, such as hash:/var/lib/blockd/postfix/client_access')
    .option('--mode <MODE>', 'dry-run (default: nobody is refused), shadow (Postfix only logs) or enforce')
    .option('--filters <DIR>', 'your own rules, over the packaged ones (default: /etc/blockd/filters)')
    .option('--once', 'read to the end of the log, publish the map, exit')
    .option('--from-start', 'read a log never seen before from its beginning (default: from its end)')
    .option('--set <KEY=VALUE>', 'any config key, such as score.threshold=3; may be given several times', collect)
    .addHelpText(
      'after',
      `
Examples:
  blockd                                             as /etc/blockd/blockd.toml says; dry-run by default
  blockd --log /var/log/mail.log --mode enforce \\
         --map hash:/var/lib/blockd/postfix/client_access
  blockd --once --from-start --log old.log --store lmdb:/tmp/trial
                                                     what would have been banned; look with
                                                     blockctl --store lmdb:/tmp/trial list --all

Signals: SIGHUP reads config and rules again, SIGTERM and SIGINT end in good order.
Exit codes: 0 done, 2 usage or config error, or the store of a newer blockd
(3 with --once), 3 store or Postfix unavailable.`,
    )
    .allowExcessArguments()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'blockd: ')) })
    .showHelpAfterError('(blockd --help shows all options)')
    .exitOverride();
}
