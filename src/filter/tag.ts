/** A program as its lines name it, with what is known of it. */

import type { LineHeader } from './header.js';
import type { Program } from './openings.js';

export class Tag {
  /** As logged. */
  readonly bytes: Uint8Array;
  /** Null when no rule reads its lines. */
  readonly program: Program | null;
  /** The processes seen last, by process id. */
  readonly #processes: Process[] = [];

  constructor(logged: string, program: Program | null) {
    this.bytes = Buffer.from(logged, 'latin1');
    this.program = program;
  }

  isAt(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.bytes.length !== end - start) return false;
    for (let i = 0; i < this.bytes.length; i++) if (bytes[start + i] !== this.bytes[i]) return false;
    return true;
  }

  /** Such as `postfix/smtpd[27409]`: the same string for the same process, as long as it is remembered. */
  processOf(bytes: Buffer, { pid, programStart, processEnd }: LineHeader): string {
    const slot = pid & (PROCESSES - 1);
    const known = this.#processes[slot];
    // Leading zeros make names of the same number differ in length.
    if (known !== undefined && known.pid === pid && known.name.length === processEnd - programStart) return known.name;
    const name = bytes.toString('latin1', programStart, processEnd);
    if (Number.isSafeInteger(pid)) this.#processes[slot] = { pid, name };
    return name;
  }
}

interface Process {
  readonly pid: number;
  /** With its process id, as logged. */
  readonly name: string;
}

/** A power of two. */
const PROCESSES = 256;
