/** A client of postscreen that takes any address, by the PROXY protocol in front of it. */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What a client of this address is told, up to the reply to its first recipient or the end of the connection. */
export async function knock(port: number, address: string): Promise<string> {
  const family = address.includes(':') ? 'TCP6' : 'TCP4';
  const own = family === 'TCP6' ? '::1' : '127.0.0.1';
  const socket = connect(port, '127.0.0.1');
  let said = '';
  let ended = false;
  socket.on('data', (data) => {
    said += data.toString('latin1');
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    ended = true;
  });
  const replies = async (count: number) => {
    for (let tries = 0; tries < 400 && !ended; tries++) {
      if ((said.match(/^\d{3} /gm) ?? []).length >= count) return;
      await sleep(25);
    }
  };
  socket.write(`PROXY ${family} ${address} ${own} 40000 25\r\n`);
  const commands = ['EHLO client.example', 'MAIL FROM:<sender@remote.example>', 'RCPT TO:<ok1@lab.example>'];
  for (const [index, command] of commands.entries()) {
    await replies(index + 1);
    if (!ended) socket.write(`${command}\r\n`);
  }
  await replies(commands.length + 1);
  socket.destroy();
  return said.trimEnd().split('\r\n').at(-1) ?? '';
}
