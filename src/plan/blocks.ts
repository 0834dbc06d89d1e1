// SPDX-License-Identifier: Apache-2.0
// Cuts the pool's ranges of ports into blocks, the unit that a pod leases (RFC 6888 REQ-3, REQ-14). Ranges are honoured
// exactly: every port of a range lies in one block, no block holds another.

import { ip4NetRange } from '../addr/ip.ts';
import type { PoolRange } from '../model/pool.ts';

/** A block before it has a name (index) and a queue (slot). */
export interface PoolBlock {
  readonly v4: number;
  readonly firstPort: number;
  readonly size: number;
}

export interface PoolAddressView {
  readonly v4: number;
  readonly shared: boolean;
}

/** Distinct addresses in the order of the configuration. */
export function poolAddresses(ranges: readonly PoolRange[]): PoolAddressView[] {
  const found = new Map<number, PoolAddressView>();
  for (const { net, shared } of ranges) {
    const [first, last] = ip4NetRange(net);
    for (let v4 = first; v4 <= last; v4++) if (!found.has(v4)) found.set(v4, { v4, shared });
  }
  return [...found.values()];
}

/** Blocks of `blockSize` ports from each range's first port on; the last of a range may be smaller. */
export function poolBlocks(ranges: readonly PoolRange[], blockSize: number): PoolBlock[] {
  const blocks: PoolBlock[] = [];
  for (const { net, firstPort, lastPort } of ranges) {
    const [first, last] = ip4NetRange(net);
    for (let v4 = first; v4 <= last; v4++) {
      for (let port = firstPort; port <= lastPort; port += blockSize) {
        blocks.push({ v4, firstPort: port, size: Math.min(blockSize, lastPort - port + 1) });
      }
    }
  }
  return blocks;
}

export function blockKey(block: PoolBlock): string {
  return `${block.v4}:${block.firstPort}+${block.size}`;
}

export function blocksOverlap(a: PoolBlock, b: PoolBlock): boolean {
  return a.v4 === b.v4 && a.firstPort < b.firstPort + b.size && b.firstPort < a.firstPort + a.size;
}
