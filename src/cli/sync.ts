/** `blockctl sync` and `sweep`: the access map brought in step, with the store or with the clock alone. */
import type { ExitCode } from '../domain/errors.js';
import { atDesk, type Context, configOf, type Desk, mapFromConfig, postscreenMapFromConfig } from './desk.js';
import { plural } from './format.js';

/** Publishes the map from the store now. In dry-run nobody is refused, so a map that exists is emptied. */
export async function sync(context: Context): Promise<ExitCode> {
  return atDesk(context, { create: false, publishes: true }, async (desk) => {
    const code = await syncMap(desk, context);
    const entries = await desk.publishPostscreen();
    if (entries !== null && context.globals.json !== true)
      await context.output.line(`postscreen's table: ${plural(entries, 'entry', 'entries')}`);
    return code;
  });
}

async function syncMap(desk: Desk, { output, globals }: Context): Promise<ExitCode> {
  const map = await desk.map();
  const spec = await desk.mapSpec();
  if (map === null || spec === null) {
    output.notice('DRY-RUN, and no access map is configured: there is nothing to publish');
    if (globals.json === true) await output.json({ mode: desk.mode, map: null });
    return 0;
  }
  const name = `${spec.type}:${spec.path}`;
  if (desk.dryRun && (await map.read()).entries.length === 0) {
    if (globals.json === true) await output.json({ mode: desk.mode, map: spec, entries: 0, added: 0, removed: 0 });
    else await output.line(`DRY-RUN: nobody is refused; ${name} has no entries`);
    return 0;
  }
  const { entries, added, removed } = await map.publish(async () => (desk.dryRun ? [] : desk.store.bans(Date.now())));
  if (globals.json === true) await output.json({ mode: desk.mode, map: spec, entries, added, removed });
  else
    await output.line(
      `${desk.dryRun ? 'DRY-RUN: nobody is refused; ' : ''}${name}: ${plural(entries, 'entry', 'entries')} (${added} added, ${removed} removed)`,
    );
  return 0;
}

/** Drops entries that are over, from the map alone: it works when neither daemon nor store does. */
export async function sweep(context: Context): Promise<ExitCode> {
  const { output, globals } = context;
  const config = configOf(globals);
  const map = await mapFromConfig(config, output);
  const now = Date.now();
  const swept = (await map.sweep(now)).dropped;
  const postscreen = await (await postscreenMapFromConfig(config))?.sweep(now);
  if (postscreen?.notReloaded)
    output.notice(`${postscreen.notReloaded}: postscreen sees the change when Postfix is reloaded`);
  const dropped = swept + (postscreen?.dropped ?? 0);
  if (globals.json === true) await output.json({ dropped });
  else if (dropped > 0 || output.look.width < Number.POSITIVE_INFINITY)
    await output.line(`${plural(dropped, 'ended entry', 'ended entries')} dropped`);
  return 0;
}
