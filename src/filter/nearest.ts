/** What somebody may have meant by a name that there is not. */

/** At most three of `names` that differ from `text` in few letters, the likeliest first. */
export function nearest(text: string, names: readonly string[]): string[] {
  const few = Math.max(2, Math.floor(text.length / 3));
  return names
    .map((name) => ({ name, distance: Math.min(edits(text, name), edits(text, name.replace(/^.*\//, ''))) }))
    .filter(({ distance }) => distance <= few)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ name }) => name);
}

/** Levenshtein distance. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
