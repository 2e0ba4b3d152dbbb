/** TOML as people write it into config and rule files, and what is said of what is none. */
import { parse, TomlError } from 'smol-toml';
import { UsageError } from '../domain/errors.js';
import { maskPasswordsIn } from '../domain/secret.js';

/**
 * @param showing Whether the lines around a mistake are shown below the sentence.
 * @throws UsageError that names file, line and column.
 */
export function parseToml(content: string | Uint8Array, file: string, showing: boolean): Record<string, unknown> {
  try {
    return parse(typeof content === 'string' ? content : new TextDecoder('utf-8', { fatal: true }).decode(content));
  } catch (error) {
    if (!(error instanceof TomlError)) throw new UsageError(`${file}: is not UTF-8 text`, { cause: error });
    const what = (error.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '');
    const place = showing ? `\n${maskPasswordsIn(error.codeblock.trimEnd())}` : '';
    throw new UsageError(`${file}: line ${error.line}, column ${error.column}: ${what}${place}`, { cause: error });
  }
}
