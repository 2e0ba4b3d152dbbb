/** postmap(1) on one kind of map: build, change, ask. A run that ends well and warns is not believed blindly. */
import { UnavailableError } from '../domain/errors.js';
import { complaintOf, type RunResult, run } from './run.js';

export interface PostmapOptions {
  /** hash, btree, lmdb or cdb. */
  readonly type: string;
  readonly postmap: string;
  readonly configDirectory?: string;
  /** How long one run may take; 60 s unless told. */
  readonly timeoutMs?: number;
}

/** What one change of a map puts in and takes out; lines by key. */
export interface Differences {
  readonly put: ReadonlyMap<string, string>;
  readonly gone: readonly string[];
}

export class Postmap {
  readonly #options: PostmapOptions;

  constructor(options: PostmapOptions) {
    this.#options = options;
  }

  /** Builds the map from the text at `path`. @throws UnavailableError */
  async build(path: string): Promise<void> {
    const result = await this.#run([this.#map(path)]);
    // A line that it can't use is skipped with a warning and exit status 0.
    const warning = result.stderr.split('\n').find((line) => line.includes('warning: ') && line.includes(path));
    if (warning !== undefined) throw this.#failure({ ...result, stderr: warning });
  }

  /** Changes the compiled map, whose text need not be there. @throws UnavailableError */
  async change(path: string, { put, gone }: Differences): Promise<void> {
    // Without -r an existing key would keep its old value, with exit status 0.
    if (put.size > 0) await this.#run(['-r', '-i', this.#map(path)], [...put.values()]);
    // postmap -d ends with 1 when there was nothing to delete.
    if (gone.length > 0) await this.#run(['-d', '-', this.#map(path)], gone, [0, 1]);
  }

  /** Asks the map itself for one entry that must be there and one that must not. @throws UnavailableError */
  async verify(path: string, { put, gone }: Differences): Promise<void> {
    for (const [key, line] of put) {
      if ((await this.#lookUp(path, key)) === line.slice(key.length + 1)) break;
      throw new UnavailableError(`${this.#options.postmap} made a map that lacks ${key}: ${this.#map(path)}`);
    }
    const [key] = gone;
    if (key === undefined || (await this.#lookUp(path, key)) === null) return;
    throw new UnavailableError(`${this.#options.postmap} made a map that still holds ${key}: ${this.#map(path)}`);
  }

  /** All lines of the compiled map; null where it is unreadable, or of a type that can't be listed (cdb). */
  async list(path: string): Promise<string[] | null> {
    try {
      return (await this.#run(['-s', this.#map(path)])).stdout.split('\n');
    } catch (error) {
      if (error instanceof UnavailableError) return null;
      throw error;
    }
  }

  async #lookUp(path: string, key: string): Promise<string | null> {
    const { code, stdout } = await this.#run(['-q', key, this.#map(path)], [], [0, 1]);
    return code === 0 ? stdout.trimEnd() : null;
  }

  async #run(
    args: readonly string[],
    input: readonly string[] = [],
    goodCodes: readonly number[] = [0],
  ): Promise<RunResult> {
    const { postmap, configDirectory, timeoutMs } = this.#options;
    const where = configDirectory === undefined ? [] : ['-c', configDirectory];
    const result = await run([postmap, ...where, ...args], {
      input: input.map((line) => `${line}\n`).join(''),
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
    if (!goodCodes.includes(result.code) || /\b(?:fatal|panic): /.test(result.stderr)) throw this.#failure(result);
    return result;
  }

  #failure(result: RunResult): UnavailableError {
    return new UnavailableError(`${this.#options.postmap} failed: ${complaintOf(result)}`);
  }

  #map(path: string): string {
    return `${this.#options.type}:${path}`;
  }
}
