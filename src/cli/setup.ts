/** `blockctl setup`: looks at the machine, shows what it would change, asks, and has Postfix ask the map. */
import { createInterface } from 'node:readline/promises';
import type { ExitCode } from '../domain/errors.js';
import { UnavailableError, UsageError } from '../domain/errors.js';
import { tablesOf } from '../postfix/wiring.js';
import type { Context } from './desk.js';
import { diffLines } from './diff.js';
import type { Output } from './output.js';
import { applySetup } from './setup-apply.js';
import { type FileChange, planSetup, type SetupOptions, type SetupPlan } from './setup-plan.js';
import { applyUndo, planUndo, type UndoPlan } from './setup-undo.js';
import { safe, styled } from './terminal.js';
import { wrap } from './wrap.js';

export interface SetupFlags extends SetupOptions {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly undo?: boolean;
}

export async function setup(flags: SetupFlags, context: Context): Promise<ExitCode> {
  const { output, globals } = context;
  const plan = await planSetup(globals, flags, Date.now());
  const undoPlan = flags.undo === true ? planUndo(plan) : null;
  const changes = undoPlan === null ? changesOf(plan) : changesOfUndo(undoPlan);
  const deeds = undoPlan === null ? deedsOf(plan) : deedsOfUndo(undoPlan, plan);
  const notes = undoPlan === null ? plan.notes : undoPlan.notes;
  const nothing = changes.length === 0 && deeds.length === 0;
  const isJson = globals.json === true;
  if (!isJson) {
    await describeMachine(plan, output);
    if (!nothing) await describeChanges(changes, deeds, output);
    for (const note of notes) await output.line(paragraph(output, '! ', note));
    if (notes.length > 0) await output.line('');
  }
  const wanted = !nothing && flags.dryRun !== true;
  if (wanted) consent(flags, context);
  const done: string[] = [];
  const say = async (sentence: string) => {
    done.push(sentence);
    if (!isJson) await output.line(`${styled(output.look, 'green', 'done')}  ${safe(sentence)}`);
    await output.flush();
  };
  if (wanted && !(await agreed(flags, context))) {
    await output.line('Nothing was changed.');
    return 1;
  }
  if (wanted && undoPlan !== null) await applyUndo(undoPlan, plan, say);
  else if (wanted) await applySetup(plan, Date.now(), say);
  if (isJson) await output.json({ ...toJson(plan), changes, deeds, notes, done });
  else await conclude({ flags, nothing, wanted }, plan, output);
  return 0;
}

/** @throws UnavailableError for one who may not, UsageError where nobody can be asked. */
function consent(flags: SetupFlags, { globals }: Context): void {
  if (process.getuid?.() !== 0) {
    throw new UnavailableError('nothing was changed: main.cf and "postfix reload" are for root; run it with sudo');
  }
  if (flags.yes === true) return;
  if (globals.json === true || !process.stdin.isTTY) {
    throw new UsageError(
      'nothing was changed: there is no terminal on which to ask. Look at the plan with --dry-run, then run it with --yes',
    );
  }
}

async function agreed(flags: SetupFlags, { output }: Context): Promise<boolean> {
  if (flags.yes === true) return true;
  await output.flush();
  const asking = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return await new Promise<boolean>((resolve) => {
      // Ctrl-C and the end of the input are a no.
      asking.once('close', () => resolve(false));
      asking.once('SIGINT', () => asking.close());
      void asking.question('Do this? [y/N] ').then((answer) => resolve(/^y(?:es)?$/i.test(answer.trim())));
    });
  } finally {
    asking.close();
  }
}

async function describeMachine({ targets, map, log, loaded, config }: SetupPlan, output: Output): Promise<void> {
  const row = (label: string, text: string) =>
    output.line(
      `${styled(output.look, 'bold', label.padEnd(8))} ${wrap(safe(text), output.look.width, ' '.repeat(9))}`,
    );
  for (const { name, configDirectory, settings } of targets) {
    const jailed = settings.services.some(({ command, chroot }) => command === 'smtpd' && chroot);
    await row(
      'Postfix',
      `${settings.version}, ${configDirectory}${name === '-' ? '' : ` (${name})`}${jailed ? '; smtpd runs in a chroot, and opens its maps before that' : ''}`,
    );
  }
  await row('log', log.log === null ? `not found: ${log.why}` : `${log.log} (${log.why})`);
  await row('map', `${map.type}:${map.path}${map.type === 'cidr' ? '' : ', and its sibling .cidr for IPv6'}`);
  await row(
    'config',
    config === null || config.before !== null ? (loaded.file ?? '') : `${config.file}, to be written`,
  );
  await row('mode', `${loaded.config.mode}${loaded.config.mode === 'enforce' ? '' : ': nobody is refused'}`);
  await output.line('');
}

