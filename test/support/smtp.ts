/** A small real SMTP client that may take any address by XCLIENT, as Postfix's own tests do. */
import { connect, type Socket } from 'node:net';

export interface SmtpSession {
  /** Sends a command and resolves with its whole reply, lines joined. */
  command(line: string): Promise<string>;
  /** MAIL (once) and RCPT; resolves with the reply to RCPT. */
  rcpt(recipient: string): Promise<string>;
  /** DATA with a short message, after a `rcpt` that was accepted. */
  deliver(): Promise<string>;
  quit(): Promise<void>;
  /** Ends the connection without a word. */
  drop(): void;
}

export interface SmtpOptions {
  readonly port: number;
  /** The client's address as Postfix shall see it. */
  readonly address: string;
  /** Its verified name; none unless told. */
  readonly name?: string;
  readonly helo?: string;
  readonly sender?: string;
}

export async function smtpSession(options: SmtpOptions): Promise<SmtpSession> {
  const connection = new Connection(connect(options.port, '127.0.0.1'));
  const helo = options.helo ?? 'client.example';
  await connection.reply();
  const address = options.address.includes(':') ? `IPV6:${options.address}` : options.address;
  await connection.command('EHLO test.example');
  const accepted = await connection.command(`XCLIENT ADDR=${address} NAME=${options.name ?? '[UNAVAILABLE]'}`);
  if (!accepted.startsWith('220')) throw new Error(`XCLIENT was refused: ${accepted}`);
  await connection.command(`EHLO ${helo}`);
  let mailed = false;
  return {
    command: (line) => connection.command(line),
    rcpt: async (recipient) => {
      if (!mailed) await connection.command(`MAIL FROM:<${options.sender ?? 'sender@remote.example'}>`);
      mailed = true;
      return connection.command(`RCPT TO:<${recipient}>`);
    },
    deliver: async () => {
      await connection.command('DATA');
      return connection.command('Subject: test\r\n\r\na message\r\n.');
    },
    quit: async () => {
      await connection.command('QUIT').catch(() => undefined);
      connection.end();
    },
    drop: () => connection.end(),
  };
}

class Connection {
  readonly #socket: Socket;
  #received = '';
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    socket.setTimeout(30_000, () => socket.destroy());
    socket.on('data', (data) => {
      this.#received += data.toString('latin1');
      this.#wake();
    });
    socket.on('error', end);
    socket.on('close', end);
  }

  async command(line: string): Promise<string> {
    this.#socket.write(`${line}\r\n`, 'latin1');
    return this.reply();
  }

  async reply(): Promise<string> {
    for (;;) {
      const whole = /^(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n/.exec(this.#received)?.[0];
      if (whole !== undefined) {
        this.#received = this.#received.slice(whole.length);
        return whole.trimEnd();
      }
      if (this.#ended) throw new Error(`the connection ended in a reply: ${this.#received}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  end(): void {
    this.#socket.destroy();
  }
}
