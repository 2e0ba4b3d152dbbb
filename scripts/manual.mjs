// The manual pages and completions, from what the programs, the config's example and scripts/manual/ say, so that they
// can't drift: `node scripts/manual.mjs FOLDER` writes FOLDER/man/NAME.SECTION and FOLDER/completions/*.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

export async function makeManual(into) {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const load = (name) => import(join(ROOT, 'dist', name));
  const { blockdProgram } = await load('daemon/program.js');
  const { buildProgram } = await load('cli/program.js');
  const { completionScript } = await load('cli/completion.js');
  const silent = { print() {}, errorText() {}, line() {} };
  const blockctl = buildProgram(version, silent, () => {});
  const page = (name, section, title, body) =>
    [`.TH ${name} ${section} "" "blockd ${version}" "${title}"`, '.SH NAME', ...body, ''].join('\n');

  mkdirSync(join(into, 'man'), { recursive: true });
  mkdirSync(join(into, 'completions'), { recursive: true });
  const put = (name, text) => writeFileSync(join(into, name), text);
  put('man/blockd.8', page('BLOCKD', 8, 'System administration', programPage(blockdProgram(version), 'blockd.8')));
  put('man/blockctl.8', page('BLOCKCTL', 8, 'System administration', programPage(blockctl, 'blockctl.8')));
  put('man/blockd.toml.5', page('BLOCKD.TOML', 5, 'File formats', configPage()));
  put('man/blockd-filters.5', page('BLOCKD-FILTERS', 5, 'File formats', prose('blockd-filters.5')));
  put('completions/blockctl.bash', completionScript('bash'));
  put('completions/_blockctl', completionScript('zsh'));
  put('completions/blockctl.fish', completionScript('fish'));
}

/** Name, synopsis, options and commands by the program itself; the rest by hand. */
function programPage(program, file) {
  const written = prose(file);
  const description = written.findIndex((line) => line.startsWith('.SH DESCRIPTION'));
  const commands = program.commands.filter((one) => one.name() !== 'complete');
  const usage =
    commands.length > 0 ? `[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...` : '[\\fIOPTION\\fR]...';
  const nextSection = written.findIndex((line, at) => at > description && line.startsWith('.SH '));
  return [
    ...written.slice(0, description),
    '.SH SYNOPSIS',
    `.B ${program.name()}`,
    usage,
    ...written.slice(description, nextSection),
    '.SH OPTIONS',
    ...optionsOf(program),
    ...(commands.length > 0 ? ['.SH COMMANDS', ...commands.flatMap((one) => commandOf(one, ''))] : []),
    ...written.slice(nextSection),
  ];
}

function commandOf(command, before) {
  const name = `${before}${command.name()}`;
  if (command.commands.length > 0) return command.commands.flatMap((one) => commandOf(one, `${name} `));
  const args = command.registeredArguments.map((one) => {
    const shown = `${one.name()}${one.variadic ? '...' : ''}`;
    return one.required ? `<${shown}>` : `[${shown}]`;
  });
  const examples = helpTextOf(command);
  return [
    `.SS ${escaped([name, ...args].join(' '))}`,
    sentence(command.description()),
    ...optionsOf(command),
    ...helpText(examples),
  ];
}

/** What stands behind the options in --help. */
function helpTextOf(command) {
  let text = '';
  const context = { error: false, command, write: (more) => (text += more) };
  command.emit('afterHelp', context);
  return text.trim();
}

/** Examples as they are, notes as running text. */
function helpText(text) {
  if (text === '') return [];
  return text
    .split(/\n\n+/)
    .flatMap((part) =>
      part.startsWith('Examples:') ? literal(narrow(part)) : ['.PP', ...part.split('\n').map(escaped)],
    );
}

/** A remark that would not fit beside its example in 80 columns stands below it. */
function narrow(examples) {
  return examples
    .split('\n')
    .map((line) => (line.length <= 72 ? line : line.replace(/^(\s*\S.*?)\s{3,}(\(.*\))$/, '$1\n      $2')))
    .join('\n');
}

function optionsOf(command) {
  return command.options.flatMap(({ flags, description }) => ['.TP', `.B ${escaped(flags)}`, sentence(description)]);
}

/** Each key of the packaged example with its default and what is said of it there. */
function configPage() {
  const out = prose('blockd.toml.5');
  const see = out.findIndex((line) => line.startsWith('.SH FILES'));
  return [...out.slice(0, see), ...keys(), ...out.slice(see)];
}

