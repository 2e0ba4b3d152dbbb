/** `blockctl report`: mail totals, reasons, bans and collateral of a large log. */
import type { Part } from './figures.js';
import { mailLog } from './logs.js';
import { blockctl, inTurn, timed } from './processes.js';

export const reporting: Part = {
  name: 'reporting',
  title: 'blockctl report',
  run: async ({ lines, rounds }) => {
    const report = (log: string) => () => timed(blockctl('--json', '--set', 'allow.mynetworks=false', 'report', log));
    const [busy = 0, quiet = 0] = await inTurn(
      Math.min(rounds, 3),
      report(mailLog(lines, 0.4)),
      report(mailLog(lines, 0.02)),
    );
    const figure = (what: string, ms: number) => ({ what, value: (lines / ms) * 1_000, unit: 'lines/s' });
    return [figure('lines, 40 % attack', busy), figure('lines, 2 % attack', quiet)];
  },
};
