/** Stands between blockd and Redis: it may be slow, and break the connection when a commit passes. */
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export class CuttingProxy {
  /** Asked at each commit: break the connection before Redis hears of it, after it has answered, or not at all? */
  cut: (() => 'request' | 'reply' | null) | null = null;
  cuts = 0;
  /** Each way, milliseconds. */
  delayMs = 0;
  readonly #server: Server;
  readonly #drops = new Set<() => void>();

  constructor(port: number) {
    this.#server = createServer((client) => {
      const redis = dial(port, '127.0.0.1');
      const drop = () => {
        this.#drops.delete(drop);
        client.destroy();
        redis.destroy();
      };
      this.#drops.add(drop);
      for (const socket of [client, redis]) socket.on('error', drop).on('close', drop);
      this.#forward(client, redis, drop);
    });
  }

  #forward(client: Socket, redis: Socket, drop: () => void): void {
    let dropReply = false;
    const [toRedis, toClient] = [this.#lane(), this.#lane()];
    client.on('data', (data) => {
      if (/\r\neval(sha)?\r\n/i.test(data.toString('latin1'))) {
        const cut = this.cut?.() ?? null;
        if (cut !== null) this.cuts++;
        if (cut === 'request') return drop();
        if (cut === 'reply') dropReply = true;
      }
      toRedis(() => redis.write(data));
    });
    redis.on('data', (data) => {
      if (dropReply) drop();
      else toClient(() => client.write(data));
    });
  }

  /** One after another, also when the delay shrinks. */
  #lane(): (write: () => void) => void {
    let before = Promise.resolve();
    return (write) => {
      const at = Date.now() + this.delayMs;
      before = before.then(() => sleep(at - Date.now())).then(write);
    };
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    return `redis://127.0.0.1:${address.port}`;
  }

  /** Breaks every connection. */
  dropAll(): void {
    for (const drop of [...this.#drops]) drop();
  }

  async close(): Promise<void> {
    this.#server.close();
    this.dropAll();
  }
}
