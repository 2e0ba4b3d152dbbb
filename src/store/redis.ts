/**
 * The shared store: Redis or Valkey, all keys under one hash tag. A commit is one Lua script that first compares what
 * was read, so that the policy stays in TypeScript; a commit whose answer was lost is recognised by its name.
 */
import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, type Redis } from 'ioredis';
import type { Ban } from '../domain/ban.js';
import { reasonOf, UnavailableError, UsageError } from '../domain/errors.js';
import { maskPassword } from '../domain/secret.js';
import type { Change } from '../policy/outcome.js';
import type { AllowEntry, Evidence, SubjectState } from '../policy/state.js';
import type { OpenOptions } from './open.js';
import { Recent } from './recent.js';
import { FORBIDDEN, isReply, LOST, redisReason, UNKNOWN } from './redis-reason.js';
import {
  type Answer,
  type Client,
  COMMIT_KEYS,
  commitArguments,
  REWRITTEN,
  type Read,
  type Row,
  rowsOf,
  type Written,
  withScripts,
} from './redis-scripts.js';
import { CONNECT_MS, type Connect, connector } from './redis-url.js';
import { newerStore, requireKnownSchema, SCHEMA_VERSION } from './schema.js';
import {
  evidenceOf,
  MAX_CHANGES,
  type Outcome,
  type Progress,
  type Risk,
  StaleProgressError,
  type Store,
} from './store.js';

/** A connection that owes an answer for longer is dead, or its Redis is. */
const ANSWER_MS = 2_000;
const RECONNECT_WAIT_MS = 1_500;
const LEAVE_MS = 1_000;
const MAX_CONFLICTS = 100;
const MAX_REWRITES = 20;
/** Successors of a rewrite that was never finished go away after this long. */
const REWRITE_EXPIRES_MS = 600_000;
const WATCH_BLOCK_MS = 5_000;
/** Fields of one HMGET or HSCAN: keeps replies and Redis's pauses small. */
const BATCH = 1_000;

type Decide = (states: ReadonlyMap<string, SubjectState>) => Outcome;

/** A commit as it is sent. */
interface Draft {
  readonly outcome: Outcome;
  readonly rows: readonly Row[];
  /** Names this try. */
  readonly attempt: string;
  readonly args: readonly (string | number)[];
}

interface UnderWay {
  /** As it was decided last; null while it is to be decided. */
  draft: Draft | null;
  done: Promise<Outcome>;
}

const NOTHING_DONE: Promise<Outcome> = Promise.resolve({});

/** Before all changes. */
const START = '0-0';

export class RedisStore implements Store {
  readonly url: string;
  readonly #client: Client;
  readonly #connect: Connect;
  readonly #prefix: string;
  /** Outcomes sent whose answer never came: by commit, and of that by attempt. */
  readonly #unanswered = new Map<string, Map<string, Outcome>>();
  /** Why the connection was lost; commands only say that it is. */
  #lastError: unknown = null;
  #probed = false;
  #closed = false;
  /** Null for a subject that was not there. */
  readonly #recent = new Recent<Read | null>();
  /** This process's commits, by what they were answered with or will be. */
  readonly #begun = new WeakMap<Promise<Outcome>, UnderWay>();
  readonly #watchers = new Set<() => Promise<void>>();
  /** Their connections. */
  readonly #watching = new Set<Redis | Cluster>();

