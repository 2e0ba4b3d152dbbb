/** The patterns of fail2ban's jails as rule files, and what is to be said of those that are none. */
import { parseRules } from '../filter/load.js';
import type { Rule } from '../filter/rule.js';
import { runSamples } from '../filter/samples.js';
import { rulesForMade, rulesRobbedBy, rulesWithSamples } from './covered.js';
import type { SourceLine } from './ini.js';
import type { Jail, Remark } from './jails.js';
import { type Converted, convert, objectionTo } from './pattern.js';
import { alternativesOf, Refusal } from './python.js';
import { type NewRule, oneLine, ruleText } from './rule-text.js';
import { linesFor } from './sample.js';
import { PREFIX_LINE } from './settings.js';

export interface Carried {
  readonly files: readonly RuleFile[];
  readonly remarks: readonly Remark[];
  /** Rules written. */
  readonly count: number;
  /** Packaged rules that a jail left out wanted to count for more. */
  readonly heavier: readonly Heavier[];
}

export interface RuleFile {
  readonly name: string;
  readonly text: string;
}

export interface Heavier {
  readonly rule: string;
  readonly points: number;
  readonly jail: string;
}

/** @param pointsOf What one failure in the jail is worth, so that its `maxretry` of them ban. */
export function carryOver(
  jails: readonly Jail[],
  packaged: readonly Rule[],
  pointsOf: (jail: Jail) => number,
): Carried {
  const work = new Work(packaged);
  // The strictest first: where two jails share a pattern, its points are the ones that count.
  for (const jail of [...jails].sort((a, b) => pointsOf(b) - pointsOf(a))) work.carry(jail, pointsOf(jail));
  return { files: work.files(), remarks: work.remarks, count: work.count, heavier: work.heavier };
}

class Work {
  readonly remarks: Remark[] = [];
  readonly heavier: Heavier[] = [];
  readonly #packaged: readonly Rule[];
  readonly #jails: { readonly slug: string; readonly jail: Jail; readonly rules: NewRule[] }[] = [];
  readonly #seen = new Set<string>();

  constructor(packaged: readonly Rule[]) {
    this.#packaged = packaged;
  }

  carry(jail: Jail, points: number): void {
    const entry = { slug: this.#slugOf(jail.name), jail, rules: [] };
    this.#jails.push(entry);
    for (const line of jail.ignoreregex) this.#add(entry, line, line.text, 0);
    for (const line of jail.failregex) {
      for (const regex of alternativesOf(line.text)) this.#add(entry, line, regex, points);
    }
  }

  #add(entry: { slug: string; jail: Jail; rules: NewRule[] }, from: SourceLine, regex: string, points: number): void {
    const { slug, jail, rules } = entry;
    const say = (sentence: string) =>
      this.remarks.push({ file: from.file, line: from.line, sentence: `jail ${jail.name}: ${sentence}` });
    try {
      const converted = convertIn(jail, regex);
      const key = `${converted.program} ${converted.pattern} ${points === 0}`;
      if (this.#seen.has(key)) return;
      this.#seen.add(key);
      const known = points === 0 ? [] : this.#knownTo(converted, jail, points);
      if (known.length > 0) {
        say(this.#leftOut(known, jail, points));
        return;
      }
      const objection = objectionTo(converted);
      if (objection !== null) throw new Refusal(`blockd refuses it: it ${objection}`);
      const name = `fail2ban/${slug}-${rules.length + 1}`;
      const bare = { name, points, converted, from, filter: jail.filter, samples: [] };
      const robbed = parseRules(ruleText(bare), from.file).flatMap((rule) => rulesRobbedBy(rule, this.#packaged));
      if (robbed.length > 0 && points > 0) {
        say(this.#leftOut(robbed, jail, points));
        return;
      }
      if (robbed.length > 0) throw new Refusal(`it would hide lines that ${listed(robbed)} count; see [points]`);
      const samples = points === 0 ? [] : linesFor(converted.pattern, converted.program[0] ?? '');
      rules.push({ ...bare, samples });
      if (converted.notes.length > 0) say(`taken as rule ${name}, narrower: ${converted.notes.join('; ')}`);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      say(`not carried over: ${error.message}: ${shown(regex)}`);
    }
  }

  #knownTo(converted: Converted, jail: Jail, points: number): string[] {
    // Of fail2ban's own filters some patterns are such that blockd reads them, but may not run them.
    if (WELL_KNOWN.test(jail.filter)) return rulesWithSamples(converted, this.#packaged);
    return rulesForMade(converted, points, this.#packaged);
  }

  #leftOut(names: readonly string[], jail: Jail, points: number): string {
    const offenses = this.#packaged.filter(({ name, kind }) => kind === 'offense' && names.includes(name));
    for (const { name, points: worth } of offenses) {
      if (worth < points) this.heavier.push({ rule: name, points, jail: jail.name });
    }
    const said = offenses.length > 0 ? offenses.map(({ name }) => name) : names;
    return `left out, since ${listed(said)} ${said.length === 1 ? 'sees' : 'see'} such lines already`;
  }

  get count(): number {
    return this.#jails.reduce((sum, { rules }) => sum + rules.length, 0);
  }

  /** In the order in which they will be read, each rule with those of its samples that are its own in all company. */
  files(): RuleFile[] {
    const files = this.#jails
      .filter(({ rules }) => rules.length > 0)
      .map(({ slug, jail, rules }) => ({ name: `fail2ban-${slug}.toml`, jail, rules }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    const all = files.flatMap(({ name, rules }) => parseRules(rules.map(ruleText).join('\n'), name));
    const failing = runSamples([...all, ...this.#packaged]);
    const holds = (rule: string, line: string) => !failing.some((one) => one.rule === rule && one.line === line);
    return files.map(({ name, jail, rules }) => {
      const kept = rules.map((rule) => ({
        ...rule,
        samples: rule.samples.filter(({ line }) => holds(rule.name, line)).slice(0, 2),
      }));
      const heading = `# From fail2ban's jail ${oneLine(jail.name)}, filter ${oneLine(jail.filter)}; made by "blockctl import fail2ban".\n`;
      return { name, text: [heading, ...kept.map(ruleText)].join('\n') };
    });
  }

  #slugOf(jail: string): string {
    const words = jail.toLowerCase().match(/[a-z0-9]+/g) ?? ['jail'];
    let slug = words.join('-');
    for (let n = 2; this.#jails.some((other) => other.slug === slug); n++) slug = `${words.join('-')}-${n}`;
    return slug;
  }
}

function convertIn(jail: Jail, regex: string): Converted {
  if (jail.maxLines > 1)
    throw new Refusal(`its filter reads ${jail.maxLines} lines at once (maxlines), and a blockd rule reads one`);
  return convert({ regex, prefregex: jail.prefregex, daemon: jail.daemon });
}

/** Filters of fail2ban's own whose every sign of abuse the packaged rules know, each weighed for itself. */
const WELL_KNOWN = /^(?:postfix(?:-sasl|-rbl|-auth)?|dovecot)$/;

function listed(names: readonly string[]): string {
  return names.slice(0, 4).join(', ') + (names.length > 4 ? ', …' : '');
}

function shown(regex: string): string {
  const text = oneLine(regex.replaceAll(PREFIX_LINE, '%(__prefix_line)s'));
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}
