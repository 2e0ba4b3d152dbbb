/** Does Postfix's configuration name a table? Until it does, there is no process that missed it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export async function isNamed(path: string, configDirectory = '/etc/postfix'): Promise<boolean> {
  const files = ['main.cf', 'master.cf'].map((name) => join(configDirectory, name));
  const texts = await Promise.all(files.map((file) => readFile(file, 'latin1').catch(() => '')));
  return texts.some((text) => text.includes(path));
}
