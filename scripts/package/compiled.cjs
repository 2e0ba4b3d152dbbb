/**
 * Loads the package's programs with what V8 has made of them before, which takes a tenth of a second off the start of the
 * daemon and a tenth off a call of blockctl. `warm-up.js` has it made; where it is missing, or V8 has it from another version or
 * with other flags and won't have it, the programs are compiled as ever.
 *
 * `node compiled.js PROGRAM ARGUMENTS…` runs a program and keeps what it has compiled by its end.
 */
'use strict';
const { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { Script } = require('node:vm');

// V8 compares no more than the length of a text with the one that it has compiled: each build has a folder of its own.
const { build } = JSON.parse(readFileSync(join(__dirname, 'package.json'), 'utf8'));
const FOLDER = join(__dirname, '../compiled', `${build}-${process.version}-${process.arch}`);
const isThere = existsSync(FOLDER);

const loaded = new Map();
/** Of a run of which the outcome is kept. */
const scripts = require.main === module ? new Map() : null;

/** @param {string} name The file of a program, beside this one. */
exports.run = load;

function load(name) {
  const known = loaded.get(name);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  // Before it runs: modules may need each other.
  loaded.set(name, module);
  const filename = join(__dirname, name);
  const text = `(function (exports, require, module, __filename, __dirname) {${readFileSync(filename, 'utf8')}\n})`;
  const script = new Script(text, { filename, cachedData: isThere ? compiled(name) : undefined });
  scripts?.set(name, script);
  script.runInThisContext()(module.exports, required, module, filename, __dirname);
  return module.exports;
}

/** Of our own programs; packages that are loaded whole, binaries and what is Node's go the usual way. */
function required(name) {
  return name.startsWith('./') && name.endsWith('.js') ? load(name.slice(2)) : require(name);
}

function compiled(name) {
  try {
    return readFileSync(join(FOLDER, name));
  } catch {
    return undefined;
  }
}

function keep() {
  mkdirSync(FOLDER, { recursive: true });
  for (const [name, script] of scripts) {
    const file = join(FOLDER, name);
    writeFileSync(`${file}.new`, script.createCachedData());
    // Whole or not at all: V8 does not look for damage.
    renameSync(`${file}.new`, file);
  }
}

if (scripts !== null) {
  process.argv.splice(1, 1);
  process.once('exit', keep);
  load(process.argv[1]);
}
