/** Serves the metrics over HTTP: one page, to whoever may connect, and nothing that he sends changes anything. */
import { chmodSync, rmSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { reasonOf, UsageError } from '../domain/errors.js';
import { CONTENT_TYPE } from './exposition.js';

const SLOWEST_REQUEST_MS = 5_000;
const MOST_CONNECTIONS = 32;

export interface MetricsServer {
  /** Where it listens, as the config would say it. */
  readonly address: string;
  close(): Promise<void>;
}

/** @throws UsageError when nobody can listen there. */
export async function serveMetrics(listen: string, text: () => Promise<string>): Promise<MetricsServer> {
  const server = createServer(
    {
      requestTimeout: SLOWEST_REQUEST_MS,
      headersTimeout: SLOWEST_REQUEST_MS,
      keepAliveTimeout: SLOWEST_REQUEST_MS,
      connectionsCheckingInterval: SLOWEST_REQUEST_MS,
      maxHeaderSize: 8 * 1024,
    },
    (request, response) => void answer(request, response, text),
  );
  server.maxConnections = MOST_CONNECTIONS;
  const socket = listen.startsWith('unix:') ? listen.slice('unix:'.length) : null;
  try {
    if (socket === null) await bind(server, hostAndPort(listen));
    else await bindSocket(server, socket);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    throw new UsageError(
      `metrics.listen: can't listen on ${listen}: ${BIND_ERRORS[code] ?? reasonOf(error)}; name another address, or leave the key out`,
      { cause: error },
    );
  }
  // Whoever counts on it notices by himself that it is gone; the daemon's work is another.
  server.on('error', () => undefined);
  server.unref();
  return {
    address: addressOf(server),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, text: () => Promise<string>): Promise<void> {
  request.resume();
  const path = (request.url ?? '').split('?')[0];
  const say = (status: number, body: string, headers: Record<string, string> = {}) => {
    response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', ...headers });
    response.end(request.method === 'HEAD' ? undefined : body);
  };
  if (path !== '/' && path !== '/metrics') return say(404, 'not found: see /metrics\n');
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return say(405, 'only GET\n', { Allow: 'GET, HEAD', Connection: 'close' });
  if (path === '/') return say(200, 'blockd: its metrics are at /metrics\n');
  try {
    say(200, await text(), { 'Content-Type': CONTENT_TYPE });
  } catch (error) {
    say(500, `the metrics can't be collected: ${reasonOf(error)}\n`);
  }
}

function hostAndPort(listen: string): { host: string; port: number } {
  const colon = listen.lastIndexOf(':');
  return { host: listen.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(listen.slice(colon + 1)) };
}

function bind(server: Server, where: { host: string; port: number } | { path: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** A socket that a killed daemon left is no obstacle; one that somebody answers at is. */
async function bindSocket(server: Server, path: string): Promise<void> {
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() === true && !(await isAnswered(path))) rmSync(path);
  await bind(server, { path });
  chmodSync(path, 0o660);
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function addressOf(server: Server): string {
  const address = server.address();
  if (address === null || typeof address === 'string') return `unix:${address}`;
  return address.family === 'IPv6' ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;
}

const BIND_ERRORS: Record<string, string | undefined> = {
  EADDRINUSE: 'somebody else listens there already',
  EADDRNOTAVAIL: 'this host has no such address',
  ENOTFOUND: 'there is no host of that name',
  EAI_AGAIN: 'the name of the host can not be looked up now',
};
