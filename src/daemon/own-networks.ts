/**
 * Postfix's `mynetworks`, which are never banned. Postfix is asked as soon as the config is known, so that it answers
 * beside the rest of a start, and anew each time after that.
 */
import type { Config } from '../config/schema.js';
import { UnavailableError } from '../domain/errors.js';
import { mynetworks } from '../postfix/postconf.js';
import type { Logger } from './log.js';

export class OwnNetworks {
  readonly #config: Config;
  readonly #logger: Logger;
  #first: Promise<string[]> | null;

  constructor(config: Config, logger: Logger) {
    this.#config = config;
    this.#logger = logger;
    this.#first = this.#ask();
    // Told when it is read; a config that is refused meanwhile never is.
    this.#first.catch(() => undefined);
  }

  /** None when Postfix can't be asked, which is told. */
  async read(): Promise<string[]> {
    const asked = this.#first ?? this.#ask();
    this.#first = null;
    try {
      return await asked;
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#logger.warn(
        { event: 'mynetworks' },
        `can't read mynetworks from Postfix, so only loopback, this host's own addresses and the [allow] section are never banned: ${error.message}`,
      );
      return [];
    }
  }

  async #ask(): Promise<string[]> {
    const { allow, postfix } = this.#config;
    if (!allow.mynetworks) return [];
    const { postconf, config_directory: configDirectory } = postfix;
    return mynetworks({ postconf, ...(configDirectory !== undefined && { configDirectory }) });
  }
}
