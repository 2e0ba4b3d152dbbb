/** Has every smtpd open its tables and settings anew. */
import { basename } from 'node:path';
import { UnavailableError } from '../domain/errors.js';
import { complaintOf, run } from './run.js';

export interface ReloadOptions {
  /** The command, such as `postfix reload`; an empty one is nothing to do. */
  readonly reload: readonly string[];
  readonly configDirectory?: string;
  readonly timeoutMs?: number;
}

/** Null when it is done or not needed, else what went wrong, for the beginning of a sentence. */
export async function reloadPostfix({ reload, configDirectory, timeoutMs }: ReloadOptions): Promise<string | null> {
  const [program, ...args] = reload;
  if (program === undefined) return null;
  const isPostfix = basename(program) === 'postfix';
  const where = isPostfix && configDirectory !== undefined ? ['-c', configDirectory] : [];
  const argv = [program, ...where, ...args];
  const options = timeoutMs === undefined ? {} : { timeoutMs };
  try {
    const result = await run(argv, options);
    // One that is not running opens everything when it starts.
    if (result.code === 0 || /mail system is not running/.test(result.stderr)) return null;
    // Away from a terminal postfix(1) says that in the mail log alone; what it may not do, it says here.
    const isSilent = isPostfix && result.stderr.trim() === '';
    if (isSilent && (await run([program, ...where, 'status'], options)).code !== 0) return null;
    return failed(argv, complaintOf(result));
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return failed(argv, error.message);
  }
}

/** `postfix check`: null when it finds nothing to stop at, else what it says. */
export async function checkPostfix({ reload, configDirectory }: ReloadOptions): Promise<string | null> {
  const [program = ''] = reload;
  const postfix = basename(program) === 'postfix' ? program : 'postfix';
  const argv = [postfix, ...(configDirectory === undefined ? [] : ['-c', configDirectory]), 'check'];
  const result = await run(argv);
  return result.code === 0 && !/\bfatal: /.test(result.stderr) ? null : failed(argv, complaintOf(result));
}

function failed(argv: readonly string[], why: string): string {
  return `"${argv.join(' ')}" failed (${why})`;
}
