/**
 * The shared store: Redis or Valkey, all keys under one hash tag. A commit is one Lua script that first compares what
 * was read, so that the policy stays in TypeScript; a commit whose answer was lost is recognised by its name.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import type { Ban } from '../domain/ban.js';
import { reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import type { Change } from '../policy/outcome.js';
import type { AllowEntry, Evidence, SubjectState } from '../policy/state.js';
import type { OpenOptions } from './open.js';
import { MAX_CHANGES, MAX_EVIDENCE, type Outcome, type Progress, StaleProgressError, type Store } from './store.js';

const CONNECT_MS = 4_000;
const COMMAND_MS = 5_000;
const RECONNECT_WAIT_MS = 1_500;
const MAX_CONFLICTS = 100;
const WATCH_BLOCK_MS = 5_000;
/** Fields of one HMGET or HSCAN: keeps replies and Redis's pauses small. */
const BATCH = 1_000;

const COMMIT_LUA = readFileSync(new URL('./commit.lua', import.meta.url), 'utf8');
const TRIM_LUA = readFileSync(new URL('./trim-evidence.lua', import.meta.url), 'utf8');

type Client = (Redis | Cluster) & {
  blockdCommit(...args: (string | number)[]): Promise<string>;
  blockdTrim(...args: string[]): Promise<number>;
};

interface Read {
  readonly raw: string;
  readonly state: SubjectState;
}

export class RedisStore implements Store {
  readonly url: string;
  readonly #client: Client;
  readonly #connect: () => Redis | Cluster;
  readonly #prefix: string;
  readonly #onNotice: NonNullable<OpenOptions['onNotice']>;
  /** Outcomes sent whose answer never came, by commit. */
  readonly #unanswered = new Map<string, Outcome>();
  readonly #watchers = new Set<() => Promise<void>>();

  /** @throws UsageError for a bad URL, UnavailableError when Redis can't be reached or refuses us. */
  static async open(url: string, options: OpenOptions): Promise<RedisStore> {
    const connect = connector(url);
    const masked = maskPassword(url);
    const client = connect();
    // Without a listener a lost connection would end the process; each command tells of it by itself.
    let lastError: unknown = null;
    client.on('error', (error: unknown) => {
      lastError = error;
    });
    try {
      const ready = new Promise<void>((done) => client.once('ready', () => done()));
      const failed = client.connect().then(() => client.ping());
      await Promise.race([Promise.all([ready, failed]), sleep(CONNECT_MS + 500, undefined, { ref: false }).then(() => Promise.reject(new Error('no answer')))]);
    } catch (error) {
      client.disconnect();
      const reason = lastError ?? error;
      throw new UnavailableError(`store ${masked} can't be used: ${redisReason(reason, url)}`, { cause: error });
    }
    return new RedisStore(masked, client, connect, options);
  }

  private constructor(url: string, client: Redis | Cluster, connect: () => Redis | Cluster, options: OpenOptions) {
    this.url = url;
    this.#prefix = `{${options.prefix}}`;
    this.#connect = connect;
    this.#onNotice = options.onNotice ?? (() => undefined);
    client.defineCommand('blockdCommit', { numberOfKeys: 8, lua: COMMIT_LUA });
    client.defineCommand('blockdTrim', { numberOfKeys: 1, lua: TRIM_LUA });
    this.#client = client as Client;
  }

