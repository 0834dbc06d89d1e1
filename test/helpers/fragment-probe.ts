// SPDX-License-Identifier: Apache-2.0
// Sends datagrams in fragments, the last one first, to an echo server and compares what comes back: `node fragment-probe.ts
// SOURCE DESTINATION PORT INTERFACE MAC SIZE COUNT`. Prints how many came back intact.

import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { ifNameToIndex, PacketSocket } from '../../src/libbpf/mod.ts';
import { cutIntoFragments } from './cut.ts';
import { bare, frame } from './packet.ts';

const [src = '', dst = '', port, device = '', mac = '', size, count] = process.argv.slice(2);
const ifindex = ifNameToIndex(device);
const link = new PacketSocket({ ifindex, mark: 0, receiveBuffer: 1 << 16 }, () => undefined);
const socket = createSocket('udp6');
socket.bind(0, src);
await once(socket, 'listening');

let intact = 0;
for (let n = 0; n < Number(count); n++) {
  const data = randomBytes(Number(size));
  const back = once(socket, 'message', { signal: AbortSignal.timeout(1500) }).catch(() => []);
  const datagram = bare()
    .ip6({ src, dst })
    .udp({ sport: socket.address().port, dport: Number(port) })
    .payload(data);
  for (const piece of cutIntoFragments(datagram.l3(), 1200, 0x1000 + n).toReversed()) {
    const bytes = frame(piece);
    bytes.set(Buffer.from(mac.replaceAll(':', ''), 'hex'));
    link.send(bytes, ifindex, 0x86dd);
  }
  const [answer] = (await back) as [Buffer?];
  if (answer?.equals(data)) intact += 1;
}
console.log(intact);
socket.close();
