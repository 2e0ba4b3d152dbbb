/**
 * Mail hosts in network namespaces, with a Redis that is replicated and watched by Sentinels, while links are cut, lose
 * packets and heal, hosts are killed, and Redis fails over: in the end all have the same bans, and each offense
 * counted once.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import type { Random } from '../../src/demo/random.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { LabNetwork, type LabSite } from '../support/network.js';
import { type LabPostfix, startPostfix } from '../support/postfix.js';
import { ReplicatedRedis } from '../support/replicated-redis.js';
import { byForm, chanceFor, isLong, repeatWith, seed } from './form.js';
import { eventually, expectCountedOnce, MxHost, untilAgreed, untilAllCounted } from './mx-host.js';

const PART = 'partition';
const hint = repeatWith(PART);
const obstacle = LabNetwork.obstacle();
if (obstacle !== null) console.warn(`skipped: ${obstacle}`);
// In CI it must not be missed that it did not run.
const runs = obstacle === null || process.env['CI'] === 'true';

/** The long form measures; the short one mostly waits. */
const SIDE_BY_SIDE = { concurrent: !isLong };

const folder = mkdtempSync(join(tmpdir(), 'blockd-partition-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let labs = 0;

interface Lab {
  readonly network: LabNetwork;
  readonly redis: ReplicatedRedis;
  readonly hosts: readonly MxHost[];
}

type WhenDone = (undo: () => Promise<void>) => void;

/** Of mail hosts; the first of them has the primary too, two more its replicas. */
const HOSTS = [0, 1, 2, 3];
const REDIS = [0, 1, 2];
/** On sites of their own, so that they can be cut off from Redis alone. */
const SENTINELS = [4, 5, 6];

async function labOf(whenDone: WhenDone, args: readonly string[] = []): Promise<Lab> {
  if (obstacle !== null) throw new Error(obstacle);
  const place = join(folder, `lab${++labs}`);
  const network = new LabNetwork(HOSTS.length + SENTINELS.length);
  whenDone(async () => network.remove());
  const redis = await ReplicatedRedis.start({
    ...{ network, folder: place, redis: REDIS, sentinels: SENTINELS, args },
  });
  whenDone(() => redis.stop());
  const hosts = network.sites
    .slice(0, HOSTS.length)
    .map(({ through }, i) => new MxHost({ name: `mx${i}`, folder: place, store: redis.url, through }));
  whenDone(async () => {
    for (const host of hosts) await host.kill();
  });
  for (const host of hosts) await host.start();
  return { network, redis, hosts };
}

/** An SMTP client on a site: the replies to RCPT, or nothing where it could not connect. */
function probe(from: LabSite, to: LabSite, port: number, recipients: readonly string[]): string[] {
  const program = `
    const [host, port, ...recipients] = process.argv.slice(1);
    const commands = ['EHLO probe.example', 'MAIL FROM:<a@probe.example>', ...recipients.map((one) => \`RCPT TO:<\${one}>\`), 'QUIT'];
    let last = '';
    const socket = require('node:net').connect({ host, port: Number(port), timeout: 10000 });
    socket.on('error', () => process.exit(0)).on('timeout', () => process.exit(0)).setEncoding('latin1');
    socket.on('data', (data) => {
      for (const line of data.split('\\r\\n')) {
        if (!/^\\d{3} /.test(line)) continue;
        if (last.startsWith('RCPT')) console.log(line);
        last = commands.shift() ?? '';
        if (last !== '') socket.write(last + '\\r\\n');
      }
    });`;
  const [command = '', ...through] = from.through;
  const said = execFileSync(
    command,
    [...through, process.execPath, '-e', program, to.address, String(port), ...recipients],
    { encoding: 'utf8' },
  );
  return said.split('\n').filter((line) => line !== '');
}

async function storeAt({ redis }: Lab, site: number, whenDone: WhenDone): Promise<Store> {
  const store = await openStore(`unix:${redis.socket(site)}`, { prefix: 'blockd' });
  whenDone(() => store.close());
  return store;
}

function one(hosts: readonly MxHost[], i: number): MxHost {
  const host = hosts[i];
  if (host === undefined) throw new RangeError('no host');
  return host;
}

function isRefused({ map }: MxHost, who: string): boolean {
  try {
    return execFileSync('postmap', ['-q', who, `hash:${map}`], { encoding: 'utf8' }).startsWith('554 ');
  } catch {
    return false;
  }
}

/** All agree, whoever is the primary now, and nothing counted twice or not at all. */
async function expectSound(lab: Lab, whenDone: WhenDone, steps = ''): Promise<Store> {
  const said = `${steps}; ${hint}`;
  const store = await storeAt(lab, await lab.redis.settled(), whenDone);
  for (const host of lab.hosts) if (!host.isUp) await host.start();
  await untilAllCounted(lab.hosts, store, said);
  await untilAgreed(lab.hosts, store, said);
  await expectCountedOnce(lab.hosts, store, said);
  return store;
}

const BARE = { what: 'no min-replicas-to-write', args: [] };
const GUARDED = {
  what: 'min-replicas-to-write 1, min-replicas-max-lag 1',
  args: ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '1'],
};

describe.runIf(runs)('a Redis whose primary is cut off from all but its own host', SIDE_BY_SIDE, () => {
  it.for(byForm([BARE], [BARE, GUARDED]))(
    'loses what it took meanwhile; the lines count again, once, and all hosts have the same bans ($what)',
    { timeout: 240_000 },
    async ({ what, args }, { onTestFinished }) => {
      const lab = await labOf(onTestFinished, args);
      const { network, redis, hosts } = lab;
      const alone = one(hosts, 0);
      const others = hosts.slice(1);
      for (const [i, host] of hosts.entries()) host.offend(`10.1.0.${i}`);
      await untilAgreed(hosts, await storeAt(lab, 0, onTestFinished), hint);

      network.part(0, [...HOSTS.slice(1), ...SENTINELS]);
      const startedAt = Date.now();
      // What each side sees: some bans for itself, and one that neither side would make alone.
      const writing = (async () => {
        for (let i = 0; i < byForm(20, 60); i++) {
          alone.offend(`10.2.0.${i}`);
          for (const [n, host] of others.entries()) host.offend(`10.${3 + n}.0.${i}`, 2);
          alone.offend('203.0.113.9', 1);
          others[0]?.offend('203.0.113.9', 1);
          await sleep(100);
        }
      })();
      const next = await redis.failedOver(0);
      const failedOverMs = Date.now() - startedAt;
      await writing;
      const after = await storeAt(lab, next, onTestFinished);
      await untilAllCounted(others, after, hint);
      const lost = await lostAt(lab, next, onTestFinished);
      if (args.length === 0) {
        await untilAllCounted([alone], await storeAt(lab, 0, onTestFinished), hint);
        expect(isRefused(alone, '10.2.0.3'), hint).toBe(true);
      }
      // Who asks the Sentinels is told that there is no store.
      await alone.ctl(['unban', '10.1.0.0'], 3);
      if (args.length === 0) {
        // Orders on the side that loses: the ban is in the map, and comes back from there; the unban is lost.
        const direct = ['--store', `unix:${redis.socket(0)}`];
        await alone.ctl([...direct, 'ban', '192.0.2.200', '--for', '2h']);
        await alone.ctl([...direct, 'unban', '10.1.0.0']);
      }
      for (let i = 0; i < 5; i++) one(others, 1).offend(`10.9.0.${i}`);

      network.mend(0);
      const store = await expectSound(lab, onTestFinished);
      const refused = ['10.1.0.1', '10.2.0.3', '10.9.0.4', '203.0.113.9'];
      if (args.length === 0) refused.push('192.0.2.200', '10.1.0.0');
      for (const host of hosts) for (const who of refused) expect(isRefused(host, who), `${who}; ${hint}`).toBe(true);
      // More than once when it meets the old primary again before that is told that it is one no longer.
      const said = alone.daemon.log.filter(({ event }) => event === 'store-put-back');
      if (args.length === 0) expect(said.length, hint).toBeGreaterThan(0);
      await eventually(async () => (await store.bans(Date.now())).length, one(hosts, 1).keys().size, hint);
      console.log(
        `failover after ${failedOverMs} ms (${what}), seed ${seed}: the old primary had acknowledged ${lost} offenses that were lost, and counted again`,
      );
    },
  );
});

describe.runIf(runs)('a Redis whose primary is cut off from the Sentinels alone', SIDE_BY_SIDE, () => {
  it.runIf(isLong)(
    'refuses writes when it is told to want a replica, and all hosts go to its successor before the link heals',
    {
      timeout: 240_000,
    },
    async ({ onTestFinished }) => {
      const lab = await labOf(onTestFinished, GUARDED.args);
      const { network, redis, hosts } = lab;
      for (const [i, host] of hosts.entries()) host.offend(`10.1.0.${i}`);
      await untilAgreed(hosts, await storeAt(lab, 0, onTestFinished), hint);
      network.part(0, SENTINELS);
      const next = await redis.failedOver(0);
      for (const [i, host] of hosts.entries()) host.offend(`10.2.0.${i}`);
      const after = await storeAt(lab, next, onTestFinished);
      // The first host stands beside the old primary, and no Sentinel is in its reach.
      const free = hosts.slice(1);
      await untilAllCounted(free, after, hint);
      await untilAgreed(free, after, hint);
      network.mend(0);
      await expectSound(lab, onTestFinished);
    },
  );
});

describe.runIf(runs)('Sentinels of which only the last answers', SIDE_BY_SIDE, () => {
  it.runIf(isLong)(
    'are enough for blockctl, and for a daemon to begin',
    { timeout: 120_000 },
    async ({ onTestFinished }) => {
      const lab = await labOf(onTestFinished);
      const [first = 0, second = 0] = SENTINELS;
      lab.redis.signalSentinel(first, 'SIGSTOP');
      lab.network.unplug(second);
      const host = one(lab.hosts, 1);
      await host.kill();
      await host.start();
      await host.ctl(['ban', '192.0.2.200', '--for', '2h']);
      lab.network.plug(second);
      lab.redis.signalSentinel(first, 'SIGCONT');
      await expectSound(lab, onTestFinished);
    },
  );
});

describe.runIf(runs)('one who probes two real Postfix, each too little for a ban', SIDE_BY_SIDE, () => {
  it('is refused by both, over a failover too', { timeout: 240_000 }, async ({ onTestFinished }) => {
    const lab = await labOf(onTestFinished);
    const [attacker, ...sites] = [6, 1, 2].map((i) => lab.network.sites[i] as LabSite);
    if (attacker === undefined) return;
    const mail: { readonly site: LabSite; readonly postfix: LabPostfix; readonly host: MxHost }[] = [];
    for (const site of sites) {
      const postfix = await startPostfix({ mapType: 'hash', site });
      onTestFinished(() => postfix.stop());
      // What is asked while waiting is accepted mail, and would raise the threshold.
      const settings = ['score.standing=false'];
      const where = { folder, store: lab.redis.url, through: site.through, postfix };
      const host = new MxHost({ name: `mail${mail.length}`, settings, ...where });
      onTestFinished(() => host.kill());
      await host.start();
      mail.push({ site, postfix, host });
    }
    const ask = (recipients: readonly string[]) =>
      mail.map(({ site, postfix }) => probe(attacker, site, postfix.port, recipients).map((line) => line.slice(0, 3)));
    await eventually(() => ask(['ok1@lab.example']), [['250'], ['250']], hint);
    expect(ask(['n1@lab.example', 'n2@lab.example', 'n3@lab.example'])).toEqual([
      ['550', '550', '550'],
      ['550', '550', '550'],
    ]);
    await eventually(() => ask(['ok1@lab.example']), [['554'], ['554']], hint);
    await lab.redis.killServer(0);
    const next = await lab.redis.failedOver(0);
    expect(ask(['ok1@lab.example'])).toEqual([['554'], ['554']]);
    const store = await storeAt(lab, next, onTestFinished);
    await eventually(
      async () => (await store.bans(Date.now())).map(({ subject }) => subject),
      [attacker.address],
      hint,
    );
    const address = lab.network.sites[next]?.address ?? '';
    await eventually(() => lab.redis.primaryAsTheyKnow(), [address, address, address], hint);
    await one(lab.hosts, 3).ctl(['unban', attacker.address]);
    await eventually(() => ask(['ok1@lab.example']), [['250'], ['250']], hint);
  });
});

/** Offenses that the old primary has counted of its own host, and the new one has not. */
async function lostAt(lab: Lab, next: number, whenDone: WhenDone): Promise<number> {
  const [before, after] = [await storeAt(lab, 0, whenDone), await storeAt(lab, next, whenDone)];
  const who = [...one(lab.hosts, 0).written.keys()].filter((address) => address.startsWith('10.2.'));
  const count = async (store: Store) =>
    [...(await store.states(who)).values()].reduce((sum, { offenses }) => sum + offenses, 0);
  return (await count(before)) - (await count(after));
}

type Fault = (lab: Lab, chance: Random) => Promise<void>;

const FAULTS: Readonly<Record<string, Fault>> = {
  'a host unplugged': async ({ network, hosts }, chance) => {
    const site = chance.between(0, hosts.length - 1);
    network.unplug(site);
    await attackFor({ hosts, chance, ms: chance.between(300, 5_000) });
    network.plug(site);
  },
  'a host cut off from the primary': async ({ network, redis, hosts }, chance) => {
    const [primary = 0] = redis.primaries();
    const site = (primary + chance.between(1, hosts.length - 1)) % hosts.length;
    network.part(site, [primary]);
    await attackFor({ hosts, chance, ms: chance.between(300, 5_000) });
    network.mend(site);
  },
  'the primary cut off from all': async ({ network, redis, hosts }, chance) => {
    const [primary = 0] = redis.primaries();
    network.part(
      primary,
      [...HOSTS, ...SENTINELS].filter((site) => site !== primary),
    );
    await attackFor({ hosts, chance, ms: chance.between(1_000, 9_000) });
    network.mend(primary);
  },
  'the primary cut off from the Sentinels alone': async ({ network, redis, hosts }, chance) => {
    const [primary = 0] = redis.primaries();
    network.part(primary, SENTINELS);
    await attackFor({ hosts, chance, ms: chance.between(1_000, 6_000) });
    network.mend(primary);
  },
  'a Sentinel frozen, another unplugged': async ({ network, redis, hosts }, chance) => {
    const [frozen, unplugged] = [chance.pick([4, 5]), 6];
    redis.signalSentinel(frozen, 'SIGSTOP');
    network.unplug(unplugged);
    // One is left, and every host has to find it.
    redis.cli(redis.primaries()[0] ?? 0, 'client', 'kill', 'type', 'normal');
    await attackFor({ hosts, chance, ms: chance.between(500, 5_000) });
    network.plug(unplugged);
    redis.signalSentinel(frozen, 'SIGCONT');
  },
  'a third of the packets lost': async ({ network, hosts }, chance) => {
    const site = chance.between(0, hosts.length - 1);
    network.lose(site, 30);
    await attackFor({ hosts, chance, ms: chance.between(1_000, 6_000) });
    network.mend(site);
  },
  'a host killed': async ({ hosts }, chance) => {
    const host = chance.pick(hosts);
    await host.kill();
    await attackFor({ hosts, chance, ms: chance.between(0, 1_000) });
    host.launch();
  },
  'a host frozen': async ({ hosts }, chance) => {
    const host = chance.pick(hosts);
    if (!host.isUp) host.launch();
    const { daemon } = host;
    daemon.signal('SIGSTOP');
    await attackFor({ hosts, chance, ms: chance.between(500, 4_000) });
    daemon.signal('SIGCONT');
  },
  'the primary killed': async ({ redis, hosts }, chance) => {
    const [primary = 0] = redis.primaries();
    await redis.killServer(primary);
    await attackFor({ hosts, chance, ms: chance.between(500, 6_000) });
    await redis.startServer(primary);
  },
  'the primary frozen': async ({ redis, hosts }, chance) => {
    const [primary = 0] = redis.primaries();
    redis.signal(primary, 'SIGSTOP');
    await attackFor({ hosts, chance, ms: chance.between(500, 6_000) });
    redis.signal(primary, 'SIGCONT');
  },
};

/** Some offenses on any host, without pause. */
async function attackFor(options: {
  readonly hosts: readonly MxHost[];
  readonly chance: Random;
  readonly ms: number;
}): Promise<void> {
  const { hosts, chance, ms } = options;
  for (const endAt = Date.now() + ms; Date.now() < endAt; await sleep(chance.between(20, 120))) {
    chance.pick(hosts).offend(`10.7.${chance.between(0, 3)}.${chance.between(0, 40)}`, chance.between(1, 3));
  }
}

describe.runIf(runs)('links, hosts and Redis that fail by chance', SIDE_BY_SIDE, () => {
  const tried = new Map<string, number>();
  afterAll(() => {
    const list = [...tried].map(([name, times]) => `${name} ${times}`).join(', ');
    console.log(`partitions, seed ${seed}: ${list}`);
  });

  it.for(Array.from({ length: byForm(1, 12) }, (_, i) => i))(
    'leave every host with the same bans, and each offense counted once (schedule %i)',
    { timeout: 600_000 },
    async (schedule, { onTestFinished }) => {
      const chance = chanceFor(PART, schedule);
      const lab = await labOf(onTestFinished, schedule % 2 === 0 ? BARE.args : GUARDED.args);
      const steps: string[] = [];
      for (let step = 0; step < byForm(2, 10); step++) {
        const name = chance.pick(Object.keys(FAULTS));
        steps.push(name);
        tried.set(name, (tried.get(name) ?? 0) + 1);
        await FAULTS[name]?.(lab, chance);
        await attackFor({ hosts: lab.hosts, chance, ms: chance.between(0, 2_000) });
        // Those that could not be told where Redis is while they began have ended, as the service would start them anew.
        for (const host of lab.hosts) if (!host.isUp) host.launch();
      }
      await expectSound(lab, onTestFinished, steps.join(', '));
    },
  );
});
