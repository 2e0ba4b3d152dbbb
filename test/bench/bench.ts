/**
 * `npm run bench`: how fast, how soon, how much memory. These figures are for this machine and this moment; where a goal
 * is a ratio, both sides were run in turn. Options: --json, --short, --only PART (repeatable), --lines N.
 */
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { backlog } from './backlog.js';
import { type Figure, type Form, isMet, type Part, table } from './figures.js';
import { handover } from './handover.js';
import { lineToMap } from './line-to-map.js';
import { memory } from './memory.js';
import { publishing } from './publishing.js';
import { replay } from './replay.js';
import { reporting } from './reporting.js';
import { rotation } from './rotation.js';
import { scale } from './scale.js';
import { starting } from './starting.js';

const PARTS: readonly Part[] = [
  replay,
  reporting,
  backlog,
  lineToMap,
  publishing,
  memory,
  starting,
  rotation,
  handover,
  scale,
];

const WHOLE: Form = {
  lines: 1_000_000,
  rounds: 5,
  bans: [1_000, 10_000, 100_000, 1_000_000],
  scored: [100_000, 1_000_000],
  samples: 20,
  idleSeconds: 30,
};
const SHORT: Form = { lines: 200_000, rounds: 3, bans: [1_000, 10_000], scored: [100_000], samples: 4, idleSeconds: 5 };

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    short: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    lines: { type: 'string' },
  },
});
const unknown = values.only.filter((name) => !PARTS.some((part) => part.name === name));
if (unknown.length > 0) {
  console.error(`no such part: ${unknown.join(', ')}; there are ${PARTS.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
const base = values.short ? SHORT : WHOLE;
const form = { ...base, ...(values.lines !== undefined && { lines: Number(values.lines) }) };
const results: { part: string; figures: readonly Figure[] }[] = [];
if (!values.json)
  console.log(`node ${process.version}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`);
for (const part of PARTS) {
  if (values.only.length > 0 && !values.only.includes(part.name)) continue;
  const figures = await part.run(form);
  results.push({ part: part.name, figures });
  if (!values.json) console.log(`\n${part.title}\n${table(figures)}`);
}
const missed = results.flatMap(({ figures }) => figures.filter((figure) => isMet(figure) === false));
if (values.json) console.log(JSON.stringify({ node: process.version, cores: cpus().length, form, results }, null, 2));
else
  console.log(`\n${missed.length === 0 ? 'Every goal is reached.' : `Goals not reached: ${missed.length}, marked ✗.`}`);