  /**
   * Only looks: what writing needs is tried before the first commit.
   * @throws UsageError for a bad URL, UnavailableError when Redis can't be reached or refuses us, NewerStoreError.
   */
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
      await requireKnownSchema(store);
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
    this.#client = withScripts(client);
    // Without this listener a lost connection would end the process; each command tells of it by itself.
    client.on('error', (error: unknown) => {
      if (!LOST.test(reasonOf(error))) this.#lastError = error;
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

  commit(subjects: readonly string[], decide: Decide): Promise<Outcome> {
    return this.#begin(null, subjects, decide);
  }

  commitBehind(before: Promise<Outcome>, subjects: readonly string[], decide: Decide): Promise<Outcome> {
    return this.#begin(this.#begun.get(before) ?? null, subjects, decide);
  }

  #begin(before: UnderWay | null, subjects: readonly string[], decide: Decide): Promise<Outcome> {
    const own: UnderWay = { draft: null, done: NOTHING_DONE };
    own.done = this.#committed(own, before, subjects, decide);
    this.#begun.set(own.done, own);
    return own.done;
  }

  async #committed(own: UnderWay, before: UnderWay | null, subjects: readonly string[], decide: Decide) {
    if (before !== null) {
      own.draft = await this.#draftedOn(before, subjects, decide);
      const base = before.draft;
      const applied = await before.done;
      // Nobody knows then what this one was to be decided on, and it begins anew.
      if (applied !== before.draft?.outcome) throw this.#unavailable(new Error('an answer was lost'));
      if (before.draft !== base) own.draft = null;
    }
    const ownName = randomUUID();
    for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts++) {
      own.draft ??= draftOf(await this.#call(() => this.#known(subjects)), subjects, decide);
      const { outcome, rows, attempt } = own.draft;
      const name = outcome.progress?.[0]?.commit ?? ownName;
      const [answer, detail = ''] = await this.#apply(name, own.draft);
      if (answer !== 'conflict') {
        const applied = this.#unanswered.get(name)?.get(detail);
        this.#unanswered.delete(name);
        if (answer === 'stale') throw new StaleProgressError(detail);
        if (answer === 'again' && detail !== attempt) return applied ?? { progress: outcome.progress ?? [] };
        for (const { subject, state, raw } of rows) this.#recent.set(subject, state && { raw, state });
        return outcome;
      }
      own.draft = null;
      this.#recent.wrong();
      if (conflicts > 3) await sleep(Math.random() * 10 * conflicts);
    }
    throw new UnavailableError(
      `store ${this.url}: other hosts changed the same addresses ${MAX_CONFLICTS} times in a row`,
    );
  }

  /** What is decided on the states that the commit before will leave; null when that is not decided yet. */
  async #draftedOn(before: UnderWay, subjects: readonly string[], decide: Decide): Promise<Draft | null> {
    // Whatever is wrong with Redis, that commit tells.
    const states = await this.#known(subjects).catch(() => null);
    if (states === null || before.draft === null) return null;
    const asked = new Set(subjects);
    for (const { subject, state, raw } of before.draft.rows) {
      if (!asked.has(subject)) continue;
      if (state === null) states.delete(subject);
      else states.set(subject, { raw, state });
    }
    return draftOf(states, subjects, decide);
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
      const subjects = await this.#bannedAfter(since);
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
    return this.#call(async () => {
      const fields = await this.#client.hkeys(this.#key('positions'));
      // What other hosts keep with theirs is much, and nobody's business here.
      const own = fields.filter((field) => this.#parse<[string, string]>(field)[0] === host);
      if (own.length === 0) return new Map();
      const values = await this.#client.hmget(this.#key('positions'), ...own);
      const all = values.flatMap((value) => (value === null ? [] : this.#parse<Progress>(valueIn(value))));
      return new Map(all.map((one) => [one.log, one]));
    });
  }

