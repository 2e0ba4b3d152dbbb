/** What a rule is, and what its pattern means once the placeholders are filled in. */
import type { MatchKind } from '../domain/event.js';
import { type Node, type Parsed, PatternError, parsePattern } from './syntax.js';

export interface Rule {
  /** Such as `postfix/user-unknown`. */
  readonly name: string;
  readonly kind: MatchKind;
  readonly points: number;
  readonly description: string;
  /** Programs whose lines it reads; `postfix/smtpd` stands for that daemon under any service or instance name. */
  readonly program: readonly string[];
  /** As written in the rule file. */
  readonly pattern: string;
  readonly echo: boolean;
  readonly closes: boolean;
  /** Of packaged rules none where they were not asked for. */
  readonly matches: readonly Sample[];
  readonly ignores: readonly string[];
  /** Path of the file that it came from. */
  readonly file: string;
  /** Comes with blockd, and is proved linear by its tests. */
  readonly packaged: boolean;
  /** Its file is as it was packaged, and its pattern was read then: it is one. */
  readonly known: boolean;
}

/** A line that the rule must match, and the address that it must find. */
export interface Sample {
  readonly line: string;
  readonly ip: string;
  /** Points expected, when they differ from the rule's. */
  readonly points?: number | undefined;
}

/** A pattern cut at its address. */
export interface Pattern {
  readonly head: Parsed;
  readonly address: Parsed;
  readonly tail: Parsed;
  /** `address` with its groups: the host name, if `hasHost`, and the address. */
  readonly addressSource: string;
  readonly hasHost: boolean;
  /** What `address` consists of. */
  readonly place: Place;
  /** Does the message begin with `{qid}: `? `head` is what follows it. */
  readonly queueId: 'always' | 'maybe' | 'never';
}

export interface Place {
  /** The host name with the bracket behind it, or nothing. */
  readonly host: Node;
  /** With the bracket behind it, if it has a host. */
  readonly ip: Node;
  readonly behind: Node;
}

/**
 * @param reply Postfix's reply to a banned client as configured, which `{reply}` stands for.
 * @throws PatternError
 */
export function parseRulePattern(text: string, reply: string): Pattern {
  const addresses = text.match(/\{(?:client|ip)\}/g) ?? [];
  if (addresses.length !== 1)
    throw new PatternError('wants exactly one of {client} and {ip}, the address that the line is about');
  const at = text.search(/\{(?:client|ip)\}/);
  const hasHost = text.startsWith('{client}', at);
  const before = text.slice(0, at).replace(/^\^/, '');
  const queueId = before.startsWith(QUEUED) ? 'always' : before.startsWith(MAYBE_QUEUED) ? 'maybe' : 'never';
  const place = hasHost ? CLIENT : ADDRESS;
  const partOf = (part: string, where: string): Parsed => {
    const expanded = expand(part, reply);
    if (!isWhole(expanded))
      throw new PatternError(
        `has its address inside of a group, or an alternative "|" outside of one, ${where} the address`,
      );
    return parsePattern(expanded);
  };
  return {
    head: partOf(before.slice(QUEUE_ID_LENGTHS[queueId]), 'before'),
    address: hasHost ? PARSED_CLIENT : PARSED_ADDRESS,
    place: hasHost ? CLIENT_PLACE : ADDRESS_PLACE,
    tail: partOf(text.slice(at + (hasHost ? '{client}' : '{ip}').length), 'behind'),
    hasHost,
    addressSource: place,
    queueId,
  };
}

const QUEUED = '{qid}: ';
const MAYBE_QUEUED = `(?:${QUEUED})?`;
const QUEUE_ID_LENGTHS = { always: QUEUED.length, maybe: MAYBE_QUEUED.length, never: 0 } as const;

/** Short and long queue ids, and NOQUEUE; without small vowels, as Postfix makes them. */
const QUEUE_ID = '[0-9A-Zb-df-hj-np-tv-z]{5,25}';
/** Postfix checks host names and prints `unknown` for others; postscreen prints none. */
const HOST = '[\\w.-]*';
const IN_BRACKETS = '[\\da-fA-F:.]{2,45}';
const PORT = '(?::\\d{1,5}(?!\\d))?';
const CLIENT = `(${HOST})\\[(${IN_BRACKETS})\\]${PORT}`;
/** Neither kind may be cut short, nor take the colon or the full stop behind it. */
const IPV4 = '\\d{1,3}(?:\\.\\d{1,3}){3}';
const IPV6 = `(?:[\\da-fA-F]{0,4}:){1,7}(?:[\\da-fA-F]{1,4}|:|${IPV4})`;
const ADDRESS = `(${IPV4}(?!\\d|\\.\\d)|${IPV6}(?![\\da-fA-F]|:[\\da-fA-F:]|\\.\\d))`;

const PARSED_CLIENT = parsePattern(CLIENT);
const PARSED_ADDRESS = parsePattern(ADDRESS);
const CLIENT_PLACE: Place = {
  host: parsePattern(`${HOST}\\[`).node,
  ip: parsePattern(`${IN_BRACKETS}\\]`).node,
  behind: parsePattern(PORT).node,
};
const ADDRESS_PLACE: Place = {
  host: parsePattern('').node,
  ip: parsePattern(ADDRESS).node,
  behind: parsePattern('').node,
};

function expand(text: string, reply: string): string {
  return text.replace(/\{([A-Za-z_]+)\}/g, (placeholder, name: string) => {
    if (name === 'qid') return QUEUE_ID;
    if (name === 'reply') return replyPattern(reply);
    throw new PatternError(`holds ${placeholder}, which is none of {client}, {ip}, {qid} and {reply}`);
  });
}

/**
 * The reply up to the end of its `{until}`: what follows may be reworded by the admin while bans with the old words
 * are still in the map.
 */
export function replyPattern(reply: string): string {
  const marker = reply.includes('{until}') ? reply.slice(0, reply.indexOf('{until}') + '{until}'.length) : reply;
  return marker
    .split(/(\{\w+\})/)
    .map((part) => REPLY_PARTS[part] ?? part.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'))
    .join('');
}

const REPLY_PARTS: Record<string, string | undefined> = {
  '{until}': '\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d(?::\\d\\d)?(?:\\.\\d{1,3})?Z',
  '{ip}': '[\\da-fA-F:./]+',
  '{reason}': '[^{}]*',
};

/** Are all groups closed, and all alternatives inside of groups? */
function isWhole(text: string): boolean {
  let depth = 0;
  let inClass = false;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === '\\') i++;
    else if (inClass) inClass = char !== ']';
    else if (char === '[') inClass = true;
    else if (char === '(') depth++;
    else if (char === ')' && --depth < 0) return false;
    else if (char === '|' && depth === 0) return false;
  }
  return depth === 0;
}