  async commit(
    subjects: readonly string[],
    decide: (states: ReadonlyMap<string, SubjectState>) => Outcome,
  ): Promise<Outcome> {
    const fallbackName = randomUUID();
    for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts++) {
      const read = await this.#call(() => this.#readMany(subjects));
      const outcome = decide(new Map([...read].map(([subject, { state }]) => [subject, state])));
      const name = outcome.progress?.[0]?.commit ?? fallbackName;
      const answer = await this.#apply(name, outcome, subjects, read);
      if (answer === 'done') {
        this.#unanswered.delete(name);
        return outcome;
      }
      if (answer === 'again') {
        const applied = this.#unanswered.get(name) ?? outcome;
        this.#unanswered.delete(name);
        return applied;
      }
      if (answer === 'stale') throw new StaleProgressError(outcome.progress?.[0]?.log);
      if (conflicts > 3) await sleep(Math.random() * 10 * conflicts);
    }
    throw new UnavailableError(`store ${this.url}: other hosts changed the same addresses ${MAX_CONFLICTS} times in a row`);
  }

  async states(subjects: readonly string[]): Promise<Map<string, SubjectState>> {
    const read = await this.#call(() => this.#readMany(subjects));
    return new Map([...read].map(([subject, { state }]) => [subject, state]));
  }

  async evidence(subject: string): Promise<Evidence[]> {
    const lines = await this.#call(() => this.#client.hget(this.#key('evidence'), subject));
    return evidenceOf(lines ?? '').reverse();
  }

  async bans(since: number): Promise<Ban[]> {
    return this.#call(async () => {
      const subjects = await this.#client.zrangebyscore(this.#key('bans'), `(${since}`, '+inf');
      const read = await this.#readMany(subjects);
      return subjects.flatMap((subject) => read.get(subject)?.state.ban ?? []);
    });
  }

  async endedBans(at: number, limit: number): Promise<string[]> {
    return this.#call(() => this.#client.zrangebyscore(this.#key('bans'), '-inf', at, 'LIMIT', 0, limit));
  }

  async allowed(): Promise<AllowEntry[]> {
    const values = await this.#call(() => this.#client.hvals(this.#key('allow')));
    return values.map((value) => this.#parse<AllowEntry>(value));
  }

  async progress(host: string): Promise<Map<string, Progress>> {
    const values = await this.#call(() => this.#client.hvals(this.#key('positions')));
    const all = values.map((value) => this.#parse<Progress>(value.slice(value.indexOf('\n') + 1)));
    return new Map(all.filter((one) => one.host === host).map((one) => [one.log, one]));
  }

  async changesSince(cursor: string | null) {
    return this.#call(async () => {
      const [newest] = await this.#client.xrevrange(this.#key('events'), '+', '-', 'COUNT', 1);
      const present = newest?.[0] ?? '0-0';
      if (cursor === null || cursor === present) return { changes: [], cursor: present, gap: false };
      const [known] = cursor === '0-0' ? ['start'] : await this.#client.xrange(this.#key('events'), cursor, cursor);
      const entries = known === undefined ? [] : await this.#client.xrange(this.#key('events'), `(${cursor}`, '+');
      // The stream was trimmed past the cursor, or it is another stream now.
      const gap = known === undefined || (cursor === '0-0' && entries.length >= MAX_CHANGES);
      const changes = gap ? [] : entries.map(([, fields]) => this.#parse<Change>(fields[1] ?? ''));
      return { changes, cursor: entries.at(-1)?.[0] ?? present, gap };
    });
  }

  watch(onChange: () => void): () => Promise<void> {
    const client = this.#connect();
    client.on('error', () => undefined);
    let stopped = false;
    const loop = this.#watchLoop(client, onChange, () => stopped);
    const stop = async () => {
      stopped = true;
      client.disconnect();
      this.#watchers.delete(stop);
      await loop;
    };
    this.#watchers.add(stop);
    return stop;
  }

  async history(limit: number): Promise<Change[]> {
    const entries = await this.#call(() => this.#client.xrevrange(this.#key('events'), '+', '-', 'COUNT', limit));
    return entries.map(([, fields]) => this.#parse<Change>(fields[1] ?? ''));
  }

  async counts(at: number) {
    return this.#call(async () => {
      const [scored, banned] = await Promise.all([
        this.#client.hlen(this.#key('subjects')),
        this.#client.zcount(this.#key('bans'), `(${at}`, '+inf'),
      ]);
      return { scored, banned };
    });
  }

  async top(limit: number): Promise<string[]> {
    return this.#call(() => this.#client.zrevrange(this.#key('scores'), 0, limit - 1));
  }

  async prune(idle: (subject: string, state: SubjectState) => boolean, at: number, keepMs: number): Promise<number> {
    let forgotten = 0;
    for await (const batch of this.#scan('subjects')) {
      const gone = batch.filter(([subject, raw]) => idle(subject, this.#parse<SubjectState>(raw)));
      if (gone.length === 0) continue;
      const read = new Map(gone.map(([subject, raw]) => [subject, { raw, state: this.#parse<SubjectState>(raw) }]));
      const subjects = [...read.keys()];
      // On a conflict one of them was seen again: the next pruning looks anew.
      const answer = await this.#apply(randomUUID(), { put: new Map(subjects.map((one) => [one, null])) }, subjects, read);
      if (answer === 'done') forgotten += subjects.length;
    }
    for await (const batch of this.#scan('evidence')) {
      for (const [subject, raw] of batch) {
        const kept = raw.split('\n').filter((line) => this.#parse<Evidence>(line).at > at - keepMs);
        const text = kept.join('\n');
        if (text !== raw) await this.#call(() => this.#client.blockdTrim(this.#key('evidence'), subject, raw, text));
      }
    }
    return forgotten;
  }

  async rewrite(convert: (state: SubjectState) => { readonly state: SubjectState; readonly rank: number }): Promise<void> {
    for await (const batch of this.#scan('subjects')) {
      const subjects = batch.map(([subject]) => subject);
      await this.commit(subjects, (states) => {
        const put = new Map<string, SubjectState>();
        const ranks = new Map<string, number>();
        for (const [subject, before] of states) {
          const { state, rank } = convert(before);
          put.set(subject, state);
          ranks.set(subject, rank);
        }
        return { put, ranks };
      });
    }
  }

  async note(name: string): Promise<unknown> {
    const text = await this.#call(() => this.#client.hget(this.#key('notes'), name));
    return text === null ? null : this.#parse(text);
  }

  async setNote(name: string, value: unknown): Promise<void> {
    await this.#call(() => this.#client.hset(this.#key('notes'), name, JSON.stringify(value)));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#watchers].map((stop) => stop()));
    this.#client.disconnect();
  }

  #key(name: string): string {
    return `${this.#prefix}:${name}`;
  }

  async #readMany(subjects: readonly string[]): Promise<Map<string, Read>> {
    const found = new Map<string, Read>();
    for (let from = 0; from < subjects.length; from += BATCH) {
      const part = subjects.slice(from, from + BATCH);
      const raws = await this.#client.hmget(this.#key('subjects'), ...part);
      for (const [index, raw] of raws.entries()) {
        if (raw !== null) found.set(part[index] ?? '', { raw, state: this.#parse<SubjectState>(raw) });
      }
    }
    return found;
  }

  /** Sends a commit until there is an answer; a lost connection is waited for, but not for long. */
  async #apply(name: string, outcome: Outcome, subjects: readonly string[], read: ReadonlyMap<string, Read>): Promise<string> {
    const keys = ['subjects', 'scores', 'bans', 'evidence', 'events', 'positions', 'allow', `commit:${name}`];
    const args = commitArguments(outcome, subjects, read);
    const deadline = Date.now() + RECONNECT_WAIT_MS;
    for (;;) {
      try {
        return await this.#client.blockdCommit(...keys.map((key) => this.#key(key)), ...args);
      } catch (error) {
        if (isReply(error)) throw this.#unavailable(error);
        this.#unanswered.set(name, outcome);
        if (Date.now() > deadline) throw this.#unavailable(error);
        await sleep(50);
      }
    }
  }

  async #call<T>(work: () => Promise<T>): Promise<T> {
    const deadline = Date.now() + RECONNECT_WAIT_MS;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (error instanceof UnavailableError) throw error;
        if (isReply(error) || Date.now() > deadline) throw this.#unavailable(error);
        await sleep(50);
      }
    }
  }

  async *#scan(name: string): AsyncGenerator<[string, string][]> {
    let cursor = '0';
    do {
      const [next, flat] = await this.#call(() => this.#client.hscan(this.#key(name), cursor, 'COUNT', BATCH));
      cursor = next;
      const pairs: [string, string][] = [];
      for (let i = 0; i + 1 < flat.length; i += 2) pairs.push([flat[i] ?? '', flat[i + 1] ?? '']);
      yield pairs;
    } while (cursor !== '0');
  }

  async #watchLoop(client: Redis | Cluster, onChange: () => void, stopped: () => boolean): Promise<void> {
    let last = '$';
    while (!stopped()) {
      try {
        if (client.status === 'wait') await client.connect();
        // `$` would miss what came before this call, so the newest entry is asked for by name.
        if (last === '$') {
          const [newest] = await client.xrevrange(this.#key('events'), '+', '-', 'COUNT', 1);
          last = newest?.[0] ?? '0-0';
        }
        const streams = await client.xread('BLOCK', WATCH_BLOCK_MS, 'STREAMS', this.#key('events'), last);
        const entries = streams?.[0]?.[1] ?? [];
        last = entries.at(-1)?.[0] ?? last;
        if (entries.length > 0 && !stopped()) onChange();
      } catch {
        if (stopped()) return;
        await sleep(250);
        // What happened meanwhile is unknown: read from the feed, which knows of gaps.
        last = '$';
        onChange();
      }
    }
  }

  #parse<T>(text: string): T {
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      throw new UnavailableError(
        `store ${this.url}: something under ${this.#prefix} was not written by blockd: ${reasonOf(error)}; give blockd a store.prefix of its own`,
        { cause: error },
      );
    }
  }

  #unavailable(error: unknown): UnavailableError {
    this.#onNotice('warn', `Redis: ${redisReason(error, this.url)}`);
    return new UnavailableError(`store ${this.url} can't be used: ${redisReason(error, this.url)}`, { cause: error });
  }
}

