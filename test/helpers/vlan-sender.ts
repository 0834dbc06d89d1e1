// SPDX-License-Identifier: Apache-2.0
// Sends one UDP datagram over IPv4, as it is and in a frame of VLAN 7: `node vlan-sender.ts SOURCE DESTINATION SPORT DPORT
// INTERFACE MAC tagged|untagged`.

import { ifNameToIndex, PacketSocket } from '../../src/libbpf/mod.ts';
import { bare, frame } from './packet.ts';

const [src = '', dst = '', sport, dport, device = '', mac = '', kind] = process.argv.slice(2);
const ifindex = ifNameToIndex(device);
using link = new PacketSocket({ ifindex, mark: 0, receiveBuffer: 1 << 16 }, () => undefined);
const plain = frame(
  bare()
    .ip4({ src, dst })
    .udp({ sport: Number(sport), dport: Number(dport) })
    .payload('x')
    .l3(),
);
plain.set(Buffer.from(mac.replaceAll(':', ''), 'hex'));
const tagged = Buffer.concat([plain.subarray(0, 12), Buffer.of(0x81, 0x00, 0x00, 0x07), plain.subarray(12)]);
link.send(kind === 'tagged' ? tagged : plain, ifindex, kind === 'tagged' ? 0x8100 : 0x0800);
