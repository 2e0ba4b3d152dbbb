/**
 * A process that reads a log and ends works for a second, and a fifth of that goes into V8's way from the first line to
 * its fastest code.
 */
import { setFlagsFromString } from 'node:v8';

const FLAGS = [
  // What outlives two collections would be made old from then on, and all code that makes such things made anew for that.
  '--no-allocation-site-pretenuring',
  // Young objects get their full room at once, not in four steps that each copy what there is.
  '--semi-space-growth-factor=16',
  // Less is compiled together: code is there sooner, and about as fast.
  '--max-inlined-bytecode-size-cumulative=300',
];

/**
 * Call it when all is loaded: what V8 has kept of the programs is good for its usual settings. Node.js 22 and 24 have a
 * compiler between the first and the last, and gain nothing.
 */
export function expectShortRun(version = process.versions.node): void {
  if (!version.startsWith('20.')) return;
  for (const flag of FLAGS) setFlagsFromString(flag);
}
