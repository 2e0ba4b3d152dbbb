/** The door: the source of all the logs that a config names. */
import { followFiles } from './follow.js';
import { followJournal } from './journal.js';
import { mergeSources } from './merge.js';
import type { Source, SourceOptions } from './source.js';

/** @throws UsageError when one of `files` can't be a log. */
export function openSource(
  logs: { readonly files: readonly string[]; readonly journal: boolean },
  options: SourceOptions,
): Source {
  const sources: Source[] = [];
  if (logs.files.length > 0) sources.push(followFiles(logs.files, options));
  if (logs.journal) sources.push(followJournal(options));
  return mergeSources(sources);
}