function commitArguments(outcome: Outcome, subjects: readonly string[], read: ReadonlyMap<string, Read>): (string | number)[] {
  const args: (string | number)[] = [MAX_EVIDENCE, MAX_CHANGES];
  const part = <T>(items: Iterable<T> | undefined, fields: (item: T) => readonly (string | number)[]) => {
    const all = [...(items ?? [])];
    args.push(all.length);
    for (const item of all) for (const field of fields(item)) args.push(field);
  };
  part(outcome.progress, (one) => [JSON.stringify([one.host, one.log]), one.after ?? '', one.commit, JSON.stringify(one)]);
  part(subjects, (subject) => [subject, read.get(subject)?.raw ?? '']);
  part(outcome.put, ([subject, state]) => {
    const rank = state === null ? undefined : outcome.ranks?.get(subject);
    const shown = rank === undefined || !Number.isFinite(rank) ? '' : String(rank);
    return [subject, state === null ? '' : JSON.stringify(state), shown, state?.ban?.until ?? ''];
  });
  part(outcome.evidence, ([subject, lines]) => [subject, lines.map((line) => JSON.stringify(line)).join('\n')]);
  part(outcome.changes, (change) => [JSON.stringify(change)]);
  part(outcome.allow, (entry) => [entry.entry, JSON.stringify(entry)]);
  part(outcome.disallow, (entry) => [entry]);
  return args;
}