  async hosts(): Promise<string[]> {
    const fields = await this.#call(() => this.#client.hkeys(this.#key('positions')));
    return [...new Set(fields.map((field) => this.#parse<[string, string]>(field)[0]))];
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
      const [answer] = await this.#write({ put: new Map(subjects.map((one) => [one, null])) }, subjects, read);
      if (answer !== 'conflict') forgotten += subjects.length;
    }
    for await (const batch of this.#scan('evidence')) {
      const trimmed = batch.flatMap(([subject, lines]) => {
        const kept = lines.split('\n').filter((line) => this.#parse<Evidence>(line).at > at - keepMs);
        const left = kept.join('\n');
        return left === lines ? [] : [[subject, lines, left] as const];
      });
      if (trimmed.length > 0) await this.#write({ trimmed });
    }
    await this.#forgetChanges(at - keepMs);
    return forgotten;
  }

  /** All but the newest, by which readers know that they have missed nothing. */
  async #forgetChanges(before: number): Promise<void> {
    const events = this.#key('events');
    for (;;) {
      const page = await this.#call(() => this.#client.xrange(events, '-', '+', 'COUNT', BATCH + 1));
      const oldest = page.slice(0, -1);
      // As they came: the first that stays ends it.
      const stays = oldest.findIndex(([, fields]) => this.#parse<Change>(fields[1] ?? '').at > before);
      const forgotten = (stays < 0 ? oldest : oldest.slice(0, stays)).map(([id]) => id);
      if (forgotten.length === 0) return;
      await this.#write({ forgotten });
    }
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
    await this.#write({ notes: new Map([[name, value]]) });
  }

  async risks(): Promise<Risk[]> {
    const policy = await this.#evictionPolicy();
    if (policy === null || policy === 'noeviction') return [];
    // Of all that is stored, only the names of the last commits end by themselves.
    const what = policy.startsWith('volatile-') ? 'which order it has carried out' : 'all scores or all bans at once';
    return [
      {
        text: `when it is full, this Redis forgets ${what} (maxmemory-policy ${policy})`,
        fix: 'Set "maxmemory-policy noeviction" in redis.conf, or give blockd a Redis of its own: a full one then refuses commits, and blockd waits.',
      },
    ];
  }

  /** By INFO, which tells without a right to CONFIG. Null where the user may not ask for that either. */
  async #evictionPolicy(): Promise<string | null> {
    const client = this.#client;
    const nodes: readonly Redis[] = client instanceof Cluster ? client.nodes('master') : [client];
    try {
      const told = await this.#call(() => Promise.all(nodes.map((node) => node.info('memory'))));
      const policies = told.flatMap((text) => /^maxmemory_policy:(\S+)/m.exec(text)?.[1] ?? []);
      return policies.find((policy) => policy !== 'noeviction') ?? policies[0] ?? null;
    } catch (error) {
      if (error instanceof UnavailableError && FORBIDDEN.test(reasonOf(error.cause))) return null;
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#watchers].map((stop) => stop()));
    this.#client.disconnect();
  }

  #key(name: string): string {
    return `${this.#prefix}:${name}`;
  }

  /** As far as this process knows; what it read or wrote last is compared when it commits. */
  async #known(subjects: readonly string[]): Promise<Map<string, Read>> {
    const known = new Map<string, Read>();
    const unknown: string[] = [];
    for (const subject of subjects) {
      const seen = this.#recent.get(subject);
      if (seen === undefined) unknown.push(subject);
      else if (seen !== null) known.set(subject, seen);
    }
    if (unknown.length === 0) return known;
    const found = await this.#readMany(unknown);
    for (const subject of unknown) {
      const read = found.get(subject) ?? null;
      this.#recent.set(subject, read);
      if (read !== null) known.set(subject, read);
    }
    return known;
  }

  /** In order of their end; some at a time, since Redis does nothing else while it answers. */
  async #bannedAfter(since: number): Promise<string[]> {
    const subjects = new Set<string>();
    let from = `(${since}`;
    for (let limit = BATCH; ; ) {
      const page = await this.#client.zrangebyscore(this.#key('bans'), from, '+inf', 'WITHSCORES', 'LIMIT', 0, limit);
      for (let i = 0; i < page.length; i += 2) subjects.add(page[i] ?? '');
      const [last, first] = [page.at(-1), page[1]];
      if (last === undefined || page.length < 2 * limit) return [...subjects];
      // The next page begins with those that end as the last one does, and must reach beyond them.
      limit = first === last ? 2 * limit : BATCH;
      from = last;
    }
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

  /** What may be applied twice without harm, so that nobody need remember that it was. */
  #write(
    written: Written,
    subjects: readonly string[] = [],
    read: ReadonlyMap<string, Read> = new Map(),
  ): Promise<Answer> {
    const rows = rowsOf(written);
    const args = commitArguments('', written, rows, subjects, read);
    return this.#apply('', { outcome: written, rows, attempt: '', args });
  }