function changesOf({ config, targets }: SetupPlan): FileChange[] {
  const all = [...(config === null ? [] : [config]), ...targets.map(({ main }) => main)];
  return all.filter(({ before, after }) => before !== after);
}

function deedsOf({ mapFolders, configFolders, owner, makesMap, map, targets }: SetupPlan): string[] {
  const whose = owner.uid === 0 ? '' : `, owned by user ${owner.uid} as the folder above it`;
  const changes = targets.some(({ main }) => main.before !== main.after);
  return [
    ...mapFolders.map((folder) => `make the folder ${folder}${whose}`),
    ...configFolders.map((folder) => `make the folder ${folder}`),
    ...(makesMap ? [`make the map ${tablesOf(map).join(' and ')}, empty, before main.cf names it`] : []),
    ...(changes ? ['keep a copy of main.cf, run "postfix check" and "postfix reload"'] : []),
  ];
}

function changesOfUndo({ mains, config }: UndoPlan): FileChange[] {
  return [...mains, ...(config === null ? [] : [config])];
}

function deedsOfUndo({ mains, removesMap, record }: UndoPlan, { map }: SetupPlan): string[] {
  return [
    ...(mains.length > 0 ? ['run "postfix check" and "postfix reload"'] : []),
    ...(removesMap ? [`remove the map ${map.path}, which nothing names any more`] : []),
    ...(removesMap && record !== null
      ? record.folders.map((folder) => `remove the folder ${folder} if it is empty`)
      : []),
  ];
}

async function describeChanges(
  changes: readonly FileChange[],
  deeds: readonly string[],
  output: Output,
): Promise<void> {
  const { look } = output;
  for (const { file, before, after } of changes) {
    await output.line(
      styled(look, 'bold', `${safe(file)}${before === null ? ' (new)' : after === '' ? ' (removed)' : ''}`),
    );
    for (const line of diffLines(before ?? '', after)) {
      const style = line.startsWith('+') ? 'green' : line.startsWith('-') ? 'red' : 'dim';
      await output.line(`  ${styled(look, style, safe(line))}`);
    }
    await output.line('');
  }
  if (deeds.length > 0) await output.line(styled(look, 'bold', 'It would also'));
  for (const deed of deeds) await output.line(paragraph(output, '  - ', deed));
  if (deeds.length > 0) await output.line('');
}

async function conclude(
  { flags, nothing, wanted }: { readonly flags: SetupFlags; readonly nothing: boolean; readonly wanted: boolean },
  { loaded, targets, config }: SetupPlan,
  output: Output,
): Promise<void> {
  if (nothing) {
    await output.line(
      flags.undo === true
        ? 'There is nothing of setup here to take out.'
        : 'Everything is set up already; nothing was changed.',
    );
  } else if (!wanted) await output.line('Nothing was changed (--dry-run).');
  else if (flags.undo === true) {
    await output.line(
      paragraph(output, '', 'Postfix no longer asks the map. Stop blockd too; what it has learned stays in its store.'),
    );
  } else {
    const where = config === null ? (loaded.file ?? 'the config') : config.file;
    const directories = targets.map(({ configDirectory }) => configDirectory).join(' and ');
    const then =
      loaded.config.mode === 'enforce'
        ? ''
        : ` After some days look at "blockctl report --since 7d", then set mode = "enforce" in ${where}.`;
    await output.line('');
    await output.line(
      paragraph(
        output,
        '',
        `Postfix in ${directories} asks the map. Now start blockd, and look with "blockctl doctor".${then}`,
      ),
    );
  }
}

function paragraph({ look }: Output, mark: string, text: string): string {
  return `${mark}${wrap(safe(text), look.width - mark.length, ' '.repeat(mark.length))}`;
}

function toJson({ targets, map, log, config, loaded }: SetupPlan) {
  return {
    postfix: targets.map(({ name, configDirectory, settings }) => ({
      name,
      configDirectory,
      version: settings.version,
    })),
    log,
    map,
    mode: loaded.config.mode,
    config: config?.file ?? loaded.file,
  };
}
