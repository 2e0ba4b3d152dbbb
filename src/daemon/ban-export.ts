/** The bans in a file for others, on a schedule: whoever takes it as a list gives points for it. */
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Config } from '../config/schema.js';
import { reasonOf, UnavailableError } from '../domain/errors.js';
import { exportText } from '../postfix/ban-text.js';
import type { Store } from '../store/store.js';
import type { Logger } from './log.js';
import { minisignature, readMinisignKey } from './minisign.js';

export class BanExport {
  readonly #config: Config;
  readonly #store: Store;
  readonly #logger: Logger;
  #failed = false;

  constructor(config: Config, store: Store, logger: Logger) {
    this.#config = config;
    this.#store = store;
    this.#logger = logger;
  }

  /** Where nobody is refused, nobody is told of either. What fails is said once, and tried again next time. */
  async write(now: number): Promise<void> {
    const { mode, export: wanted, postfix } = this.#config;
    const { file, format, sign_key: keyFile } = wanted;
    if (file === undefined) return;
    try {
      const bans = mode === 'enforce' ? await this.#store.bans(now) : [];
      const text = await exportText(bans, format, { now, reply: postfix.reply });
      // Read anew each time, and before anything is written: nobody shall take an unsigned file for a signed one.
      const key = keyFile === undefined ? null : readMinisignKey(keyFile);
      await replaceFile(file, text);
      if (key !== null) await replaceFile(`${file}.minisig`, minisignature(text, basename(file), key, now));
      if (this.#failed) this.#logger.info({ event: 'export-works' }, `the bans are written to ${file} again`);
      this.#failed = false;
    } catch (error) {
      // Of a store that is away everybody has heard.
      if (error instanceof UnavailableError) return;
      if (!this.#failed)
        this.#logger.error({ event: 'export-failed' }, `the bans can't be written to ${file}: ${reasonOf(error)}`);
      this.#failed = true;
    }
  }
}

/** Whole at any instant, and readable for all: a web server shall serve it. */
async function replaceFile(file: string, text: string): Promise<void> {
  const made = await mkdir(dirname(file), { recursive: true });
  // The service's umask keeps everybody else out.
  for (let folder = dirname(file); made !== undefined && folder.startsWith(made); folder = dirname(folder))
    await chmod(folder, 0o755);
  const aside = `${file}.new`;
  try {
    // Left by one that was killed; or somebody else's link, which must lead nowhere.
    await rm(aside, { force: true });
    const handle = await open(aside, 'wx');
    try {
      await handle.writeFile(text);
      await handle.chmod(0o644);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(aside, file);
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}
