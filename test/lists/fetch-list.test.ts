/** Lists from a real web server on loopback, which behaves as servers do, or badly. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { fetchList, readListFile } from '../../src/lists/fetch-list.js';
import { MOST_BYTES } from '../../src/lists/list-text.js';

const dir = mkdtempSync(join(tmpdir(), 'blockd-lists-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/drop.txt`;
}

const { signal } = new AbortController();
const LIST = '203.0.113.0/24 ; SBL1\n';

describe('a list at a URL', () => {
  it('is fetched, and asked for by its tag and date afterwards', async () => {
    const asked: (string | undefined)[][] = [];
    const date = 'Wed, 25 Nov 2026 00:00:00 GMT';
    const url = await serve((request, response) => {
      const { 'if-none-match': tag, 'if-modified-since': since } = request.headers;
      asked.push([tag, since]);
      if (tag === '"one"') response.writeHead(304).end();
      else response.writeHead(200, { ETag: '"one"', 'Last-Modified': date }).end(LIST);
    });
    const first = await fetchList(url, null, { signal });
    expect(first).toMatchObject({ etag: '"one"', lastModified: date });
    expect(first?.body.toString()).toBe(LIST);
    expect(await fetchList(url, first, { signal })).toBeNull();
    expect(asked).toEqual([
      [undefined, undefined],
      ['"one"', date],
    ]);
  });

  it('may be packed on its way', async () => {
    const url = await serve((_, response) => {
      response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(gzipSync(LIST));
    });
    expect((await fetchList(url, null, { signal }))?.body.toString()).toBe(LIST);
  });

  it.each([
    ['an error', 503, /the server answered 503/],
    ['no such page', 404, /the server answered 404/],
    ['"as before" without having been asked', 304, /the server answered 304/],
    ['no content', 204, /the server answered 204/],
  ])('is not taken when the server answers with %s', async (_, status, why) => {
    const url = await serve((__, response) => response.writeHead(status).end());
    await expect(fetchList(url, null, { signal })).rejects.toThrow(why);
  });

  it.each(['file:///etc/passwd', 'http://127.0.0.1:1/other?key=secret'])(
    'follows no redirect, such as to %s',
    async (to) => {
      const url = await serve((_, response) => response.writeHead(302, { Location: to }).end());
      const failing = fetchList(url, null, { signal });
      await expect(failing).rejects.toThrow(/302, a redirect to .*, which is not followed/);
      await expect(failing).rejects.not.toThrow(/secret/);
    },
  );

  it('is given up when it is too large, said or not, packed or not', async () => {
    const piece = Buffer.alloc(1 << 20, '203.0.113.9\n');
    const endless = await serve((_, response) => {
      const more = () => {
        while (!response.destroyed && response.write(piece));
      };
      response.on('drain', more);
      more();
    });
    await expect(fetchList(endless, null, { signal })).rejects.toThrow('is larger than 16 MiB');
    const bomb = gzipSync(Buffer.alloc(MOST_BYTES + 1, 32));
    const packed = await serve((_, response) => response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(bomb));
    await expect(fetchList(packed, null, { signal })).rejects.toThrow('is larger than 16 MiB');
  });

  it('is given up when it takes too long, at whatever point', async () => {
    const silent = await serve(() => undefined);
    await expect(fetchList(silent, null, { signal, timeoutMs: 200 })).rejects.toThrow('no whole answer within 0.2 s');
    const slow = await serve((_, response) => {
      response.write(LIST);
      const timer = setInterval(() => response.write('#\n'), 20);
      response.on('close', () => clearInterval(timer));
    });
    await expect(fetchList(slow, null, { signal, timeoutMs: 300 })).rejects.toThrow('no whole answer within 0.3 s');
  });

  it('is not taken when it breaks off', async () => {
    const url = await serve((_, response) => {
      response.writeHead(200, { 'Content-Length': '1000' });
      response.write(LIST, () => response.destroy());
    });
    await expect(fetchList(url, null, { signal })).rejects.toThrow("can't be fetched");
  });

  it('is not taken when nobody is there', async () => {
    await expect(fetchList('http://127.0.0.1:1/', null, { signal })).rejects.toThrow(/ECONNREFUSED|bad port/);
  });

  it('remembers no tag that it could not send back', async () => {
    const url = await serve((_, response) => response.writeHead(200, { ETag: `"${'x'.repeat(2_000)}"` }).end(LIST));
    expect(await fetchList(url, null, { signal })).toMatchObject({ etag: null });
  });
});

describe('a list in a file', () => {
  it('is as old as its last change, and never of the future', async () => {
    const file = join(dir, 'list.txt');
    writeFileSync(file, LIST);
    utimesSync(file, 1_795_000_000, 1_795_000_000);
    expect(await readListFile(file)).toMatchObject({ refreshedAt: 1_795_000_000_000, etag: null });
    utimesSync(file, 4_000_000_000, 4_000_000_000);
    expect((await readListFile(file)).refreshedAt).toBeLessThanOrEqual(Date.now());
  });

  it('is refused when it is none, or too large; a pipe keeps nobody waiting', async () => {
    mkdirSync(join(dir, 'folder'));
    spawnSync('mkfifo', [join(dir, 'pipe')]);
    symlinkSync('/dev/zero', join(dir, 'endless'));
    for (const name of ['folder', 'pipe', 'endless'])
      await expect(readListFile(join(dir, name)), name).rejects.toThrow(/is no file|directory/);
    await expect(readListFile(join(dir, 'missing'))).rejects.toThrow('no such file');
    writeFileSync(join(dir, 'large'), '');
    truncateSync(join(dir, 'large'), MOST_BYTES + 1);
    await expect(readListFile(join(dir, 'large'))).rejects.toThrow('is larger than 16 MiB');
  });
});
