// SPDX-License-Identifier: Apache-2.0
// Sends later fragments whose first never comes, some 20 000 a second: `node fragment-flood.ts SOURCE DESTINATION INTERFACE
// MAC SECONDS`. Prints how many.

import { setTimeout } from 'node:timers/promises';
import { ifNameToIndex, PacketSocket } from '../../src/libbpf/mod.ts';
import { bare, frame, PROTO } from './packet.ts';

const [src = '', dst = '', device = '', mac = '', seconds] = process.argv.slice(2);
const ifindex = ifNameToIndex(device);
const link = new PacketSocket({ ifindex, mark: 0, receiveBuffer: 1 << 16 }, () => undefined);
const bytes = frame(
  bare()
    .ip6({ src, dst })
    .fragment({ id: 0, more: true, offset: 154, nextHeader: PROTO.udp })
    .payload(new Uint8Array(1232))
    .l3(),
);
bytes.set(Buffer.from(mac.replaceAll(':', ''), 'hex'));
const view = new DataView(bytes.buffer, bytes.byteOffset);
const end = performance.now() + Number(seconds) * 1000;
let sent = 0;
while (performance.now() < end) {
  for (let i = 0; i < 40; i++) {
    view.setUint32(14 + 44, (sent += 1));
    link.send(bytes, ifindex, 0x86dd);
  }
  // More would fill the queues of the links, which is no matter of fragments.
  await setTimeout(2);
}
console.log(sent);
