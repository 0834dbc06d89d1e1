// SPDX-License-Identifier: Apache-2.0
// What the NAT64 metrics are read from when they are scraped.

import { release } from 'node:os';
import { formatIp4 } from '../addr/ip.ts';
import type { Datapath } from '../datapath/datapath.ts';
import type { MetricsSource } from '../telemetry/metrics-source.ts';

export function nat64MetricsSource(options: {
  readonly datapath: Datapath;
  readonly ready: () => boolean;
  readonly egress: () => string;
}): MetricsSource {
  const { datapath } = options;
  return {
    ready: options.ready,
    info: () => ({ egress: options.egress(), attach: datapath.info().attach, kernel: release() }),
    packetCounters: () => datapath.packetCounters(),
    drops: () => datapath.drops(),
    counts: () => datapath.counts(),
    blockFills: () => {
      // Thousands of blocks are of a few addresses.
      const texts = new Map<number, string>();
      return datapath.blocks().map(({ v4, state, size, used }) => {
        let address = texts.get(v4);
        if (address === undefined) texts.set(v4, (address = formatIp4(v4)));
        return { address, state, size, used };
      });
    },
    mapFill: () => datapath.mapFill(),
  };
}
