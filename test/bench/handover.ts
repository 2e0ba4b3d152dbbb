/** How soon the new owner of a banned address is served: simulated hours, the daemon's own looks, a name that changes. */
import pino from 'pino';
import { Handover } from '../../src/daemon/handover.js';
import { Random } from '../../src/demo/random.js';
import type { SubjectState } from '../../src/policy/state.js';
import { MemoryStore } from '../../src/store/memory.js';
import { address } from './bans.js';
import { type Figure, median, type Part } from './figures.js';
import { policy } from './policy.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const ADDRESSES = 1_000;
const NOTHING = { value: 0, at: 0 };

export const handover: Part = {
  name: 'handover',
  title: 'From a change of hands to service for the new owner (simulated; the ban had a day, or a week, to go at most)',
  run: async () => [...(await waitsOf(DAY_MS, 'bans of a day')), ...(await waitsOf(7 * DAY_MS, 'bans of a week'))],
};

async function waitsOf(lengthMs: number, what: string): Promise<Figure[]> {
  const chance = new Random(11);
  const startedAt = Date.UTC(2026, 0, 12);
  const owners = Array.from({ length: ADDRESSES }, (_, index) => {
    const changesAt = startedAt + chance.between(0, lengthMs);
    return { ip: address(index), changesAt, endsAt: startedAt + lengthMs };
  });
  const store = new MemoryStore();
  await store.commit([], () => ({ put: new Map(owners.map(({ ip, endsAt }) => [ip, banned(ip, startedAt, endsAt)])) }));
  let now = startedAt;
  const changed = new Map(owners.map(({ ip, changesAt }) => [ip, changesAt]));
  const watch = new Handover({
    store,
    policy: () => policy,
    namesOf: async (ip) => [(changed.get(ip) ?? now) <= now ? `mx.${ip}.new.example` : `mx.${ip}.old.example`],
    logger: pino({ level: 'silent' }),
    serially: (work) => work(),
    onReleased: () => undefined,
    gapMs: 0,
    clock: () => now,
  });
  const served = new Map<string, number>();
  for (now = startedAt + 17 * MINUTE_MS; now < startedAt + lengthMs; now += HOUR_MS) {
    await watch.look(new AbortController().signal);
    const left = new Set((await store.bans(now)).map(({ subject }) => subject));
    for (const { ip } of owners) if (!left.has(ip) && !served.has(ip)) served.set(ip, now);
  }
  const waits = owners.map(({ ip, changesAt, endsAt }) => Math.max(0, (served.get(ip) ?? endsAt) - changesAt));
  const whole = owners.map(({ changesAt, endsAt }) => endsAt - changesAt);
  return [
    {
      what: `${what}: median wait`,
      value: median(waits) / HOUR_MS,
      unit: 'h',
      note: `${(median(whole) / HOUR_MS).toFixed(1)} h for who waits for the end of the ban, as with fail2ban`,
    },
  ];
}

function banned(ip: string, since: number, until: number): SubjectState {
  const host = `mx.${ip}.old.example`;
  const ban = {
    subject: ip,
    since,
    until,
    reason: 'postfix/user-unknown',
    strikes: 3,
    host,
    by: 'score',
    refused: 0,
  } as const;
  return {
    score: NOTHING,
    strikes: { value: 4, at: since },
    accepted: NOTHING,
    offenses: 20,
    host,
    authenticatedAt: null,
    ban,
    releases: [],
  };
}
