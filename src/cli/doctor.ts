import type { ExitCode } from '../domain/errors.js';
import type { Context } from './desk.js';
export async function doctor(_context: Context, _version: string): Promise<ExitCode> {
  return 0;
}
