/** A small authoritative name server on loopback whose zone can change at any time (RFC 1035): PTR, A and AAAA. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';

const TYPES = { A: 1, PTR: 12, AAAA: 28 } as const;
const [NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME] = [0, 2, 3];

/** How it behaves: answers, is silent, or says that it can't. */
export type Mood = 'answers' | 'silent' | 'fails';

export class NameServer {
  mood: Mood = 'answers';
  /** Questions so far. */
  asked = 0;
  readonly #socket: Socket;
  readonly #names = new Map<string, string[]>();
  readonly #addresses = new Map<string, string[]>();

  static async start(): Promise<NameServer> {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return new NameServer(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (query, from) => this.#answer(query, from));
  }

  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  /** PTR records of an IPv4 address; of each name an A record that leads back, unless told otherwise. */
  set(ip: string, names: readonly string[], leadsBackTo: string = ip): void {
    this.#names.set(`${ip.split('.').reverse().join('.')}.in-addr.arpa`, [...names]);
    for (const name of names) this.#addresses.set(name.toLowerCase(), [leadsBackTo]);
  }

  close(): void {
    this.#socket.close();
  }

  #answer(query: Buffer, from: RemoteInfo): void {
    this.asked++;
    if (this.mood === 'silent') return;
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const type = query.readUInt16BE(at + 1);
    const question = query.subarray(12, at + 5);
    const name = labels.join('.').toLowerCase();
    const found =
      type === TYPES.PTR
        ? this.#names.get(name)?.map(encodedName)
        : this.#addresses.get(name)?.flatMap((one) => (isIPv6(one) === (type === TYPES.AAAA) ? [encodedIp(one)] : []));
    const code = this.mood === 'fails' ? SERVER_FAILURE : found === undefined ? NO_SUCH_NAME : NO_ERROR;
    const records = code === NO_ERROR ? (found ?? []) : [];
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(0x8580 | code, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(records.length, 6);
    const answers = records.map((data) => {
      const record = Buffer.alloc(12);
      record.writeUInt16BE(0xc00c, 0);
      record.writeUInt16BE(type, 2);
      record.writeUInt16BE(1, 4);
      record.writeUInt32BE(0, 6);
      record.writeUInt16BE(data.length, 10);
      return Buffer.concat([record, data]);
    });
    this.#socket.send(Buffer.concat([head, question, ...answers]), from.port, from.address);
  }
}

function encodedName(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.from([label.length, ...Buffer.from(label, 'latin1')]));
  return Buffer.concat([...labels, Buffer.from([0])]);
}

function encodedIp(ip: string): Buffer {
  return Buffer.from(ip.split('.').map(Number));
}
