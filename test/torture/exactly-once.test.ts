/** Every line of the log counts exactly once, whatever happens to the daemon and to the log, and whenever. */
import { expect, it } from 'vitest';
import { byForm, chanceFor, repeatWith } from './form.js';
import { runSchedule, Tally } from './schedule.js';

const PART = 'exactly-once';
const SCHEDULES = byForm(12, 500);
const AT_ONCE = 4;
/** `SCHEDULE=n` repeats one of them alone. */
const only = process.env['SCHEDULE'];

it(
  'counts every line once over kills, restarts, freezes, rotations of every kind and reused inodes',
  async () => {
    const tally = new Tally();
    const failures: string[] = [];
    const waiting = only === undefined ? Array.from({ length: SCHEDULES }, (_, index) => index) : [Number(only)];
    const work = async () => {
      for (let index = waiting.shift(); index !== undefined; index = waiting.shift()) {
        try {
          await runSchedule(chanceFor(PART, index), tally);
        } catch (error) {
          const failure = `schedule ${index}: ${error instanceof Error ? error.message : String(error)}`;
          failures.push(failure);
          console.error(failure);
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    console.info(`${PART}: ${repeatWith(PART)}\n${tally}`);
    expect(failures.length, `${failures.slice(0, 5).join('\n\n')}\n${repeatWith(PART)}`).toBe(0);
  },
  byForm(300_000, 3_600_000),
);
