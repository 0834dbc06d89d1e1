// SPDX-License-Identifier: Apache-2.0
// Opens TCP connections that nobody asked for, some 20 000 a second, each from another address: `node syn-flood.ts
// DESTINATION FIRST-PORT INTERFACE MAC SECONDS`. Prints how many.

import { setTimeout } from 'node:timers/promises';
import { ifNameToIndex, PacketSocket } from '../../src/libbpf/mod.ts';
import { bare, frame, TCP } from './packet.ts';

const [dst = '', firstPort, device = '', mac = '', seconds] = process.argv.slice(2);
const ifindex = ifNameToIndex(device);
const link = new PacketSocket({ ifindex, mark: 0, receiveBuffer: 1 << 16 }, () => undefined);
const frames = Array.from({ length: 8192 }, (_, n) => {
  const dport = Number(firstPort) + (n % 64);
  const bytes = frame(
    bare()
      .ip4({ src: `203.0.${n >> 8}.${n & 255}`, dst })
      .tcp({ sport: 1024 + n, dport, flags: TCP.syn })
      .l3(),
  );
  bytes.set(Buffer.from(mac.replaceAll(':', ''), 'hex'));
  return bytes;
});
const end = performance.now() + Number(seconds) * 1000;
let sent = 0;
while (performance.now() < end) {
  for (let i = 0; i < 40; i++) link.send(frames[sent++ % frames.length] as Uint8Array, ifindex, 0x0800);
  // More would fill the queues of the links.
  await setTimeout(2);
}
console.log(sent);
