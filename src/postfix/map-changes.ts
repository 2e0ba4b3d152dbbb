/**
 * The journal beside the text of an access map: what was put in and taken out since the text was written whole. It names
 * the text that it belongs to by a digest, so that one left behind by an older text says nothing.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { keyOfLine } from './entry.js';
import { guarded, stampOf, textOf, writeWhole } from './map-files.js';
import type { Differences } from './postmap.js';

/** A line that takes a key out; no key begins like this. */
const GONE = '- ';
const LEAST_BYTES = 65_536;
/** From this share of the text on it is written whole again, so that reading never costs much more than the text. */
const LARGEST_SHARE = 0.25;

export class MapChanges {
  readonly #file: string;
  readonly #text: string;
  #known: { readonly stamp: string; readonly head: string } | null = null;

  /** @param file Of the journal. @param text File of the text that it belongs to. */
  constructor(file: string, text: string) {
    this.#file = file;
    this.#text = text;
  }

  /** Applies what was changed since `text` to its lines by key; returns what is no line of blockd's. */
  async applyTo(text: string, lines: Map<string, string>, isOwn: (line: string) => boolean): Promise<string[]> {
    const foreign: string[] = [];
    const [head, ...changes] = ((await textOf(this.#file)) ?? '').split('\n');
    if (head !== headOf(text)) return foreign;
    // Behind the last newline stands nothing, or what a crash cut off.
    for (const line of changes.slice(0, -1)) {
      if (line.startsWith(GONE)) lines.delete(line.slice(GONE.length));
      else if (isOwn(line)) lines.set(keyOfLine(line), line);
      else foreign.push(line);
    }
    return foreign;
  }

  /** Is it short enough to be added to? */
  async hasRoom(): Promise<boolean> {
    const [journal, text] = await Promise.all([stampOf(this.#file), stampOf(this.#text)]);
    return (journal?.size ?? 0) < Math.max(LEAST_BYTES, (text?.size ?? 0) * LARGEST_SHARE);
  }

  /** Adds to it, down to the disk; what belongs to an older text is overwritten. */
  async add({ put, gone }: Differences): Promise<void> {
    const head = await this.#head();
    const added = [...put.values(), ...gone.map((key) => `${GONE}${key}`)].map((line) => `${line}\n`).join('');
    const isNew = (await firstLine(this.#file)) !== head;
    if (isNew) return await writeWhole(this.#file, `${head}\n${added}`);
    await guarded(this.#file, async () => {
      const handle = await open(this.#file, 'a');
      try {
        await handle.appendFile(added, 'latin1');
        await handle.sync();
      } finally {
        await handle.close();
      }
    });
  }

  /** Kept as long as the text is the same file, unchanged. */
  async #head(): Promise<string> {
    const stamp = JSON.stringify(await stampOf(this.#text));
    if (this.#known?.stamp !== stamp) this.#known = { stamp, head: headOf((await textOf(this.#text)) ?? '') };
    return this.#known.head;
  }
}

function headOf(text: string): string {
  return `# Changes since the text with SHA-256 ${createHash('sha256').update(text, 'latin1').digest('hex')}`;
}

async function firstLine(file: string): Promise<string | null> {
  const handle = await open(file, 'r').catch(() => null);
  if (handle === null) return null;
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(256), 0, 256, 0);
    return buffer.toString('latin1', 0, bytesRead).split('\n')[0] ?? null;
  } finally {
    await handle.close();
  }
}
