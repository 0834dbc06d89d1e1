// SPDX-License-Identifier: Apache-2.0
// The pool: as configured, and as it stands on one node.

import type { Ip4Net } from '../addr/ip.ts';

/** One range of ports on some addresses; an entry of the file with several ranges becomes several of these. */
export interface PoolEntry {
  /** "uplink": the uplink's own address, known when the node is looked at. A network stands for all its addresses. */
  readonly addresses: 'uplink' | readonly Ip4Net[];
  readonly firstPort: number;
  readonly lastPort: number;
  /** False when the range is the default: an address that turns out to be the node's own may then get a smaller one. */
  readonly portsGiven: boolean;
}

/** Ports of every address of one network (RFC 6888 REQ-3), on this node. */
export interface PoolRange {
  readonly net: Ip4Net;
  readonly firstPort: number;
  readonly lastPort: number;
  /** True when the node uses the address too (direct mode only). */
  readonly shared: boolean;
}