function evidenceOf(lines: string): Evidence[] {
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Evidence);
}

/** Did Redis itself answer with an error? Then the commit was not applied, and asking again at once is no use. */
function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

function redisReason(error: unknown, url: string): string {
  const message = reasonOf(error);
  if (/^NOAUTH/.test(message)) return 'it wants a password: write redis://:PASSWORD@HOST:PORT, or redis://USER:PASSWORD@HOST:PORT';
  if (/^WRONGPASS|invalid password/i.test(message)) return 'wrong user name or password';
  if (/^NOPERM/.test(message)) return `the Redis user lacks a permission (${message})`;
  if (/^OOM/.test(message)) return 'Redis is out of memory (maxmemory)';
  if (/^READONLY/.test(message)) return 'this Redis is a read-only replica: name the primary, or use sentinel://';
  if (/^LOADING/.test(message)) return 'Redis is still loading its data';
  if (/^MISCONF/.test(message)) return "Redis can't write its data to disk, and so refuses changes";
  if (/ECONNREFUSED/.test(message)) return 'connection refused: does Redis run there?';
  if (/ENOTFOUND|EAI_AGAIN/.test(message)) return 'the host name has no address';
  if (/EACCES|permission denied/.test(message)) return `permission denied: ${message}`;
  if (/ENOENT|no such file/.test(message)) return `no such socket: ${maskPassword(url)}`;
  if (/ETIMEDOUT|timed out|no answer/i.test(message)) return 'no answer';
  if (/Protocol error/i.test(message)) return 'what answers there is no Redis';
  if (/isn't writeable|Connection is closed|max retries/i.test(message)) return 'the connection is lost';
  return message;
}

function maskPassword(url: string): string {
  return url.replace(/(\/\/[^/@]*:)[^@]*@/, '$1***@');
}

/** Reads the URL once, so that a mistake is told before anything is tried. */
function connector(url: string): () => Redis | Cluster {
  const options = {
    lazyConnect: true,
    connectTimeout: CONNECT_MS,
    commandTimeout: COMMAND_MS + WATCH_BLOCK_MS,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    retryStrategy: (times: number) => Math.min(2_000, 50 * 2 ** Math.min(times, 6)),
  };
  if (url.startsWith('unix:')) {
    const [path = '', query = ''] = url.slice('unix:'.length).replace(/^\/\//, '').split('?');
    const db = dbOf(new URLSearchParams(query).get('db') ?? '', url);
    return () => new Redis({ ...options, path, db });
  }
  const parts = /^(\w+):\/\/(?:([^:@/]*)(?::([^@]*))?@)?([^/]+)(?:\/([^/]*))?(?:\/(\d*))?$/.exec(url);
  if (parts === null) throw badUrl(url);
  const [, scheme, username = '', password = '', hosts = '', first = '', second = ''] = parts;
  const nodes = hosts.split(',').map((host) => addressOf(host, scheme === 'sentinel' ? 26_379 : 6_379, url));
  const login = {
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
  };
  if (scheme === 'cluster') {
    return () => new Cluster(nodes, { lazyConnect: true, enableOfflineQueue: false, redisOptions: { ...options, ...login } });
  }
  if (scheme === 'sentinel') {
    if (first === '') throw badUrl(url);
    return () => new Redis({ ...options, ...login, sentinels: nodes, name: first, db: dbOf(second, url) });
  }
  const [node] = nodes;
  if (node === undefined || nodes.length > 1 || second !== '') throw badUrl(url);
  const tls = scheme === 'rediss' ? { tls: { servername: node.host } } : {};
  return () => new Redis({ ...options, ...login, ...tls, ...node, db: dbOf(first, url) });
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
