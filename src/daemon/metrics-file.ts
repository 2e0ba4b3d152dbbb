/** Writes the metrics to a file for node_exporter's textfile collector: whole at any instant, readable for all. */
import { randomBytes } from 'node:crypto';
import { chmod, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { reasonOf } from '../domain/errors.js';
import type { Logger } from './log.js';

/** As often as Prometheus is usually told to ask. */
const EVERY_MS = 15_000;

export class MetricsFile {
  readonly #path: string;
  readonly #text: () => Promise<string>;
  readonly #logger: Logger;
  readonly #timer: NodeJS.Timeout;
  #writing: Promise<void> = Promise.resolve();
  #failed = false;

  constructor(path: string, text: () => Promise<string>, logger: Logger) {
    this.#path = path;
    this.#text = text;
    this.#logger = logger;
    this.#timer = setInterval(() => this.write(), EVERY_MS).unref();
    this.write();
  }

  /** Writes behind what is being written; a failure is told once, until it works again. */
  write(): void {
    this.#writing = this.#writing.then(async () => {
      try {
        await this.#replace(await this.#text());
        if (this.#failed) this.#logger.info({ event: 'metrics-file' }, `${this.#path} is written again`);
        this.#failed = false;
      } catch (error) {
        if (!this.#failed)
          this.#logger.error(
            { event: 'metrics-file' },
            `metrics.textfile: ${this.#path} can't be written: ${reasonOf(error)}`,
          );
        this.#failed = true;
      }
    });
  }

  /** Once more, with what there is at the end. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.write();
    await this.#writing;
  }

  async #replace(text: string): Promise<void> {
    // node_exporter takes every name that ends in .prom.
    const aside = join(dirname(this.#path), `.${basename(this.#path)}.${randomBytes(6).toString('hex')}`);
    try {
      await writeFile(aside, text, { flag: 'wx', mode: 0o644 });
      await chmod(aside, 0o644);
      await rename(aside, this.#path);
    } catch (error) {
      await rm(aside, { force: true }).catch(() => undefined);
      throw error;
    }
  }
}
