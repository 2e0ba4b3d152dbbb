/** Completion in the shell. The scripts ask the program itself, so that they know what it knows. */
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command, Option } from 'commander';
import { knownKeys } from '../config/load.js';
import { configSchema, MODES } from '../config/schema.js';
import { type ExitCode, UsageError } from '../domain/errors.js';
import { atDesk, type Context, type Desk, type Globals } from './desk.js';
import { Output } from './output.js';

/** Who presses Tab waits no longer for a store. */
const PATIENCE_MS = 1_500;

const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `# Completion of blockctl for bash, made by "blockctl completion bash".
_blockctl() {
    local text="\${COMP_LINE:0:COMP_POINT}" words answer current kept
    read -ra words <<< "$text"
    [[ $text == *[[:space:]] ]] && words+=("")
    current="\${words[-1]}"
    COMPREPLY=()
    mapfile -t answer < <("\${words[0]}" complete -- "\${words[@]:1}" 2>/dev/null)
    if [[ \${answer[0]} == files ]]; then
        compopt -o default
        return
    fi
    COMPREPLY=("\${answer[@]:1}")
    [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace
    # What stands before the last colon or equals sign is another word to bash.
    kept="\${current%"\${current##*[:=]}"}"
    COMPREPLY=("\${COMPREPLY[@]#"$kept"}")
}
complete -F _blockctl blockctl
`,
  zsh: `#compdef blockctl
# Completion of blockctl for zsh, made by "blockctl completion zsh".
_blockctl() {
    local -a answer
    answer=("\${(@f)$(\${words[1]} complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ \${answer[1]} == files ]]; then
        [[ \${words[CURRENT]} == --*=* ]] && compset -P 1 '*='
        _files
    else
        shift answer
        (( \${#answer} )) && compadd -- "\${(@)answer}"
    fi
}
if [[ \${funcstack[1]} == _blockctl ]]; then _blockctl "$@"; else compdef _blockctl blockctl; fi
`,
  fish: `# Completion of blockctl for fish, made by "blockctl completion fish".
function __blockctl_candidates
    set -l words (commandline -opc) (commandline -ct)
    set -l answer ($words[1] complete -- $words[2..-1] 2>/dev/null)
    if test "$answer[1]" = files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $answer[2..-1]
    end
end
complete -c blockctl -f -a '(__blockctl_candidates)'
`,
};

/** @throws UsageError for a shell without a script. */
export async function completion(shell: string, output: Output): Promise<ExitCode> {
  await output.print(completionScript(shell));
  return 0;
}

export function completionScript(shell: string): string {
  const script = SCRIPTS[shell];
  if (script === undefined) throw new UsageError(`no completion for "${shell}": name one of bash, zsh, fish`);
  return script;
}

/** First a line `files` or `words`, then a candidate a line. Silent where there is nothing to say. */
export async function complete(program: Command, words: readonly string[], context: Context): Promise<ExitCode> {
  const { output } = context;
  const { wanted, globals } = wish(program, words);
  if (wanted === 'files') await output.line('files');
  else {
    const named = new Set(words.slice(0, -1));
    const all =
      typeof wanted === 'string'
        ? (await living(wanted, { output: SILENT, globals: { ...context.globals, ...globals } })).filter(
            (one) => HARMLESS.test(one) && !named.has(one),
          )
        : wanted;
    const begun = words.at(-1) ?? '';
    await output.line('words');
    for (const one of [...new Set(all)].sort()) if (one.startsWith(begun)) await output.line(one);
  }
  return 0;
}

/** The shell puts it on a command line as it is: nothing from a store may mean more to it than a word. */
const HARMLESS = /^[\w.:/-]+$/;

const SILENT = new Output(new PassThrough().resume(), new PassThrough().resume());

type Live = 'bans' | 'allowed';

