// SPDX-License-Identifier: Apache-2.0
// Segments that ask a pod whether it still has a connection. They are in no window, which RFC 9293 §3.10.7.4 answers with
// an ACK, and a host without the connection with RST.

import type { TransportAddress6 } from '../model/binding.ts';
import { viewOf } from './bytes.ts';

const IP6_BYTES = 40;
const TCP_BYTES = 20;
const TCP = 6;
/**
 * The ACK of RFC 6146 §3.5.2.2; and a SYN with ACK, which Linux's connection tracking lets pass where it takes the other for
 * invalid, as nodes' firewalls drop (kube-proxy's rules do).
 */
const [ACK, SYN_ACK] = [0x10, 0x12];
const HOP_LIMIT = 64;
const WINDOW = 0xffff;

/** From the IPv6 header on. */
export function probePackets(source: TransportAddress6, destination: TransportAddress6): Uint8Array[] {
  return [ACK, SYN_ACK].map((flags) => segment(source, destination, flags));
}

function segment(source: TransportAddress6, destination: TransportAddress6, flags: number): Uint8Array {
  const packet = new Uint8Array(IP6_BYTES + TCP_BYTES);
  const view = viewOf(packet);
  view.setUint32(0, 6 << 28);
  view.setUint16(4, TCP_BYTES);
  view.setUint8(6, TCP);
  view.setUint8(7, HOP_LIMIT);
  packet.set(source.v6, 8);
  packet.set(destination.v6, 24);
  view.setUint16(IP6_BYTES, source.port);
  view.setUint16(IP6_BYTES + 2, destination.port);
  // Sequence and acknowledgement are not known here; 0 lies outside of almost every window.
  view.setUint8(IP6_BYTES + 12, (TCP_BYTES / 4) << 4);
  view.setUint8(IP6_BYTES + 13, flags);
  view.setUint16(IP6_BYTES + 14, WINDOW);
  view.setUint16(IP6_BYTES + 16, checksum(view));
  return packet;
}

/** RFC 9293 §3.1, over the pseudo-header of RFC 8200 §8.1: addresses, length and protocol. */
function checksum(view: DataView): number {
  let sum = TCP_BYTES + TCP;
  for (let at = 8; at < view.byteLength; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
