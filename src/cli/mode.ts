/** What the mode in force means, in a sentence: nobody shall take a dry run for a defence. */
import type { Mode } from '../config/schema.js';

/** For the head of an answer; null when bans are enforced, as people expect. */
export function bannerOf(mode: Mode): string | null {
  if (mode === 'dry-run') return 'DRY-RUN: nobody is refused; bans are recorded only.';
  if (mode === 'shadow') return 'SHADOW: nobody is refused; Postfix logs whom it would have refused.';
  return null;
}

/** For `status`. */
export function describeMode(mode: Mode): string {
  return bannerOf(mode) ?? 'enforce: banned clients are refused';
}
