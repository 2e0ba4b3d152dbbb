/**
 * No test waits for ever for a program that it runs synchronously: no timer of the test's own could end that. Loaded
 * before every test file.
 */
import childProcess from 'node:child_process';
import { syncBuiltinESMExports } from 'node:module';

const LONGEST_MS = 120_000;

type Options = { readonly timeout?: number; readonly killSignal?: string };
type Run = (file: string, ...rest: unknown[]) => unknown;

for (const name of ['spawnSync', 'execFileSync'] as const) {
  const run = childProcess[name] as Run;
  const bounded: Run = (file, ...rest) => {
    const args = Array.isArray(rest[0]) ? (rest[0] as unknown[]) : [];
    const options = rest.find((one): one is Options => typeof one === 'object' && !Array.isArray(one));
    return run(file, args, { timeout: LONGEST_MS, killSignal: 'SIGKILL', ...options });
  };
  Object.assign(childProcess, { [name]: bounded });
}
syncBuiltinESMExports();
