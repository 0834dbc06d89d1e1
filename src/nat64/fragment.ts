// SPDX-License-Identifier: Apache-2.0
// A fragment of IPv4 or IPv6, from its bytes.

import type { DatagramId } from '../datapath/datapath.ts';

const PROTO = { hopByHop: 0, routing: 43, fragment: 44, destination: 60 } as const;
/** As many as the programs skip (bpf/parse.h). */
const MAX_EXTENSION_HEADERS = 6;

export interface Fragment {
  readonly datagram: DatagramId;
  /** Of `payload` in the datagram, in bytes. */
  readonly offset: number;
  readonly more: boolean;
  /** Behind the IP header, and the Fragment Header. */
  readonly payload: Uint8Array;
  /** From the IP header to its own end. */
  readonly packet: Uint8Array;
}

/** Undefined for what is no fragment, or cut short. */
export function parseFragment(bytes: Uint8Array): Fragment | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4 && bytes.length >= 20) return parse4(bytes);
  if (version === 6 && bytes.length >= 40) return parse6(bytes);
  return undefined;
}

function parse4(bytes: Uint8Array): Fragment | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [header, total, field] = [(view.getUint8(0) & 15) * 4, view.getUint16(2), view.getUint16(6)];
  if (header < 20 || total < header || total > bytes.length || (field & 0x3fff) === 0) return undefined;
  return {
    datagram: {
      source: bytes.subarray(12, 16),
      destination: bytes.subarray(16, 20),
      id: view.getUint16(4),
      protocol: view.getUint8(9),
    },
    offset: (field & 0x1fff) * 8,
    more: (field & 0x2000) !== 0,
    payload: bytes.subarray(header, total),
    packet: bytes.subarray(0, total),
  };
}

function parse6(bytes: Uint8Array): Fragment | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = 40 + view.getUint16(4);
  if (end > bytes.length) return undefined;
  let [next, at] = [view.getUint8(6), 40];
  for (let i = 0; i <= MAX_EXTENSION_HEADERS && at + 8 <= end; i++) {
    if (next === PROTO.fragment) {
      const field = view.getUint16(at + 2);
      return {
        datagram: {
          source: bytes.subarray(8, 24),
          destination: bytes.subarray(24, 40),
          id: view.getUint32(at + 4),
          protocol: view.getUint8(at),
        },
        offset: field & 0xfff8,
        more: (field & 1) !== 0,
        payload: bytes.subarray(at + 8, end),
        packet: bytes.subarray(0, end),
      };
    }
    if (next !== PROTO.hopByHop && next !== PROTO.routing && next !== PROTO.destination) return undefined;
    next = view.getUint8(at);
    at += (view.getUint8(at + 1) + 1) * 8;
  }
  return undefined;
}
