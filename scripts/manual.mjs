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
    ...(examples === '' ? [] : literal(examples)),
  ];
}

/** What stands behind the options in --help. */
function helpTextOf(command) {
  let text = '';
  const context = { error: false, command, write: (more) => (text += more) };
  command.emit('afterHelp', context);
  return text.trim();
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
  const lines = readFileSync(join(ROOT, 'systemd/blockd.toml'), 'utf8').split('\n');
  const out = ['.SH KEYS'];
  let said = [];
  const isKey = (line) => /^(?:# )?[a-z_"][\w"/-]* = /.test(line);
  const tell = (heads) => {
    for (const head of heads) out.push('.TP', `.B ${escaped(head)}`);
    if (heads.length > 1) out.splice(-2, 0);
    out.push(...paragraphs(said));
    said = [];
  };
  for (const [at, line] of lines.entries()) {
    if (/^\[\w+\]$/.test(line)) {
      out.push(`.SS ${line}`, ...paragraphs(said));
      said = [];
    } else if (isKey(line)) tell([line.replace(/^# /, '')]);
    else if (line.startsWith('#')) said.push(line.slice(2));
    else if (line === '' && at < 8) said = [];
  }
  return out;
}

/** Comment lines as running text; those that are laid out, as they are. */
function paragraphs(lines) {
  const out = [];
  for (const line of lines) {
    if (line.trim() === '') out.push('.IP');
    else if (/^\s{2,}/.test(line)) out.push(escaped(line.trim()));
    else if (/^\S+\s{2,}\S/.test(line)) out.push('.br', escaped(line.replace(/\s{2,}/, '  ')));
    else out.push(escaped(line));
  }
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
  // Not what is to be written as it stands, such as "lmdb:/DIR" or "dry-run".
  const begun = /^[a-z]+[ ,]/.test(text) ? `${text.charAt(0).toUpperCase()}${text.slice(1)}` : text;
  return escaped(`${begun}${/[.)]$/.test(begun) ? '' : '.'}`);
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
