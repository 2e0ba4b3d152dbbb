/**
 * The shared store: Redis or Valkey, all keys under one hash tag. A commit is one Lua script that first compares what
 * was read, so that the policy stays in TypeScript; a commit whose answer was lost is recognised by its name.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import type { Ban } from '../domain/ban.js';
import { reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import { maskPassword } from '../domain/secret.js';
import type { Change } from '../policy/outcome.js';
import type { AllowEntry, Evidence, SubjectState } from '../policy/state.js';
import { authorities, redisPassword } from './credentials.js';
import type { OpenOptions } from './open.js';
import {
  evidenceOf,
  evidenceText,
  MAX_CHANGES,
  MAX_EVIDENCE,
  type Outcome,
  type Progress,
  StaleProgressError,
  type Store,
} from './store.js';

const CONNECT_MS = 4_000;
/** A connection that owes an answer for longer is dead, or its Redis is. */
const ANSWER_MS = 2_000;
const SENTINEL_ANSWER_MS = 1_000;
/** How often the Sentinels are asked anew where the primary is while it refuses. */
const ASK_AGAIN_MS = 10_000;
const RECONNECT_WAIT_MS = 1_500;
const LEAVE_MS = 1_000;
const MAX_CONFLICTS = 100;
const MAX_REWRITES = 20;
/** Successors of a rewrite that was never finished go away after this long. */
const REWRITE_EXPIRES_MS = 600_000;
const WATCH_BLOCK_MS = 5_000;
/** Fields of one HMGET or HSCAN: keeps replies and Redis's pauses small. */
const BATCH = 1_000;

const COMMIT_LUA = readFileSync(new URL('./commit.lua', import.meta.url), 'utf8');
const REWRITE_LUA = readFileSync(new URL('./rewrite.lua', import.meta.url), 'utf8');
const TRIM_LUA = readFileSync(new URL('./trim-evidence.lua', import.meta.url), 'utf8');

/** KEYS of commit.lua but the last, which is named after the commit. */
const COMMIT_KEYS = ['subjects', 'scores', 'bans', 'evidence', 'events', 'positions', 'allow', 'revision', 'notes'];

/** What commit.lua answers. */
type Answer = readonly ['done' | 'again' | 'conflict' | 'stale', string?];

type Connect = (answerMs: number) => Redis | Cluster;

type Client = (Redis | Cluster) & {
  blockdCommit(...args: (string | number)[]): Promise<Answer>;
  blockdRewrite(...args: string[]): Promise<number>;
  blockdTrim(...args: string[]): Promise<number>;
};

/** Before all changes. */
const START = '0-0';

interface Read {
  readonly raw: string;
  readonly state: SubjectState;
}

export class RedisStore implements Store {
  readonly url: string;
  readonly #client: Client;
  readonly #connect: Connect;
  readonly #prefix: string;
  /** Outcomes sent whose answer never came: by commit, and of that by attempt. */
  readonly #unanswered = new Map<string, Map<string, Outcome>>();
  /** Why the connection was lost; commands only say that it is. */
  #lastError: unknown = null;
  #closed = false;
  readonly #watchers = new Set<() => Promise<void>>();
  /** Their connections. */
  readonly #watching = new Set<Redis | Cluster>();

  /** @throws UsageError for a bad URL, UnavailableError when Redis can't be reached or refuses us. */
  static async open(url: string, options: OpenOptions): Promise<RedisStore> {
    if (/[{}]/.test(options.prefix)) throw new UsageError(`store prefix "${options.prefix}": it must hold no braces`);
    const connect = connector(url, options);
    const client = connect(ANSWER_MS);
    const store = new RedisStore(maskPassword(url), client, connect, options);
    try {
      const ready = new Promise<void>((done) => client.once('ready', () => done()));
      await Promise.race([
        Promise.all([ready, client.connect()]),
        // Some of the Sentinels may be gone, and another is asked then.
        sleep(url.startsWith('sentinel:') ? 3 * CONNECT_MS : CONNECT_MS, undefined, { ref: false }).then(() =>
          Promise.reject(new Error('no answer')),
        ),
      ]);
      await store.#probe();
      return store;
    } catch (error) {
      client.disconnect();
      throw error instanceof UnavailableError ? error : store.#unavailable(store.#lastError ?? error);
    }
  }

