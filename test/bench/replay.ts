/** A whole log through filter, policy and memory store, as a process, beside the tools that read such logs. */
import { existsSync, statSync } from 'node:fs';
import { head } from './excerpt.js';
import type { Figure, Form, Part } from './figures.js';
import { LITERALS, mailLog } from './logs.js';
import { blockd, inTurn, isInstalled, timed } from './processes.js';

/** Rivals that need minutes for the whole log read its first part. */
const EXCERPT_LINES = 20_000;

export const replay: Part = {
  name: 'replay',
  title: 'Replaying a log, end to end',
  run: async (form) => [...(await shareOf(form, 0.4, 5)), ...(await shareOf(form, 0.02, 3)), ...(await rivals(form))],
};

const once = (log: string) => () => timed(blockd('--once', '--from-start', '--log', log, '--store', 'memory:'));
const grep = (log: string) => () => timed(['grep', '-cE', LITERALS, log]);

async function shareOf({ lines, rounds }: Form, share: number, mostGreps: number): Promise<Figure[]> {
  const log = mailLog(lines, share);
  const [ours = 0, greps = 0] = await inTurn(rounds, once(log), grep(log));
  const percent = `${share * 100} % attack`;
  const megabytes = statSync(log).size / 1e6;
  return [
    {
      what: `lines, ${percent}`,
      value: (lines / ours) * 1_000,
      unit: 'lines/s',
      ...(share > 0.1 && { goal: { least: 1_500_000 } }),
      note: `${Math.round(ours)} ms for ${Math.round(megabytes)} MB; grep -cE with eight literals ${Math.round(greps)} ms`,
    },
    { what: `time beside that grep, ${percent}`, value: ours / greps, unit: '×', goal: { most: mostGreps } },
  ];
}

async function rivals({ lines, rounds }: Form): Promise<Figure[]> {
  const log = mailLog(lines, 0.4);
  const excerpt = head(log, Math.min(lines, EXCERPT_LINES));
  const [ours = 0] = await inTurn(rounds, once(log));
  const rate = lines / ours;
  const figures: Figure[] = [];
  const beside = async (name: string, run: () => Promise<{ wallMs: number }>, count: number, goal?: number) => {
    const theirs = count / (await run()).wallMs;
    figures.push({
      what: `rate beside ${name}`,
      value: rate / theirs,
      unit: '×',
      ...(goal !== undefined && { goal: { least: goal } }),
      note: `${name}: ${Math.round(theirs * 1_000)} lines/s`,
    });
  };
  if (isInstalled('fail2ban-regex')) {
    const config = ['-c', '/etc/fail2ban', excerpt, 'postfix[mode=aggressive]'];
    await beside('fail2ban-regex', () => timed(['fail2ban-regex', ...config], { codes: [0, 1] }), EXCERPT_LINES, 40);
  }
  for (const parser of ['sshg-parser', '/usr/lib/x86_64-linux-gnu/sshg-parser', '/usr/libexec/sshguard/sshg-parser']) {
    if (!(parser.startsWith('/') ? existsSync(parser) : isInstalled(parser))) continue;
    await beside('sshg-parser', () => timed([parser], { input: excerpt }), EXCERPT_LINES);
    break;
  }
  if (isInstalled('pflogsumm')) await beside('pflogsumm', () => timed(['pflogsumm', excerpt]), EXCERPT_LINES);
  return figures;
}
