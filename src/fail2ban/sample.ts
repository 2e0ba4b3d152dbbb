/** Log lines that a pattern matches, made from the pattern itself: they show that a rule works, and what others see in them. */
import { parseRulePattern } from '../filter/rule.js';
import type { CharSet, Node } from '../filter/syntax.js';

export interface MadeLine {
  readonly line: string;
  readonly ip: string;
}

const IP = '192.0.2.1';
const MOST = 40;

/** At most `MOST` lines, which between them go through each alternative. Not all must be matched: see look-aheads. */
export function linesFor(pattern: string, program: string): MadeLine[] {
  const { head, tail, hasHost, queueId } = parseRulePattern(pattern, 'Blocked until {until}');
  const opening = queueId === 'never' ? '' : 'NOQUEUE: ';
  const texts = cycled([variantsOf(head.node), [hasHost ? `unknown[${IP}]` : IP], variantsOf(tail.node)]);
  return [...new Set(texts)].map((text) => ({ line: `Nov 25 01:12:16 mx ${program}[27]: ${opening}${text}`, ip: IP }));
}

function variantsOf(node: Node): string[] {
  switch (node.type) {
    case 'set':
      return [charFrom(node.set)];
    case 'sequence':
      return cycled(node.items.map(variantsOf));
    case 'choice':
      return node.options.flatMap(variantsOf).slice(0, MOST);
    case 'repeat': {
      const each = variantsOf(node.item);
      const repeated = (times: number) => each.map((text) => text.repeat(Math.min(times, 60)));
      return node.min > 0 ? repeated(node.min) : [...(node.max > 0 ? repeated(1) : []), ''].slice(0, MOST);
    }
    default:
      return [''];
  }
}

/** One of each part behind the other; as many as the part with the most has. */
function cycled(parts: readonly (readonly string[])[]): string[] {
  const count = Math.min(MOST, Math.max(1, ...parts.map((part) => part.length)));
  return Array.from({ length: count }, (_, i) => parts.map((part) => part[i % part.length] ?? '').join(''));
}

/** What reads most like a log: a permanent reply code, a plain letter. */
const LIKED = ['5', '1', '0', 'a', 'A', ' ', 'x', '-', '.'];

function charFrom(set: CharSet): string {
  const has = (char: string) => ((set >> BigInt(char.charCodeAt(0))) & 1n) !== 0n;
  if (has('0') && has('9')) return has('a') ? 'a' : '1';
  const liked = LIKED.find(has);
  if (liked !== undefined) return liked;
  for (let code = 33; code < 127; code++) if (has(String.fromCharCode(code))) return String.fromCharCode(code);
  return ' ';
}
