// SPDX-License-Identifier: Apache-2.0
// Cuts a packet of test/helpers/packet.ts into fragments.

import { bare } from './packet.ts';
import { formatIp4, formatIp6 } from '../../src/addr/ip.ts';

/** What follows the IP header of `l3` in pieces of `size` bytes, each a packet from its IP header on, in order. */
export function cutIntoFragments(l3: Uint8Array, size: number, id: number): Uint8Array[] {
  const view = new DataView(l3.buffer, l3.byteOffset, l3.byteLength);
  const isIp4 = l3[0] === 0x45;
  const payload = l3.slice(isIp4 ? 20 : 40);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < payload.length; at += size) {
    const more = at + size < payload.length;
    const offset = at / 8;
    const head = isIp4
      ? bare().ip4({
          src: formatIp4(view.getUint32(12)),
          dst: formatIp4(view.getUint32(16)),
          protocol: view.getUint8(9),
          id,
          mf: more,
          offset,
        })
      : bare()
          .ip6({ src: formatIp6(l3.slice(8, 24)), dst: formatIp6(l3.slice(24, 40)) })
          .fragment({ id, more, offset, nextHeader: view.getUint8(6) });
    pieces.push(head.payload(payload.slice(at, at + size)).l3());
  }
  return pieces;
}
