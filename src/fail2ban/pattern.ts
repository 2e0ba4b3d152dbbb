/**
 * One `failregex` of fail2ban's as the pattern of a blockd rule. What stands before the address is made narrower where
 * that costs nothing real (a host name for `.*`), so that the guard can let it pass; each such step is told. Pure.
 */
import { UsageError } from '../domain/errors.js';
import { parseRules } from '../filter/load.js';
import { ADDRESS, Refusal, toJavaScript, tokensOf, withoutTags } from './python.js';
import { PREFIX_LINE } from './settings.js';

export interface Converted {
  readonly pattern: string;
  readonly program: readonly string[];
  /** What became narrower, each as a clause. */
  readonly notes: readonly string[];
}

export interface FailRegex {
  /** With all `<name>` and `%(name)s` filled in, but the address and `<F-…>`. */
  readonly regex: string;
  readonly prefregex: string | null;
  /** Pattern of the programs that the filter reads, or null. */
  readonly daemon: string | null;
}

/** @throws Refusal with the reason, as the end of a sentence. */
export function convert({ regex, prefregex, daemon }: FailRegex): Converted {
  const notes: string[] = [];
  const tagged = withoutTags(prefregex === null || prefregex === '' ? regex : joined(prefregex, regex, notes));
  const unknown = /<([a-z_][\w./-]*)>/.exec(tagged.replaceAll('(?P<', '('))?.[1];
  if (unknown !== undefined && /[?/]|^(?:__|mdre|mdpr|lt_)|_re$/.test(unknown))
    throw new Refusal(`it refers to <${unknown}>, which is set nowhere`);
  const reference = /%\(([^()]+)\)s/.exec(tagged)?.[1];
  if (reference !== undefined) throw new Refusal(`it refers to %(${reference})s, which is set nowhere`);
  const headed = withoutHeader(toJavaScript(tagged), daemon, notes);
  const at = headed.message.indexOf(ADDRESS);
  return { ...headed, pattern: around(headed.message.slice(0, at), headed.message.slice(at + 1), notes), notes };
}

/** What blockd says against the pattern, as the end of a sentence; null when it may be a rule. */
export function objectionTo({ pattern, program }: Converted): string | null {
  const rule = { name: 'imported', kind: 'offense', points: 1, description: 'x', pattern, program };
  const toml = Object.entries(rule).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  try {
    parseRules(`[[rule]]\n${toml.join('\n')}\n`, '');
    return null;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return error.message.replace(/^.*?: (?:its pattern )?/, '');
  }
}

/** The `failregex` in the place of what the `prefregex` hands on to it. */
function joined(prefregex: string, regex: string, notes: string[]): string {
  const parts = /^(.*)<F-CONTENT>(.*)<\/F-CONTENT>/s.exec(prefregex);
  if (parts === null) throw new Refusal('its prefregex hands on no <F-CONTENT>');
  if (!regex.startsWith('^')) notes.push('it has to begin where its prefregex ends');
  return `${parts[1]}${regex.replace(/^\^/, '')}`;
}

/** Time, host and program, as filters without `__prefix_line` write them. */
const OWN_HEADER = new RegExp(
  [
    /^\^?(?:(?:\.|\\[wdsS]|\[[\w :-]*\]| )(?:[+*]\??|\{\d+(?:,\d*)?\})?)*/,
    /((?:postfix|dovecot)(?:[\w./-]*\w)?)/,
    /(?:\\\[\\d[*+]\\\]|\\\[\.[*+]\??\\\]|\((?:\?:)?\\\[\\d\+\\\]\)\??|\\\[[^\]]*\]?[*+]?\\\])*/,
    /:(?: |\\s[+*]?)/,
  ]
    .map(({ source }) => source)
    .join(''),
);

function withoutHeader(regex: string, daemon: string | null, notes: string[]) {
  const marked = /^\^?(?:\\s[*+])?/.exec(regex)?.[0] ?? '';
  if (regex.startsWith(PREFIX_LINE, marked.length)) {
    const message = regex.slice(marked.length + 1).replace(/^(?:\\s[*+]| )/, '');
    if (message.includes(PREFIX_LINE)) throw new Refusal('it names the beginning of the line twice');
    return { message: message.replace(/^\^/, ''), program: programsOf(daemon, message) };
  }
  if (regex.includes(PREFIX_LINE)) throw new Refusal('something stands before the beginning of the line');
  const own = OWN_HEADER.exec(regex);
  if (own !== null) {
    const program = own[1] ?? '';
    return { message: regex.slice(own[0].length), program: [program === 'postfix' ? 'postfix/smtpd' : program] };
  }
  return { message: anchored(regex, notes), program: programsOf(daemon, regex) };
}

