/** The page in a real browser: it shows what it should, runs nothing, asks nobody, and fits its reader's screen. */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Traffic } from '../../src/demo/traffic.js';
import { renderHtml } from '../../src/report/html.js';
import { Folder, NOON, Scribe } from './support.js';

const CHROMIUM = '/usr/bin/chromium';
const folder = new Folder();
let browser: Browser;

beforeAll(async () => {
  if (!existsSync(CHROMIUM)) throw new Error('these tests need Chromium: apt-get install chromium');
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
});
afterAll(async () => {
  await browser.close();
  folder.remove();
});

/** Opens a page from a file, and notes whatever it asks for beside itself. */
async function opened(html: string, options: BrowserContextOptions = {}) {
  const file = join(folder.path, 'report.html');
  await writeFile(file, html);
  const page = await (await browser.newContext(options)).newPage();
  const url = pathToFileURL(file).href;
  const requests: string[] = [];
  const said: string[] = [];
  page.on('request', (request) => {
    if (request.url() !== url) requests.push(request.url());
  });
  page.on('dialog', (dialog) => {
    said.push(dialog.message());
    void dialog.dismiss();
  });
  page.on('console', (message) => said.push(message.text()));
  await page.goto(url);
  return { page, requests, said };
}

const HOSTILE = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(2)>',
  "'><svg onload=alert(3)>",
  '</style><iframe src=https://evil.example/>',
  '\x1b[31m\xe2\x80\xaegnol\x00',
  'x'.repeat(3_000),
];

/** Attackers who write markup wherever they can, one of them with a delivered message. */
function hostile(): Promise<string> {
  const scribe = new Scribe();
  for (const [i, text] of HOSTILE.entries()) {
    const who = `mx${i}.bad.example[203.0.113.${i + 1}]`;
    scribe.visit(who, (visit) => {
      for (let n = 0; n < 7; n++) visit.reject(`${text}@lab.example`);
    });
    scribe.wait(60_000).visit(who, (visit) => {
      visit.say(`4F0000000${i}: client=${who}, orig_client=${text}`);
      visit.say(
        `NOQUEUE: reject: RCPT from ${who}: 450 4.7.1 ${text}: Recipient address rejected: ${text}; to=<${text}> proto=`,
      );
      visit.say(`warning: rejected ${text}`);
    });
  }
  return folder.report(scribe.lines).then((report) => renderHtml(report));
}

function day(): Promise<string> {
  const traffic = new Traffic({ seed: 5, startAt: NOON - 40_000_000, perSecond: 0.3, attackShare: 0.4 });
  return folder.report([...traffic.lines(12_000)].map(({ text }) => text)).then((report) => renderHtml(report));
}

const bodyText = (page: Page) => page.locator('main').textContent();

test('hostile text is shown as text: nothing runs, nothing is asked for', async () => {
  const { page, requests, said } = await opened(await hostile());
  for (const closed of await page.locator('details').all()) await closed.evaluate((it) => it.setAttribute('open', ''));
  const text = await bodyText(page);
  for (const one of HOSTILE.slice(0, 4)) expect(text).toContain(one);
  expect(text).toContain('\\u{1b}[31m\\u{202e}gnol\\u{0}');
  expect(await page.locator('script, img, iframe, object, embed, link, base, form').count()).toBe(0);
  const handlers = await page
    .locator('*')
    .evaluateAll((all) =>
      all.flatMap((element) =>
        element.getAttributeNames().filter((name: string) => /^on|^(?:xlink:)?href$|^src/.test(name)),
      ),
    );
  expect({ handlers, requests, said }).toEqual({ handlers: [], requests: [], said: [] });
  expect(text).not.toContain('x'.repeat(500));
  expect(await page.locator('.verdict h1').textContent()).toBe('6 of 6 accepted messages would have been refused.');
});

