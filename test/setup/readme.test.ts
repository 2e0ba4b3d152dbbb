/** The two READMEs say the same: as many headings, the same commands, the same links. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const LANGUAGES = ['README.ja.md', 'README.md'];
const [english, japanese] = ['README.md', 'README.ja.md'].map((name) =>
  readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8'),
) as [string, string];

const BLOCK = /^ *```[^\n]*\n[\s\S]*?^ *```$/gm;
const blocksOf = (text: string) => text.match(BLOCK) ?? [];
const proseOf = (text: string) => text.replace(BLOCK, '');

describe('README.ja.md', () => {
  it('has the headings of README.md, level by level', () => {
    const levels = (text: string) => (proseOf(text).match(/^#+ /gm) ?? []).map((mark) => mark.length - 1);
    expect(levels(japanese)).toEqual(levels(english));
  });

  it('shows the same commands and answers', () => {
    expect(blocksOf(japanese)).toEqual(blocksOf(english));
  });

  it('links to the same places', () => {
    const links = (text: string) =>
      [...proseOf(text).matchAll(/\]\(([^)]+)\)/g)]
        .map(([, target]) => target ?? '')
        .filter((target) => !LANGUAGES.includes(target))
        .sort();
    expect(links(japanese)).toEqual(links(english));
  });

  it('names the same keys, files and options', () => {
    const names = (text: string) =>
      [...new Set([...proseOf(text).matchAll(/`([^`]+)`/g)].map(([, name]) => name))].sort();
    expect(names(japanese)).toEqual(names(english));
  });

  it('has tables as long', () => {
    const rows = (text: string) => (proseOf(text).match(/^\|/gm) ?? []).length;
    expect(rows(japanese)).toBe(rows(english));
  });

  it('is linked from README.md, and links back', () => {
    expect(english).toContain('(README.ja.md)');
    expect(japanese).toContain('(README.md)');
  });
});
