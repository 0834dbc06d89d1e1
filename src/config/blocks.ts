// SPDX-License-Identifier: Apache-2.0
// Into how large blocks a pool is cut, and how many of them a pod may hold, when nobody has said.

import { BLOCK_WORDS, MAX_BLOCKS_PER_POD } from '../model/layout.gen.ts';

export const MIN_BLOCK_SIZE = 16;
/** A block's record has a bit for each port. */
export const MAX_BLOCK_SIZE = BLOCK_WORDS * 64;

/** One range of ports of some addresses. */
export interface PortsOfAddresses {
  readonly addresses: number;
  readonly firstPort: number;
  readonly lastPort: number;
}

/** More blocks would make every sweep of them slow. */
export const MAX_BLOCKS = 65_536;
/** Enough for as many pods as a node usually has, and more for those that need them. */
const FEW_BLOCKS = 500;
/** A pod may hold as many blocks as this part of the pool, or FEW_BLOCKS_OF_POD if that is more. */
const SHARE_OF_POD = 16;
const FEW_BLOCKS_OF_POD = 64;

/** How many blocks of `size` ports these make. */
export function blocksOf(ranges: readonly PortsOfAddresses[], size: number): number {
  return ranges.reduce(
    (sum, { addresses, firstPort, lastPort }) => sum + addresses * Math.ceil((lastPort - firstPort + 1) / size),
    0,
  );
}

/**
 * Ports of a block when none are configured: 256, fewer where the pool is small, so that it serves as many pods as a node
 * has, and more where it is so large that there were too many blocks.
 */
export function fittingBlockSize(ranges: readonly PortsOfAddresses[]): number {
  let size = 256;
  while (size > MIN_BLOCK_SIZE && blocksOf(ranges, size) < FEW_BLOCKS) size /= 2;
  while (size < MAX_BLOCK_SIZE && blocksOf(ranges, size) > MAX_BLOCKS) size *= 2;
  return size;
}

/** Blocks that a pod may hold when none are configured, of so many in all. */
export function fittingQuota(blocks: number): number {
  return Math.min(MAX_BLOCKS_PER_POD, Math.max(FEW_BLOCKS_OF_POD, Math.ceil(blocks / SHARE_OF_POD)));
}
