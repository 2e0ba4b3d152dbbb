/** The programs that rules name. Each is made of its rules when its first line comes: most logs hold lines of few. */
import { Clients } from './clients.js';
import type { JoinedReader } from './joined-reader.js';
import { openKnown } from './known-automata.js';
import { type Entry, Program } from './openings.js';
import type { Scanner } from './scanner.js';

export class Programs {
  readonly #scanner: Scanner;
  readonly #tellers: JoinedReader[];
  readonly #clients = new Clients();
  readonly #entries = new Map<string, Entry[]>();
  readonly #made = new Map<string, Program>();

  /** @param tellers Where the readers of all programs are noted that tell what was scanned. */
  constructor(scanner: Scanner, tellers: JoinedReader[]) {
    this.#scanner = scanner;
    this.#tellers = tellers;
    openKnown();
  }

  add(name: string, entry: Entry): void {
    const entries = this.#entries.get(name);
    if (entries === undefined) this.#entries.set(name, [entry]);
    else entries.push(entry);
  }

  /** Null when no rule reads its lines. */
  get(name: string): Program | null {
    const made = this.#made.get(name);
    if (made !== undefined) return made;
    const entries = this.#entries.get(name);
    if (entries === undefined) return null;
    const program = new Program(entries, this.#clients, this.#scanner, this.#tellers);
    // Last: a brake may end this anywhere, and what is found by its name must be whole.
    this.#made.set(name, program);
    return program;
  }

  get all(): Program[] {
    return [...this.#entries.keys()].flatMap((name) => this.get(name) ?? []);
  }
}
