/** What somebody may have meant by a name that there is not. */
import { distanceOf } from '../domain/spelling.js';

/** At most three of `names` that differ from `text` in few letters, the likeliest first. */
export function nearest(text: string, names: readonly string[]): string[] {
  const few = Math.max(2, Math.floor(text.length / 3));
  return names
    .map((name) => ({ name, distance: Math.min(distanceOf(text, name), distanceOf(text, name.replace(/^.*\//, ''))) }))
    .filter(({ distance }) => distance <= few)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ name }) => name);
}
