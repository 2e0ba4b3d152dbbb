#!/usr/bin/env node
/** The program that looks into blockd and gives it orders: arguments in, exit code out. */
import { readFileSync } from 'node:fs';
import { Output } from './cli/output.js';
import { runCommand } from './cli/program.js';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const output = new Output(process.stdout, process.stderr);

// Whatever ends the process before the answer is known, no program that asks takes it for done.
process.exitCode = 3;
void answer();

/** No await of the module's own: the package has it as CommonJS, which Node loads sooner. */
async function answer(): Promise<void> {
  try {
    process.exitCode = await runCommand(process.argv.slice(2), version, output);
  } catch (error) {
    process.exitCode = 3;
    const trace = error instanceof Error ? error.stack : String(error);
    output.errorText(`blockctl: this should not happen, please report it:\n${trace}\n`);
  }
  await output.finish();
  // The answer is out: no timer or connection that is still winding down shall keep the person waiting.
  process.exit();
}