  private constructor(url: string, client: Redis | Cluster, connect: Connect, options: OpenOptions) {
    this.url = url;
    this.#prefix = `{${options.prefix}}`;
    this.#connect = connect;
    client.defineCommand('blockdCommit', { numberOfKeys: COMMIT_KEYS.length + 1, lua: COMMIT_LUA });
    client.defineCommand('blockdRewrite', { numberOfKeys: 7, lua: REWRITE_LUA });
    client.defineCommand('blockdTrim', { numberOfKeys: 1, lua: TRIM_LUA });
    this.#client = client as Client;
    // Without this listener a lost connection would end the process; each command tells of it by itself.
    client.on('error', (error: unknown) => {
      this.#lastError = error;
    });
    let lost: boolean | null = null;
    client.on('ready', () => {
      if (lost) {
        options.onNotice?.('info', `store ${url}: connected to Redis again`);
        // To the same one, which may be another than before.
        for (const watcher of this.#watching) watcher.disconnect(true);
      }
      lost = false;
    });
    client.on('close', () => {
      if (lost === false && !this.#closed) options.onNotice?.('warn', `store ${url}: the connection to Redis is lost`);
      lost = true;
    });
  }

  async commit(
    subjects: readonly string[],
    decide: (states: ReadonlyMap<string, SubjectState>) => Outcome,
  ): Promise<Outcome> {
    const ownName = randomUUID();
    for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts++) {
      const read = await this.#call(() => this.#readMany(subjects));
      const outcome = decide(new Map([...read].map(([subject, { state }]) => [subject, state])));
      const name = outcome.progress?.[0]?.commit ?? ownName;
      const [answer, detail = ''] = await this.#apply(name, outcome, subjects, read);
      if (answer !== 'conflict') {
        const applied = this.#unanswered.get(name)?.get(detail);
        this.#unanswered.delete(name);
        if (answer === 'done') return outcome;
        if (answer === 'again') return applied ?? { progress: outcome.progress ?? [] };
        throw new StaleProgressError(detail);
      }
      if (conflicts > 3) await sleep(Math.random() * 10 * conflicts);
    }
    throw new UnavailableError(
      `store ${this.url}: other hosts changed the same addresses ${MAX_CONFLICTS} times in a row`,
    );
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
    const all = values.map((value) =>
      this.#parse<Progress>(value.slice(value.indexOf('\n', value.indexOf('\n') + 1) + 1)),
    );
    return new Map(all.filter((one) => one.host === host).map((one) => [one.log, one]));
  }

  async changesSince(cursor: string | null) {
    return this.#call(async () => {
      const [newest] = await this.#client.xrevrange(this.#key('events'), '+', '-', 'COUNT', 1);
      const present = newest === undefined ? START : cursorOf(newest);
      if (cursor === null || cursor === present) return { changes: [], cursor: present, gap: false };
      const id = /^(\d{1,15})-(\d{1,15})(?=\/|$)/.exec(cursor);
      if (id === null) return { changes: [], cursor: present, gap: true };
      const [known] = cursor === START ? [] : await this.#client.xrange(this.#key('events'), id[0], id[0]);
      const isThere = cursor === START || (known !== undefined && cursorOf(known) === cursor);
      const next = `${id[1]}-${Number(id[2]) + 1}`;
      const entries = isThere ? await this.#client.xrange(this.#key('events'), next, '+') : [];
      // The stream was trimmed past the cursor, or it is another stream now.
      const gap = !isThere || (cursor === START && entries.length >= MAX_CHANGES);
      const changes = gap ? [] : entries.map(([, fields]) => this.#parse<Change>(fields[1] ?? ''));
      const last = entries.at(-1);
      return { changes, cursor: last === undefined ? present : cursorOf(last), gap };
    });
  }

