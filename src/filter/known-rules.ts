/**
 * The packaged rule files as they were read when blockd was packaged, without their samples: reading their TOML takes
 * longer than reading a day's log. A file that somebody has changed is another, and is read like any.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { WrittenRule } from './rule-file.js';

/** By the SHA-256 of a file's bytes; `scripts/package/bundle.mjs` writes it beside the programs. */
export type KnownRules = Readonly<Record<string, readonly WrittenRule[]>>;

/** The rules of a file with this content, or null. */
export function knownRules(content: Uint8Array): readonly WrittenRule[] | null {
  known ??= read();
  return known[keyOf(content)] ?? null;
}

/** As they are kept. */
export function toBeKnown(content: Uint8Array, rules: readonly WrittenRule[]): KnownRules {
  return { [keyOf(content)]: rules.map((rule) => ({ ...rule, matches: [], ignores: [] })) };
}

let known: KnownRules | null = null;

/** Programs that were not packaged have none. */
function read(): KnownRules {
  try {
    return JSON.parse(readFileSync(new URL('./known-rules.json', import.meta.url), 'utf8')) as KnownRules;
  } catch {
    return {};
  }
}

function keyOf(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
