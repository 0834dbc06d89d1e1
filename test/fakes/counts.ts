// SPDX-License-Identifier: Apache-2.0
// Counts of the data plane in memory, by protocol.

import type { PacketCounterRow } from '../../src/datapath/datapath.ts';
import { PROTOCOLS, type Protocol } from '../../src/model/binding.ts';
import { PACKET_BYTES } from './drops.ts';

export function countOf(rows: Iterable<{ readonly protocol: Protocol }>): Record<Protocol, number> {
  const counts = { tcp: 0, udp: 0, icmp: 0 };
  for (const row of rows) counts[row.protocol]++;
  return counts;
}

/** Nothing comes back in memory. */
export function packetRows(out: Readonly<Record<Protocol, number>>): PacketCounterRow[] {
  return [
    ...PROTOCOLS.map((protocol): PacketCounterRow => {
      return { direction: '6to4', protocol, packets: out[protocol], bytes: out[protocol] * PACKET_BYTES };
    }),
    ...PROTOCOLS.map((protocol) => ({ direction: '4to6' as const, protocol, packets: 0, bytes: 0 })),
  ];
}
