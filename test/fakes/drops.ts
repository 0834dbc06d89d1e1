// SPDX-License-Identifier: Apache-2.0
// Drops of the data plane in memory: how many for each reason, and what the last one was.

import { formatIp6 } from '../../src/addr/ip.ts';
import type { DropRow, DropSample } from '../../src/datapath/datapath.ts';
import type { Protocol, TransportAddress6 } from '../../src/model/binding.ts';
import type { DropReason } from '../../src/model/drops.gen.ts';

/** From the IP header on. */
export const PACKET_BYTES = 100;
const IP_PROTOCOL: Readonly<Record<Protocol, number>> = { tcp: 6, udp: 17, icmp: 58 };

/** What the first packet of a flow says. ICMP: the source's port is the identifier, `port` says nothing. */
export interface FakeFlow {
  readonly protocol: Protocol;
  readonly source: TransportAddress6;
  readonly destination6: Uint8Array;
  readonly port: number;
}

export class FakeDrops {
  readonly #now: () => number;
  readonly #drops = new Map<DropReason, { count: number; last: DropSample }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  count(reason: DropReason, { protocol, source, destination6, port }: FakeFlow): DropReason {
    const isIcmp = protocol === 'icmp';
    const last: DropSample = {
      at: this.#now(),
      source: formatIp6(source.v6),
      destination: formatIp6(destination6),
      protocol: IP_PROTOCOL[protocol],
      sourcePort: isIcmp ? 0 : source.port,
      destinationPort: isIcmp ? 0 : port,
      icmpType: isIcmp ? 128 : null,
      icmpCode: isIcmp ? 0 : null,
      length: PACKET_BYTES,
    };
    this.#drops.set(reason, { count: (this.#drops.get(reason)?.count ?? 0) + 1, last });
    return reason;
  }

  /** The most frequent reason first. */
  rows(): DropRow[] {
    return [...this.#drops]
      .map(([reason, { count, last }]): DropRow => ({ reason, direction: '6to4', count, last }))
      .sort((a, b) => b.count - a.count);
  }
}