  /**
   * Sends a commit until there is an answer; a lost connection is waited for, but not for long.
   * @param name "" for one that may be applied twice.
   */
  async #apply(name: string, { outcome, attempt, args }: Draft): Promise<Answer> {
    await this.#probe();
    const keys = [...COMMIT_KEYS, `commit:${name}`].map((key) => this.#key(key));
    const deadline = Date.now() + RECONNECT_WAIT_MS;
    for (;;) {
      try {
        const answer = await this.#client.blockdCommit(...keys, ...args);
        if (answer[0] === 'newer') throw newerStore(this.url, versionIn(answer[1]));
        return answer;
      } catch (error) {
        if (error instanceof UnavailableError) throw error;
        if (isReply(error)) throw this.#unavailable(error);
        if (name === '') {
          if (Date.now() > deadline) throw this.#unavailable(error);
          await sleep(50);
          continue;
        }
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
   * Tries every command that writes on keys beside the real ones, once: a script that Redis stops midway, for a missing
   * permission or a command it doesn't know, would leave half a commit.
   */
  async #probe(): Promise<void> {
    if (this.#probed) return;
    const keys = [...COMMIT_KEYS, 'commit'].map((key) => this.#key(`probe:${key}`));
    const next = REWRITTEN.map((key) => this.#key(`probe:next:${key}`));
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
      trimmed: [['a', '', '']],
      forgotten: ['0-1'],
      notes: new Map<string, unknown>([
        ['a', 1],
        ['b', null],
      ]),
    } as const;
    const progress = { host: name, log: '', commit: name, after: null, carry: null, at: 0, lastLineAt: null };
    const position = { kind: 'journal', cursor: '' } as const;
    await this.#call(async () => {
      try {
        // What one that died left behind would stand for what is to be tried.
        await this.#client.del(...keys, ...next);
        for (const one of [outcome, { ...outcome, progress: [{ ...progress, position }] }]) {
          await this.#client.blockdCommit(...keys, ...commitArguments(name, one, rowsOf(one), [], new Map()));
        }
        const [subjects = '', scores = ''] = next;
        const [revision] = await Promise.all([
          this.#client.get(this.#key('probe:revision')),
          this.#client.hset(subjects, 'a', ''),
          this.#client.zadd(scores, 1, 'a'),
          this.#client.pexpire(subjects, REWRITE_EXPIRES_MS),
        ]);
        await this.#replace('probe:', next, revision ?? '');
        await this.#client.del(...keys, ...next);
        this.#probed = true;
      } catch (error) {
        // Fit to be read although it takes no writes now: full, a replica, loading. The commit will tell.
        const reason = reasonOf(error);
        if (!isReply(error) || FORBIDDEN.test(reason) || UNKNOWN.test(reason)) throw error;
      }
    });
  }

  async #tryRewrite(convert: Parameters<Store['rewrite']>[0]): Promise<boolean> {
    await this.#probe();
    const id = randomUUID();
    const successors = REWRITTEN.map((name) => this.#key(`rewrite:${id}:${name}`));
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
    const [answer, version] = await this.#call(() => this.#replace('', successors, revision));
    if (answer !== 'done') await this.#call(() => this.#client.del(...successors));
    if (answer === 'newer') throw newerStore(this.url, versionIn(version));
    return answer === 'done';
  }

  #replace(at: '' | 'probe:', successors: readonly string[], revision: string): Promise<Answer> {
    const present = REWRITTEN.map((name) => this.#key(at + name));
    const [counter, notes] = [this.#key(`${at}revision`), this.#key(`${at}notes`)];
    return this.#client.blockdRewrite(...present, ...successors, counter, notes, revision, SCHEMA_VERSION);
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
          last = newest?.[0] ?? START;
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

/** The progress in a value of `positions`, behind the names of its commit and attempt. */
function valueIn(position: string): string {
  return position.slice(position.indexOf('\n', position.indexOf('\n') + 1) + 1);
}

/** As JSON says it, or the text when it is none. */
function versionIn(told = ''): unknown {
  return /^\d+(?:\.\d+)?$/.test(told) ? Number(told) : told;
}

/** Ids are times: one of a primary that was cut off may come again, for another change, in the stream that goes on. */
function cursorOf([id, fields]: readonly [id: string, fields: readonly string[]]): string {
  const digest = createHash('sha256').update(fields[1] ?? '');
  return `${id}/${digest.digest('base64url').slice(0, 12)}`;
}

function draftOf(read: ReadonlyMap<string, Read>, subjects: readonly string[], decide: Decide): Draft {
  const outcome = decide(new Map([...read].map(([subject, { state }]) => [subject, state])));
  const rows = rowsOf(outcome);
  const attempt = randomUUID();
  return { outcome, rows, attempt, args: commitArguments(attempt, outcome, rows, subjects, read) };
}
