/** What a look at the mail server found: one line for a person, and what to do about it. */

/** `fail`: mail or bans are at risk now; `warn`: worth a change; `ok`: as it should be. */
export type Level = 'ok' | 'warn' | 'fail';

export interface Finding {
  readonly level: Level;
  /** What was looked at, such as `map` or `relay`; several findings may share it. */
  readonly check: string;
  /** One sentence without a full stop. It may hold text of others. */
  readonly text: string;
  /** What to do, in one or several lines; none where nothing is to be done. */
  readonly fix?: string;
}

export const ok = (check: string, text: string): Finding => ({ level: 'ok', check, text });

export const warn = (check: string, text: string, fix: string): Finding => ({ level: 'warn', check, text, fix });

export const fail = (check: string, text: string, fix: string): Finding => ({ level: 'fail', check, text, fix });