  watch(onChange: () => void): () => Promise<void> {
    const client = this.#connect(WATCH_BLOCK_MS + ANSWER_MS);
    client.on('error', () => undefined);
    let stopped = false;
    this.#watching.add(client);
    const loop = this.#watchLoop(client, onChange, () => stopped);
    const stop = async () => {
      stopped = true;
      this.#watching.delete(client);
      client.disconnect();
      this.#watchers.delete(stop);
      // Whatever its connection is at just now: who ends does not wait for it for long.
      await Promise.race([loop, sleep(LEAVE_MS, undefined, { ref: false })]);
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
      const forget = { put: new Map(subjects.map((one) => [one, null])) };
      const [answer] = await this.#apply(randomUUID(), forget, subjects, read);
      if (answer !== 'conflict') forgotten += subjects.length;
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

  async rewrite(
    convert: (state: SubjectState) => { readonly state: SubjectState; readonly rank: number },
  ): Promise<void> {
    for (let attempt = 0; attempt < MAX_REWRITES; attempt++) {
      if (await this.#tryRewrite(convert)) return;
      await sleep(Math.random() * 200);
    }
    throw new UnavailableError(`store ${this.url}: other hosts keep changing it, its scores could not be converted`);
  }

  async note(name: string): Promise<unknown> {
    const text = await this.#call(() => this.#client.hget(this.#key('notes'), name));
    return text === null ? null : this.#parse(text);
  }

  async setNote(name: string, value: unknown): Promise<void> {
    await this.#call(() => this.#client.hset(this.#key('notes'), name, JSON.stringify(value)));
  }

  async close(): Promise<void> {
    this.#closed = true;
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
  async #apply(
    name: string,
    outcome: Outcome,
    subjects: readonly string[],
    read: ReadonlyMap<string, Read>,
  ): Promise<Answer> {
    const keys = [...COMMIT_KEYS, `commit:${name}`].map((key) => this.#key(key));
    const attempt = randomUUID();
    const args = commitArguments(attempt, outcome, subjects, read);
    const deadline = Date.now() + RECONNECT_WAIT_MS;
    for (;;) {
      try {
        return await this.#client.blockdCommit(...keys, ...args);
      } catch (error) {
        if (isReply(error)) throw this.#unavailable(error);
        const attempts = this.#unanswered.get(name) ?? new Map<string, Outcome>();
        this.#unanswered.set(name, attempts.set(attempt, outcome));
        if (Date.now() > deadline) {
          // Only progress gives the caller a way to ask again under the same name.
          if (outcome.progress === undefined) this.#unanswered.delete(name);
          throw this.#unavailable(error);
        }
        await sleep(50);
      }
    }
  }

  /**
   * Tries every command of a commit on keys beside the real ones: a script that Redis stops midway, for a missing
   * permission or a command it doesn't know, would leave half a commit.
   */
  async #probe(): Promise<void> {
    const keys = [...COMMIT_KEYS, 'commit'].map((key) => this.#key(`probe:${key}`));
    const lines = [{ at: 0, rule: '', points: 0, line: '' }];
    const name = randomUUID();
    const outcome = {
      put: new Map([
        ['a', { ban: { until: 1 } } as SubjectState],
        ['b', null],
      ]),
      ranks: new Map([['a', 1]]),
      evidence: new Map([['a', lines]]),
      changes: [{ type: 'allow', at: 0, entry: '' }],
      allow: [{ entry: 'a', at: 0 }],
      disallow: ['a'],
      notes: new Map<string, unknown>([
        ['a', 1],
        ['b', null],
      ]),
    } as const;
    const progress = { host: name, log: '', commit: name, after: null, carry: null, at: 0, lastLineAt: null };
    const position = { kind: 'journal', cursor: '' } as const;
    try {
      for (const one of [outcome, { ...outcome, progress: [{ ...progress, position }] }]) {
        await this.#client.blockdCommit(...keys, ...commitArguments(name, one, [], new Map()));
      }
      await this.#client.del(...keys);
    } catch (error) {
      // Fit to be read although it takes no writes now: full, a replica, loading. A commit will tell.
      const reason = reasonOf(error);
      if (!isReply(error) || FORBIDDEN.test(reason) || UNKNOWN.test(reason)) throw this.#unavailable(error);
    }
  }

  async #tryRewrite(convert: Parameters<Store['rewrite']>[0]): Promise<boolean> {
    const names = ['subjects', 'scores', 'bans'];
    const keys = names.map((name) => this.#key(name));
    const id = randomUUID();
    const successors = names.map((name) => this.#key(`rewrite:${id}:${name}`));
    const [subjectsKey = '', scoresKey = '', bansKey = ''] = successors;
    const revision = (await this.#call(() => this.#client.get(this.#key('revision')))) ?? '';
    for await (const batch of this.#scan('subjects')) {
      const subjects: string[] = [];
      const scores: (string | number)[] = [];
      const bans: (string | number)[] = [];
      for (const [subject, raw] of batch) {
        const { state, rank } = convert(this.#parse<SubjectState>(raw));
        subjects.push(subject, JSON.stringify(state));
        if (Number.isFinite(rank)) scores.push(rank, subject);
        if (state.ban !== null) bans.push(state.ban.until, subject);
      }
      await this.#call(async () => {
        if (subjects.length > 0) await this.#client.hset(subjectsKey, ...subjects);
        if (scores.length > 0) await this.#client.zadd(scoresKey, ...scores);
        if (bans.length > 0) await this.#client.zadd(bansKey, ...bans);
        for (const key of successors) await this.#client.pexpire(key, REWRITE_EXPIRES_MS);
      });
    }
    const replaced = await this.#call(() =>
      this.#client.blockdRewrite(...keys, ...successors, this.#key('revision'), revision),
    );
    if (replaced === 0) await this.#call(() => this.#client.del(...successors));
    return replaced === 1;
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
          // What was committed before this answer came is unknown: the feed tells.
          if (!stopped()) onChange();
        }
        const streams = await client.xread('BLOCK', WATCH_BLOCK_MS, 'STREAMS', this.#key('events'), last);
        const entries = streams?.[0]?.[1] ?? [];
        last = entries.at(-1)?.[0] ?? last;
        if (entries.length > 0 && !stopped()) onChange();
      } catch {
        if (stopped()) return;
        await sleep(250);
        last = '$';
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
    const cause = LOST.test(reasonOf(error)) ? (this.#lastError ?? error) : error;
    return new UnavailableError(`store ${this.url} can't be used: ${redisReason(cause)}`, { cause });
  }
}

/** Said by a primary that the Sentinels may have replaced while this connection held: they name the present one. */
const DEPOSED = /^(?:READONLY|NOREPLICAS)\b/;
/** A permission that the user lacks, as Redis says it to a client, and to a script. */
const FORBIDDEN = /\bNOPERM\b|user executing the script can't/;
const UNTRUSTED =
  /self.signed certificate|unable to (?:verify|get) (?:the first|local issuer|issuer)|certificate signature failure/i;
const UNKNOWN = /unknown.*command/i;
/** How ioredis says that a command never left, or will get no answer. */
const LOST = /isn't writeable|Connection is closed|max retries/i;

/** Ids are times: one of a primary that was cut off may come again, for another change, in the stream that goes on. */
function cursorOf([id, fields]: readonly [id: string, fields: readonly string[]]): string {
  const digest = createHash('sha256').update(fields[1] ?? '');
  return `${id}/${digest.digest('base64url').slice(0, 12)}`;
}

function commitArguments(
  attempt: string,
  outcome: Outcome,
  subjects: readonly string[],
  read: ReadonlyMap<string, Read>,
): (string | number)[] {
  const args: (string | number)[] = [attempt, MAX_EVIDENCE, MAX_CHANGES];
  const part = <T>(items: Iterable<T> | undefined, fields: (item: T) => readonly (string | number)[]) => {
    const all = [...(items ?? [])];
    args.push(all.length);
    for (const item of all) for (const field of fields(item)) args.push(field);
  };
  part(outcome.progress, (one) => [
    JSON.stringify([one.host, one.log]),
    one.after ?? '',
    one.commit,
    JSON.stringify(one),
  ]);
  part(subjects, (subject) => [subject, read.get(subject)?.raw ?? '']);
  part(outcome.put, ([subject, state]) => {
    const rank = state === null ? undefined : outcome.ranks?.get(subject);
    const shown = rank === undefined || !Number.isFinite(rank) ? '' : String(rank);
    return [subject, state === null ? '' : JSON.stringify(state), shown, state?.ban?.until ?? ''];
  });
  part(outcome.evidence, ([subject, lines]) => [subject, lines.map(evidenceText).join('\n')]);
  part(outcome.changes, (change) => [JSON.stringify(change)]);
  part(outcome.allow, (entry) => [entry.entry, JSON.stringify(entry)]);
  part(outcome.disallow, (entry) => [entry]);
  part(outcome.notes, ([name, value]) => [name, value === null ? '' : JSON.stringify(value)]);
  return args;
}

/** Did Redis itself answer with an error? Then the commit was not applied, and asking again at once is no use. */
function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

function redisReason(error: unknown): string {
  const message = reasonOf(error);
  if (/^NOAUTH/.test(message))
    return 'it wants a password: put it into a file that only blockd can read, and name that in store.password_file';
  if (/^WRONGPASS|invalid password/i.test(message)) return 'wrong user name or password';
  if (FORBIDDEN.test(message)) return `the Redis user lacks a permission (${message})`;
  if (/\bOOM\b/.test(message)) return 'Redis is out of memory (maxmemory)';
  if (/\bREADONLY\b/.test(message)) return 'this Redis is a read-only replica: name the primary, or use sentinel://';
  if (/\bNOREPLICAS\b/.test(message))
    return 'Redis takes no writes while too few replicas follow it (min-replicas-to-write)';
  if (/^LOADING/.test(message)) return 'Redis is still loading its data';
  if (/\bMISCONF\b/.test(message)) return "Redis can't write its data to disk, and so refuses changes";
  if (UNTRUSTED.test(message))
    return `its certificate is not trusted (${message}): name the CA that signed it in store.ca_file`;
  if (/altnames|certificate has expired|not yet valid/i.test(message)) return `its certificate is refused: ${message}`;
  if (/ECONNREFUSED/.test(message)) return 'connection refused: does Redis run there?';
  if (/ENOTFOUND|EAI_AGAIN/.test(message)) return 'the host name has no address';
  if (/EACCES|permission denied/.test(message)) return `permission denied: ${message}`;
  if (/ENOENT|no such file/.test(message)) return 'there is no such socket';
  if (UNKNOWN.test(message))
    return `this Redis is too old, or lacks a command (${message}): it must be Redis 5 or newer`;
  if (/ETIMEDOUT|timed? ?out|no answer/i.test(message)) return 'no answer';
  if (/Protocol error|Unknown RESP type/i.test(message)) return 'what answers there is no Redis';
  if (LOST.test(message)) return 'the connection is lost';
  return message;
}

/** Reads the URL once, so that a mistake is told before anything is tried. */
function connector(url: string, { passwordFile, caFile }: Pick<OpenOptions, 'passwordFile' | 'caFile'>): Connect {
  const secret = redisPassword(passwordFile);
  const ca = authorities(caFile);
  if (ca !== undefined && !url.startsWith('rediss:')) {
    throw new UsageError(
      `store "${maskPassword(url)}" uses no TLS, so that store.ca_file has no meaning: write rediss://`,
    );
  }
  const options = {
    lazyConnect: true,
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
    return (socketTimeout) => new Redis({ ...options, ...login, socketTimeout, path, db });
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
    return (socketTimeout) => {
      let leftAt = Number.NEGATIVE_INFINITY;
      return new Redis({
        ...{ ...options, ...login, socketTimeout, sentinels: nodes, name: first, db: dbOf(second, url) },
        // One that is gone, or takes connections and is silent, must not keep us from asking the next for long.
        connectTimeout: ANSWER_MS,
        sentinelCommandTimeout: SENTINEL_ANSWER_MS,
        reconnectOnError: ({ message }) => {
          if (!DEPOSED.test(message) || performance.now() - leftAt < ASK_AGAIN_MS) return false;
          leftAt = performance.now();
          return true;
        },
      });
    };
  }
  const [node] = nodes;
  if (node === undefined || nodes.length > 1 || second !== '') throw badUrl(url);
  // RFC 6066: a server's name is no address.
  const name = isIP(node.host) === 0 ? { servername: node.host } : {};
  const tls = scheme === 'rediss' ? { tls: { ...name, ...(ca !== undefined && { ca }) } } : {};
  return (socketTimeout) => new Redis({ ...options, ...login, socketTimeout, ...tls, ...node, db: dbOf(first, url) });
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
