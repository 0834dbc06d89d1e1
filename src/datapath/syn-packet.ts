// SPDX-License-Identifier: Apache-2.0
// TCP connections from the IPv4 side that nobody asked for, as the programs hand them over (bpf/syn.h): IPv4 packets.

import { PROTOCOL, type Flow4Key } from '../model/layout.gen.ts';
import { viewOf } from './bytes.ts';

const TCP = 6;
const TCP_BYTES = 20;
const IP4_BYTES = 20;

/** Whole packets of TCP over IPv4 are handed over for no other reason. */
export function isSyn(packet: Uint8Array): boolean {
  const header = headerBytes(packet);
  if ((packet[0] ?? 0) >> 4 !== 4 || header < IP4_BYTES || packet.length < header + TCP_BYTES) return false;
  return packet[9] === TCP && (viewOf(packet).getUint16(6) & 0x3fff) === 0;
}

/** The session that would be the SYN's, as its IPv4 side is looked up. */
export function connectionOf(packet: Uint8Array): Flow4Key {
  const [view, ports] = [viewOf(packet), headerBytes(packet)];
  return {
    src: view.getUint32(12),
    dst: view.getUint32(16),
    sport: view.getUint16(ports),
    dport: view.getUint16(ports + 2),
    protocol: PROTOCOL.TCP,
  };
}

const headerBytes = (packet: Uint8Array) => ((packet[0] ?? 0) & 15) * 4;
