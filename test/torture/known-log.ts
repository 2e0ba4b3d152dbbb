/**
 * A mail log whose truth is known, written piece by piece while things break, and what the store must say in the end:
 * what an undisturbed run over the same lines says.
 */
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { Traffic } from '../../src/demo/traffic.js';
import { networkOf, subjectOf } from '../../src/domain/address.js';
import { valueAt } from '../../src/policy/decay.js';
import type { Decayed, SubjectState } from '../../src/policy/state.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { blockdOnce } from '../support/programs.js';
import { UNPRUNED } from './form.js';

const HOUR = 3_600_000;
/** No ban shall end while the run lasts: then the order of ends and lines would depend on the machine. */
export const LASTING = [...UNPRUNED, '--set', 'ban.first=1d', '--set', 'allow.mynetworks=false', '--from-start'];

export interface KnownLog {
  /** All lines, each with its newline. */
  readonly text: string;
  /** Every subject that the lines may touch. */
  readonly subjects: readonly string[];
  /** States after an undisturbed run. */
  readonly states: ReadonlyMap<string, SubjectState>;
}

/** Lines of the last minutes, judged once without any fault. */
export async function makeKnownLog(folder: string, seed: number, lines: number): Promise<KnownLog> {
  const perSecond = 4;
  const startAt = Date.now() - (lines / 3 / perSecond) * 1_000;
  const made = [...new Traffic({ seed, startAt, perSecond, attackShare: 0.7 }).lines(lines)];
  const subjects = new Set<string>();
  for (const { client } of made) {
    if (client === null) continue;
    const subject = subjectOf(client);
    for (const one of [subject, networkOf(subject)]) if (one !== null) subjects.add(one);
  }
  const text = made.map((line) => `${line.text}\n`).join('');
  const place = join(folder, 'undisturbed');
  mkdirSync(place);
  const log = join(place, 'mail.log');
  writeFileSync(log, text, 'latin1');
  const url = `lmdb:${join(place, 'store')}`;
  const run = await blockdOnce(['--once', '--store', url, '--log', log, ...LASTING]);
  expect(run.code, run.stderr).toBe(0);
  const states = await statesIn(url, [...subjects]);
  expect([...states.values()].filter(({ ban }) => ban !== null).length).toBeGreaterThan(0);
  return { text, subjects: [...subjects], states };
}

/** Writes the log in pieces that end anywhere, also within a line. */
export class PieceWriter {
  readonly file: string;
  readonly #text: string;
  #written = 0;

  constructor(file: string, text: string) {
    this.file = file;
    this.#text = text;
    writeFileSync(file, '');
  }

  get left(): number {
    return this.#text.length - this.#written;
  }

  write(bytes: number): void {
    appendFileSync(this.file, this.#text.slice(this.#written, this.#written + bytes), 'latin1');
    this.#written = Math.min(this.#text.length, this.#written + bytes);
  }
}

/** Resolves when `store` says that the whole file is counted. */
export async function untilCounted(store: Store, file: string, timeoutMs = 60_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    // A partial line is not counted yet.
    const size = readFileSync(file, 'latin1').lastIndexOf('\n') + 1;
    const all = await store.progress('mx').catch(() => new Map());
    const position = all.get(file)?.position;
    if (position?.kind === 'file' && position.offset === size) return;
    if (Date.now() > deadline) throw new Error(`counted up to ${JSON.stringify(position)} of ${size} bytes`);
    await sleep(50);
  }
}

export async function statesIn(url: string, subjects: readonly string[]): Promise<Map<string, SubjectState>> {
  const store = await openStore(url, { prefix: 'blockd' });
  try {
    return await store.states(subjects);
  } finally {
    await store.close();
  }
}

/** Every score, strike, count and ban is that of the undisturbed run, to 1e-9. */
export function expectSame(
  actual: ReadonlyMap<string, SubjectState>,
  expected: KnownLog['states'],
  hint: string,
): void {
  expect([...actual.keys()].sort(), hint).toEqual([...expected.keys()].sort());
  const now = Date.now();
  for (const [subject, wanted] of expected) {
    const found = actual.get(subject);
    const said = `${subject}; ${hint}`;
    expect(found?.offenses, said).toBe(wanted.offenses);
    expect(found?.ban?.until ?? null, said).toBe(wanted.ban?.until ?? null);
    expect(found?.releases.length, said).toBe(wanted.releases.length);
    for (const sum of ['score', 'strikes', 'accepted'] as const) {
      const of = (state: SubjectState | undefined): Decayed => state?.[sum] ?? { value: Number.NaN, at: 0 };
      const difference = Math.abs(valueAt(of(found), now, 6 * HOUR) - valueAt(of(wanted), now, 6 * HOUR));
      expect(difference, `${sum} of ${said}`).toBeLessThan(1e-9);
    }
  }
}
