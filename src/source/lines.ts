/** Cuts a file's bytes into whole lines, and keeps the start of the last one until its newline comes. */
import { BLOCK_BYTES, type Blocks } from './blocks.js';

/** No mail server writes such lines; whoever makes one does not get our memory for it. */
const LONGEST_LINE_BYTES = 1_048_576;
const CUT_LINE_BYTES = 8_192;
const NEWLINE = 10;

export interface Lines {
  /** Whole lines; valid until the cutter is used again. Empty for bytes that are no text: a truncated file's hole. */
  readonly data: Buffer;
  /** Bytes of the file that they stand for. */
  readonly bytes: number;
}

export class LineCutter {
  readonly #blocks: Blocks;
  /** Null while nothing is read, nor waits. */
  #block: Buffer | null = null;
  /** Where the unfinished line's bytes lie in the block, unless it outgrew it. */
  #start = 0;
  #end = 0;
  /** Start of a line that outgrew the block. */
  #long: Buffer[] = [];
  #longBytes = 0;

  constructor(blocks: Blocks) {
    this.#blocks = blocks;
  }

  /** Bytes taken in that wait for their newline. */
  get pending(): number {
    return this.#longBytes + this.#end - this.#start;
  }

  /** Where the next bytes are to be put, never empty; `add` says how many were. */
  get room(): Buffer {
    const block = this.#ownBlock();
    if (this.#start > 0) {
      block.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return block.subarray(this.#end);
  }

  /** Takes in `count` bytes put into `room`; returns the lines that they completed. */
  add(count: number): Lines | null {
    const block = this.#ownBlock();
    this.#end += count;
    const newline = this.#end === 0 ? -1 : block.lastIndexOf(NEWLINE, this.#end - 1);
    if (newline === -1) return this.#end === BLOCK_BYTES ? this.#spill(block) : null;
    const data = this.#longBytes === 0 ? block.subarray(0, newline + 1) : this.#withLongLine(block, newline);
    const bytes = this.#longBytes + newline + 1;
    this.#start = newline + 1;
    this.#forgetLong();
    return { data, bytes };
  }

  /** The unfinished line as a whole one: its file will not grow any more. */
  finish(): Lines | null {
    const bytes = this.pending;
    if (bytes === 0) return null;
    const rest = bytes > LONGEST_LINE_BYTES ? EMPTY : (this.#block ?? EMPTY).subarray(this.#start, this.#end);
    const data = Buffer.concat([this.#longStart(bytes), rest, LINE_END]);
    this.#start = this.#end = 0;
    this.#forgetLong();
    return { data, bytes };
  }

  /** Nothing is to be read now: others may use the block meanwhile, unless a line waits in it for its end. */
  pause(): void {
    if (this.#block === null || this.#start < this.#end) return;
    this.#start = this.#end = 0;
    this.#blocks.giveBack(this.#block);
    this.#block = null;
  }

  #ownBlock(): Buffer {
    this.#block ??= this.#blocks.take();
    return this.#block;
  }

  #withLongLine(block: Buffer, lastNewline: number): Buffer {
    const end = block.indexOf(NEWLINE);
    const isCut = this.#longBytes + end > LONGEST_LINE_BYTES;
    return Buffer.concat([this.#longStart(this.#longBytes + end), block.subarray(isCut ? end : 0, lastNewline + 1)]);
  }

  /** What is kept of the long line's start, when the line has `bytes` bytes in all. */
  #longStart(bytes: number): Buffer {
    const start = Buffer.concat(this.#long);
    return bytes > LONGEST_LINE_BYTES ? start.subarray(0, CUT_LINE_BYTES) : start;
  }

  /** A writer that does not append goes on at its old place after a truncation, behind a hole of NUL bytes. */
  #spill(block: Buffer): Lines | null {
    this.#end = 0;
    if (this.#longBytes === 0 && block.every((byte) => byte === 0)) return { data: EMPTY, bytes: BLOCK_BYTES };
    if (this.#longBytes <= LONGEST_LINE_BYTES) this.#long.push(Buffer.from(block));
    else if (this.#long.length > 1) this.#long.length = 1;
    this.#longBytes += BLOCK_BYTES;
    return null;
  }

  #forgetLong(): void {
    if (this.#longBytes === 0) return;
    this.#long = [];
    this.#longBytes = 0;
  }
}

const EMPTY = Buffer.alloc(0);
const LINE_END = Buffer.from('\n');
