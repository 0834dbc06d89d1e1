// SPDX-License-Identifier: Apache-2.0
// Sends datagrams of many sizes to an echo server and compares what comes back: `node udp-probe.ts NAME PORT FIRST LAST`.
// Prints one line of JSON: how many came back intact, how often one had to be sent again, the sizes that did not.

import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { randomBytes } from 'node:crypto';

const [name = '', port, first, last] = process.argv.slice(2);
const { address } = await lookup(name, { family: 6 });
const socket = createSocket('udp6');
const waiting = new Map<string, () => void>();
socket.on('message', (data) => waiting.get(data.toString('latin1'))?.());
// Packet Too Big for an earlier datagram; the next one of that size goes in fragments.
socket.on('error', () => undefined);
await new Promise<void>((resolve) => {
  socket.connect(Number(port), address, resolve);
});

async function echoes(data: Buffer): Promise<boolean> {
  const key = data.toString('latin1');
  const back = new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), 1000);
    waiting.set(key, () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
  socket.send(data);
  const result = await back;
  waiting.delete(key);
  return result;
}

let intact = 0;
let repeated = 0;
const lost: number[] = [];
for (let size = Number(first); size <= Number(last) && lost.length < 20; size++) {
  const data = randomBytes(size);
  let tries = 1;
  while (tries <= 2 && !(await echoes(data))) tries += 1;
  if (tries > 2) {
    lost.push(size);
    continue;
  }
  intact += 1;
  repeated += tries - 1;
}
console.log(JSON.stringify({ address, intact, repeated, lost }));
socket.close();
