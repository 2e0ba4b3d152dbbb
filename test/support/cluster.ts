/** A Redis Cluster of three real nodes on loopback: each has a third of the slots, and a replica when it is given one. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { freePort, type LabRedis, startRedis } from './redis.js';

const SLOTS = 16_384;
const LONGEST_MS = 30_000;

export interface LabCluster {
  /** `cluster://…` of all nodes. */
  readonly url: string;
  readonly nodes: readonly LabNode[];
  /** The node that has this key's slot, by what all nodes say. */
  ownerOf(key: string): Promise<LabNode>;
  /** Moves a slot with all its keys, as `redis-cli --cluster reshard` does, while others use them. */
  moveSlot(slot: number, to: LabNode): Promise<void>;
  /** One more node, which takes over when `primary` dies. */
  addReplica(primary: LabNode): Promise<LabNode>;
  stop(): Promise<void>;
}

export interface LabNode {
  readonly redis: LabRedis;
  /** Past the cluster, to this node alone. */
  readonly client: Redis;
  readonly id: string;
}

export async function startCluster(args: readonly string[] = []): Promise<LabCluster> {
  const nodes: LabNode[] = [];
  const meet = async (node: LabNode & { readonly bus: number }) => {
    nodes.push(node);
    await nodes[0]?.client.call('CLUSTER', 'MEET', '127.0.0.1', node.redis.port, node.bus);
    await until(() => isWhole(nodes));
  };
  const masters = await Promise.all([0, 1, 2].map(() => startNode(args)));
  await Promise.all(masters.map((node, i) => giveSlots(node, i, masters.length)));
  for (const node of masters) await meet(node);
  const ownerOf = async (key: string) => {
    const [first] = nodes;
    const slot = Number(await first?.client.call('CLUSTER', 'KEYSLOT', key));
    const ids = await Promise.all(nodes.map(({ client }) => ownerOfSlot(client, slot)));
    const owner = nodes.find(({ id }) => ids.every((one) => one === id));
    if (owner === undefined) throw new Error(`slot ${slot}: the nodes differ: ${ids}`);
    return owner;
  };
  return {
    url: `cluster://${nodes.map(({ redis }) => `127.0.0.1:${redis.port}`).join(',')}`,
    nodes,
    ownerOf,
    moveSlot: (slot, to) => moveSlot(nodes, slot, to),
    addReplica: async (primary) => {
      const replica = await startNode(args);
      await meet(replica);
      await replica.client.call('CLUSTER', 'REPLICATE', primary.id);
      await until(async () => /master_link_status:up/.test(await replica.client.info('replication')));
      return replica;
    },
    stop: async () => {
      for (const { client, redis } of nodes) {
        client.disconnect();
        await redis.stop();
      }
    },
  };
}

async function startNode(args: readonly string[]): Promise<LabNode & { readonly bus: number }> {
  const bus = await freePort();
  const cluster = ['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-announce-ip', '127.0.0.1'];
  const redis = await startRedis({ args: [...cluster, '--cluster-node-timeout', '2000', ...args] });
  const client = new Redis(redis.port);
  client.on('error', () => undefined);
  return { redis, client, bus, id: String(await client.call('CLUSTER', 'MYID')) };
}

/** Do all nodes know all others, and are all slots served? At first there are slots that nobody has told of yet. */
async function isWhole(nodes: readonly LabNode[]): Promise<boolean> {
  for (const { client } of nodes) {
    const info = String(await client.call('CLUSTER', 'INFO'));
    if (!info.includes(`cluster_known_nodes:${nodes.length}\r`)) return false;
    if (nodes.length >= 3 && !(info.includes('cluster_state:ok') && info.includes('cluster_slots_ok:16384')))
      return false;
  }
  return true;
}

async function giveSlots({ client }: LabNode, index: number, count: number): Promise<void> {
  const from = Math.floor((index * SLOTS) / count);
  const to = Math.floor(((index + 1) * SLOTS) / count) - 1;
  await client.call('CLUSTER', 'ADDSLOTSRANGE', from, to);
  // Or the first to meet another may take its slots for older.
  await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
}

async function moveSlot(nodes: readonly LabNode[], slot: number, to: LabNode): Promise<void> {
  const ownerId = await ownerOfSlot(to.client, slot);
  const from = nodes.find(({ id }) => id === ownerId);
  if (from === undefined) throw new Error(`slot ${slot} has no owner`);
  await to.client.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
  await from.client.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
  for (;;) {
    const keys = (await from.client.call('CLUSTER', 'GETKEYSINSLOT', slot, 2)) as string[];
    if (keys.length === 0) break;
    await from.client.call('MIGRATE', '127.0.0.1', to.redis.port, '', 0, 5_000, 'KEYS', ...keys);
    // Slowly: whoever uses them meets a slot of which one half is here and the other there.
    await sleep(40);
  }
  for (const { client } of [to, from, ...nodes]) await client.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
}

async function ownerOfSlot(client: Redis, slot: number): Promise<string> {
  const ranges = (await client.call('CLUSTER', 'SLOTS')) as [number, number, [string, number, string]][];
  return ranges.find(([from, to]) => from <= slot && slot <= to)?.[2][2] ?? 'nobody';
}

async function until(done: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + LONGEST_MS;
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error('the cluster does not come up');
    await sleep(50);
  }
}
