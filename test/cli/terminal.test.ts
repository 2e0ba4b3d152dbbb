import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Column, cut, json, type Look, lookOf, safe, styled, table } from '../../src/cli/terminal.js';

const PLAIN: Look = { colour: false, width: Number.POSITIVE_INFINITY };

/** Nothing in it can move the cursor, colour, reorder or hide. */
const HARMLESS = /^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]*$/u;

describe('text of others', () => {
  it('shows its control characters, also C1 and bidi ones, instead of sending them to the terminal', () => {
    expect(safe('helo=<\x1b[31mred\x07>\x9b2J \u202egro.live\u202c \u2066x \u200bzero\r\n\t\x7f')).toBe(
      'helo=<\\x1b[31mred\\x07>\\x9b2J \\u202egro.live\\u202c \\u2066x \\u200bzero\\x0d\\x0a\\x09\\x7f',
    );
    expect(safe('\ud800 \u{e0041}')).toBe('\\ud800 \\u{e0041}');
  });

  it('stays as it is when it is harmless', () => {
    expect(safe('from=<müller@example> 日本 🙂')).toBe('from=<müller@example> 日本 🙂');
  });

  it('is harmless whatever it was, as text and as JSON that still means the same', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' })), (text) => {
        expect(safe(text)).toMatch(HARMLESS);
        expect(json({ text })).toMatch(HARMLESS);
        expect(JSON.parse(json({ text }))).toEqual({ text });
        expect(JSON.parse(json([text], 2))).toEqual([text]);
      }),
    );
  });
});

describe('colour', () => {
  const tty = { isTTY: true, columns: 100 };
  it.each([
    ['on a terminal', tty, {}, true],
    ['not in a pipe', {}, {}, false],
    ['not with NO_COLOR', tty, { NO_COLOR: '1' }, false],
    ['on a terminal when NO_COLOR is empty', tty, { NO_COLOR: '' }, true],
    ['in a pipe with FORCE_COLOR', {}, { FORCE_COLOR: '1' }, true],
    ['not with FORCE_COLOR=0', tty, { FORCE_COLOR: '0' }, false],
    ['not on a dumb terminal', tty, { TERM: 'dumb' }, false],
  ])('is used %s', (_, stream, env, colour) => {
    expect(lookOf(stream, env).colour).toBe(colour);
  });

  it('is the only thing that styles add', () => {
    expect(styled(PLAIN, 'red', 'x')).toBe('x');
    expect(styled({ ...PLAIN, colour: true }, 'red', 'x')).toBe('\x1b[31mx\x1b[39m');
  });
});

describe('a table', () => {
  type Row = readonly [string, string, number];
  const columns: Column<Row>[] = [
    { title: 'SUBJECT', text: ([subject]) => subject },
    { title: 'HOST', text: ([, host]) => host, least: 8 },
    { title: 'REFUSED', text: ([, , refused]) => String(refused), right: true },
  ];
  const rows: Row[] = [
    ['203.0.113.9', 'mail.example', 7],
    ['2001:db8:1:2::/64', 'a-very-long-host-name.dialin.provider.example', 12],
  ];

  it('is aligned, with numbers flush right', () => {
    expect(table(PLAIN, columns, rows)).toBe(
      [
        'SUBJECT            HOST                                           REFUSED',
        '203.0.113.9        mail.example                                         7',
        '2001:db8:1:2::/64  a-very-long-host-name.dialin.provider.example       12',
        '',
      ].join('\n'),
    );
  });

  it('is cut to the width of the terminal, where it hurts least', () => {
    expect(table({ colour: false, width: 50 }, columns, rows)).toBe(
      [
        'SUBJECT            HOST                    REFUSED',
        '203.0.113.9        mail.example                  7',
        '2001:db8:1:2::/64  a-very-long-host-name…       12',
        '',
      ].join('\n'),
    );
  });

  it('leaves spare columns out where the others would not fit', () => {
    const spare = columns.map((column) => (column.title === 'HOST' ? { ...column, spare: 1 } : column));
    expect(table({ colour: false, width: 30 }, spare, rows)).toBe(
      ['SUBJECT            REFUSED', '203.0.113.9              7', '2001:db8:1:2::/64       12', ''].join('\n'),
    );
  });

  it('keeps subjects whole even on a terminal that is too narrow', () => {
    expect(table({ colour: false, width: 10 }, columns, rows)).toContain('2001:db8:1:2::/64  a-very-…');
  });

  it('looks the same whether or not a cell of another row is anything but plain', () => {
    const cell = fc.oneof(
      fc.string({ unit: 'grapheme-ascii', maxLength: 12 }),
      fc.constantFrom('', ' ', 'a ', '  b  '),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell, fc.nat()), { minLength: 1 }), fc.boolean(), (plain, ends) => {
        const shown = ends ? columns.slice(0, 2) : columns;
        const narrow: Row = ['\u00fc', '\u00fc', 0];
        const lines = table(PLAIN, shown, [...plain, narrow]).split('\n');
        expect(table(PLAIN, shown, plain).split('\n')).toEqual([...lines.slice(0, -2), '']);
      }),
    );
  });

  it('shows hostile text as text', () => {
    expect(table(PLAIN, columns, [['203.0.113.9', '\x1b[2J', 1]])).toContain('\\x1b[2J');
  });
});

it('text that is cut off ends with a mark', () => {
  expect(cut('abcdef', 6)).toBe('abcdef');
  expect(cut('abcdef', 4)).toBe('abc…');
  // Each takes two columns.
  expect(cut('🙂🙂🙂', 6)).toBe('🙂🙂🙂');
  expect(cut('🙂🙂🙂', 4)).toBe('🙂…');
  expect(cut('日本語', 2)).toBe('…');
  // An accent of its own takes none.
  expect(cut('a\u0301b\u0301', 2)).toBe('a\u0301b\u0301');
});
