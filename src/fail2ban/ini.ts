/**
 * The text of one of fail2ban's config files: sections of options, as Python's configparser reads them. Pure.
 * Each line of a value keeps its place, so that whatever is said of it names file and line.
 */

export interface SourceLine {
  readonly text: string;
  readonly file: string;
  readonly line: number;
}

/** A value, line by line. */
export type Value = readonly SourceLine[];

/** By section, then by option in lower case. */
export type Sections = Map<string, Map<string, SourceLine[]>>;

export function parseIni(text: string, file: string): Sections {
  const sections: Sections = new Map();
  let section: Map<string, SourceLine[]> | null = null;
  let value: SourceLine[] | null = null;
  let indent = 0;
  for (const [index, whole] of text.split(/\r?\n/).entries()) {
    const place = { file, line: index + 1 };
    if (/^\s*[#;]/.test(whole)) continue;
    const content = whole.replace(/\s;.*/, '').trim();
    if (content === '') continue;
    const depth = whole.search(/\S/);
    if (value !== null && depth > indent) {
      value.push({ text: content, ...place });
      continue;
    }
    const header = /^\[(.+)\]/.exec(content)?.[1];
    const [, name, first = ''] = /^(.*?)\s*[=:]\s*(.*)$/.exec(content) ?? [];
    if (header !== undefined) {
      section = sections.get(header) ?? new Map();
      sections.set(header, section);
      value = null;
    } else if (section !== null && name !== undefined && name !== '') {
      value = first === '' ? [] : [{ text: first, ...place }];
      section.set(name.toLowerCase(), value);
      indent = depth;
    }
  }
  return sections;
}
