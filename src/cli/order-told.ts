/** Carries out imported bans, and says what came of each that is not made. */
import type { ExitCode } from '../domain/errors.js';
import type { Context, Desk } from './desk.js';
import { banJson, localTime, plural } from './format.js';
import { carryOut, type Order } from './orders.js';

export async function tellOrders(
  desk: Desk,
  orders: readonly Order[],
  options: { readonly dryRun: boolean; readonly ending: string },
  { output, globals }: Context,
): Promise<ExitCode> {
  const { made, left } = await carryOut(desk, orders, options.dryRun);
  for (const { order, why } of left) output.notice(`not taken: ${order.subject} ${why}`);
  if (globals.json === true) {
    await output.json({
      dryRun: options.dryRun,
      mode: desk.mode,
      bans: made.map(banJson),
      left: left.map(({ order, why }) => ({ subject: order.subject, why })),
    });
  } else {
    if (options.dryRun) {
      for (const { subject, until, reason } of made) {
        await output.line(`would ban ${subject} until ${localTime(until)}: ${reason}`);
      }
    }
    const count = plural(made.length, 'subject');
    await output.line(
      options.dryRun ? `Nothing is changed; ${count} would be banned` : `${SAID[desk.mode]} ${count} ${options.ending}`,
    );
  }
  return made.length > 0 || left.every(({ why }) => why === 'is banned for longer') ? 0 : 1;
}

const SAID = {
  'dry-run': 'DRY-RUN: recorded, not enforced; would be banned:',
  shadow: 'SHADOW: recorded, Postfix only logs whom it would refuse; would be banned:',
  enforce: 'Banned',
} as const;
