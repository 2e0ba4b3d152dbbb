// A process of its own that publishes maps: `publisher.mjs TYPE PATH once|flip|told|FILE [COUNT]`.
// POSTMAP names another postmap.
//   once  publishes one entry and ends
//   flip  publishes two pictures in turn until it is killed; they differ in COUNT addresses, or in one and an IPv6 network
//   told  publishes one picture whole, then tells one change after the other until it is killed
//   FILE  publishes COUNT times the subjects that FILE names at that moment, one a line
import { readFile } from 'node:fs/promises';
import { AccessMap } from '../../dist/postfix/access-map.js';

const [type, path, what, count] = process.argv.slice(2);
const until = Date.parse('2031-05-11T04:00:00Z');
const entries = (subjects) => subjects.map((subject) => ({ subject, until, reason: 'repeated rejects' }));
const map = new AccessMap({
  type,
  path,
  reply: 'Blocked until {until} after repeated rejects',
  action: 'reject',
  postmap: process.env.POSTMAP ?? 'postmap',
  reload: [],
  journalFrom: 100,
});

try {
  if (what === 'once') await map.publish(async () => entries(['203.0.113.9']));
  else if (what === 'flip') await flip();
  else if (what === 'told') await told();
  else {
    for (let i = 0; i < Number(count); i++) {
      await map.publish(async () => entries((await readFile(what, 'utf8')).split('\n').filter(Boolean)));
    }
  }
} catch (error) {
  process.stderr.write(`${error.name}: ${error.message}\n`);
  process.exitCode = 3;
}

async function flip() {
  const always = Array.from({ length: 15_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
  for (let i = 0; ; i++) {
    const side = i % 2;
    const changing =
      count === undefined
        ? [`203.0.113.${9 + side}`, `2001:db8:${1 + side}::/64`]
        : Array.from({ length: Number(count) }, (_, k) => `203.0.${side}.${k}`);
    await map.publish(async () => entries([...always, ...changing]));
    process.stdout.write('published\n');
  }
}

async function told() {
  const always = entries(Array.from({ length: 15_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`));
  for (let i = 0; ; i++) {
    const [put, gone] = [entries([`203.0.113.${9 + (i % 2)}`]), [`203.0.113.${10 - (i % 2)}`]];
    const changes = i === 0 ? null : { put, gone };
    await map.publishPicture(async () => ({ changes, all: () => [...always, ...put] }));
    process.stdout.write('published\n');
  }
}
