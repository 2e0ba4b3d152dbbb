/**
 * Blocks of memory into which logs are read. A log that is read to its end gives its block to the others: of many logs
 * few have something to tell at a time.
 */

/** Larger ones save system calls, of which each block takes three, up to what a processor's cache holds. */
export const BLOCK_BYTES = 524_288;

export class Blocks {
  #spare: Buffer | null = null;

  take(): Buffer {
    const block = this.#spare ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
    this.#spare = null;
    return block;
  }

  /** To be called once at most for each `take`: from now on others write into it. */
  giveBack(block: Buffer): void {
    this.#spare = block;
  }
}
