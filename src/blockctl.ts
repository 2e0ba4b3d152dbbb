#!/usr/bin/env node
/** The program that looks into blockd and gives it orders: arguments in, exit code out. */
import { readFileSync } from 'node:fs';
import { CommanderError } from 'commander';
import { Output } from './cli/output.js';
import { buildProgram } from './cli/program.js';
import { BlockdError } from './domain/errors.js';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const output = new Output(process.stdout, process.stderr);

try {
  await buildProgram(version, output, (code) => {
    process.exitCode = code;
  }).parseAsync();
} catch (error) {
  // Commander has printed its message or the help already.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else if (error instanceof BlockdError) {
    output.error(error.message);
    process.exitCode = error.exitCode;
  } else {
    process.exitCode = 3;
    process.stderr.write(
      `blockctl: this should not happen, please report it:\n${error instanceof Error ? error.stack : String(error)}\n`,
    );
  }
}
await output.finish();
// The answer is out: no timer or connection that is still winding down shall keep the person waiting.
process.exit();
