/**
 * For `node --import`: rule files load unjudged, as if the guard had a hole. Shows what holds when a slow pattern got
 * past it.
 */
import { register } from 'node:module';

register(
  `data:text/javascript,${encodeURIComponent(`
    export async function load(url, context, next) {
      const loaded = await next(url, context);
      if (!url.endsWith('/filter/guard.js')) return loaded;
      const source = String(loaded.source);
      const open = source.replace('export function guard(pattern) {', 'export function guard(pattern) { return;');
      if (open === source) throw new Error('the guard is not where it was: mend test/support/without-guard.mjs');
      return { ...loaded, source: open };
    }`)}`,
);
