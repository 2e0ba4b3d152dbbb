/** SMTP clients that never rest: each session asks the access map for several addresses, several times each. */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../src/demo/random.js';

const ADDRESSES_A_SESSION = 8;
const LOOKUPS_AN_ADDRESS = 8;

export interface Answer {
  readonly address: string;
  /** The reply to RCPT; what happened to the connection where there was none. */
  readonly reply: string;
  /** When the session that it is of began and ended. */
  readonly startedAt: number;
  readonly endedAt: number;
}

export interface LoadOptions {
  readonly port: number;
  readonly clients: number;
  readonly recipient: string;
  readonly chance: Random;
  readonly addresses: readonly string[];
  readonly onAnswers: (answers: readonly Answer[]) => void;
}

/** Starts the clients; what it returns stops them. */
export function startLoad(options: LoadOptions): () => Promise<void> {
  let stopped = false;
  const client = async () => {
    while (!stopped) {
      const addresses = Array.from({ length: ADDRESSES_A_SESSION }, () => options.chance.pick(options.addresses));
      options.onAnswers(await session(options, addresses));
      await sleep(5);
    }
  };
  const clients = Array.from({ length: options.clients }, client);
  return async () => {
    stopped = true;
    await Promise.all(clients);
  };
}

async function session({ port, recipient }: LoadOptions, addresses: readonly string[]): Promise<Answer[]> {
  const startedAt = Date.now();
  const replies: [address: string, reply: string][] = [];
  const replied = new Replies(connect(port, '127.0.0.1'));
  let address = addresses[0] ?? '';
  try {
    await replied.next();
    await replied.to('EHLO test.example');
    for (address of addresses) {
      const taken = await replied.to(
        `XCLIENT ADDR=${address.includes(':') ? `IPV6:${address}` : address} NAME=[UNAVAILABLE]`,
      );
      if (!taken.startsWith('220')) throw new Error(`XCLIENT was refused: ${taken}`);
      const rcpts = Array<string>(LOOKUPS_AN_ADDRESS).fill(`RCPT TO:<${recipient}>`);
      await replied.to('EHLO client.example', 'MAIL FROM:<sender@remote.example>');
      for (const reply of await replied.each(rcpts)) replies.push([address, reply]);
      await replied.to('RSET');
    }
    await replied.to('QUIT');
  } catch (error) {
    replies.push([address, `no reply: ${error instanceof Error ? error.message : String(error)}`]);
  } finally {
    replied.end();
  }
  const endedAt = Date.now();
  return replies.map(([of, reply]) => ({ address: of, reply, startedAt, endedAt }));
}

class Replies {
  readonly #socket: Socket;
  #received = '';
  #ended: string | null = null;
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    const end = (why: string) => {
      this.#ended ??= why;
      this.#wake();
    };
    socket.setTimeout(90_000, () => socket.destroy(new Error('no answer within 90 s')));
    socket.on('data', (data) => {
      this.#received += data.toString('latin1');
      this.#wake();
    });
    socket.on('error', (error) => end(error.message));
    socket.on('close', () => end('the connection was closed'));
  }

  /** Sends commands at once; resolves with the last reply. */
  async to(...commands: readonly string[]): Promise<string> {
    return (await this.each(commands)).at(-1) ?? '';
  }

  async each(commands: readonly string[]): Promise<string[]> {
    this.#socket.write(commands.map((line) => `${line}\r\n`).join(''));
    const replies: string[] = [];
    for (const _ of commands) replies.push(await this.next());
    return replies;
  }

  async next(): Promise<string> {
    for (;;) {
      const whole = /^(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n/.exec(this.#received)?.[0];
      if (whole !== undefined) {
        this.#received = this.#received.slice(whole.length);
        if (whole.startsWith('421')) throw new Error(whole.trimEnd());
        return whole.trimEnd();
      }
      if (this.#ended !== null) throw new Error(this.#ended);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  end(): void {
    this.#socket.destroy();
  }
}
