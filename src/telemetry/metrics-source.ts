// SPDX-License-Identifier: Apache-2.0
// What the metrics need to know of the NAT64 half when they are scraped. Structural types: this room lies below the data
// plane and knows none of its own.

export interface PacketCount {
  readonly direction: string;
  readonly protocol: string;
  readonly packets: number;
  readonly bytes: number;
}

export interface DropCount {
  readonly direction: string;
  readonly reason: string;
  readonly count: number;
}

export interface ProtocolCount {
  readonly protocol: string;
  readonly count: number;
}

/** One block of ports; `used` per protocol. */
export interface BlockFill {
  /** Text. */
  readonly address: string;
  readonly state: string;
  readonly size: number;
  readonly used: Readonly<Record<string, number>>;
}

export interface MapFill {
  readonly map: string;
  readonly entries: number;
  readonly maxEntries: number;
}

/** Asked at every scrape; a part that throws leaves its metrics out of that scrape. */
export interface MetricsSource {
  ready(): boolean;
  info(): { readonly egress: string; readonly attach: string; readonly kernel: string };
  packetCounters(): readonly PacketCount[];
  drops(): readonly DropCount[];
  sessionCounts(): readonly ProtocolCount[];
  bindingCounts(): readonly ProtocolCount[];
  blockFills(): readonly BlockFill[];
  mapFill(): readonly MapFill[];
}

/** Drop reasons that mean a new flow found no room; gate64_nat64_allocation_failures_total counts them. */
export const ALLOCATION_FAILURES: readonly string[] = ['pool_exhausted', 'pod_quota', 'sessions_full'];

/** Counts rows by their protocol, for `sessionCounts` and `bindingCounts`; protocols without a row count 0. */
export function countByProtocol(
  rows: Iterable<{ readonly protocol: string }>,
  protocols: readonly string[] = ['tcp', 'udp', 'icmp'],
): ProtocolCount[] {
  const counts = new Map<string, number>(protocols.map((protocol) => [protocol, 0]));
  for (const { protocol } of rows) counts.set(protocol, (counts.get(protocol) ?? 0) + 1);
  return [...counts].map(([protocol, count]) => ({ protocol, count }));
}
