// SPDX-License-Identifier: Apache-2.0
// A UDP echo server on IPv4 that answers without a checksum, in fragments, the last one first: `node fragment-echo.ts PORT
// ADDRESS INTERFACE MAC`, the MAC being that of the way out.

import { createSocket } from 'node:dgram';
import { ifNameToIndex, PacketSocket } from '../../src/libbpf/mod.ts';
import { cutIntoFragments } from './cut.ts';
import { bare, frame } from './packet.ts';

const [port, address = '', device = '', mac = ''] = process.argv.slice(2);
const ifindex = ifNameToIndex(device);
const link = new PacketSocket({ ifindex, mark: 0, receiveBuffer: 1 << 16 }, () => undefined);
let id = 1000;

const socket = createSocket('udp4');
socket.on('message', (data, peer) => {
  const answer = bare()
    .ip4({ src: address, dst: peer.address })
    .udp({ sport: Number(port), dport: peer.port, checksum: 0 })
    .payload(data);
  for (const piece of cutIntoFragments(answer.l3(), 1200, (id += 1) & 0xffff).toReversed()) {
    const bytes = frame(piece);
    bytes.set(Buffer.from(mac.replaceAll(':', ''), 'hex'));
    link.send(bytes, ifindex, 0x0800);
  }
});
socket.bind(Number(port), address, () => console.log('listening'));
