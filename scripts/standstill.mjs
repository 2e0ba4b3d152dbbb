// A reporter for the test runner: ends a run in which nothing has moved for ten minutes, and says where it stands. A
// test that waits has its own time limit, but in one that blocks its own process no timer fires.
import { readdirSync, readFileSync } from 'node:fs';

const LONGEST_MS = Number(process.env.STANDSTILL_MS ?? 600_000);

export default class Standstill {
  #running = new Map();
  #moved = Date.now();
  #timer;

  onTestRunStart() {
    this.#move();
    this.#timer = setInterval(() => this.#look(), Math.min(LONGEST_MS / 4, 10_000));
    this.#timer.unref();
  }

  onTestModuleQueued(module) {
    this.#move();
    this.#running.set(module.moduleId, 'nothing heard of it');
  }

  onTestCaseReady({ module, fullName }) {
    this.#move();
    this.#running.set(module.moduleId, fullName);
  }

  onTestCaseResult({ module, fullName }) {
    this.#move();
    this.#running.set(module.moduleId, `after ${fullName}`);
  }

  onTestModuleEnd({ moduleId }) {
    this.#move();
    this.#running.delete(moduleId);
  }

  onTestRunEnd() {
    this.#move();
  }

  #move() {
    this.#moved = Date.now();
  }

  #look() {
    if (Date.now() - this.#moved < LONGEST_MS) return;
    clearInterval(this.#timer);
    const where = [...this.#running].map(([file, test]) => `  ${file}: ${test}`);
    const started = descendants(process.pid);
    console.error(
      [
        `nothing has moved for ${Math.round((Date.now() - this.#moved) / 1_000)} s: the test run is ended. Where it stands:`,
        ...(where.length > 0 ? where : ['  after the last test']),
        'Its processes:',
        ...started.map(({ pid, parent, state, command }) => `  ${pid} (of ${parent}, ${state}) ${command}`),
      ].join('\n'),
    );
    for (const { pid } of started) end(pid);
    process.exit(1);
  }
}

/** All that this process started and what those started, from /proc. */
function descendants(root) {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap(processOf);
  const found = new Set([root]);
  for (let before = 0; before !== found.size; ) {
    before = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  return all.filter(({ pid }) => pid !== root && found.has(pid));
}

function processOf(name) {
  try {
    const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return [{ pid: Number(name), parent: Number(parent), state, command }];
  } catch {
    return []; // It has ended meanwhile.
  }
}

function end(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
