/** `blockctl export`: the active bans for other programs. Only the JSON tells more than subjects and their ends. */
import { type ExitCode, UsageError } from '../domain/errors.js';
import { cidrText, nftText, ordered, plainText } from '../postfix/ban-text.js';
import { atDesk, type Context, type Desk } from './desk.js';
import { banJson, plural } from './format.js';

const FORMATS = {
  plain: plainText,
  json: null,
  nft: nftText,
  cidr: cidrText,
};

export async function exportBans(options: { readonly format?: string }, context: Context): Promise<ExitCode> {
  const { output, globals } = context;
  const asked = options.format ?? (globals.json === true ? 'json' : 'plain');
  if (!Object.hasOwn(FORMATS, asked))
    throw new UsageError(`--format "${asked}" is none: write one of ${Object.keys(FORMATS).join(', ')}`);
  const format = asked as keyof typeof FORMATS;
  if (globals.json === true && format !== 'json')
    throw new UsageError(`export takes --json or --format ${format}, not both`);
  return atDesk(context, { create: false }, async (desk) => {
    const sorted = await ordered(await desk.store.bans(desk.now));
    if (desk.dryRun && sorted.length > 0)
      output.notice(`DRY-RUN: ${plural(sorted.length, 'ban')}, recorded only; whoever takes this enforces them`);
    const render = FORMATS[format];
    if (render === null) await output.json(sorted.map(banJson));
    else for (const line of await render(sorted, settingsOf(desk))) await output.line(line);
    return 0;
  });
}

function settingsOf({ now, mode, config }: Desk) {
  return { now, reply: config.postfix.reply, action: mode === 'shadow' ? 'warn' : 'reject' } as const;
}