function keys() {
  const out = ['.SH KEYS'];
  let said = [];
  /** The key above, when nothing but its own lines stand between. */
  let above = null;
  /** Below an array of tables, whose keys say themselves what holds without them. */
  let isList = false;
  // The file's own introduction ends at its first blank line.
  const lines = readFileSync(join(ROOT, 'systemd/blockd.toml'), 'utf8').split('\n');
  for (const line of lines.slice(lines.indexOf('') + 1)) {
    const key = /^(# )?([a-z_]\w*|"[a-z/-]+") = /.exec(line);
    // An array of tables is shown commented out: by default there is none.
    const heading = /^(?:# \[)?(\[\w+\])\]?$/.exec(line);
    if (heading !== null) {
      out.push(`.SS ${heading[1]}`, ...paragraphs(said));
      said = [];
      above = null;
      isList = line.startsWith('#');
    } else if (key !== null) {
      const [, isExample, name] = key;
      const head = escaped(line.replace(/^# /, ''));
      if (above?.name === name) out.push('.IP', `For example: ${head}`);
      else if (said.length === 0 && above !== null) out.splice(above.at, 0, '.TQ', `.B ${head}`);
      else {
        out.push('.TP', `.B ${head}`);
        above = { name, at: out.length };
        out.push(...paragraphs(said));
        if (isExample && !isList)
          out.push(...(said.length === 0 ? [] : ['.IP']), 'Not set by default; what stands here is an example.');
      }
      said = [];
    } else if (line.startsWith('#')) said.push(line.slice(2));
  }
  return out;
}

/** Comment lines as running text: `TERM  text` as a list, and as they are those that are indented below a colon. */
function paragraphs(lines) {
  const out = [];
  let shown = false;
  for (const [at, line] of lines.entries()) {
    const begins = /^\s{2,}/.test(line) && (shown || /^(?!\s|\S+\s{2}).*:$/.test(lines[at - 1] ?? ''));
    // Further left, since a restriction with its table needs the room.
    if (begins !== shown) out.push(...(begins ? ['.in -7n', '.nf'] : ['.fi', '.in']));
    shown = begins;
    if (shown) out.push(escaped(line));
    else if (/^\S+\s{2,}\S/.test(line)) out.push('.br', escaped(line.replace(/\s{2,}/, ' ')));
    else out.push(escaped(line.trim()));
  }
  if (shown) out.push('.fi', '.in');
  return out;
}

/**
 * scripts/manual/NAME.txt: `# HEADING`, paragraphs, four spaces before what is shown as it is, `TERM:: text` for a list. The
 * first line is the page's name and purpose.
 */
function prose(name) {
  const [purpose, ...lines] = readFileSync(join(ROOT, 'scripts/manual', `${name}.txt`), 'utf8')
    .trimEnd()
    .split('\n');
  const out = [escaped(purpose).replace(' - ', ' \\- ')];
  let shown = false;
  for (const line of lines) {
    const isShown = line.startsWith('    ');
    if (isShown !== shown && line !== '') {
      out.push(...(isShown ? ['.PP', '.nf', '.RS 4'] : ['.RE', '.fi', '.PP']));
      shown = isShown;
    }
    const term = /^(\S.*?):: (.*)$/.exec(line);
    if (line.startsWith('# ')) out.push(`.SH ${line.slice(2)}`);
    else if (line === '') out.push(...(shown ? [] : ['.PP']));
    else if (term !== null) out.push('.TP', `.B ${escaped(term[1])}`, escaped(term[2]));
    else out.push(escaped(isShown ? line.slice(4) : line));
  }
  if (shown) out.push('.RE', '.fi');
  // A heading begins a paragraph by itself.
  return out.filter((line, at) => line !== '.PP' || !/^\.(?:SH|PP|TP)/.test(out[at + 1] ?? '.SH'));
}

function literal(text) {
  return ['.PP', '.nf', ...text.split('\n').map((line) => escaped(line)), '.fi'];
}

function sentence(text) {
  // Not what is to be written as it stands, such as "lmdb:/DIR", "dry-run" or "plain, json".
  const begun = /^[a-z]+(?: |$)/.test(text) ? `${text.charAt(0).toUpperCase()}${text.slice(1)}` : text;
  return escaped(`${begun}${/\.$/.test(begun) ? '' : '.'}`);
}

/** groff_man_style(7): nothing that groff takes for a request, an escape, or typographic punctuation. */
function escaped(text) {
  const plain = text
    .replace(/\\/g, '\\e')
    .replace(/-/g, '\\-')
    .replace(/'/g, '\\(aq')
    .replace(/`/g, '\\(ga')
    .replace(/\^/g, '\\(ha')
    .replace(/~/g, '\\(ti')
    .replace(/…/g, '...')
    .replace(/"/g, '\\(dq');
  return /^[.]/.test(plain) ? `\\&${plain}` : plain;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder] = process.argv.slice(2);
  if (folder === undefined) throw new Error('which folder?');
  await makeManual(folder);
}
