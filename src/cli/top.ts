/** `blockctl top`: what happens now, on a terminal of its own; on anything else, one look. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BlockdError, type ExitCode } from '../domain/errors.js';
import { type Context, configOf } from './desk.js';
import { banJson, iso, rounded } from './format.js';
import { FullScreen } from './full-screen.js';
import { type Picture, TopFeed } from './top-feed.js';
import { topLines } from './top-view.js';

const EVERY_MS = 1_000;
/** After so long without an answer the store is said to give none. */
const PATIENCE_MS = 3_000;
/** The goodbye to a store that does not answer. */
const CLOSE_MS = 500;
const QUIT_KEYS = new Set(['q', 'Q', '\x1b', '\x03']);

export async function top(context: Context): Promise<ExitCode> {
  const { globals } = context;
  const feed = new TopFeed(configOf(globals));
  const live = globals.json !== true && process.stdout.isTTY === true && process.env.TERM !== 'dumb';
  return live ? new LiveView(feed, context).run() : once(feed, context);
}

/** Two looks, since rejects per second need two. */
async function once(feed: TopFeed, { globals, output }: Context): Promise<ExitCode> {
  try {
    await feed.look();
    await sleep(EVERY_MS);
    const picture = await feed.look();
    if (globals.json === true) await output.json(toJson(picture));
    else {
      const screen = { columns: Math.min(output.look.width, 120), rows: 60, look: output.look, unicode: isUnicode() };
      for (const line of topLines(picture, null, picture.at, screen)) await output.line(line);
    }
    return picture.desk.missing ? 3 : 0;
  } finally {
    await feed.close();
  }
}

class LiveView {
  readonly #feed: TopFeed;
  readonly #screen: FullScreen;
  readonly #look: Context['output']['look'];
  /** Ends `run()`; with an error, by throwing it. */
  #quit: (error?: unknown) => void = () => undefined;
  #picture: Picture | null = null;
  #problem: string | null = null;
  #looking = false;
  #askedAt = performance.now();

  constructor(feed: TopFeed, { output }: Context) {
    this.#feed = feed;
    this.#look = output.look;
    this.#screen = new FullScreen(process.stdin, process.stdout, (key) => {
      if (QUIT_KEYS.has(key)) this.#quit();
    });
  }

  async run(): Promise<ExitCode> {
    const quit = () => this.#quit();
    const draw = () => this.#draw();
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
    for (const name of signals) process.on(name, quit);
    process.stdout.on('resize', draw);
    const ended = new Promise<unknown>((resolve) => {
      this.#quit = resolve;
    });
    this.#screen.enter();
    const timer = setInterval(() => this.#tick(), EVERY_MS);
    this.#tick();
    const error = await ended;
    clearInterval(timer);
    process.stdout.off('resize', draw);
    this.#screen.leave();
    for (const name of signals) process.off(name, quit);
    await Promise.race([this.#feed.close(), sleep(CLOSE_MS)]);
    if (error !== undefined) throw error;
    return 0;
  }

  #tick(): void {
    if (!this.#looking) void this.#refresh();
    this.#draw();
  }

  async #refresh(): Promise<void> {
    this.#looking = true;
    this.#askedAt = performance.now();
    try {
      this.#picture = await this.#feed.look();
      this.#problem = null;
    } catch (error) {
      if (error instanceof BlockdError) this.#problem = error.message;
      else this.#quit(error);
    }
    this.#looking = false;
    this.#draw();
  }

  #draw(): void {
    const { columns, rows } = this.#screen;
    const silent = this.#looking && performance.now() - this.#askedAt > PATIENCE_MS;
    const problem = this.#problem ?? (silent ? 'the store does not answer' : null);
    this.#screen.draw(
      topLines(this.#picture, problem, Date.now(), { columns, rows, look: this.#look, unicode: isUnicode() }),
    );
  }
}

function isUnicode(): boolean {
  const { LC_ALL, LC_CTYPE, LANG } = process.env;
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '');
}

function toJson(picture: Picture) {
  const { at, desk, storeUrl, counts, rates, logs, map, bans, offenders } = picture;
  const time = (instant: number | null) => (instant === null ? null : iso(instant));
  return {
    at: iso(at),
    mode: desk.mode,
    running: desk.running,
    store: { url: storeUrl, ok: !desk.missing },
    rejectsPerSecond: rounded(rates.at(-1) ?? 0),
    scored: counts.scored,
    banned: counts.banned,
    logs: logs.map(({ log, lagBytes, lastLineAt }) => ({ log, lagBytes, lastLineAt: time(lastLineAt) })),
    map: map === null ? null : { entries: map.entries, publishedAt: time(map.publishedAt) },
    bans: bans.map(({ ban, active }) => ({ ...banJson(ban), active })),
    offenders: offenders.map(({ subject, host, score, threshold, bannedAs, protectedWhy }) => ({
      subject,
      host,
      score: rounded(score),
      threshold: rounded(threshold),
      bannedAs,
      protected: protectedWhy,
    })),
  };
}
