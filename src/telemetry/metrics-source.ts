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

/** What is there now, by protocol. */
export interface LiveCounts {
  readonly sessions: Readonly<Record<string, number>>;
  readonly bindings: Readonly<Record<string, number>>;
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
  counts(): LiveCounts;
  blockFills(): readonly BlockFill[];
  mapFill(): readonly MapFill[];
}

/** Drop reasons that mean a new flow found no room; gate64_nat64_allocation_failures_total counts them. */
export const ALLOCATION_FAILURES: readonly string[] = ['pool_exhausted', 'pod_quota', 'sessions_full'];
