/**
 * The daily digest: each day that is over is reported once, as a mail, as a file, or both. The last day done stands in
 * the store, so that a restart repeats none, and days that passed while nobody was there are made up for.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toPolicySettings } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { reasonOf, UnavailableError } from '../domain/errors.js';
import { complaintOf, run } from '../postfix/run.js';
import { digestIndex, digestMail } from '../report/digest.js';
import { historyReport } from '../report/history.js';
import { renderHtml } from '../report/html.js';
import { readHours } from '../report/kept-hours.js';
import type { Store } from '../store/store.js';
import type { Logger } from './log.js';

/** Further back nobody reads them any more. */
const MOST_DAYS = 31;

export class Digest {
  readonly #config: Config;
  readonly #store: Store;
  readonly #logger: Logger;

  constructor(config: Config, store: Store, logger: Logger) {
    this.#config = config;
    this.#store = store;
    this.#logger = logger;
  }

  /** Reports the days that are over and not yet reported, oldest first. What fails is told, and tried again next time. */
  async run(now: number): Promise<void> {
    const { host } = this.#config.store;
    const note = (await this.#store.note(digestNote(host))) as { readonly through?: string } | null;
    for (const day of daysAfter(note?.through ?? null, now)) {
      try {
        await this.#report(day, now);
      } catch (error) {
        this.#logger.error(
          { event: 'digest-failed', day: day.name },
          `the digest of ${day.name} could not be made, and will be tried again at the next time: ${reasonOf(error)}`,
        );
        return;
      }
      await this.#store.setNote(digestNote(host), { through: day.name });
      this.#logger.info({ event: 'digest', day: day.name }, `the digest of ${day.name} is made`);
    }
  }

  async #report({ name, from, to }: Day, now: number): Promise<void> {
    const { store, report: wanted, postfix } = this.#config;
    const hours = (await readHours(this.#store, store.host, from, to)).filter(({ at }) => at >= from);
    const report = historyReport(hours, toPolicySettings(this.#config), Math.min(now, to));
    const html = renderHtml(report);
    if (wanted.html_dir !== undefined) writeDay(wanted.html_dir, name, html);
    if (wanted.mail_to === undefined) return;
    const where = postfix.config_directory === undefined ? [] : ['-C', postfix.config_directory];
    const argv = ['sendmail', ...where, '-i', '-F', `blockd on ${store.host}`, '-t'];
    const message = digestMail({ to: wanted.mail_to, host: store.host, day: name, report, html });
    const result = await run(argv, { input: message });
    if (result.code !== 0) throw new UnavailableError(`sendmail refused it: ${complaintOf(result)}`);
  }
}

export function digestNote(host: string): string {
  return `digest:${host}`;
}

/** A local day. */
interface Day {
  /** `2026-11-24` */
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** The days after `through` that were over at `now`; without one, yesterday. */
function daysAfter(through: string | null, now: number): Day[] {
  const today = new Date(now);
  const days: Day[] = [];
  for (let back = through === null ? 1 : MOST_DAYS; back >= 1; back--) {
    // By the calendar: where summer time begins or ends a day has 23 or 25 hours.
    const start = new Date(today.getFullYear(), today.getMonth(), today.getDate() - back);
    const end = new Date(today.getFullYear(), today.getMonth(), today.getDate() - back + 1);
    const two = (value: number) => String(value).padStart(2, '0');
    const name = `${start.getFullYear()}-${two(start.getMonth() + 1)}-${two(start.getDate())}`;
    if (through === null || name > through) days.push({ name, from: start.getTime(), to: end.getTime() });
  }
  return days;
}

/** Each file is whole at any instant, whoever reads it meanwhile. */
function writeDay(folder: string, day: string, html: string): void {
  mkdirSync(folder, { recursive: true });
  replaceFile(join(folder, `${day}.html`), html);
  const days = readdirSync(folder)
    .map((name) => /^(\d{4}-\d\d-\d\d)\.html$/.exec(name)?.[1])
    .filter((name) => name !== undefined)
    .map((name) => ({ day: name, title: titleOf(join(folder, `${name}.html`)) }));
  replaceFile(join(folder, 'index.html'), digestIndex(days));
}

function replaceFile(path: string, content: string): void {
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}

function titleOf(path: string): string {
  return /<title>blockd: ([^<>]*)<\/title>/.exec(readFileSync(path, 'utf8').slice(0, 4_096))?.[1] ?? '';
}
