/** Text made for the rules that it is to fool: what their own patterns match, and their samples, naming others. */
import fc from 'fast-check';
import { parseRulePattern, type Rule } from '../../src/filter/rule.js';
import type { CharSet, Node } from '../../src/filter/syntax.js';
import { VICTIMS } from './hostile-strings.js';

const MADE_OF_EACH_RULE = 10;

/** Whole messages that rules match, and their ends. */
export function guidedText(rules: readonly Rule[], seed: number): fc.Arbitrary<string> {
  const made = rules.flatMap((rule) =>
    VICTIMS.flatMap((victim) => fc.sample(messageFor(rule, victim), { numRuns: MADE_OF_EACH_RULE, seed })),
  );
  const samples = rules.flatMap(({ matches }) =>
    matches.flatMap(({ line, ip }) => VICTIMS.map((victim) => line.replaceAll(ip, victim))),
  );
  const whole = fc.constantFrom(...made, ...samples);
  return fc.oneof(
    whole,
    fc.tuple(whole, fc.nat(60)).map(([text, start]) => text.slice(start)),
    fc.tuple(whole, fc.nat(200)).map(([text, end]) => text.slice(0, end)),
  );
}

/** A message that `rule` matches, about `address`. */
export function messageFor(rule: Rule, address: string): fc.Arbitrary<string> {
  const { head, tail, hasHost, queueId } = parseRulePattern(rule.pattern, 'Blocked until {until}');
  return fc
    .tuple(textOf(head.node), textOf(tail.node))
    .map(
      ([before, behind]) =>
        `${queueId !== 'never' ? 'NOQUEUE: ' : ''}${before}${hasHost ? `x[${address}]` : address}${behind}`,
    );
}

function textOf(node: Node): fc.Arbitrary<string> {
  switch (node.type) {
    case 'set':
      return fc.constantFrom(...charsOf(node.set));
    case 'sequence':
      return fc.tuple(...node.items.map(textOf)).map((parts) => parts.join(''));
    case 'choice':
      return fc.oneof(...node.options.map(textOf));
    case 'repeat':
      return fc
        .array(textOf(node.item), { minLength: node.min, maxLength: Math.min(node.max, node.min + 3) })
        .map((parts) => parts.join(''));
    default:
      return fc.constant('');
  }
}

function charsOf(set: CharSet): readonly string[] {
  const known = CHARS.get(set);
  if (known !== undefined) return known;
  const chars = Array.from({ length: 256 }, (_, code) => code)
    .filter((code) => code !== 10 && ((set >> BigInt(code)) & 1n) === 1n)
    .map((code) => String.fromCharCode(code));
  const usual = chars.filter((char) => char >= ' ' && char <= '~');
  const chosen = usual.length > 0 ? usual : chars;
  CHARS.set(set, chosen);
  return chosen;
}

const CHARS = new Map<CharSet, readonly string[]>();
