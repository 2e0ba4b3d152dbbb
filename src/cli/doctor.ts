/** `blockctl doctor`: is Postfix wired to the map, is the map fresh, is main.cf sound, and what to do where not. */
import { BlockdError, type ExitCode, NewerStoreError, UnavailableError } from '../domain/errors.js';
import { adviseOn } from '../postfix/advice.js';
import { postscreenTable } from '../postfix/advice-postscreen.js';
import { type Finding, fail, type Level, ok } from '../postfix/finding.js';
import { findMailLog, type MailLog } from '../postfix/mail-log.js';
import { typeFindings } from '../postfix/map-type.js';
import { readSettings, type Settings } from '../postfix/settings.js';
import { type MapName, wiringFindings } from '../postfix/wiring.js';
import { atDesk, type Context, configOf, type Desk } from './desk.js';
import { clockFindings } from './doctor-clock.js';
import { daemonFindings, modeFindings, storeFindings } from './doctor-daemon.js';
import { logFindings } from './doctor-log.js';
import { mapFindings } from './doctor-map.js';
import { sweepFindings } from './doctor-sweep.js';
import { plural } from './format.js';
import { listFindings } from './lists.js';
import type { Output } from './output.js';
import { type Style, safe, styled } from './terminal.js';
import { wrap } from './wrap.js';

/** `version` is this program's own. */
export async function doctor(context: Context, version: string): Promise<ExitCode> {
  const { output, globals } = context;
  const { config } = configOf(globals);
  const now = Date.now();
  const { postconf, config_directory } = config.postfix;
  const asked = { postconf, ...(config_directory !== undefined && { configDirectory: config_directory }) };
  const settings = await answerOf(readSettings(asked));
  // Read before this process becomes the owner of the store, who may see less.
  const mailLog = settings instanceof Error ? null : findMailLog(settings, now);
  const sweep = sweepFindings();
  const clock = await clockFindings();
  const ours = await answerOf(atOwnDesk(context, { settings, mailLog, version }));
  const isAway = ours instanceof Error;
  const { map, findings: own } = isAway ? storeIsAway(ours) : ours;
  const findings = [
    ...(settings instanceof Error ? postfixIsAway(settings) : aboutPostfix(settings, map)),
    ...own,
    ...clock,
    ...sweep,
    ...(settings instanceof Error ? [] : postscreenTable(settings, config.postfix.postscreen_map)),
    ...(settings instanceof Error ? [] : adviseOn(settings, map)),
  ];
  const exitCode = settings instanceof Error || isAway ? 3 : findings.some(({ level }) => level === 'fail') ? 1 : 0;
  if (globals.json === true) {
    await output.json({
      ok: exitCode === 0,
      findings: findings.map(({ level, check, text, fix }) => ({ level, check, text, fix: fix ?? null })),
    });
  } else await print(findings, output);
  return exitCode;
}

interface Own {
  readonly map: MapName | null;
  readonly findings: readonly Finding[];
}

/** What store, map and log say; they are looked at as their owner. */
async function atOwnDesk(
  context: Context,
  facts: { readonly settings: Settings | Error; readonly mailLog: MailLog | null; readonly version: string },
): Promise<Own> {
  let own: Own = { map: null, findings: [] };
  await atDesk(context, { create: false, quiet: true }, async (desk) => {
    const spec = await specOf(desk);
    own = {
      map: spec,
      findings: [
        ...(await mapFindings(desk, spec)),
        ...(await logFindings(desk, facts.mailLog)),
        ...(await storeFindings(desk)),
        ...daemonFindings(desk, facts.version),
        ...modeFindings(desk),
        ...(await listFindings(desk)),
      ],
    };
    return 0;
  });
  return own;
}

async function specOf(desk: Desk): Promise<MapName | null> {
  const spec = await answerOf(desk.mapSpec());
  return spec instanceof Error ? null : spec;
}

/** The answer, or the error of a part that is away; what is wrong with the call itself is thrown. */
async function answerOf<T>(asking: Promise<T>): Promise<T | BlockdError> {
  try {
    return await asking;
  } catch (error) {
    if (error instanceof BlockdError && error.exitCode === 3) return error;
    throw error;
  }
}

function aboutPostfix(settings: Settings, map: MapName | null): Finding[] {
  const head = ok('postfix', `Postfix ${settings.version} answers`);
  return map === null ? [head] : [head, ...typeFindings(map.type, settings), ...wiringFindings(settings, map)];
}

function postfixIsAway(error: Error): Finding[] {
  return [fail('postfix', error.message, 'Without it nothing can be said of main.cf and the map.')];
}

function storeIsAway(error: BlockdError): Own {
  const fix = /permission denied|not permitted/i.test(error.message)
    ? 'Run it with sudo, or as the user that blockd runs as.'
    : error instanceof NewerStoreError
      ? 'Upgrade blockd on this host and start it; until then bans in the map end on time, no new ones are made.'
      : error instanceof UnavailableError
        ? 'Mail goes on, bans in the map end on time; the daemon waits for the store, and catches up.'
        : 'See "When the store breaks" in the README.';
  return { map: null, findings: [fail('store', error.message, fix)] };
}

const WORDS: Readonly<Record<Level, { readonly word: string; readonly style: Style }>> = {
  ok: { word: 'ok', style: 'green' },
  warn: { word: 'warn', style: 'yellow' },
  fail: { word: 'FAIL', style: 'red' },
};
const CHECK_WIDTH = 10;
/** Little, since it holds lines to copy. */
const FIX_INDENT = '      ';

async function print(findings: readonly Finding[], output: Output): Promise<void> {
  const { look } = output;
  const indent = ' '.repeat(6 + CHECK_WIDTH + 2);
  for (const { level, check, text, fix } of findings) {
    const { word, style } = WORDS[level];
    const head = `${styled(look, style, word.padEnd(4))}  ${check.padEnd(CHECK_WIDTH)}  `;
    await output.line(head + wrap(safe(text), look.width, indent));
    if (fix === undefined) continue;
    const lines = fix.split('\n').map(safe).join('\n');
    await output.line(`${FIX_INDENT}${styled(look, 'dim', '->')} ${wrap(lines, look.width, `${FIX_INDENT}   `)}`);
  }
  const count = (level: Level) => findings.filter((one) => one.level === level).length;
  await output.line('');
  await output.line(`${count('ok')} ok, ${plural(count('warn'), 'warning')}, ${plural(count('fail'), 'failure')}`);
}
