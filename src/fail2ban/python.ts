/** Python's regular expressions, as fail2ban's filters use them, rewritten as those that blockd's rules may use. Pure. */

/** Stands for the one address of a pattern. */
export const ADDRESS = '\ue001';

/** Why a pattern can't be carried over, as the end of a sentence. */
export class Refusal extends Error {}

/** Replaces fail2ban's own tags: the address by `ADDRESS`, named parts by plain groups. @throws Refusal */
export function withoutTags(regex: string): string {
  const text = regex
    .replace(/<F-([A-Z0-9_-]+)>(.*?)<\/F-\1>/g, (_, name: string, inner: string) => {
      if (MULTI_LINE.has(name) || /^MLF/.test(name)) throw new Refusal(SEVERAL_LINES);
      if (name === 'ID') throw new Refusal('it bans something other than an address (<F-ID>)');
      return /^(?:ADDR|IP4|IP6|HOST)$/.test(name) ? ADDRESS : `(?:${inner})`;
    })
    .replace(/<F-(?:NOFAIL|MLF\w+)\/?>/g, () => {
      throw new Refusal(SEVERAL_LINES);
    })
    .replace(/<(?:HOST|ADDR|IP4|IP6|F-ADDR\/|F-IP4\/|F-IP6\/)>/g, ADDRESS)
    .replace(/\(\?P<(?:host|ip4|ip6|addr)>(?:\\S[+*]|\[[^\]]+\][+*]|(?:\\d\{1,3\}\\?\.?){4})\)/g, ADDRESS);
  const left = /<(?:F-)?(DNS|SUBNET|CIDR|ID|SKIPLINES|F-CONTENT)\/?>/.exec(text)?.[1];
  if (left === 'DNS') throw new Refusal('it takes a host name for the client, and blockd bans addresses only');
  if (left === 'SKIPLINES') throw new Refusal(SEVERAL_LINES);
  if (left !== undefined) throw new Refusal(`<${left}> has no counterpart: a blockd rule finds one address`);
  const addresses = text.split(ADDRESS).length - 1;
  if (addresses === 0) throw new Refusal('it names no address (<HOST>)');
  if (addresses > 1) throw new Refusal('it names more than one address');
  return text;
}

const SEVERAL_LINES = 'it joins several lines, and a blockd rule reads one';
const MULTI_LINE = new Set(['NOFAIL']);

/** One unit of a regular expression: an escape, a class, the opening of a group, a quantifier, or a character. */
export function tokensOf(regex: string): string[] {
  return (
    regex.match(
      /\\(?:x[\da-fA-F]{2}|[\s\S])|\[\^?\]?(?:\\[\s\S]|[^\]\\])*\]|\(\?(?:P?<\w+>|P=\w+\)|#[^)]*\)|[aiLmsux]+[:)]|<?[=!]|[:>])|\{\d*,?\d*\}|[\s\S]/g,
    ) ?? []
  );
}

/** @throws Refusal */
export function toJavaScript(regex: string): string {
  let out = '';
  /** Is case ignored, in each open group? */
  const folding = [false];
  for (const token of tokensOf(regex)) {
    const folds = folding.at(-1) === true;
    if (token.startsWith('(?#')) continue;
    if (token.startsWith('(?P=')) throw new Refusal('it refers back to an earlier group');
    const flags = /^\(\?([aiLmsux]+)([:)])$/.exec(token);
    if (flags !== null) {
      if (flags[1]?.includes('x')) throw new Refusal('it is written with blanks and comments inside ((?x))');
      const nowFolds = folds || flags[1]?.includes('i') === true;
      if (flags[2] === ')') folding[folding.length - 1] = nowFolds;
      else {
        folding.push(nowFolds);
        out += '(?:';
      }
    } else if (token.startsWith('(?>')) throw new Refusal('it holds an atomic group');
    else if (token.startsWith('(')) {
      folding.push(folds);
      out += /^\(\?<?[=!]/.test(token) ? token : '(?:';
    } else if (token === ')') {
      folding.pop();
      out += ')';
    } else if (token === '\\Z' || token === '\\z') out += '$';
    else if (token === '\\A') out += '^';
    else if (/^\{,\d+\}$/.test(token)) out += `{0${token.slice(1)}`;
    else if (token.startsWith('[')) out += folds ? foldedClass(classOf(token)) : classOf(token);
    else if (folds && /^[A-Za-z]$/.test(token)) out += `[${token.toUpperCase()}${token.toLowerCase()}]`;
    else out += /^\\[^\w\s]$/.test(token) && !NEEDS_ESCAPE.test(token[1] ?? '') ? (token[1] ?? '') : token;
  }
  return out;
}

const NEEDS_ESCAPE = /[\\^$.*+?()[\]{}|]/;

/** A class that begins with `]` holds it, in Python. */
function classOf(token: string): string {
  return token.replace(/^(\[\^?)\]/, '$1\\]');
}

function foldedClass(token: string): string {
  const inner = token.slice(1, -1);
  if (inner.includes('a-z') && inner.includes('A-Z')) return token;
  const other = inner.replace(/\\.|[A-Za-z]/g, (part) =>
    part.startsWith('\\') ? part : part === part.toLowerCase() ? part.toUpperCase() : part.toLowerCase(),
  );
  return `[${inner}${other.replace(/^\^/, '')}]`;
}

/** The alternatives of a pattern that has any outside of all groups. */
export function alternativesOf(regex: string): string[] {
  const alternatives = [''];
  let depth = 0;
  for (const token of tokensOf(regex)) {
    if (token.startsWith('(') && !token.endsWith(')')) depth++;
    else if (token === ')') depth--;
    if (token === '|' && depth === 0) alternatives.push('');
    else alternatives[alternatives.length - 1] += token;
  }
  return alternatives.filter((one) => one !== '');
}