/** What may stand where the last word is, and what the words before it say of the store to ask. */
function wish(program: Command, words: readonly string[]): { readonly wanted: Wish; readonly globals: Globals } {
  let globals: Globals = {};
  const note = (option: string, value: string) => {
    if (option === '--config') globals = { ...globals, config: value };
    else if (option === '--store') globals = { ...globals, store: value };
    else if (option === '--set') globals = { ...globals, set: [...(globals.set ?? []), value] };
  };
  const wanted = wishBehind(program, words, note);
  return { wanted, globals };
}

type Wish = 'files' | Live | readonly string[];

function wishBehind(program: Command, words: readonly string[], note: (option: string, value: string) => void): Wish {
  const before = words.slice(0, -1);
  let command = program;
  let option: Option | undefined;
  for (const word of before) {
    const joined = /^(--[\w-]+)=(.*)$/s.exec(word);
    if (option !== undefined) {
      note(option.long ?? '', word);
      option = undefined;
    } else if (joined !== null) note(joined[1] ?? '', joined[2] ?? '');
    else if (word.startsWith('-'))
      option = optionsOf(program, command).find((one) => [one.short, one.long].includes(word) && one.required);
    else command = visible(command).find((one) => one.name() === word) ?? command;
  }
  if (option !== undefined) return valuesOf(option, command);
  const begun = /^(--[\w-]+)=/.exec(words.at(-1) ?? '')?.[1];
  const joined = optionsOf(program, command).find(({ long }) => begun !== undefined && long === begun);
  if (joined !== undefined) {
    const values = valuesOf(joined, command);
    return values === 'files' ? values : values.map((value) => `${begun}=${value}`);
  }
  if ((words.at(-1) ?? '').startsWith('-')) return optionsOf(program, command).flatMap((one) => one.long ?? []);
  const below = visible(command);
  if (below.length > 0 && command.registeredArguments.length === 0) return below.map((one) => one.name());
  return argumentsOf(command);
}

function visible(command: Command): readonly Command[] {
  return command.commands.filter((one) => one.name() !== 'complete');
}

function optionsOf(program: Command, command: Command): readonly Option[] {
  return command === program ? program.options : [...command.options, ...program.options];
}

function valuesOf({ long, optional }: Option, command: Command): 'files' | readonly string[] {
  if (optional) return 'files';
  if (long === '--set') {
    const isSection = (key: string) => configSchema.keys?.[key]?.keys !== undefined;
    return knownKeys(configSchema, []).flatMap((key) =>
      isSection(key) ? [] : key === 'points' ? ['points.'] : `${key}=`,
    );
  }
  // "setup" does not begin with enforcing.
  if (long === '--mode') return MODES.filter((mode) => mode !== 'enforce' || command.name() !== 'setup');
  if (long === '--format') return ['plain', 'json', 'nft', 'cidr'];
  return ['--config', '--html', '--write'].includes(long ?? '') ? 'files' : [];
}

function argumentsOf(command: Command): 'files' | Live | readonly string[] {
  switch (command.name()) {
    case 'unban':
    case 'explain':
    case 'allow':
      return 'bans';
    case 'disallow':
      return 'allowed';
    case 'completion':
      return Object.keys(SCRIPTS);
    case 'report':
    case 'tune':
    case 'test':
      return 'files';
    // Those below `import`.
    case 'list':
    case 'fail2ban':
      return command.parent?.name() === 'import' ? 'files' : [];
    default:
      return [];
  }
}

/** From the store; nothing when it is away, unreadable or slow. */
async function living(what: Live, context: Context): Promise<readonly string[]> {
  let found: readonly string[] = [];
  const ask = async ({ store, now }: Desk): Promise<ExitCode> => {
    found =
      what === 'bans'
        ? (await store.bans(now)).map(({ subject }) => subject)
        : (await store.allowed()).map(({ entry }) => entry);
    return 0;
  };
  const asked = atDesk(context, { create: false }, ask).catch(() => undefined);
  await Promise.race([asked, sleep(PATIENCE_MS, undefined, { ref: false })]);
  return found;
}
