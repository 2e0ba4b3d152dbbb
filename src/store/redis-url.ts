/** From a URL of Redis to its client: one server, by TLS or a socket too, under Sentinels, or a Cluster. */
import { isIP } from 'node:net';
import { Cluster, Redis } from 'ioredis';
import { UsageError } from '../domain/errors.js';
import { maskPassword } from '../domain/secret.js';
import { authorities, redisPassword } from './credentials.js';
import type { OpenOptions } from './open.js';

export const CONNECT_MS = 4_000;
const SENTINEL_CONNECT_MS = 2_000;
const SENTINEL_ANSWER_MS = 1_000;
/** How often the Sentinels are asked anew where the primary is while it refuses. */
const ASK_AGAIN_MS = 10_000;

/** @param answerMs A connection that owes an answer for longer is dead, or its Redis is. */
export type Connect = (answerMs: number) => Redis | Cluster;

/** Reads the URL once, so that a mistake is told before anything is tried. */
export function connector(
  url: string,
  { passwordFile, caFile }: Pick<OpenOptions, 'passwordFile' | 'caFile'>,
): Connect {
  const secret = redisPassword(passwordFile);
  const ca = authorities(caFile);
  if (ca !== undefined && !url.startsWith('rediss:')) {
    throw new UsageError(
      `store "${maskPassword(url)}" uses no TLS, so that store.ca_file has no meaning: write rediss://`,
    );
  }
  const options = {
    lazyConnect: true,
    // One command less that its user has to be allowed.
    disableClientInfo: true,
    connectTimeout: CONNECT_MS,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    retryStrategy: (times: number) => Math.min(2_000, 50 * 2 ** Math.min(times, 6)),
  };
  if (url.startsWith('unix:')) {
    const [path = '', query = ''] = url.slice('unix:'.length).replace(/^\/\//, '').split('?');
    const fields = new URLSearchParams(query);
    const db = dbOf(fields.get('db') ?? '', url);
    const login = loginOf(fields.get('user') ?? '', fields.get('password') ?? '', secret);
    return (socketTimeout) => inItsDatabase(new Redis({ ...options, ...login, socketTimeout, path, db }));
  }
  const parts = /^(\w+):\/\/(?:([^:@/]*)(?::([^@]*))?@)?([^/@]+)(?:\/([^/]*))?(?:\/(\d*))?$/.exec(url);
  if (parts === null) throw badUrl(url);
  const [, scheme, username = '', password = '', hosts = '', first = '', second = ''] = parts;
  const nodes = hosts.split(',').map((host) => addressOf(host, scheme === 'sentinel' ? 26_379 : 6_379, url));
  const login = loginOf(decoded(username, url), decoded(password, url), secret);
  if (scheme === 'cluster') {
    return (socketTimeout) =>
      new Cluster(nodes, {
        lazyConnect: true,
        enableOfflineQueue: false,
        redisOptions: { ...options, ...login, socketTimeout },
      });
  }
  if (scheme === 'sentinel') {
    if (first === '') throw badUrl(url);
    const sentinels = {
      ...{ sentinels: nodes, name: first, db: dbOf(second, url) },
      // One that is gone, or takes connections and is silent, must not keep us from asking the next for long.
      connectTimeout: SENTINEL_CONNECT_MS,
      sentinelCommandTimeout: SENTINEL_ANSWER_MS,
    };
    return (socketTimeout) => {
      let leftAt = Number.NEGATIVE_INFINITY;
      const reconnectOnError = ({ message }: Error) => {
        if (!DEPOSED.test(message) || performance.now() - leftAt < ASK_AGAIN_MS) return false;
        leftAt = performance.now();
        return true;
      };
      return inItsDatabase(new Redis({ ...options, ...login, socketTimeout, ...sentinels, reconnectOnError }));
    };
  }
  const [node] = nodes;
  if (node === undefined || nodes.length > 1 || second !== '') throw badUrl(url);
  // RFC 6066: a server's name is no address.
  const name = isIP(node.host) === 0 ? { servername: node.host } : {};
  const tls = scheme === 'rediss' ? { tls: { ...name, ...(ca !== undefined && { ca }) } } : {};
  const place = { ...node, db: dbOf(first, url) };
  return (socketTimeout) => inItsDatabase(new Redis({ ...options, ...login, socketTimeout, ...tls, ...place }));
}

/** Said by a primary that the Sentinels may have replaced while this connection held: they name the present one. */
const DEPOSED = /^(?:READONLY|NOREPLICAS)\b/;

/** A client whose SELECT was refused would go on in database 0, which is somebody else's. */
function inItsDatabase(client: Redis): Redis {
  client.on('error', (error: Error & { readonly command?: { readonly name: string } }) => {
    if (error.command?.name === 'select') client.disconnect(true);
  });
  return client;
}

function loginOf(username: string, given: string, secret: string | null): { username?: string; password?: string } {
  // The one that was written for this URL alone.
  const password = given === '' ? (secret ?? '') : given;
  return { ...(username !== '' && { username }), ...(password !== '' && { password }) };
}

function decoded(text: string, url: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw badUrl(url);
  }
}

function addressOf(text: string, defaultPort: number, url: string): { host: string; port: number } {
  const parts = /^(\[[0-9a-fA-F:.]+\]|[^:[\]]+)(?::(\d{1,5}))?$/.exec(text);
  const port = Number(parts?.[2] ?? defaultPort);
  if (parts?.[1] === undefined || port < 1 || port > 65_535) throw badUrl(url);
  return { host: parts[1].replace(/^\[|\]$/g, ''), port };
}

function dbOf(text: string, url: string): number {
  if (!/^\d{0,4}$/.test(text)) throw badUrl(url);
  return Number(text);
}

function badUrl(url: string): UsageError {
  return new UsageError(
    `store "${maskPassword(url)}": write redis://[USER:PASSWORD@]HOST:PORT[/DB], rediss://…, unix:/SOCKET[?db=N], sentinel://HOST:PORT,HOST:PORT/NAME or cluster://HOST:PORT,HOST:PORT`,
  );
}
