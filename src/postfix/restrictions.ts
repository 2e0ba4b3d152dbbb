/** Postfix's lists of access restrictions, as SMTPD_ACCESS_README and postconf(5) describe them. Pure. */

/** One restriction with its argument, and where it stands in the text. */
export interface Restriction {
  /** As Postfix names it; a bare table in a list is what Postfix takes it for, `check_client_access` and the like. */
  readonly name: string;
  /** Table, server or domain; null for restrictions without one. */
  readonly argument: string | null;
  /** Does `warn_if_reject` stand before it? */
  readonly warnOnly: boolean;
  readonly start: number;
  readonly end: number;
}

/** Restrictions of `text`, which may go over several lines, with comment lines between. */
export function parseRestrictions(text: string, bareTable = 'check_client_access'): Restriction[] {
  const words = wordsOf(text);
  const found: Restriction[] = [];
  let warnAt: number | null = null;
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (word === undefined) break;
    if (word.text === 'warn_if_reject') {
      warnAt = word.start;
      continue;
    }
    const next = words[i + 1];
    const isTable = TABLE.test(word.text);
    const taken = !isTable && next !== undefined && takesArgument(word.text);
    if (taken) i++;
    found.push({
      name: isTable ? bareTable : word.text,
      argument: isTable ? word.text : taken ? next.text : null,
      warnOnly: warnAt !== null,
      start: warnAt ?? word.start,
      end: taken ? next.end : word.end,
    });
    warnAt = null;
  }
  return found;
}

/** The same with the restriction classes in it replaced by what they stand for. */
export function flatten(
  list: readonly Restriction[],
  classOf: (name: string) => string | undefined,
  depth = 0,
): Restriction[] {
  return list.flatMap((one) => {
    const text = one.argument === null ? classOf(one.name) : undefined;
    return text === undefined || depth > MOST_CLASSES ? [one] : flatten(parseRestrictions(text), classOf, depth + 1);
  });
}

/** Classes may name each other; in a circle too. */
const MOST_CLASSES = 8;
const TABLE = /^(?:proxy:)?[a-z]+:\S/;

interface Word {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Words between blanks and commas; what stands in braces is one word. Comment lines are none. */
function wordsOf(text: string): Word[] {
  const words: Word[] = [];
  for (const found of text.matchAll(/^[ \t]*#.*$|\{[^{}]*\}|[^\s,{}]+/gm)) {
    if (/^[ \t]*#/.test(found[0]) && (found.index === 0 || text[found.index - 1] === '\n')) continue;
    words.push({ text: found[0], start: found.index, end: found.index + found[0].length });
  }
  return words;
}

function takesArgument(name: string): boolean {
  return (
    /^check_\w+_access$/.test(name) ||
    /^(?:reject_rbl_client|reject_rhsbl_\w+|permit_dnswl_client|permit_rhswl_client)$/.test(name) ||
    name === 'check_policy_service' ||
    name === 'sleep'
  );
}
