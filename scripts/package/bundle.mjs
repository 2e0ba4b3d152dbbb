// The two programs with all packages that they need, in one flat folder: what a module names by its own address
// (`new URL('./commit.lua', import.meta.url)`: scripts, workers) stands beside it there too, whatever file it ends up in.
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const PROGRAMS = ['blockd', 'blockctl'];
/** Loads LMDB's binary from wherever npm has put it; here it is one file beside the programs. */
const NATIVE_LOADER = 'node-gyp-build-optional-packages';
export const NATIVE_FILE = 'lmdb.node';
const KNOWN_RULES = 'known-rules.json';
const KNOWN_AUTOMATA = 'known-automata.bin';
const OWN_ADDRESS = /new URL\(\s*(['"`])([^'"`]+)\1\s*,\s*import\.meta\.url\s*\)/g;
const REQUIRED = /createRequire\(import\.meta\.url\)\((['"])([^'"]+)\1\)/g;

/** What is loaded together stands in one file: looking up and reading each of twenty takes longer than what is in it. */
const TOGETHER = [
  {
    name: 'ground',
    test: /\/dist\/(?:domain|config)\/|\/dist\/store\/(?:open|schema|store|daemon-note)\.js$|\/dist\/(?:policy\/lists|postfix\/finding)\.js$|\/smol-toml\//,
  },
  { name: 'console', test: /\/dist\/cli\/(?:program|output|terminal|desk|owner|format|mode)\.js$/ },
  { name: 'judging', test: /\/dist\/policy\/|\/dist\/lists\/(?:kept-list|lists)\.js$/ },
  { name: 'reading', test: /\/dist\/filter\/(?!samples\.js$)/ },
  {
    name: 'publishing',
    test: /\/dist\/postfix\/(?:access-map|ban-text|entry|map-.+|named|postconf|postmap|postscreen-map|reload|run)\.js$/,
  },
  {
    name: 'embedded',
    test: /\/dist\/store\/lmdb-(?:file|tables|writing)\.js$|\/node_modules\/(?:lmdb|ordered-binary|weak-lru-cache|@harperfast)\//,
  },
];

/** Returns the packages inside, `{name, version, license, text}`, in order of their names. */
export async function bundle({ root, into }) {
  const dist = realpathSync(join(root, 'dist'));
  const required = new Set();
  const modules = await build({
    input: Object.fromEntries(PROGRAMS.map((name) => [`${name}-program`, join(dist, `${name}.js`)])),
    plugins: [
      addressed(dist, required, {
        [KNOWN_RULES]: await knownRules(root, dist),
        [KNOWN_AUTOMATA]: await knownAutomata(root, dist),
      }),
      nativeLmdbBeside(),
      withoutMsgpack(),
      withoutLogThreads(),
    ],
    output: {
      dir: into,
      // Node 20 reads and links ES modules one by one and asynchronously: 12 ms of each call of blockctl.
      format: 'cjs',
      entryFileNames: '[name].js',
      chunkFileNames: '[name].js',
      codeSplitting: { groups: TOGETHER },
    },
  });
  // What is loaded only when it is needed, and at once: a bundle of its own, since require() takes no part of another.
  for (const name of required) {
    const input = { [name]: name };
    const output = { dir: into, format: 'cjs', entryFileNames: '[name].cjs', exports: 'named' };
    modules.push(...(await build({ input, plugins: [], output, cwd: root })));
  }
  for (const name of PROGRAMS) {
    const program = join(into, `${name}-program.js`);
    writeFileSync(program, readFileSync(program, 'utf8').replace(/^#!.*\n/, ''));
    const command = `#!/usr/bin/env node\nrequire('./compiled.js').run('${name}-program.js');\n`;
    writeFileSync(join(into, `${name}.js`), command);
  }
  for (const name of ['compiled', 'warm-up']) {
    copyFileSync(fileURLToPath(new URL(`${name}.cjs`, import.meta.url)), join(into, `${name}.js`));
  }
  const about = { type: 'commonjs', build: contentId(into) };
  writeFileSync(join(into, 'package.json'), `${JSON.stringify(about)}\n`);
  return licencesOf(modules);
}

/** The same for the same files, and for no others. */
function contentId(folder) {
  const hash = createHash('sha256');
  for (const name of readdirSync(folder).sort()) {
    const content = readFileSync(join(folder, name));
    hash.update(`${name} ${content.length}\n`).update(content);
  }
  return hash.digest('hex').slice(0, 16);
}

async function build({ input, plugins, output, cwd }) {
  const built = await rolldown({
    input,
    plugins,
    cwd: cwd ?? process.cwd(),
    platform: 'node',
    logLevel: 'warn',
    onLog(level, log, handle) {
      // pino and others probe for what an application may have; what they find missing they do without.
      if (log.code === 'UNRESOLVED_IMPORT' || log.code === 'EVAL') return;
      handle(level, log);
    },
  });
  try {
    const { output: files } = await built.write({ sourcemap: false, minify: false, ...output });
    return files.flatMap((file) => (file.type === 'chunk' ? Object.keys(file.modules) : []));
  } finally {
    await built.close();
  }
}

/** What the packaged rule files hold, which a start need not read as TOML then: see src/filter/known-rules.ts. */
async function knownRules(root, dist) {
  const { toBeKnown } = await import(join(dist, 'filter/known-rules.js'));
  const { readRuleFile } = await import(join(dist, 'filter/rule-file.js'));
  const { parseToml } = await import(join(dist, 'config/toml.js'));
  const folder = join(root, 'filters');
  const known = readdirSync(folder)
    .filter((name) => name.endsWith('.toml'))
    .sort()
    .map((name) => {
      const content = readFileSync(join(folder, name));
      return toBeKnown(content, readRuleFile(parseToml(content, name, false)).rules);
    });
  return JSON.stringify(Object.assign({}, ...known));
}

/** The automata of the packaged rules: see src/filter/known-automata.ts. */
async function knownAutomata(root, dist) {
  const { Filter } = await import(join(dist, 'filter/filter.js'));
  const { LineClock } = await import(join(dist, 'filter/clock.js'));
  const { loadRules } = await import(join(dist, 'filter/load.js'));
  const { toBeKnown } = await import(join(dist, 'filter/known-automata.js'));
  const rules = loadRules(join(root, 'filters'), null, 'own');
  const filter = Filter.compile(rules);
  // Where usual lines lead comes first, and stands side by side.
  const samples = rules.flatMap(({ matches, ignores }) => [...matches.map(({ line }) => line), ...ignores]);
  filter.scan(Buffer.from(`${samples.join('\n')}\n`, 'latin1'), new LineClock(Date.now()), () => undefined);
  return toBeKnown(filter.toKnown());
}

/**
 * Our own modules' neighbours become files beside the bundle, and packages that they require() are noted.
 * @param made By address, what is made for the package and no file beside the module.
 */
function addressed(dist, required, made) {
  return {
    name: 'neighbours',
    transform(code, id) {
      if (!id.startsWith(`${dist}/`)) return null;
      for (const [, , address] of code.matchAll(OWN_ADDRESS)) {
        if (address === '../package.json' && dirname(id) === dist) continue;
        if (!address.startsWith('./') || address.includes('${')) {
          throw new Error(`${id} names ${address} by its own address, which would not be there in the package`);
        }
        const file = resolve(dirname(id), address);
        const fileName = basename(file);
        if (fileName.endsWith('.js')) this.emitFile({ type: 'chunk', id: file, fileName });
        else this.emitFile({ type: 'asset', fileName, source: made[fileName] ?? readFileSync(file) });
      }
      return code
        .replace(OWN_ADDRESS, (whole, quote, address) =>
          address.startsWith('./') ? `new URL(${quote}./${basename(address)}${quote}, import.meta.url)` : whole,
        )
        .replace(REQUIRED, (_whole, quote, name) => {
          required.add(name);
          return `createRequire(import.meta.url)(${quote}./${name}.cjs${quote})`;
        });
    },
  };
}

function nativeLmdbBeside() {
  const id = `\0${NATIVE_LOADER}`;
  return {
    name: 'native-lmdb',
    resolveId: (source) => (source === NATIVE_LOADER ? id : null),
    load: (loaded) =>
      loaded === id
        ? `import { createRequire } from 'node:module';
           export default () => createRequire(import.meta.url)('./${NATIVE_FILE}');`
        : null,
  };
}

/** lmdb's own encoding of values, which a store of texts never asks for: a fifth of what `blockctl list` would load. */
function withoutMsgpack() {
  return without('msgpackr', 'export class Encoder', 'blockd stores texts: open each table with encoding "string"');
}

/** pino's writing in other threads: the daemon writes to stderr itself. */
function withoutLogThreads() {
  return without('thread-stream', 'export default class', 'blockd logs in its own thread: give pino a destination');
}

/** A package of which nothing is ever used. */
function without(name, declaration, why) {
  const id = `\0${name}`;
  return {
    name: `without-${name}`,
    resolveId: (source) => (source === name ? id : null),
    load: (loaded) =>
      loaded === id ? `${declaration} { constructor() { throw new Error(${JSON.stringify(why)}); } }` : null,
  };
}

function licencesOf(modules) {
  const folders = new Set(modules.map(packageFolder).filter((folder) => folder !== null));
  return [...folders]
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      const file = ['LICENSE', 'LICENSE.md', 'LICENSE.txt', 'license', 'License', 'LICENCE']
        .map((one) => join(folder, one))
        .find((one) => existsSync(one));
      return { name, version, license, text: file === undefined ? null : readFileSync(file, 'utf8') };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function packageFolder(id) {
  const [, folder] = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id) ?? [];
  return folder ?? null;
}
