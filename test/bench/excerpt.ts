import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** Path of a file with the first `lines` lines of `log`, for tools that would take minutes for all. */
export function head(log: string, lines: number): string {
  const path = `${log}.head-${lines}`;
  if (existsSync(path)) return path;
  const bytes = readFileSync(log);
  let end = 0;
  for (let line = 0; line < lines && end < bytes.length; line++) end = bytes.indexOf(10, end) + 1;
  writeFileSync(path, bytes.subarray(0, end));
  return path;
}