test('even if markup got through, the page forbids it to run or to load', async () => {
  let asked = 0;
  const server = createServer((_request, response) => {
    asked++;
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const html = (await hostile()).replace(
    '<main>',
    `<main><script>document.title = "owned"</script><img src="${at}/x.png"><p style="background:url(${at}/y.png)">x</p>`,
  );
  const open = async (text: string) => (await opened(text)).page.title();
  expect(await open(html)).not.toBe('owned');
  expect(asked).toBe(0);
  // Without the page's policy the same markup does both.
  expect(await open(html.replace(/<meta http-equiv[^>]*>/, ''))).toBe('owned');
  expect(asked).toBe(2);
  server.close();
});

test('verdict, figures, charts, collateral, reasons, networks, curves and mail totals are there', async () => {
  const { page, said } = await opened(await day());
  expect(await page.locator('h2').allInnerTexts()).toEqual([
    'Rejected attempts over time',
    'Banned at one time',
    'Collateral',
    'Why mail was rejected',
    'Where it came from',
    'Scores of the worst',
    'Mail',
    'Lines that look like a reject and match no rule',
  ]);
  expect(await page.locator('.verdict h1').textContent()).toMatch(
    /^None of [\d,]+ accepted messages would have been refused\.$/,
  );
  expect(await page.locator('.figures dd').count()).toBe(4);
  const bars = page.locator('svg.wide rect.stopped');
  expect(await bars.count()).toBeGreaterThan(20);
  const heights = await bars.evaluateAll((rects) => rects.map((rect) => rect.getBoundingClientRect().height));
  expect(Math.max(...heights)).toBeGreaterThan(20);
  expect(await page.locator('svg.curve').count()).toBeGreaterThan(5);
  expect(
    await page.locator('svg').evaluateAll((all) => all.filter((svg) => /NaN|Infinity/.test(svg.outerHTML)).length),
  ).toBe(0);
  expect(said).toEqual([]);
});

test.each([320, 390, 1_200])('fits a window of %d pixels without scrolling sideways', async (width) => {
  for (const html of [await day(), await hostile()]) {
    const { page } = await opened(html, { viewport: { width, height: 800 } });
    expect(await page.locator('html').evaluate((html) => html.scrollWidth)).toBeLessThanOrEqual(width);
    expect(await page.locator('svg.narrow').first().isVisible()).toBe(width < 760);
    expect(await page.locator('svg.wide').first().isVisible()).toBe(width >= 760);
  }
});

test('light and dark go by what the reader asks for, and text stands out in both', async () => {
  const html = await day();
  for (const colorScheme of ['light', 'dark'] as const) {
    const { page } = await opened(html, { colorScheme });
    const [ink, paper] = (await page.evaluate(
      '[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]',
    )) as [string, string];
    expect(contrast(ink, paper)).toBeGreaterThan(10);
    expect(luminance(paper) > 0.5).toBe(colorScheme === 'light');
    const picture = await page.screenshot();
    expect(picture.length).toBeGreaterThan(40_000);
  }
});

test('prints on several pages, with the evidence unfolded', async () => {
  const { page } = await opened(await hostile());
  await page.emulateMedia({ media: 'print' });
  expect(
    await page
      .locator('details .log')
      .first()
      .evaluate((it) => it.getBoundingClientRect().height),
  ).toBeGreaterThan(10);
  const pdf = await page.pdf({ format: 'A4' });
  expect(pdf.subarray(0, 5).toString()).toBe('%PDF-');
  expect(pdf.toString('latin1').match(/\/Type \/Page\b/g)?.length).toBeGreaterThan(1);
});

test('a report of nothing is a page too', async () => {
  const { page } = await opened(renderHtml(await folder.report([])));
  expect(await page.locator('.verdict h1').textContent()).toBe('Nobody would have been banned.');
});

/** Relative luminance of `rgb(r, g, b)`, WCAG 2. */
function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = (colour.match(/\d+/g) ?? []).map((part) => {
    const share = Number(part) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}