/** Beginnings of messages that are known, so that a pattern for the midst of a line can begin there. */
const BEGINNINGS =
  /^(?:NOQUEUE|noqueue|\\w[+*]|\[[^\]]+\][+*]|warning|lost connection|too many errors|improper command|disconnect|timeout after|connect from|PREGREET|HANGUP|DNSBL|(?:imap|pop3|managesieve|submission)-login|auth)/;

function anchored(regex: string, notes: string[]): string {
  // `: warning` is the colon behind the program's id.
  const body = regex.replace(/^\^?(?:\.[*+]\??|\\s[*+])*(?:: )?/, '');
  const words = body.replace(/\[([A-Z])[a-z]\]/g, (_, letter: string) => letter.toLowerCase());
  const begun = words.startsWith('reject: ')
    ? `{qid}: ${body}`
    : /^(?:RCPT|MAIL|DATA|CONNECT|EHLO|HELO) from /.test(words)
      ? `{qid}: reject: ${body}`
      : body;
  if (begun === body && !BEGINNINGS.test(words) && !BEGINNINGS.test(body)) {
    if (/^\^(?!\.[*+])/.test(regex)) {
      throw new Refusal('it names no program ("%(__prefix_line)s"): it is for a log that is not syslog\'s');
    }
    throw new Refusal(
      'it may begin anywhere in a line, where an attacker\'s text may stand as well; write it from the beginning of the message on ("^%(__prefix_line)s…")',
    );
  }
  notes.push('it has to stand at the beginning of the message');
  return begun;
}

/** Programs whose lines may be about mail clients, as blockd's rules name them. */
const PROGRAMS = [
  'postfix/smtpd',
  'postfix/postscreen',
  'postfix/cleanup',
  'dovecot',
  'auth',
  'dovecot-auth',
  'pop3d',
  'imapd',
  'saslauthd',
  'sieve',
  'timsieved',
];

function programsOf(daemon: string | null, message: string): string[] {
  if (daemon !== null && daemon !== '\\S*') {
    let expression: RegExp;
    try {
      expression = new RegExp(`^(?:${toJavaScript(daemon)})$`);
    } catch {
      throw new Refusal(`its _daemon "${daemon}" is no pattern`);
    }
    const programs = PROGRAMS.filter((program) => expression.test(program));
    if (programs.length > 0) return programs;
    if (/^[\w.-]+(?:\/[\w.-]+)*$/.test(daemon)) return [daemon];
    throw new Refusal(`its _daemon "${daemon}" is none of the programs that blockd reads`);
  }
  return /-login|^auth|pam_/.test(message) ? ['dovecot'] : ['postfix/smtpd'];
}

/** What filters write for the client's name, which Postfix prints before `[`. */
const HOST =
  /(?:\((?:\?:)?(?:\.[*+]\??|\\S[*+]\??|\[[-.\\_wd]+\][*+])\)\??|\.[*+]\??|\\S[*+]\??|\[\^\\?\[\][*+]\??|\[\^ \][*+]|\[[-.\\_wd]+\][*+])\\\[$/;
const PORT = /^\\\](?:\(?(?:\?:)?:\\d(?:\+|\{1,5\}|\*)\)\?|(?::\\d\+)?)/;

/** The pattern with `{client}` or `{ip}` between what stands before and behind the address. */
function around(before: string, behind: string, notes: string[]): string {
  const tail = behind.replace(/(?:\.\*\??)+\$?$/, '').replace(/\\s\*\$$/, '$');
  const host = HOST.exec(before);
  const port = PORT.exec(tail);
  if (host === null || port === null) return `${narrowed(before, notes)}{ip}${tail}`;
  if (/^(?:\((?:\?:)?)?\./.test(host[0])) notes.push('".*" before the address takes a host name only');
  return `${narrowed(before.slice(0, host.index), notes)}{client}${tail.slice(port[0].length)}`;
}

/** Words in place of anything: nothing that Postfix or Dovecot writes there themselves is lost by it. */
function narrowed(before: string, notes: string[]): string {
  const head = before.replace(/^\(?(\(\?:)?(?:\\w\+|\\S\+|\[[\\\w-]+\](?:\+|\{\d+,?\d*\})|\.\*\??): /, '$1{qid}: ');
  let isNarrower = false;
  const words = tokensOf(head).map((token) => {
    if (token === '\\s') return ' ';
    if (token !== '\\S') return token;
    isNarrower = true;
    return '[\\w.+/-]';
  });
  if (isNarrower) notes.push('"\\S" before the address takes letters, digits and . + / - only');
  return words.join('');
}
